//! The ptrace requests that the injector uses, one function each.
//!
//! They run in the shield task (see [`crate::inject`]), so they neither allocate nor lock.

use mctl_abi::Errno;

use super::filter::{Insn, MOST_INSNS};
use crate::raw::{checked, last_errno};

/// `PTRACE_O_TRACESYSGOOD`: system-call stops are told from SIGTRAP.
pub(crate) const O_TRACESYSGOOD: u64 = 1;
/// `PTRACE_O_SUSPEND_SECCOMP` (Linux 4.3; CAP_SYS_ADMIN and CONFIG_CHECKPOINT_RESTORE).
pub(crate) const O_SUSPEND_SECCOMP: u64 = 1 << 21;
const GET_RSEQ_CONFIGURATION: u32 = 0x420f;
const GET_SYSCALL_USER_DISPATCH_CONFIG: u32 = 0x4211;
const NT_PRSTATUS: u64 = 1;

fn request(request: u32, tid: i32, addr: u64, data: u64) -> Result<libc::c_long, Errno> {
    // SAFETY: every caller below passes either plain numbers or the address of a live, writable
    // object of the size that the request asks for.
    checked(unsafe { libc::syscall(libc::SYS_ptrace, request, tid, addr, data) })
}

pub(crate) fn seize(tid: i32, options: u64) -> Result<(), Errno> {
    request(libc::PTRACE_SEIZE, tid, 0, options).map(drop)
}

/// Of a stopped tracee.
pub(crate) fn set_options(tid: i32, options: u64) -> Result<(), Errno> {
    request(libc::PTRACE_SETOPTIONS, tid, 0, options).map(drop)
}

pub(crate) fn interrupt(tid: i32) -> Result<(), Errno> {
    request(libc::PTRACE_INTERRUPT, tid, 0, 0).map(drop)
}

/// Lets the tracee run to its next system-call stop; `signal` 0 delivers none.
pub(crate) fn run_to_syscall(tid: i32, signal: i32) -> Result<(), Errno> {
    request(
        libc::PTRACE_SYSCALL,
        tid,
        0,
        u64::from(signal.unsigned_abs()),
    )
    .map(drop)
}

/// Lets the tracee run; `signal` 0 delivers none.
pub(crate) fn cont(tid: i32, signal: i32) -> Result<(), Errno> {
    request(libc::PTRACE_CONT, tid, 0, u64::from(signal.unsigned_abs())).map(drop)
}

pub(crate) fn detach(tid: i32) -> Result<(), Errno> {
    detach_with(tid, 0)
}

/// Lets the tracee go with a signal; 0 is none.
pub(crate) fn detach_with(tid: i32, signal: i32) -> Result<(), Errno> {
    let signal = u64::from(signal.unsigned_abs());
    request(libc::PTRACE_DETACH, tid, 0, signal).map(drop)
}

/// Reads the general registers into a structure of the kernel's layout.
pub(crate) fn get_regs<R: Copy + Default>(tid: i32) -> Result<R, Errno> {
    let mut regs = R::default();
    let mut iov = libc::iovec {
        iov_base: (&raw mut regs).cast(),
        iov_len: size_of::<R>(),
    };
    request(
        libc::PTRACE_GETREGSET,
        tid,
        NT_PRSTATUS,
        (&raw mut iov) as u64,
    )?;
    if iov.iov_len == size_of::<R>() {
        Ok(regs)
    } else {
        // A 32-bit task has a smaller set.
        Err(Errno::EOPNOTSUPP)
    }
}

pub(crate) fn set_regs<R: Copy>(tid: i32, regs: &R) -> Result<(), Errno> {
    let mut copy = *regs;
    let mut iov = libc::iovec {
        iov_base: (&raw mut copy).cast(),
        iov_len: size_of::<R>(),
    };
    request(
        libc::PTRACE_SETREGSET,
        tid,
        NT_PRSTATUS,
        (&raw mut iov) as u64,
    )
    .map(drop)
}

/// The signal mask; inside a call with a temporary one (ppoll, sigsuspend), the lasting one.
pub(crate) fn get_sigmask(tid: i32) -> Result<u64, Errno> {
    let mut mask = 0u64;
    request(libc::PTRACE_GETSIGMASK, tid, 8, (&raw mut mask) as u64)?;
    Ok(mask)
}

pub(crate) fn set_sigmask(tid: i32, mask: u64) -> Result<(), Errno> {
    let mut mask = mask;
    request(libc::PTRACE_SETSIGMASK, tid, 8, (&raw mut mask) as u64).map(drop)
}

/// Eight bytes of the tracee's memory.
pub(crate) fn peek(tid: i32, address: u64) -> Result<u64, Errno> {
    let mut word = 0u64;
    // The raw system call stores through the data pointer; only the C library returns the word.
    request(libc::PTRACE_PEEKDATA, tid, address, (&raw mut word) as u64)?;
    Ok(word)
}

/// Writes eight bytes into the tracee's memory.
pub(crate) fn poke(tid: i32, address: u64, word: u64) -> Result<(), Errno> {
    request(libc::PTRACE_POKEDATA, tid, address, word).map(drop)
}

/// `struct ptrace_sud_config` (include/uapi/linux/ptrace.h, Linux 6.4).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SudConfig {
    pub(crate) mode: u64,
    pub(crate) selector: u64,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// Syscall User Dispatch of the tracee. `EIO`/`EINVAL` where the kernel cannot tell.
pub(crate) fn syscall_user_dispatch(tid: i32) -> Result<SudConfig, Errno> {
    let mut config = SudConfig::default();
    let size = size_of::<SudConfig>() as u64;
    request(
        GET_SYSCALL_USER_DISPATCH_CONFIG,
        tid,
        size,
        (&raw mut config) as u64,
    )?;
    Ok(config)
}

/// `si_code` of a SIGSYS that a seccomp filter, or Syscall User Dispatch, made of a call
/// (asm-generic/siginfo.h).
pub(crate) const SYS_SECCOMP: i32 = 1;
pub(crate) const SYS_USER_DISPATCH: i32 = 2;
/// `si_code` of a SIGBUS for memory that went bad and that nobody has touched.
pub(crate) const BUS_MCEERR_AO: i32 = 5;
/// `si_code` of a SIGTRAP from a perf event.
pub(crate) const TRAP_PERF: i32 = 6;

/// The `si_code` of the signal that the tracee has stopped for.
pub(crate) fn signal_code(tid: i32) -> Result<i32, Errno> {
    // SAFETY: integers and pointers only, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    request(libc::PTRACE_GETSIGINFO, tid, 0, (&raw mut info) as u64)?;
    Ok(info.si_code)
}

/// `PTRACE_O_EXITKILL`: the tracee is killed when its tracer ends (Linux 3.8).
pub(crate) const O_EXITKILL: u64 = 1 << 20;
/// Makes another call of the one at whose entry the tracee stands, where the registers alone do not.
#[cfg(target_arch = "aarch64")]
pub(crate) fn set_entered_number(tid: i32, number: u64) -> Result<(), Errno> {
    const NT_ARM_SYSTEM_CALL: u64 = 0x404;
    let mut number = i32::try_from(number).unwrap_or(-1);
    let mut iov = libc::iovec {
        iov_base: (&raw mut number).cast(),
        iov_len: size_of::<i32>(),
    };
    let iov = (&raw mut iov) as u64;
    request(libc::PTRACE_SETREGSET, tid, NT_ARM_SYSTEM_CALL, iov).map(drop)
}

/// Makes another call of the one at whose entry the tracee stands, where the registers alone do not.
#[cfg(not(target_arch = "aarch64"))]
#[allow(clippy::unnecessary_wraps, reason = "aarch64 has something to fail")]
pub(crate) fn set_entered_number(_tid: i32, _number: u64) -> Result<(), Errno> {
    Ok(())
}

/// `PTRACE_SECCOMP_GET_FILTER` (Linux 4.4).
const SECCOMP_GET_FILTER: u32 = 0x420c;

/// The filter with this index of a stopped tracee, the oldest first: its length, and its instructions if there is a
/// buffer for them. `ENOENT`: there are not so many; `EINVAL`: there is none, or the kernel cannot tell.
pub(crate) fn seccomp_filter(
    tid: i32,
    index: u64,
    buffer: Option<&mut [Insn; MOST_INSNS]>,
) -> Result<usize, Errno> {
    let at = buffer.map_or(0, |buffer| (&raw mut *buffer) as u64);
    // (No filter is longer than the buffer.)
    let len = request(SECCOMP_GET_FILTER, tid, index, at)?;
    Ok(usize::try_from(len).unwrap_or(0))
}

/// Whether the kernel would pass over a stopped tracee's seccomp filters for us. It is asked, and at once told not to:
/// filters are passed over between a checked entry stop of ours and its exit stop, nowhere else.
pub(crate) fn can_suspend_seccomp(tid: i32) -> bool {
    let set = |options| set_options(tid, options).is_ok();
    set(O_TRACESYSGOOD | O_SUSPEND_SECCOMP) && set(O_TRACESYSGOOD)
}

/// One look at all tracees of this task: the one that has changed, with its state.
pub(crate) fn wait_any_now() -> Result<Option<(i32, i32)>, Errno> {
    let mut status = 0i32;
    let null = std::ptr::null_mut::<libc::rusage>();
    let options = libc::WNOHANG | libc::__WALL;
    // SAFETY: `status` is ours; no rusage is asked for.
    let ret = unsafe { libc::syscall(libc::SYS_wait4, -1, &raw mut status, options, null) };
    match checked(ret)? {
        0 => Ok(None),
        tid => Ok(Some((i32::try_from(tid).unwrap_or(0), status))),
    }
}

/// Ends a tracee that is a process of its own.
pub(crate) fn kill(tid: i32) {
    // SAFETY: integers only. A tracee keeps its number until its tracer has waited for it.
    unsafe { libc::kill(tid, libc::SIGKILL) };
}

/// `struct ptrace_rseq_configuration` (include/uapi/linux/ptrace.h, Linux 5.13).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RseqConfig {
    pub(crate) abi_pointer: u64,
    pub(crate) abi_size: u32,
    pub(crate) signature: u32,
    pub(crate) flags: u32,
    pub(crate) pad: u32,
}

/// Where the tracee registered its rseq area (pointer 0: nowhere).
pub(crate) fn rseq(tid: i32) -> Result<RseqConfig, Errno> {
    let mut config = RseqConfig::default();
    let size = size_of::<RseqConfig>() as u64;
    request(GET_RSEQ_CONFIGURATION, tid, size, (&raw mut config) as u64)?;
    Ok(config)
}

/// Whether a thread belongs to a thread group now (tgkill(2) with signal 0).
pub(crate) fn thread_is_in(tgid: i32, tid: i32) -> Result<(), Errno> {
    // SAFETY: integers only.
    checked(unsafe { libc::syscall(libc::SYS_tgkill, tgid, tid, 0) }).map(drop)
}

/// The words of `struct ptrace_syscall_info` (include/uapi/linux/ptrace.h, Linux 5.3): op and
/// architecture, instruction and stack pointer, then number and arguments at an entry.
pub(crate) fn syscall_info(tid: i32) -> Result<[u64; 12], Errno> {
    let mut words = [0u64; 12];
    let size = size_of_val(&words) as u64;
    request(
        libc::PTRACE_GET_SYSCALL_INFO,
        tid,
        size,
        (&raw mut words) as u64,
    )?;
    Ok(words)
}

/// Has the kernel skip the call that the tracee stands at the entry of: by its number, -1.
#[cfg(target_arch = "x86_64")]
pub(crate) fn skip_call(tid: i32) -> Result<(), Errno> {
    let mut regs = get_regs::<crate::arch::x86_64::Regs>(tid)?;
    regs.orig_rax = u64::MAX;
    set_regs(tid, &regs)
}

/// Has the kernel skip the call that the tracee stands at the entry of: by its number, -1.
#[cfg(target_arch = "aarch64")]
pub(crate) fn skip_call(tid: i32) -> Result<(), Errno> {
    set_entered_number(tid, u64::MAX)
}

/// Sends a signal to a thread.
pub(crate) fn send(tid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: integers only.
    checked(unsafe { libc::syscall(libc::SYS_tkill, tid, signal) }).map(drop)
}

/// `si_code` of a signal that a file sends because it can be read (asm-generic/siginfo.h).
pub(crate) const POLL_IN: i32 = 1;

/// Where the signal comes from that the tracee has stopped for: its `si_code`, and the file (`si_fd`) if a file has
/// sent it.
pub(crate) fn signal_source(tid: i32) -> Result<(i32, i32), Errno> {
    // Words of siginfo_t: number, errno, code, padding; then, of a file's signal, si_band and si_fd.
    let mut info = [0i32; 32];
    request(libc::PTRACE_GETSIGINFO, tid, 0, (&raw mut info) as u64)?;
    Ok((info[2], info[6]))
}

/// One look at a tracee's state: `None` if it has not changed.
pub(crate) fn wait_now(tid: i32) -> Result<Option<i32>, Errno> {
    let mut status = 0i32;
    let null = std::ptr::null_mut::<libc::rusage>();
    let options = libc::WNOHANG | libc::__WALL;
    // SAFETY: `status` is ours; no rusage is asked for.
    let ret = unsafe { libc::syscall(libc::SYS_wait4, tid, &raw mut status, options, null) };
    match ret {
        0 => Ok(None),
        n if n < 0 => Err(last_errno()),
        _ => Ok(Some(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_eq!(size_of::<SudConfig>(), 32);
        assert_eq!(size_of::<libc::siginfo_t>(), 128, "32 words");
        assert_eq!(size_of::<RseqConfig>(), 24);
        assert_eq!(std::mem::offset_of!(RseqConfig, flags), 16);
    }
}
