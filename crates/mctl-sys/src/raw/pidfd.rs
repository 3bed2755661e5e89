//! Process descriptors.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use mctl_abi::Errno;

use super::{checked, last_errno};

/// Opens a pidfd for a process.
///
/// # Errors
/// `ESRCH` no such process; `EINVAL` not a thread group leader or not a positive number.
///
/// # References
/// pidfd_open(2), Linux 5.3.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes two integers and touches no memory of ours.
    let fd = checked(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The calling process as a descriptor, where a real one cannot be had: `PIDFD_SELF_THREAD_GROUP`, which
/// Linux 6.14 takes wherever it takes a pidfd. Older kernels answer `EBADF`.
#[must_use]
pub fn ourselves() -> BorrowedFd<'static> {
    // SAFETY: no negative number is ever an open descriptor, so there is nothing that could be closed
    // or used again meanwhile; it is not -1, which the type reserves.
    unsafe { BorrowedFd::borrow_raw(mctl_abi::PIDFD_SELF_THREAD_GROUP) }
}

/// Sends a signal to the process behind a pidfd; signal 0 only checks.
///
/// # Errors
/// `ESRCH` the process has been reaped; `EPERM`; `EINVAL` bad signal number; `EBADF`.
///
/// # References
/// pidfd_send_signal(2), Linux 5.1.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    let null = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed: the kernel fills in its own.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            null,
            0,
        )
    };
    checked(ret).map(drop)
}

/// Whether the process behind a pidfd still has a live thread. Needs no permission.
///
/// # Errors
/// `EBADF`, `EINVAL`: not something that can be polled.
pub fn is_alive(pidfd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut poll = libc::pollfd {
        fd: pidfd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one valid pollfd, a zero timeout.
    let ret = unsafe { libc::poll(&raw mut poll, 1, 0) };
    if ret < 0 {
        return Err(last_errno());
    }
    if poll.revents & libc::POLLNVAL != 0 {
        return Err(Errno::EBADF);
    }
    // POLLIN: the last thread has exited (Linux 5.3); POLLHUP: it was reaped too (6.11).
    Ok(poll.revents & (libc::POLLIN | libc::POLLHUP) == 0)
}

/// What `PIDFD_GET_INFO` says of a process.
///
/// # References
/// include/uapi/linux/pidfd.h, `struct pidfd_info`, Linux 6.13.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PidfdInfo {
    /// Which of the fields the kernel filled in.
    pub mask: u64,
    /// Inode of the cgroup (with `PIDFD_INFO_CGROUPID`).
    pub cgroupid: u64,
    /// Thread number, as the caller's PID namespace has it.
    pub pid: u32,
    /// Process number.
    pub tgid: u32,
    /// Parent's process number.
    pub ppid: u32,
    /// Real user.
    pub ruid: u32,
    /// Real group.
    pub rgid: u32,
    /// Effective user.
    pub euid: u32,
    /// Effective group.
    pub egid: u32,
    /// Saved user.
    pub suid: u32,
    /// Saved group.
    pub sgid: u32,
    /// File-system user.
    pub fsuid: u32,
    /// File-system group.
    pub fsgid: u32,
    /// Exit status (with `PIDFD_INFO_EXIT`, Linux 6.15).
    pub exit_code: i32,
}

/// The first published size of the structure: the kernel accepts it for ever.
const PIDFD_INFO_SIZE_VER0: usize = 64;
/// `_IOWR(0xFF, 11, struct pidfd_info)` with that size.
const PIDFD_GET_INFO: libc::c_ulong =
    (3 << 30) | ((PIDFD_INFO_SIZE_VER0 as libc::c_ulong) << 16) | (0xFF << 8) | 11;

/// Asks the kernel about the process behind a pidfd.
///
/// # Errors
/// `ENOTTY`/`EINVAL` before Linux 6.13; `ESRCH` reaped.
pub fn pidfd_info(pidfd: BorrowedFd<'_>) -> Result<PidfdInfo, Errno> {
    let mut info = PidfdInfo {
        mask: 0b11,
        ..PidfdInfo::default()
    };
    // SAFETY: the structure has the size that the request number declares, and is ours to write.
    let ret = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    checked(libc::c_long::from(ret))?;
    Ok(info)
}

/// `PID_FS_MAGIC`: what `fstatfs` says of a pidfd since Linux 6.9.
const PID_FS_MAGIC: u64 = 0x5049_4446;

/// The inode that names the process for as long as the system runs: pidfs numbers are not
/// reused, so `PID:INODE` cannot hit a stranger. `None` before Linux 6.9, where every pidfd has
/// the same anonymous inode.
///
/// # Errors
/// `EBADF`.
pub fn pidfd_inode(pidfd: BorrowedFd<'_>) -> Result<Option<u64>, Errno> {
    let errno = |e: rustix::io::Errno| Errno::from_raw(e.raw_os_error());
    let fs = rustix::fs::fstatfs(pidfd).map_err(errno)?;
    if u64::try_from(fs.f_type).ok() != Some(PID_FS_MAGIC) {
        return Ok(None);
    }
    let stat = rustix::fs::fstat(pidfd).map_err(errno)?;
    Ok(Some(stat.st_ino))
}

/// Whether a descriptor is a pidfd, asked without a side effect: pidfs where there is one, else
/// the kernel's own answer to signal 0.
#[must_use]
pub fn is_pidfd(fd: BorrowedFd<'_>) -> bool {
    match pidfd_inode(fd) {
        Ok(Some(_)) => true,
        Ok(None) => !matches!(pidfd_send_signal(fd, 0), Err(Errno::EBADF | Errno::EINVAL)),
        Err(_) => false,
    }
}

/// Another descriptor for what a number names, so that the caller keeps its own.
///
/// # Errors
/// `EBADF` nothing is open under that number; `EMFILE`.
pub fn duplicate(fd: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: integers only; a number that is not open is answered with EBADF.
    let copy = checked(libc::c_long::from(unsafe {
        libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3)
    }))?;
    let copy = i32::try_from(copy).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// The process number behind a pidfd, in the caller's PID namespace.
///
/// # Errors
/// `ESRCH` dead or not visible here; `EBADF` not a pidfd; `EMFILE`, `ENFILE` on kernels that tell it in a file
/// only (before Linux 6.13).
pub fn pidfd_pid(pidfd: BorrowedFd<'_>) -> Result<i32, Errno> {
    if let Ok(info) = pidfd_info(pidfd) {
        return i32::try_from(info.tgid)
            .map_err(|_| Errno::ESRCH)
            .and_then(positive);
    }
    let named = fdinfo_pid(pidfd)?;
    // Linux 6.9 to 6.12: the line of a thread's descriptor (PIDFD_THREAD) names the thread.
    let leader = leader_of(named).unwrap_or(named);
    // Still there: so what was read meanwhile under its number was its own.
    fdinfo_pid(pidfd)?;
    Ok(leader)
}

/// Linux 5.3: the descriptor's fdinfo has a line "Pid:", -1 once reaped, 0 when foreign.
fn fdinfo_pid(pidfd: BorrowedFd<'_>) -> Result<i32, Errno> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_fd().as_raw_fd());
    let text = std::fs::read_to_string(path).map_err(|error| {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(limit @ (Errno::EMFILE | Errno::ENFILE)) => limit,
            _ => Errno::EBADF,
        }
    })?;
    positive(number_after("Pid:", &text).ok_or(Errno::EBADF)?)
}

/// The process that a thread belongs to.
fn leader_of(tid: i32) -> Option<i32> {
    // A command's name may be any bytes.
    let text = std::fs::read(format!("/proc/{tid}/status")).ok()?;
    number_after("Tgid:", &String::from_utf8_lossy(&text))
}

fn number_after(key: &str, text: &str) -> Option<i32> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.trim().parse().ok()
}

fn positive(pid: i32) -> Result<i32, Errno> {
    if pid > 0 { Ok(pid) } else { Err(Errno::ESRCH) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    #[test]
    fn a_threads_number_leads_to_its_process() {
        // The test harness runs this beside the main thread.
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        assert_eq!(
            leader_of(own),
            i32::try_from(std::process::id()).ok(),
            "{own}"
        );
        assert_eq!(
            number_after("Pid:", "pos:\t0\nPid:\t12\nNSpid:\t12\n"),
            Some(12)
        );
        assert_eq!(number_after("Pid:", "pos:\t0\n"), None);
    }

    #[test]
    fn layout() {
        assert_eq!(size_of::<PidfdInfo>(), PIDFD_INFO_SIZE_VER0);
        assert_eq!(offset_of!(PidfdInfo, cgroupid), 8);
        assert_eq!(offset_of!(PidfdInfo, tgid), 20);
        assert_eq!(offset_of!(PidfdInfo, exit_code), 60);
    }

    #[test]
    fn own_process() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let fd = pidfd_open(pid).unwrap();
        assert!(is_pidfd(fd.as_fd()));
        assert_eq!(is_alive(fd.as_fd()), Ok(true));
        assert_eq!(pidfd_pid(fd.as_fd()), Ok(pid));
        assert_eq!(pidfd_send_signal(fd.as_fd(), 0), Ok(()));
        match pidfd_info(fd.as_fd()) {
            Ok(info) => assert_eq!(info.tgid, std::process::id()),
            Err(errno) => assert!([Errno::ENOTTY, Errno::EINVAL].contains(&errno), "{errno}"),
        }
    }

    #[test]
    fn bad_numbers_and_descriptors() {
        for pid in [0, -1, i32::MIN] {
            assert_eq!(pidfd_open(pid).unwrap_err(), Errno::EINVAL, "{pid}");
        }
        assert_eq!(pidfd_open(i32::MAX).unwrap_err(), Errno::ESRCH);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_pidfd(file.as_fd()));
        assert!(pidfd_pid(file.as_fd()).is_err());
    }

    #[test]
    fn a_dead_process_is_dead() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let fd = pidfd_open(i32::try_from(child.id()).unwrap()).unwrap();
        let inode = pidfd_inode(fd.as_fd()).unwrap();
        child.wait().unwrap();
        assert_eq!(is_alive(fd.as_fd()), Ok(false));
        assert_eq!(pidfd_send_signal(fd.as_fd(), 0), Err(Errno::ESRCH));
        assert_eq!(
            pidfd_inode(fd.as_fd()).unwrap(),
            inode,
            "the name outlives the process"
        );
    }
}
