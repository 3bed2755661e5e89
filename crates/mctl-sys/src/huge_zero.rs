//! The huge zero page: memory that was read before it was written, mapped huge and empty.
//!
//! Mainline since Linux 6.13 gives such memory a huge page at the first write without asking
//! again whether huge pages are allowed there (`do_huge_zero_wp_pmd()`, mm/huge_memory.c); before,
//! it gave small pages. Which of the two is found out by trying, in memory of our own.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use mctl_abi::Errno;

use crate::raw::pagemap::{Categories, PageRegion, scan_all_of};
use crate::raw::procmap::{COVERING_OR_NEXT_VMA, query};

/// Where user space ends, with four levels of page tables or five: the scan ends by itself where
/// the kernel says that the range is none.
const USER_END: u64 = 0x7fff_ffff_f000;
/// How far one call looks, so that the lock on the address space is held briefly.
const STRETCH: u64 = 64 << 30;
/// Regions a call: 6 KiB.
const ROOM: usize = 256;

/// The stretches that the huge zero page is mapped in, by rising address. `maps` is the same
/// process's `/proc/PID/maps`: it tells what lies between two mappings, so that no call is spent on
/// that. Without it the whole address space takes two thousand.
///
/// # Errors
/// `ENOTTY` before Linux 6.7, which is before what this is about; what the visitor returns.
pub fn each(
    pagemap: BorrowedFd<'_>,
    maps: Option<BorrowedFd<'_>>,
    mut see: impl FnMut(u64, u64),
) -> Result<(), Errno> {
    let wanted = Categories::HUGE.and(Categories::PFNZERO);
    let mut room = [PageRegion::default(); ROOM];
    let mut maps = maps;
    let mut at = 0;
    while at < USER_END {
        match maps.map(|maps| query(maps, at, COVERING_OR_NEXT_VMA)) {
            Some(Ok(next)) => at = at.max(next.vma_start),
            // Nothing above.
            Some(Err(Errno::ENOENT)) => return Ok(()),
            // Before Linux 6.11.
            Some(Err(_)) => maps = None,
            None => {}
        }
        let end = at.saturating_add(STRETCH).min(USER_END);
        let found = match scan_all_of(pagemap, at..end, wanted, &mut room) {
            Ok(found) => found,
            Err(Errno::EFAULT) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        for region in room.iter().take(found.regions) {
            see(region.start, region.end);
        }
        // A walk that does not get on must not be one without end.
        at = if found.walk_end > at {
            found.walk_end
        } else {
            end
        };
    }
    Ok(())
}

/// Whether a write to the huge zero page gives a huge page although the memory has refused huge
/// pages since. `None` where no huge zero page can be had to try it on.
#[must_use]
pub fn write_stays_huge() -> Option<bool> {
    let block = huge_page_size().filter(|size| *size <= 4 << 20)?;
    let trial = Trial::map(block)?;
    trial.advise(libc::MADV_HUGEPAGE)?;
    trial.read();
    let pagemap = File::open("/proc/self/pagemap").ok()?;
    if trial.is(&pagemap, Categories::HUGE.and(Categories::PFNZERO)) != Some(true) {
        return None;
    }
    trial.advise(libc::MADV_NOHUGEPAGE)?;
    trial.write();
    trial.is(&pagemap, Categories::HUGE)
}

fn huge_page_size() -> Option<u64> {
    let path = "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size";
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// One aligned block of memory of our own.
struct Trial {
    base: *mut libc::c_void,
    mapped: usize,
    block: *mut u8,
    len: usize,
}

impl Trial {
    fn map(block: u64) -> Option<Trial> {
        let len = usize::try_from(block).ok()?;
        let mapped = len.checked_mul(2)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a fresh mapping at a place of the kernel's choice touches nothing of ours.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return None;
        }
        let skip = base.cast::<u8>().align_offset(len);
        // SAFETY: the mapping is two blocks long, so an aligned one begins at most one block in.
        let block = unsafe { base.cast::<u8>().add(skip.min(len)) };
        Some(Trial {
            base,
            mapped,
            block,
            len,
        })
    }

    fn advise(&self, advice: i32) -> Option<()> {
        // SAFETY: the range is ours, and the advice changes no contents.
        let done = unsafe { libc::madvise(self.block.cast(), self.len, advice) };
        (done == 0).then_some(())
    }

    fn read(&self) {
        // SAFETY: the block is mapped readable; fresh anonymous memory is zeroes.
        unsafe { std::ptr::read_volatile(self.block) };
    }

    fn write(&self) {
        // SAFETY: the block is mapped writable and nobody else has its address.
        unsafe { std::ptr::write_volatile(self.block, 1) };
    }

    /// Whether the whole block is in all of the categories, and, where that is not asked for, no
    /// zero page.
    fn is(&self, pagemap: &File, wanted: Categories) -> Option<bool> {
        let start = self.block.addr() as u64;
        let range = start..start + self.len as u64;
        let mut room = [PageRegion::default(); 2];
        let found = scan_all_of(pagemap.as_fd(), range.clone(), wanted, &mut room).ok()?;
        let whole = |region: &PageRegion| region.start == range.start && region.end == range.end;
        Some(found.regions == 1 && room.first().is_some_and(whole))
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // SAFETY: the mapping that `map` made, unmapped once; nothing of it is borrowed.
        unsafe { libc::munmap(self.base, self.mapped) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_only_read_is_found() {
        let Some(block) = huge_page_size().filter(|size| *size <= 4 << 20) else {
            return;
        };
        let trial = Trial::map(block).unwrap();
        trial.advise(libc::MADV_HUGEPAGE).unwrap();
        trial.read();
        let pagemap = File::open("/proc/self/pagemap").unwrap();
        let own = trial.block.addr() as u64;
        let mut seen = 0;
        let maps = File::open("/proc/self/maps").unwrap();
        let maps = Some(maps.as_fd());
        let walked = each(pagemap.as_fd(), maps, |start, end| {
            if start <= own && own < end {
                seen += end - start;
            }
        });
        if walked == Err(Errno::ENOTTY) {
            return;
        }
        assert_eq!(walked, Ok(()));
        let zero = trial.is(&pagemap, Categories::HUGE.and(Categories::PFNZERO));
        // Where the host allows no huge pages there is none to be found.
        assert_eq!(seen >= block, zero == Some(true));
        trial.write();
        let mut after = 0;
        // The way without a listing finds as much.
        each(pagemap.as_fd(), None, |start, end| {
            if start <= own && own < end {
                after += end - start;
            }
        })
        .unwrap();
        assert_eq!(after, 0, "what was written is no zero page");
    }
}
