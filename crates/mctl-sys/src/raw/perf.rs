//! perf_event_open(2): a clock that ticks only while a thread runs its own code, and signals the thread then.
//!
//! The software CPU clock with `exclude_kernel`: its timer interrupt counts only where it hit user mode. No
//! counter of the processor is used, so it works in virtual machines too. The signal goes out by the file's own
//! means (`O_ASYNC`, `F_SETSIG`, `F_OWNER_TID`): no BPF program and none of its capabilities is needed, and the
//! signal may be any, so one that the program ignores.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use mctl_abi::Errno;

use super::checked;

/// `struct perf_event_attr` as far as its first version goes (`PERF_ATTR_SIZE_VER0`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Attr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    config1: u64,
}

const TYPE_SOFTWARE: u32 = 1;
const COUNT_SW_CPU_CLOCK: u64 = 0;
const DISABLED: u64 = 1 << 0;
const EXCLUDE_KERNEL: u64 = 1 << 5;
const EXCLUDE_HV: u64 = 1 << 6;
/// Linux 5.13.
const REMOVE_ON_EXEC: u64 = 1 << 36;
const FLAG_FD_CLOEXEC: u64 = 1 << 3;

const IOC_ENABLE: libc::c_ulong = 0x2400;
const IOC_DISABLE: libc::c_ulong = 0x2401;
/// `_IOW('$', 4, __u64)`.
const IOC_PERIOD: libc::c_ulong = 0x4008_2404;

const F_SETSIG: libc::c_int = 10;
const F_SETOWN_EX: libc::c_int = 15;
const F_OWNER_TID: libc::c_int = 0;

#[repr(C)]
struct Owner {
    kind: libc::c_int,
    pid: libc::pid_t,
}

/// A period that no thread lives to the end of.
pub(crate) const NEVER_NS: u64 = 3_600_000_000_000;

/// Such a clock on one thread. Closing it ends it.
#[derive(Debug)]
pub(crate) struct UserClock(OwnedFd);

impl UserClock {
    /// A clock that is not yet started. Once it is, it sends `signal` to the thread every `period_ns` of its time
    /// on a processor at which it runs its own code.
    ///
    /// # Errors
    /// `EACCES` not permitted (`kernel.perf_event_paranoid`, no ptrace access); `ESRCH` no such thread; `EMFILE`.
    pub(crate) fn open(tid: i32, period_ns: u64, signal: i32) -> Result<UserClock, Errno> {
        let common = DISABLED | EXCLUDE_KERNEL | EXCLUDE_HV;
        let file = match open(tid, period_ns, common | REMOVE_ON_EXEC) {
            Err(Errno::EINVAL) => open(tid, period_ns, common)?,
            result => result?,
        };
        let owner = Owner {
            kind: F_OWNER_TID,
            pid: tid,
        };
        // SAFETY: `owner` has the layout of struct f_owner_ex and is read only.
        check(unsafe { libc::fcntl(file.as_raw_fd(), F_SETOWN_EX, &raw const owner) })?;
        // SAFETY: integers only.
        check(unsafe { libc::fcntl(file.as_raw_fd(), F_SETSIG, signal) })?;
        // SAFETY: integers only.
        check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_ASYNC) })?;
        Ok(UserClock(file))
    }

    /// The number that its signal carries (`si_fd`).
    pub(crate) fn number(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// # Errors
    /// The thread has ended.
    pub(crate) fn start(&self) -> Result<(), Errno> {
        // SAFETY: integers only.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), IOC_ENABLE, 0) })
    }

    /// After it no signal is sent any more; one may have been.
    pub(crate) fn stop(&self) {
        // SAFETY: integers only.
        unsafe { libc::ioctl(self.0.as_raw_fd(), IOC_DISABLE, 0) };
    }

    /// No signal from here on, but it goes on (or begins) to count.
    pub(crate) fn only_count(&self) {
        self.set_period(NEVER_NS);
        // (It fails where the thread has ended.)
        let _ = self.start();
    }

    pub(crate) fn set_period(&self, period_ns: u64) {
        // SAFETY: the period is read from our memory.
        unsafe { libc::ioctl(self.0.as_raw_fd(), IOC_PERIOD, &raw const period_ns) };
    }

    /// The thread's time on a processor since the start, in nanoseconds.
    pub(crate) fn run_ns(&self) -> u64 {
        let mut bytes = [0u8; 8];
        match rustix::io::read(&self.0, &mut bytes) {
            Ok(8) => u64::from_ne_bytes(bytes),
            _ => 0,
        }
    }
}

fn open(tid: i32, period_ns: u64, flags: u64) -> Result<OwnedFd, Errno> {
    let attr = Attr {
        kind: TYPE_SOFTWARE,
        size: 64,
        config: COUNT_SW_CPU_CLOCK,
        sample_period: period_ns,
        flags,
        wakeup_events: 1,
        ..Attr::default()
    };
    // SAFETY: `attr` is of the size that it says and is read only.
    let fd = checked(unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attr,
            tid,
            -1,
            -1,
            FLAG_FD_CLOEXEC,
        )
    })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn check(ret: libc::c_int) -> Result<(), Errno> {
    checked(libc::c_long::from(ret)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        assert_eq!(size_of::<Attr>(), 64, "PERF_ATTR_SIZE_VER0");
        assert_eq!(std::mem::offset_of!(Attr, flags), 40);
        assert_eq!(std::mem::offset_of!(Attr, config1), 56);
    }

    #[test]
    fn nobody_has_no_clock() {
        let error = UserClock::open(i32::MAX, 20_000, libc::SIGWINCH).map(drop);
        assert!(error.is_err());
    }
}
