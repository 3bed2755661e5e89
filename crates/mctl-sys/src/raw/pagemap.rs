//! `PAGEMAP_SCAN`: the state of pages by range, in stretches rather than page by page.
//!
//! Source: `Documentation/admin-guide/mm/pagemap.rst`; `include/uapi/linux/fs.h`, commit
//! 52526ca7fdb9 ("fs/proc/task_mmu: implement IOCTL to get and optionally clear info about PTEs")
//! (in v6.7).
//!
//! Only the reading half is here: write-protecting what matches changes the target.

use std::os::fd::{AsRawFd, BorrowedFd};

use mctl_abi::Errno;

use super::checked;

/// A set of page categories (`PAGE_IS_*`). Bits that have no name here are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Categories(u64);

impl Categories {
    /// No category.
    pub const NONE: Categories = Categories(0);
    /// The page belongs to a file or to shared memory.
    pub const FILE: Categories = Categories(1 << 2);
    /// The page is in memory.
    pub const PRESENT: Categories = Categories(1 << 3);
    /// The page is on swap, or on its way to another place.
    pub const SWAPPED: Categories = Categories(1 << 4);
    /// The zero page: read, never written.
    pub const PFNZERO: Categories = Categories(1 << 5);
    /// The page is mapped by a PMD: a transparent huge page of the full size, or hugetlb.
    pub const HUGE: Categories = Categories(1 << 6);
    /// Written since the soft-dirty bits were cleared.
    pub const SOFT_DIRTY: Categories = Categories(1 << 7);

    /// From raw bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Categories {
        Categories(bits)
    }

    /// The raw bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: Categories) -> Categories {
        Categories(self.0 | other.0)
    }

    /// Whether all of `other` are in this set.
    #[must_use]
    pub const fn has(self, other: Categories) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A stretch of pages of the same categories: `struct page_region`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageRegion {
    /// First byte.
    pub start: u64,
    /// First byte after it.
    pub end: u64,
    /// What all its pages are, of the categories that were to be returned.
    pub categories: Categories,
}

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct PmScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::c_ulong = (3 << 30)
    | ((size_of::<PmScanArg>() as libc::c_ulong) << 16)
    | ((b'f' as libc::c_ulong) << 8)
    | 16;

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// First byte; on a page boundary.
    pub start: u64,
    /// First byte after the range.
    pub end: u64,
    /// Only pages of at least one of these categories. [`Categories::NONE`]: every page of every
    /// mapping.
    pub any_of: Categories,
    /// What is told of them. Neighbouring pages that differ in nothing else come as one region.
    pub told: Categories,
}

/// What a scan came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// How many regions were filled in.
    pub regions: usize,
    /// Where the walk ended: the end of the range, or the first byte not looked at because there
    /// was no more room.
    pub walk_end: u64,
}

/// Scans the page tables behind an open `/proc/PID/pagemap`. Nothing is changed in them.
///
/// The mmap lock of the process is held for reading meanwhile. Memory without pages costs next to
/// nothing, whatever its size.
///
/// # Errors
/// `ENOTTY` before Linux 6.7; `EINVAL` a start that is on no page boundary, or an empty range or
/// `regions`; `EFAULT` a range beyond what a process can map; `EINTR` we were killed.
pub fn scan(
    pagemap: BorrowedFd<'_>,
    scan: Scan,
    regions: &mut [PageRegion],
) -> Result<Scanned, Errno> {
    scan_masked(pagemap, scan, Categories::NONE, regions)
}

/// As [`scan`], of pages that are in all of these categories.
///
/// # Errors
/// As [`scan`].
pub fn scan_all_of(
    pagemap: BorrowedFd<'_>,
    range: std::ops::Range<u64>,
    all_of: Categories,
    regions: &mut [PageRegion],
) -> Result<Scanned, Errno> {
    let asked = Scan {
        start: range.start,
        end: range.end,
        any_of: Categories::NONE,
        told: all_of,
    };
    scan_masked(pagemap, asked, all_of, regions)
}

fn scan_masked(
    pagemap: BorrowedFd<'_>,
    scan: Scan,
    all_of: Categories,
    regions: &mut [PageRegion],
) -> Result<Scanned, Errno> {
    if regions.is_empty() || scan.end <= scan.start {
        return Err(Errno::EINVAL);
    }
    let mut arg = PmScanArg {
        size: size_of::<PmScanArg>() as u64,
        start: scan.start,
        end: scan.end,
        vec: regions.as_mut_ptr().expose_provenance() as u64,
        vec_len: regions.len() as u64,
        category_mask: all_of.bits(),
        category_anyof_mask: scan.any_of.bits(),
        return_mask: scan.told.bits(),
        ..PmScanArg::default()
    };
    // SAFETY: `arg` has the size that the request declares. `vec` and `vec_len` are those of a
    // slice that is borrowed mutably until the call returns, and the kernel writes nothing else;
    // any bits are a valid PageRegion.
    let scan = || unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN, &raw mut arg) };
    let ret = crate::bounded::call_on(pagemap.as_raw_fd(), scan)?;
    let filled = checked(libc::c_long::from(ret))?;
    Ok(Scanned {
        regions: usize::try_from(filled).unwrap_or(0).min(regions.len()),
        walk_end: arg.walk_end,
    })
}

/// Whether the page at an address is present and mapped by this process alone (bits 63 and 56 of
/// an entry of `/proc/PID/pagemap`; the second one since Linux 4.2). Of a huge page, every page
/// answers for the whole.
///
/// # Errors
/// `EIO` no entry for the address; as pread(2).
pub fn is_exclusive(pagemap: BorrowedFd<'_>, address: u64) -> Result<bool, Errno> {
    const EXCLUSIVE: u64 = 1 << 56;
    const PRESENT: u64 = 1 << 63;
    let mut entry = [0u8; 8];
    let at = address / 4096 * 8;
    let read = || rustix::io::pread(pagemap, &mut entry, at);
    let read = crate::bounded::call_on(pagemap.as_raw_fd(), read)?
        .map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
    if read != entry.len() {
        return Err(Errno::EIO);
    }
    let bits = u64::from_ne_bytes(entry);
    Ok(bits & (EXCLUSIVE | PRESENT) == EXCLUSIVE | PRESENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn layout() {
        assert_eq!(size_of::<PmScanArg>(), 96);
        assert_eq!(offset_of!(PmScanArg, flags), 8);
        assert_eq!(offset_of!(PmScanArg, start), 16);
        assert_eq!(offset_of!(PmScanArg, walk_end), 32);
        assert_eq!(offset_of!(PmScanArg, vec), 40);
        assert_eq!(offset_of!(PmScanArg, max_pages), 56);
        assert_eq!(offset_of!(PmScanArg, category_inverted), 64);
        assert_eq!(offset_of!(PmScanArg, category_anyof_mask), 80);
        assert_eq!(offset_of!(PmScanArg, return_mask), 88);
        assert_eq!(size_of::<PageRegion>(), 24);
        assert_eq!(offset_of!(PageRegion, end), 8);
        assert_eq!(offset_of!(PageRegion, categories), 16);
        // As the uapi header's macro gives it.
        assert_eq!(PAGEMAP_SCAN, 0xc060_6610);
    }

    #[test]
    fn sets() {
        let set = Categories::PRESENT.and(Categories::HUGE);
        assert!(set.has(Categories::HUGE) && set.has(Categories::NONE));
        assert!(!set.has(Categories::HUGE.and(Categories::FILE)));
        assert_eq!(Categories::from_bits(1 << 40).bits(), 1 << 40);
    }
}
