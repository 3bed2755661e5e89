//! Which tasks share what, and which user namespace stands above which.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use mctl_abi::Errno;

use super::checked;

/// Whether two processes share one address space (kcmp(2), `KCMP_VM`).
///
/// # Errors
/// `EPERM` without ptrace access to both; `ESRCH`; `ENOSYS` without CONFIG_KCMP.
pub fn shares_address_space(a: i32, b: i32) -> Result<bool, Errno> {
    crate::bounded::call(|| shares_address_space_here(a, b))?
}

/// The same where nothing holds the answer back, or the task must not end here.
pub(crate) fn shares_address_space_here(a: i32, b: i32) -> Result<bool, Errno> {
    const KCMP_VM: i32 = 1;
    // SAFETY: integers only.
    checked(unsafe { libc::syscall(libc::SYS_kcmp, a, b, KCMP_VM, 0, 0) }).map(|order| order == 0)
}

/// The parent of a user namespace (ioctl_ns(2), `NS_GET_PARENT`).
///
/// # Errors
/// `EPERM`: the parent is out of the caller's scope: the caller's own namespace was reached.
pub fn parent_namespace(ns: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    const NS_GET_PARENT: libc::c_ulong = 0xb702;
    // SAFETY: the request takes no argument and returns a new descriptor.
    let fd = checked(libc::c_long::from(unsafe {
        libc::ioctl(ns.as_raw_fd(), NS_GET_PARENT)
    }))?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The user who owns a user namespace (`NS_GET_OWNER_UID`).
///
/// # Errors
/// `EINVAL` not a user namespace.
pub fn namespace_owner(ns: BorrowedFd<'_>) -> Result<u32, Errno> {
    const NS_GET_OWNER_UID: libc::c_ulong = 0xb704;
    let mut uid: libc::uid_t = 0;
    // SAFETY: the kernel writes one uid_t.
    let ret = unsafe { libc::ioctl(ns.as_raw_fd(), NS_GET_OWNER_UID, &raw mut uid) };
    checked(libc::c_long::from(ret))?;
    Ok(uid)
}
