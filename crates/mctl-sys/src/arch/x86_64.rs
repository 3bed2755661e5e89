//! x86-64.

use super::{Arch, SyscallArgs};
use crate::inject::blocked::{BlockedCall, reissuable};

/// x86-64, run and tested.
#[derive(Clone, Copy, Debug)]
pub struct X86_64;

/// `struct user_regs_struct` (asm/user_64.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "register names")]
pub struct Regs {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// Number of the system call that the thread is in, or -1.
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub eflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}

/// "Not in a system call": the kernel then leaves rax and rip alone.
const NO_CALL: u64 = u64::MAX;
/// The code segment of 64-bit user mode (`__USER_CS`).
const USER_CS_64: u64 = 0x33;
/// The trap flag: SIGTRAP after every instruction.
const TRAP_FLAG: u64 = 1 << 8;
const EINTR: i64 = -(libc::EINTR as i64);
/// The kernel's own mark for "restart, unless a signal handler is to run, then EINTR"
/// (include/linux/errno.h).
const ERESTARTNOHAND: i64 = -514;
/// "Continue it through restart_syscall(2), unless a signal handler is to run, then EINTR".
const ERESTART_RESTARTBLOCK: i64 = -516;

const RESTART_SYSCALL: u64 = 219;

/// What a program may keep below its stack pointer (System V ABI, AMD64, 3.2.2).
const RED_ZONE: u64 = 128;
const EPOLL_PWAIT2: u64 = 441;

impl Arch for X86_64 {
    type Regs = Regs;

    const SYSCALL_INSN: &'static [u8] = &[0x0f, 0x05];

    fn enter(saved: &Regs, insn: u64, call: SyscallArgs) -> Regs {
        let [rdi, rsi, rdx, r10, r8, r9] = call.args;
        Regs {
            rip: insn,
            rax: call.number,
            // Without this the kernel would take rax for the result of the interrupted call and
            // perhaps restart it here.
            orig_rax: NO_CALL,
            rdi,
            rsi,
            rdx,
            r10,
            r8,
            r9,
            // A program that single-steps itself would get a SIGTRAP behind our call.
            eflags: saved.eflags & !TRAP_FLAG,
            ..*saved
        }
    }

    fn result(regs: &Regs) -> i64 {
        regs.rax.cast_signed()
    }

    /// A call that the kernel restarts by itself needs rax and orig_rax put back together, no
    /// more. For the calls that return a bare `EINTR` when a tracer stops them (ptrace(2), BUGS),
    /// the result becomes the kernel's own `ERESTARTNOHAND`: on the way back to user mode the
    /// kernel then does the one right thing, and without a race: with a signal handler to run
    /// the call returns `EINTR`, else it is entered again. So it is with a poll(2) that waits for
    /// ever: the kernel would continue it through restart_syscall(2), another call, which a seccomp
    /// filter of the program's may kill it for.
    fn restored(saved: &Regs, _blocked: Option<&BlockedCall>) -> Regs {
        let mut regs = *saved;
        let result = saved.rax.cast_signed();
        if saved.orig_rax != NO_CALL
            && (result == EINTR && reissuable(saved.orig_rax)
                || result == ERESTART_RESTARTBLOCK && polls_for_ever(saved))
        {
            regs.rax = ERESTARTNOHAND.cast_unsigned();
        }
        regs
    }

    fn interrupted_call(saved: &Regs, _blocked: Option<&BlockedCall>) -> Option<u64> {
        (saved.orig_rax != NO_CALL).then_some(saved.orig_rax)
    }

    fn pc(regs: &Regs) -> u64 {
        regs.rip
    }

    fn sp(regs: &Regs) -> u64 {
        regs.rsp
    }

    fn with_pc(regs: &Regs, pc: u64) -> Regs {
        Regs { rip: pc, ..*regs }
    }

    fn failed_call(saved: &Regs) -> Option<(BlockedCall, u64, u64)> {
        let call = BlockedCall {
            number: saved.orig_rax,
            args: [
                saved.rdi, saved.rsi, saved.rdx, saved.r10, saved.r8, saved.r9,
            ],
        };
        let failed = saved.orig_rax != NO_CALL && saved.rax.cast_signed() == EINTR;
        failed.then_some((call, saved.rip, saved.rsp))
    }

    fn room_below(regs: &Regs) -> Option<u64> {
        regs.rsp.checked_sub(RED_ZONE + 64).map(|at| at & !15)
    }

    fn waits_for(back: &Regs, time_at: u64) -> Regs {
        Regs {
            orig_rax: EPOLL_PWAIT2,
            rax: ERESTARTNOHAND.cast_unsigned(),
            r10: time_at,
            // No signal mask; its size is not looked at then.
            r8: 0,
            ..*back
        }
    }

    fn continuation(regs: &Regs) -> Option<SyscallArgs> {
        let interrupted = regs.orig_rax != NO_CALL
            && regs.rax.cast_signed() == ERESTART_RESTARTBLOCK
            && !polls_for_ever(regs);
        interrupted.then_some(SyscallArgs {
            number: RESTART_SYSCALL,
            args: [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9],
        })
    }

    fn entered_afresh(regs: &Regs) -> (Regs, bool) {
        const FUTEX: u64 = 202;
        const FUTEX_WAIT_BITSET: u64 = 9;
        const COMMAND: u64 = 0x7f;
        // It is in the other call already, and which it was before nobody knows: it fails, as with a signal.
        if regs.orig_rax == RESTART_SYSCALL {
            let failed = Regs {
                rax: EINTR.cast_unsigned(),
                orig_rax: NO_CALL,
                ..*regs
            };
            return (failed, false);
        }
        let until = regs.orig_rax == FUTEX && regs.rsi & COMMAND == FUTEX_WAIT_BITSET;
        let again = Regs {
            rax: ERESTARTNOHAND.cast_unsigned(),
            ..*regs
        };
        (again, until)
    }

    fn is_32bit(regs: &Regs) -> bool {
        regs.cs != USER_CS_64
    }

    const EXIT_GADGETS: &'static [(&'static [u8], u64)] = &[
        // mov $60, %eax; syscall
        (&[0xb8, 0x3c, 0, 0, 0, 0x0f, 0x05], 60),
        // xor %eax, %eax; mov $60, %al; syscall
        (&[0x31, 0xc0, 0xb0, 0x3c, 0x0f, 0x05], 60),
        // mov $231, %eax; syscall: a static program without threads has this only
        (&[0xb8, 0xe7, 0, 0, 0, 0x0f, 0x05], 231),
    ];

    fn swapped(at_entry: &Regs, call: SyscallArgs, pc: u64) -> Regs {
        let [rdi, rsi, rdx, r10, r8, r9] = call.args;
        Regs {
            rip: pc,
            orig_rax: call.number,
            rdi,
            rsi,
            rdx,
            r10,
            r8,
            r9,
            ..*at_entry
        }
    }

    /// Without a call in it the kernel restarts none, whatever the result says.
    fn after_call(at_exit: &Regs, pc: u64) -> Regs {
        Regs {
            rip: pc,
            orig_rax: NO_CALL,
            rax: 0,
            ..*at_exit
        }
    }
}

/// Whether the registers are those of a poll(2) without an end.
fn polls_for_ever(regs: &Regs) -> bool {
    const POLL: u64 = 7;
    // The timeout is an `int`: its sign is bit 31, whatever stands above.
    regs.orig_rax == POLL && regs.rdx & (1 << 31) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn layout_is_libcs() {
        assert_eq!(size_of::<Regs>(), size_of::<libc::user_regs_struct>());
        assert_eq!(
            offset_of!(Regs, rax),
            offset_of!(libc::user_regs_struct, rax)
        );
        assert_eq!(
            offset_of!(Regs, orig_rax),
            offset_of!(libc::user_regs_struct, orig_rax)
        );
        assert_eq!(
            offset_of!(Regs, rip),
            offset_of!(libc::user_regs_struct, rip)
        );
        assert_eq!(offset_of!(Regs, cs), offset_of!(libc::user_regs_struct, cs));
        assert_eq!(
            offset_of!(Regs, fs_base),
            offset_of!(libc::user_regs_struct, fs_base)
        );
        assert_eq!(offset_of!(Regs, gs), offset_of!(libc::user_regs_struct, gs));
    }

    fn in_call(number: u64, result: i64) -> Regs {
        Regs {
            orig_rax: number,
            rax: result.cast_unsigned(),
            rip: 0x1000,
            cs: 0x33,
            ..Regs::default()
        }
    }

    const EPOLL_WAIT: u64 = 232;
    const READ: u64 = 0;
    const CLOSE: u64 = 3;

    #[test]
    fn calls_that_the_kernel_restarts_are_put_back_as_they_were() {
        for mark in [-512, -513, -514, -516] {
            let saved = in_call(READ, mark);
            assert_eq!(X86_64::restored(&saved, None), saved);
        }
    }

    #[test]
    fn an_endless_poll_is_entered_again_as_itself() {
        const POLL: u64 = 7;
        let with = |call, timeout: u64| Regs {
            rdx: timeout,
            ..in_call(call, ERESTART_RESTARTBLOCK)
        };
        for endless in [u64::MAX, 0xffff_ffff, 0x1_8000_0000] {
            let saved = with(POLL, endless);
            let back = X86_64::restored(&saved, None);
            assert_eq!(back.rax.cast_signed(), ERESTARTNOHAND);
            assert_eq!(
                Regs {
                    rax: saved.rax,
                    ..back
                },
                saved
            );
        }
        // What has an end goes on with what is left of it.
        for saved in [with(POLL, 0), with(POLL, 5000), with(35, u64::MAX)] {
            assert_eq!(X86_64::restored(&saved, None), saved);
        }
    }

    #[test]
    fn what_the_kernel_continues_by_another_call() {
        const NANOSLEEP: u64 = 35;
        const FUTEX: u64 = 202;
        let saved = Regs {
            rdi: 1,
            rsi: 2,
            ..in_call(NANOSLEEP, ERESTART_RESTARTBLOCK)
        };
        let call = X86_64::continuation(&saved).unwrap();
        assert_eq!((call.number, call.args), (219, [1, 2, 0, 0, 0, 0]));
        let (again, until) = X86_64::entered_afresh(&saved);
        assert_eq!((again.rax.cast_signed(), again.orig_rax), (-514, NANOSLEEP));
        assert!(!until && X86_64::continuation(&again).is_none());
        // A wait to a moment loses nothing.
        let futex = |op| Regs {
            rsi: op,
            ..in_call(FUTEX, ERESTART_RESTARTBLOCK)
        };
        for (op, until) in [(0, false), (128, false), (9, true), (128 | 256 | 9, true)] {
            assert_eq!(X86_64::entered_afresh(&futex(op)).1, until, "{op}");
        }
        let (failed, until) = X86_64::entered_afresh(&in_call(219, ERESTART_RESTARTBLOCK));
        assert_eq!(
            (failed.rax.cast_signed(), failed.orig_rax),
            (EINTR, NO_CALL)
        );
        assert!(!until);
        for other in [
            in_call(NANOSLEEP, ERESTARTNOHAND),
            in_call(NANOSLEEP, 0),
            in_call(NO_CALL, ERESTART_RESTARTBLOCK),
        ] {
            assert_eq!(X86_64::continuation(&other), None);
        }
    }

    #[test]
    fn a_bare_eintr_becomes_the_kernels_own_restart() {
        let saved = in_call(EPOLL_WAIT, EINTR);
        let regs = X86_64::restored(&saved, None);
        assert_eq!(regs.rax.cast_signed(), ERESTARTNOHAND);
        assert_eq!(
            Regs {
                rax: saved.rax,
                ..regs
            },
            saved,
            "nothing else"
        );
    }

    #[test]
    fn a_wait_is_entered_again_with_another_time_and_nothing_else() {
        let saved = Regs {
            rsp: 0x7fff_1238,
            rdi: 1,
            rsi: 2,
            rdx: 3,
            r10: 4,
            r8: 5,
            r9: 6,
            ..in_call(EPOLL_WAIT, EINTR)
        };
        let (call, pc, sp) = X86_64::failed_call(&saved).unwrap();
        assert_eq!((call.number, call.args), (EPOLL_WAIT, [1, 2, 3, 4, 5, 6]));
        assert_eq!((pc, sp), (0x1000, 0x7fff_1238));
        let at = X86_64::room_below(&saved).unwrap();
        assert!(at.is_multiple_of(16) && at + 16 <= saved.rsp - RED_ZONE && saved.rsp - at <= 256);
        let regs = X86_64::waits_for(&saved, at);
        assert_eq!((regs.orig_rax, regs.r10, regs.r8), (441, at, 0));
        assert_eq!(regs.rax.cast_signed(), ERESTARTNOHAND);
        let same = Regs {
            orig_rax: saved.orig_rax,
            rax: saved.rax,
            r10: saved.r10,
            r8: saved.r8,
            ..regs
        };
        assert_eq!(same, saved, "nothing else");
        for other in [
            in_call(EPOLL_WAIT, -514),
            in_call(NO_CALL, EINTR),
            in_call(EPOLL_WAIT, 0),
        ] {
            assert_eq!(X86_64::failed_call(&other), None);
        }
    }

    #[test]
    fn an_eintr_that_is_the_programs_own_business_stays() {
        // close(2) must not be entered twice; after sigreturn (orig_rax -1) rax is just a value.
        for saved in [
            in_call(CLOSE, EINTR),
            in_call(NO_CALL, EINTR),
            in_call(EPOLL_WAIT, 3),
        ] {
            assert_eq!(X86_64::restored(&saved, None), saved);
        }
    }

    #[test]
    fn entering_changes_only_what_a_call_takes() {
        let saved = Regs {
            rbx: 7,
            rsp: 8,
            fs_base: 9,
            r15: 10,
            eflags: 11,
            ..in_call(READ, -512)
        };
        let call = SyscallArgs {
            number: 157,
            args: [1, 2, 3, 4, 5, 6],
        };
        let regs = X86_64::enter(&saved, 0x7000, call);
        assert_eq!((regs.rip, regs.rax, regs.orig_rax), (0x7000, 157, NO_CALL));
        assert_eq!(
            [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9],
            call.args
        );
        let back = Regs {
            rip: saved.rip,
            rax: saved.rax,
            orig_rax: saved.orig_rax,
            rdi: 0,
            rsi: 0,
            rdx: 0,
            r10: 0,
            r8: 0,
            r9: 0,
            ..regs
        };
        assert_eq!(back, saved);
    }

    #[test]
    fn our_call_is_not_single_stepped() {
        let saved = Regs {
            eflags: 0x346,
            ..in_call(READ, -512)
        };
        let call = SyscallArgs {
            number: 157,
            args: [0; 6],
        };
        assert_eq!(X86_64::enter(&saved, 0x7000, call).eflags, 0x246);
        assert_eq!(X86_64::restored(&saved, None).eflags, 0x346);
    }

    #[test]
    fn a_call_made_of_another_one_goes_on_where_it_is_told() {
        let call = SyscallArgs {
            number: 28,
            args: [1, 2, 3, 4, 5, 6],
        };
        let at_entry = in_call(60, -38);
        let regs = X86_64::swapped(&at_entry, call, 0x7000);
        assert_eq!(
            (regs.rip, regs.orig_rax, regs.rax),
            (0x7000, 28, at_entry.rax)
        );
        let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
        assert_eq!(args, call.args);
        // A result that asks for a restart asks in vain.
        let after = X86_64::after_call(
            &Regs {
                rax: (-512_i64).cast_unsigned(),
                ..regs
            },
            0x7000,
        );
        assert_eq!((after.rip, after.orig_rax, after.rax), (0x7000, NO_CALL, 0));
        for (gadget, _) in X86_64::EXIT_GADGETS {
            assert!(gadget.ends_with(X86_64::SYSCALL_INSN));
        }
    }

    #[test]
    fn code_segment_tells_the_mode() {
        assert!(X86_64::is_32bit(&Regs {
            cs: 0x23,
            ..Regs::default()
        }));
        assert!(!X86_64::is_32bit(&Regs {
            cs: 0x33,
            ..Regs::default()
        }));
    }
}
