//! aarch64. Compiled and unit-tested everywhere, **not run anywhere yet**.
//!
//! Source of the facts: arch/arm64/kernel/signal.c, `do_signal()`: before it looks for a signal
//! (and so before a ptrace stop) it has already turned a restartable call back: pc stands on the
//! `svc` again and x0 holds the first argument. So a stop in a restartable call needs nothing but
//! the registers put back. A bare `EINTR` is different: pc is past the `svc` and the first
//! argument is lost from x0; it is taken from what `/proc/PID/task/TID/syscall` said before the
//! stop.

use super::{Arch, SyscallArgs};
use crate::inject::blocked::{BlockedCall, reissuable};

/// aarch64, not run yet.
#[derive(Clone, Copy, Debug)]
pub struct Aarch64;

/// `struct user_pt_regs` (asm/ptrace.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Regs {
    /// x0 to x30.
    pub x: [u64; 31],
    /// Stack pointer.
    pub sp: u64,
    /// Program counter.
    pub pc: u64,
    /// Processor state.
    pub pstate: u64,
}

/// `PSR_MODE32_BIT`.
const MODE_32BIT: u64 = 0x10;
const SVC_LEN: u64 = 4;
const EINTR: i64 = -(libc::EINTR as i64);

impl Arch for Aarch64 {
    type Regs = Regs;

    /// `svc #0`, little-endian.
    const SYSCALL_INSN: &'static [u8] = &[0x01, 0x00, 0x00, 0xd4];

    fn enter(saved: &Regs, insn: u64, call: SyscallArgs) -> Regs {
        let mut regs = *saved;
        for (register, arg) in regs.x.iter_mut().zip(call.args) {
            *register = arg;
        }
        regs.x[8] = call.number;
        regs.pc = insn;
        regs
    }

    fn result(regs: &Regs) -> i64 {
        regs.x[0].cast_signed()
    }

    /// A signal that arrives between this and the thread's next step in user mode is handled
    /// first and the call then entered again, where the kernel alone would have returned `EINTR`:
    /// the kernel offers no mark for it from outside on this processor.
    fn restored(saved: &Regs, blocked: Option<&BlockedCall>) -> Regs {
        let mut regs = *saved;
        if let Some(call) = blocked
            && saved.x[0].cast_signed() == EINTR
            && saved.x[8] == call.number
            && reissuable(call.number)
        {
            regs.x[0] = call.args[0];
            regs.pc = saved.pc.wrapping_sub(SVC_LEN);
        }
        regs
    }

    fn interrupted_call(saved: &Regs, blocked: Option<&BlockedCall>) -> Option<u64> {
        blocked
            .filter(|call| saved.x[8] == call.number)
            .map(|call| call.number)
    }

    fn pc(regs: &Regs) -> u64 {
        regs.pc
    }

    fn sp(regs: &Regs) -> u64 {
        regs.sp
    }

    fn with_pc(regs: &Regs, pc: u64) -> Regs {
        Regs { pc, ..*regs }
    }

    fn is_32bit(regs: &Regs) -> bool {
        regs.pstate & MODE_32BIT != 0
    }

    const EXIT_GADGETS: &'static [(&'static [u8], u64)] = &[
        // mov x8, #93; svc #0
        (&[0xa8, 0x0b, 0x80, 0xd2, 0x01, 0, 0, 0xd4], 93),
        // mov w8, #93; svc #0
        (&[0xa8, 0x0b, 0x80, 0x52, 0x01, 0, 0, 0xd4], 93),
        // mov x8, #94; svc #0
        (&[0xc8, 0x0b, 0x80, 0xd2, 0x01, 0, 0, 0xd4], 94),
        // mov w8, #94; svc #0
        (&[0xc8, 0x0b, 0x80, 0x52, 0x01, 0, 0, 0xd4], 94),
    ];

    /// The kernel takes the number of a call that has been entered from a register set of its own
    /// (NT_ARM_SYSTEM_CALL), which has to be written too.
    fn swapped(at_entry: &Regs, call: SyscallArgs, pc: u64) -> Regs {
        let mut regs = *at_entry;
        for (register, arg) in regs.x.iter_mut().zip(call.args) {
            *register = arg;
        }
        regs.x[8] = call.number;
        regs.pc = pc;
        regs
    }

    fn after_call(at_exit: &Regs, pc: u64) -> Regs {
        let mut regs = *at_exit;
        regs.x[0] = 0;
        regs.pc = pc;
        regs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    #[test]
    fn layout() {
        assert_eq!(size_of::<Regs>(), 34 * 8);
        assert_eq!(offset_of!(Regs, sp), 31 * 8);
        assert_eq!(offset_of!(Regs, pc), 32 * 8);
        assert_eq!(offset_of!(Regs, pstate), 33 * 8);
    }

    #[test]
    fn entering_sets_number_arguments_and_pc_only() {
        let mut saved = Regs {
            sp: 5,
            pc: 6,
            pstate: 7,
            ..Regs::default()
        };
        saved.x[19] = 19;
        let regs = Aarch64::enter(
            &saved,
            0x7000,
            SyscallArgs {
                number: 167,
                args: [1, 2, 3, 4, 5, 6],
            },
        );
        assert_eq!(regs.x[..6], [1, 2, 3, 4, 5, 6]);
        assert_eq!(
            (regs.x[8], regs.x[19], regs.sp, regs.pc, regs.pstate),
            (167, 19, 5, 0x7000, 7)
        );
    }

    #[test]
    fn restartable_calls_are_put_back_as_they_were() {
        // do_signal() has already moved pc back and x0 to the first argument.
        let mut saved = Regs {
            pc: 0x1000,
            ..Regs::default()
        };
        saved.x[0] = 9;
        saved.x[8] = 63;
        let seen = BlockedCall {
            number: 63,
            args: [9, 0, 0, 0, 0, 0],
        };
        assert_eq!(Aarch64::restored(&saved, Some(&seen)), saved);
        assert_eq!(Aarch64::interrupted_call(&saved, Some(&seen)), Some(63));
        assert_eq!(Aarch64::interrupted_call(&saved, None), None);
    }

    #[test]
    #[cfg(target_arch = "aarch64")]
    fn a_bare_eintr_is_entered_again() {
        let mut saved = Regs {
            pc: 0x1004,
            ..Regs::default()
        };
        saved.x[0] = EINTR.cast_unsigned();
        saved.x[8] = 22; // epoll_pwait
        let seen = BlockedCall {
            number: 22,
            args: [9, 0, 0, 0, 0, 0],
        };
        let regs = Aarch64::restored(&saved, Some(&seen));
        assert_eq!((regs.pc, regs.x[0]), (0x1000, 9));
    }

    #[test]
    fn a_call_made_of_another_one() {
        let call = SyscallArgs {
            number: 233,
            args: [1, 2, 3, 4, 5, 6],
        };
        let regs = Aarch64::swapped(&Regs::default(), call, 0x7000);
        assert_eq!((regs.x[8], regs.pc), (233, 0x7000));
        assert_eq!(regs.x[..6], call.args);
        let after = Aarch64::after_call(&regs, 0x7000);
        assert_eq!((after.x[0], after.pc), (0, 0x7000));
        for (gadget, _) in Aarch64::EXIT_GADGETS {
            assert!(gadget.ends_with(Aarch64::SYSCALL_INSN));
        }
    }

    #[test]
    fn mode() {
        assert!(Aarch64::is_32bit(&Regs {
            pstate: 0x10,
            ..Regs::default()
        }));
        assert!(!Aarch64::is_32bit(&Regs::default()));
    }
}
