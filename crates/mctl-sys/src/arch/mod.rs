//! What differs between processors, as pure functions over register images.
//!
//! Both implementations are compiled and unit-tested on every host, since they are only
//! arithmetic on structures; [`Native`] is the one that runs here. x86-64 is run and tested on
//! real processes. **aarch64 has never been run**: its register logic is checked by unit tests
//! against what the kernel's source says, nothing more.

pub mod aarch64;
pub mod x86_64;

use crate::inject::blocked::BlockedCall;

/// A system call to run in a target: number and six arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyscallArgs {
    /// Its number on this processor.
    pub number: u64,
    /// Its arguments.
    pub args: [u64; 6],
}

/// A processor's general registers and what the injector must know about them.
pub trait Arch {
    /// The register image that `PTRACE_GETREGSET(NT_PRSTATUS)` fills in.
    type Regs: Copy + Default + std::fmt::Debug + PartialEq;

    /// The bytes of the instruction that enters the kernel.
    const SYSCALL_INSN: &'static [u8];

    /// The image with which a thread, resumed, executes the instruction at `insn` as this call.
    fn enter(saved: &Self::Regs, insn: u64, call: SyscallArgs) -> Self::Regs;

    /// The return value of the call that just ended.
    fn result(regs: &Self::Regs) -> i64;

    /// The image to put back so that the interrupted thread sees nothing: `saved` itself, but
    /// for a call that the stop made fail with `EINTR` although no signal came.
    ///
    /// `blocked` is what the thread was seen doing before the stop, where it could be read.
    fn restored(saved: &Self::Regs, blocked: Option<&BlockedCall>) -> Self::Regs;

    /// The system call that the thread was interrupted in, if it was in one.
    fn interrupted_call(saved: &Self::Regs, blocked: Option<&BlockedCall>) -> Option<u64>;

    /// The instruction pointer.
    fn pc(regs: &Self::Regs) -> u64;

    /// The stack pointer.
    fn sp(regs: &Self::Regs) -> u64;

    /// The same image with another instruction pointer.
    fn with_pc(regs: &Self::Regs, pc: u64) -> Self::Regs;

    /// The call that has just failed with `EINTR`, with the instruction pointer and the stack pointer, where its
    /// arguments are still in the registers.
    fn failed_call(_saved: &Self::Regs) -> Option<(BlockedCall, u64, u64)> {
        None
    }

    /// Where 16 bytes may be put below the thread's stack: where the frame of a signal would be put.
    fn room_below(_regs: &Self::Regs) -> Option<u64> {
        None
    }

    /// The image that enters a failed epoll_wait(2) again, as epoll_pwait2(2) with the time at this address; with a
    /// signal handler to run, it returns `EINTR` as before.
    fn waits_for(back: &Self::Regs, _time_at: u64) -> Self::Regs {
        *back
    }

    /// The call by which the kernel would go on with the one that the stop has interrupted, where that is another:
    /// restart_syscall(2). The thread makes it from the same place, and its seccomp filters see it.
    fn continuation(_regs: &Self::Regs) -> Option<SyscallArgs> {
        None
    }

    /// The image that enters such a call again from its beginning, with its whole timeout; and whether the timeout is a
    /// moment, so that nothing is lost.
    fn entered_afresh(regs: &Self::Regs) -> (Self::Regs, bool) {
        (*regs, false)
    }

    /// Whether the thread runs in 32-bit mode.
    fn is_32bit(regs: &Self::Regs) -> bool;

    /// Instructions that end a process of one task whatever its other registers hold, with the number of
    /// the call that they make: exit(2) or exit_group(2), as compilers and C libraries write them. The
    /// kernel is entered by the last instruction.
    const EXIT_GADGETS: &'static [(&'static [u8], u64)];

    /// The image, at a call's entry stop, that makes another call of it and goes on at `pc` after it.
    fn swapped(at_entry: &Self::Regs, call: SyscallArgs, pc: u64) -> Self::Regs;

    /// The image, at a call's exit stop, of a thread in no call that goes on at `pc`.
    fn after_call(at_exit: &Self::Regs, pc: u64) -> Self::Regs;

    /// The arguments of clone(2) for a child with these flags and this stack pointer.
    fn clone_args(flags: u64, stack: u64) -> [u64; 6] {
        [flags, stack, 0, 0, 0, 0]
    }
}

/// The number of prctl(2) on this processor.
pub const NR_PRCTL: i64 = libc::SYS_prctl;
/// The number of madvise(2) on this processor.
pub const NR_MADVISE: i64 = libc::SYS_madvise;
/// The number of mlock2(2) on this processor.
pub const NR_MLOCK2: i64 = libc::SYS_mlock2;
/// The number of munlock(2) on this processor.
pub const NR_MUNLOCK: i64 = libc::SYS_munlock;
/// The number of mlockall(2) on this processor.
pub const NR_MLOCKALL: i64 = libc::SYS_mlockall;
/// The number of munlockall(2) on this processor.
pub const NR_MUNLOCKALL: i64 = libc::SYS_munlockall;

/// The processor that this build runs on.
#[cfg(target_arch = "x86_64")]
pub type Native = x86_64::X86_64;
/// The processor that this build runs on.
#[cfg(target_arch = "aarch64")]
pub type Native = aarch64::Aarch64;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("mctl's injector knows x86-64 and aarch64 only");
