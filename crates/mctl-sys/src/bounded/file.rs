//! A file of /proc whose reading waits for another process, in bounded time.

use std::fs::File;
use std::io::{Error, Read, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use mctl_abi::Errno;

use super::{call, is_watched, may_wait_with, next_item, run};

/// An open file of another process in /proc. Opening and reading it fail with `EBUSY` where the kernel does not
/// answer, see [`PATIENCE_MS`](super::PATIENCE_MS).
#[derive(Debug)]
pub struct ProcFile {
    file: File,
    /// Whether it may wait for the process's locks at all.
    waits: bool,
}

/// Files that take neither the lock of the mappings nor that of execve(2) (tried on Linux 6.18, where `stat`, `wchan`
/// and the links take it): they answer for any process, and reading them costs no task.
const AT_ONCE: [&[u8]; 7] = [
    b"status",
    b"comm",
    b"limits",
    b"cgroup",
    b"mountinfo",
    b"children",
    b"schedstat",
];

/// Whether reading a file of /proc may wait for another process: whatever is not known not to.
#[must_use]
pub fn may_hang(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next();
    !name.is_some_and(|name| AT_ONCE.contains(&name))
}

/// Where a link of a process in /proc leads; what does not fit is cut off.
///
/// # Errors
/// As readlink(2); `EBUSY`: no answer; `EINTR`.
pub fn read_link<'a>(path: &std::ffi::CStr, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
    let read = || rustix::fs::readlinkat_raw(rustix::fs::CWD, path, &mut *buffer);
    let len = call(read).map_err(io)??;
    Ok(buffer.get(..len).unwrap_or_default())
}

fn io(errno: Errno) -> Error {
    Error::from_raw_os_error(errno.raw())
}

impl ProcFile {
    /// Opens it to be read.
    ///
    /// # Errors
    /// As open(2); `EBUSY`: no answer; `EINTR`.
    pub fn open(path: impl AsRef<Path>) -> Result<ProcFile> {
        use std::os::unix::ffi::OsStrExt as _;
        // Nothing may be allocated where the task may end.
        let path = std::ffi::CString::new(path.as_ref().as_os_str().as_bytes())?;
        let waits = may_hang(path.to_bytes());
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        let open = || rustix::fs::open(path.as_c_str(), flags, rustix::fs::Mode::empty());
        let opened = match waits {
            true => call(open).map_err(io)?,
            false => open(),
        };
        let file = File::from(opened?);
        Ok(ProcFile { file, waits })
    }
}

impl Read for ProcFile {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        let file = &self.file;
        if !self.waits {
            return Ok(rustix::io::read(file, into)?);
        }
        // A task that began before holds the file; one that begins here leaves it to us.
        let held = if is_watched() { file.as_raw_fd() } else { -1 };
        let read = run(|| read_full(file, held, into));
        read.map_err(|undone| io(undone.errno()))?
    }
}

/// Fills the room, as far as the file goes: the kernel gives a page at a time, whatever is asked for, and a task for
/// each would take longer than the read. Each page has a time of its own.
fn read_full(file: &File, held: i32, into: &mut [u8]) -> Result<usize> {
    let mut len = 0;
    while let Some(room) = into.get_mut(len..).filter(|room| !room.is_empty()) {
        next_item();
        let read = may_wait_with(held, || rustix::io::read(file, &mut *room));
        match read {
            Ok(0) => break,
            Ok(more) => len += more,
            // The next read comes to it again.
            Err(_) if len > 0 => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(len)
}

impl AsFd for ProcFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl From<ProcFile> for File {
    fn from(file: ProcFile) -> File {
        file.file
    }
}
