//! The small files of /proc that are read before a stop.

use std::io::Write as _;
use std::os::fd::AsRawFd as _;

use mctl_abi::Errno;

use super::blocked::BlockedCall;
use super::error::InjectError;
use super::rights::not_permitted;
use crate::bounded::{self, may_hang, may_wait, may_wait_with};
use crate::procfs::stat::Stat;
use crate::procfs::syscall::TaskSyscall;

/// Reads a small file of /proc into a buffer with one open, read and close. What does not fit is
/// cut off. In a watched task it neither allocates nor takes a lock of ours.
///
/// # Errors
/// The errno of open(2) or read(2); `EBUSY`: the kernel does not answer about the process; `EINTR`.
pub fn read_small<'a>(path: &str, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    if !may_hang(path.as_bytes()) {
        return read_here(path, buffer);
    }
    let read = || read_here(path, &mut *buffer).map(<[u8]>::len);
    let len = bounded::run(read).map_err(bounded::Undone::errno)??;
    Ok(buffer.get(..len).unwrap_or_default())
}

fn read_here<'a>(path: &str, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let errno = |e: rustix::io::Errno| Errno::from_raw(e.raw_os_error());
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let mode = rustix::fs::Mode::empty();
    let file = may_wait(|| rustix::fs::open(path, flags, mode)).map_err(errno)?;
    let read = may_wait_with(file.as_raw_fd(), || rustix::io::read(&file, &mut *buffer));
    let len = read.map_err(errno)?;
    Ok(buffer.get(..len).unwrap_or_default())
}

/// The path of a thread's file in /proc, without allocation.
pub(crate) fn path_of<'a>(tid: i32, file: &str, buffer: &'a mut [u8; 40]) -> Option<&'a str> {
    written(format_args!("/proc/{tid}/{file}"), buffer)
}

/// The path of one of a thread's descriptors, without allocation.
pub(super) fn descriptor_path(tid: i32, fd: i32, buffer: &mut [u8; 40]) -> Option<&str> {
    written(format_args!("/proc/{tid}/fd/{fd}"), buffer)
}

fn written<'a>(path: std::fmt::Arguments<'_>, buffer: &'a mut [u8; 40]) -> Option<&'a str> {
    let mut rest = &mut buffer[..];
    rest.write_fmt(path).ok()?;
    let left = rest.len();
    let path = buffer.get(..buffer.len().checked_sub(left)?)?;
    std::str::from_utf8(path).ok()
}

pub(super) fn reading(pid: i32, errno: Errno) -> InjectError {
    match errno {
        Errno::ENOENT | Errno::ESRCH => InjectError::Gone,
        // What has no memory any more belongs to root in /proc: an owner is refused its files then.
        Errno::EACCES | Errno::EPERM if is_ending(pid) => InjectError::Gone,
        Errno::EACCES | Errno::EPERM => not_permitted(pid).into(),
        errno => InjectError::Os {
            step: "reading /proc",
            errno,
        },
    }
}

/// As [`reading`], of a thread's own file: what ends may be that thread only.
pub(super) fn reading_thread(pid: i32, tid: i32, errno: Errno) -> InjectError {
    match errno {
        Errno::EACCES | Errno::EPERM if thread_is_ending(pid, tid) => InjectError::Gone,
        errno => reading(pid, errno),
    }
}

/// Whether one thread is on its way out, or has gone. Anybody may read that.
pub(super) fn thread_is_ending(pid: i32, tid: i32) -> bool {
    is_exiting(&format!("/proc/{pid}/task/{tid}/stat"))
}

fn is_exiting(stat: &str) -> bool {
    let mut buffer = [0u8; 1024];
    match read_small(stat, &mut buffer) {
        Ok(text) => Stat::parse(text).is_ok_and(|stat| stat.is_exiting()),
        Err(errno) => matches!(errno, Errno::ENOENT | Errno::ESRCH),
    }
}

/// Whether every thread of a process is on its way out, or has gone. What cannot be read is not.
#[must_use]
pub fn is_ending(pid: i32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return !std::path::Path::new(&format!("/proc/{pid}")).exists();
    };
    tasks
        .flatten()
        .all(|task| task.path().join("stat").to_str().is_some_and(is_exiting))
}

/// Reads a status file whole. The line of supplementary groups alone may be longer than the buffer
/// that does for nearly all, and what stands behind it matters (threads, signals, seccomp).
pub(crate) fn read_status(path: &str) -> Result<Vec<u8>, Errno> {
    let mut buffer = [0u8; 8192];
    let text = read_small(path, &mut buffer)?;
    if text.len() < 8192 {
        return Ok(text.to_vec());
    }
    std::fs::read(path).map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))
}

/// The command name of a process, for messages.
pub(super) fn command_name(pid: i32) -> String {
    let mut buffer = [0u8; 64];
    let name = read_small(&format!("/proc/{pid}/comm"), &mut buffer).unwrap_or(b"?");
    crate::text::printable(name.strip_suffix(b"\n").unwrap_or(name))
}

/// The call that a thread is blocked in, where it is in one.
pub(crate) fn call_of(pid: i32, tid: i32) -> Option<BlockedCall> {
    let mut buffer = [0u8; 256];
    let text = read_small(&format!("/proc/{pid}/task/{tid}/syscall"), &mut buffer).ok()?;
    match TaskSyscall::parse(text) {
        Ok(TaskSyscall::Blocked { nr, args, .. }) => Some(BlockedCall {
            number: u64::from(nr.unsigned_abs()),
            args,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The owner of a thread is refused its files once it has no memory any more.
    #[test]
    fn a_thread_that_has_ended_is_no_process_that_must_not_be_read() {
        let own = bounded::our_pid();
        // SAFETY: no arguments.
        let ended = std::thread::spawn(|| unsafe { libc::gettid() });
        let ended = ended.join().unwrap();
        // SAFETY: no arguments.
        let live = unsafe { libc::gettid() };
        let begun = std::time::Instant::now();
        // It has been joined before it is quite gone.
        while reading_thread(own, ended, Errno::EACCES) != InjectError::Gone {
            assert!(begun.elapsed() < std::time::Duration::from_secs(60));
            std::thread::yield_now();
        }
        for errno in [Errno::EACCES, Errno::EPERM] {
            let denied = reading_thread(own, live, errno);
            assert!(matches!(denied, InjectError::Refused(_)), "{denied:?}");
        }
    }
}
