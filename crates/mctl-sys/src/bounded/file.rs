//! A file of /proc whose reading waits for another process, in bounded time.

use std::fs::File;
use std::io::{Error, Read, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use mctl_abi::Errno;

use super::{call, call_on};

/// An open file of another process in /proc (maps, smaps, auxv, …). Opening and reading it fail with `EBUSY`
/// where the kernel does not answer, see [`PATIENCE_MS`](super::PATIENCE_MS).
#[derive(Debug)]
pub struct ProcFile(File);

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
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        let opened = call(|| rustix::fs::open(path.as_c_str(), flags, rustix::fs::Mode::empty()));
        Ok(ProcFile(File::from(opened.map_err(io)??)))
    }
}

impl Read for ProcFile {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        let file = &self.0;
        let read = call_on(file.as_raw_fd(), || rustix::io::read(file, into));
        Ok(read.map_err(io)??)
    }
}

impl AsFd for ProcFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<ProcFile> for File {
    fn from(file: ProcFile) -> File {
        file.0
    }
}
