//! System calls that rustix lacks, each a thin function over one call: arguments typed, errors as
//! [`Errno`], nothing decided here.

pub(crate) mod epoll;
pub mod exec;
pub(crate) mod futex;
pub mod ids;
pub mod madvise;
pub mod native;
pub mod pagemap;
pub(crate) mod perf;
pub mod pidfd;
pub mod prctl;
pub mod procmap;
pub mod scratch;
pub mod vm;

use mctl_abi::Errno;

/// The last error of the calling thread.
pub(crate) fn last_errno() -> Errno {
    Errno::from_raw(
        std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO),
    )
}

/// Turns a C-style return value into a result.
pub(crate) fn checked(ret: libc::c_long) -> Result<libc::c_long, Errno> {
    if ret < 0 { Err(last_errno()) } else { Ok(ret) }
}
