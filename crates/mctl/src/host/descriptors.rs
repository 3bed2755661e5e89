//! Descriptors: a look that finds none left must not come to a wrong answer.
//!
//! A file that cannot be opened mostly means something: no such process, no such limit, nobody who shares the
//! memory. So whoever holds a process makes sure that there are some descriptors left for looking at it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use mctl_abi::Errno;
use mctl_sys::raw::pidfd::duplicate;

use crate::error::{Error, Result};

/// The most that work on one process opens at a time, besides its pidfd: its listing, its page tables, a directory,
/// and what watches over the task that stops it.
const SPARE: usize = 8;

/// Makes sure that there are some left.
///
/// # Errors
/// `EMFILE`, `ENFILE`.
pub(crate) fn check(open: BorrowedFd<'_>, what: impl FnOnce() -> String) -> Result<()> {
    let number = open.as_fd().as_raw_fd();
    let copies: Result<Vec<_>, Errno> = (0..SPARE).map(|_| duplicate(number)).collect();
    match copies.map(drop) {
        Err(errno) => match limit(errno) {
            Some(why) => Err(Error::Read {
                what: what(),
                why: why.to_owned(),
                errno,
            }),
            None => Ok(()),
        },
        Ok(()) => Ok(()),
    }
}

/// Which limit of the caller the kernel's errno names, where it gave no descriptor.
pub(crate) fn limit(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::EMFILE => Some(
            "this program has as many open files as its limit allows, or nearly (RLIMIT_NOFILE, ulimit -n)",
        ),
        Errno::ENFILE => Some("the host has as many open files as its limit allows (fs.file-max)"),
        _ => None,
    }
}
