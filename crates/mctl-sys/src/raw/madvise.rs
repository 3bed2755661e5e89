//! madvise(2) on memory that is already given up to the kernel's care, and process_madvise(2).

use std::os::fd::{AsRawFd, BorrowedFd};

use mctl_abi::Errno;

use super::checked;

/// `MADV_HUGEPAGE`.
pub const MADV_HUGEPAGE: i32 = 14;
/// `MADV_NOHUGEPAGE`.
pub const MADV_NOHUGEPAGE: i32 = 15;

/// A range of a target's address space, as process_madvise(2) and process_vm_readv(2) take it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
}

/// The bytes of a list of ranges, as it is written into a target.
pub(crate) fn as_bytes(ranges: &[Range]) -> &[u8] {
    // SAFETY: Range is two u64 without padding, so every byte of the slice is initialised.
    unsafe { std::slice::from_raw_parts(ranges.as_ptr().cast(), size_of_val(ranges)) }
}

/// The most entries that one call takes (`UIO_MAXIOV`).
pub const MAX_ENTRIES: usize = 1024;
/// The most bytes that one call carries out (`MAX_RW_COUNT`); the kernel cuts off the rest
/// silently.
pub const MAX_BYTES: u64 = 0x7fff_f000;

/// Advises about ranges of one's own address space. Only advice that keeps the contents is
/// taken: anything else could pull memory from under Rust.
///
/// # Errors
/// As madvise(2): `ENOMEM` for a gap (what is mapped was advised), `EINVAL`.
pub fn madvise_self(range: Range, advice: i32) -> Result<(), Errno> {
    // HUGEPAGE, NOHUGEPAGE, MERGEABLE, UNMERGEABLE, DONTDUMP, DODUMP, COLD, PAGEOUT,
    // POPULATE_READ, POPULATE_WRITE, COLLAPSE, NORMAL, RANDOM, SEQUENTIAL, WILLNEED; and DOFORK
    // and KEEPONFORK, which give a child what it would have anyway.
    if !matches!(advice, 0..=3 | 11..=17 | 19..=23 | 25) {
        return Err(Errno::EPERM);
    }
    // SAFETY: the advices admitted above change neither contents nor protection of any page, so
    // no Rust value can be affected, whatever the range.
    let ret = unsafe { libc::syscall(libc::SYS_madvise, range.start, range.len, advice) };
    checked(ret).map(drop)
}

/// The word of a caller that it may lose the memory it names, as with madvise(2) itself.
///
/// Rust code has no way to give it without `unsafe`; the C library gives it for its callers.
#[derive(Clone, Copy, Debug)]
pub struct OwnMemoryMayGo(());

impl OwnMemoryMayGo {
    /// Gives the word.
    ///
    /// # Safety
    /// Whatever ranges are advised with it hold no live Rust value, or only such as stay valid
    /// when the advice takes their contents or their access away.
    #[must_use]
    pub const unsafe fn promise() -> OwnMemoryMayGo {
        OwnMemoryMayGo(())
    }
}

/// Advises about a range of one's own address space, whatever the advice.
///
/// # Errors
/// As madvise(2).
pub fn madvise_own(_: OwnMemoryMayGo, range: Range, advice: i32) -> Result<(), Errno> {
    // SAFETY: the caller promised that nothing in Rust depends on the range.
    let ret = unsafe { libc::syscall(libc::SYS_madvise, range.start, range.len, advice) };
    checked(ret).map(drop)
}

/// Advises about ranges of another process.
///
/// Returns the bytes advised: entries in order up to the first error, an error only if nothing
/// was done. At most [`MAX_ENTRIES`] entries; beyond [`MAX_BYTES`] the kernel stops silently.
///
/// # Errors
/// As process_madvise(2) (Linux 5.10): `EBADF`, `ESRCH`, `EPERM`, `EINVAL`, `ENOMEM`.
pub fn process_madvise(pidfd: BorrowedFd<'_>, ranges: &[Range], advice: i32) -> Result<u64, Errno> {
    if ranges.is_empty() {
        // The first question about a process, which it can keep from being answered.
        return crate::bounded::call(|| process_madvise_here(pidfd, ranges, advice))?;
    }
    process_madvise_here(pidfd, ranges, advice)
}

fn process_madvise_here(
    pidfd: BorrowedFd<'_>,
    ranges: &[Range],
    advice: i32,
) -> Result<u64, Errno> {
    // SAFETY: `ranges` is valid for reading for its length; Range has the layout of iovec (tested).
    let ret = unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            pidfd.as_raw_fd(),
            ranges.as_ptr(),
            ranges.len(),
            advice,
            0,
        )
    };
    checked(ret).map(|bytes| bytes.unsigned_abs())
}

/// Whether this kernel's madvise(2) knows an advice: asked about no bytes, so nothing is advised.
#[must_use]
pub fn knows_advice(advice: i32) -> bool {
    // SAFETY: a range of no bytes touches no memory, whatever the advice.
    let ret = unsafe { libc::syscall(libc::SYS_madvise, 0, 0, advice) };
    ret == 0
}

/// Whether this kernel takes an advice on oneself through process_madvise(PIDFD_SELF): asked
/// with an empty list, so nothing is advised. Any advice since Linux 6.13, PIDFD_SELF since 6.14.
#[must_use]
pub fn takes_own_advice(advice: i32) -> bool {
    let none = std::ptr::null::<Range>();
    // SAFETY: an empty list is not read.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            mctl_abi::PIDFD_SELF,
            none,
            0,
            advice,
            0,
        )
    };
    ret == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    #[test]
    fn range_is_an_iovec() {
        assert_eq!(size_of::<Range>(), size_of::<libc::iovec>());
        assert_eq!(offset_of!(Range, start), offset_of!(libc::iovec, iov_base));
        assert_eq!(offset_of!(Range, len), offset_of!(libc::iovec, iov_len));
    }

    #[test]
    fn the_kernel_knows_its_advices() {
        assert!(knows_advice(4) && knows_advice(MADV_HUGEPAGE));
        assert!(!knows_advice(77) && !knows_advice(-1));
    }

    #[test]
    fn destructive_advice_on_oneself_is_refused() {
        for advice in [4, 8, 9, 10, 18, 100, 101, 102, -1] {
            let none = Range { start: 0, len: 0 };
            assert_eq!(madvise_self(none, advice), Err(Errno::EPERM), "{advice}");
        }
    }
}
