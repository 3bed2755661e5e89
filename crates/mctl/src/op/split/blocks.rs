//! The huge pages of a target that may be split, one after the other.

use std::os::fd::AsFd;

use mctl_abi::Errno;
use mctl_sys::bounded::ProcFile;
use mctl_sys::procfs::vmflags::VmFlag;
use mctl_sys::raw::madvise::Range;
use mctl_sys::raw::pagemap::{Categories, PageRegion, Scan, is_exclusive, scan};
use serde::Serialize;

use super::HUGE;
use super::probe::bytes_of;
use crate::error::{Error, Result};
use crate::see::address_space::Kind;
use crate::see::coverage::{Bytes, Vma, each_vma};
use crate::target::Target;

/// What a target has in huge pages, by what a split may do with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HugePages {
    /// Private memory of its own that may be split.
    pub eligible: Bytes,
    /// Locked (mlock(2)): the kernel gives nothing back of it.
    pub locked: Bytes,
    /// Watched by userfaultfd: whoever handles its faults counts on its pages.
    pub userfaultfd: Bytes,
    /// Shared with another process, as after fork(2): the kernel leaves it to both.
    pub shared: Bytes,
    /// Of files, shared memory and hugetlb, which are not split.
    pub other: Bytes,
}

impl HugePages {
    /// What is left alone.
    #[must_use]
    pub fn passed_over(&self) -> Bytes {
        self.locked + self.userfaultfd + self.shared + self.other
    }
}

/// What became of a huge page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Became {
    StayedHuge,
    /// So much of it is the zero page now.
    Split(Bytes),
    /// Nothing is there any more.
    Gone,
}

/// The page tables of a target, as `/proc/PID/pagemap` shows them.
#[derive(Debug)]
pub(super) struct Tables {
    pagemap: ProcFile,
    pid: i32,
}

impl Tables {
    fn error(&self, errno: Errno) -> Error {
        Error::Read {
            what: format!("/proc/{}/pagemap", self.pid),
            why: "its pages cannot be scanned".to_owned(),
            errno,
        }
    }

    /// The huge pages of a stretch, each with whether it is the target's alone.
    pub(super) fn huge_pages(
        &self,
        stretch: Range,
        mut see: impl FnMut(u64, bool) -> Result<()>,
    ) -> Result<()> {
        let end = stretch.start.saturating_add(stretch.len);
        let mut room = vec![PageRegion::default(); 256];
        let mut at = stretch.start;
        while at < end {
            let asked = Scan {
                start: at,
                end,
                any_of: Categories::HUGE,
                told: Categories::HUGE
                    .and(Categories::PFNZERO)
                    .and(Categories::FILE)
                    .and(Categories::PRESENT),
            };
            let found =
                scan(self.pagemap.as_fd(), asked, &mut room).map_err(|errno| self.error(errno))?;
            for region in room.get(..found.regions).unwrap_or_default() {
                let has = |category| region.categories.has(category);
                let ours =
                    has(Categories::PRESENT) && !has(Categories::PFNZERO) && !has(Categories::FILE);
                if !ours {
                    continue;
                }
                // A mapping may begin or end within a block only where that is not huge.
                let mut block = region.start.next_multiple_of(HUGE);
                while block + HUGE <= region.end {
                    let own = is_exclusive(self.pagemap.as_fd(), block)
                        .map_err(|errno| self.error(errno))?;
                    see(block, own)?;
                    block += HUGE;
                }
            }
            if found.walk_end <= at {
                break;
            }
            at = found.walk_end;
        }
        Ok(())
    }

    /// What became of a block.
    pub(super) fn after(&self, block: u64) -> Result<Became> {
        let range = Range {
            start: block,
            len: HUGE,
        };
        let of = |category| {
            bytes_of(self.pagemap.as_fd(), range, category).map_err(|errno| self.error(errno))
        };
        if of(Categories::HUGE)? > 0 {
            return Ok(Became::StayedHuge);
        }
        if of(Categories::PRESENT.and(Categories::SWAPPED))? == 0 {
            return Ok(Became::Gone);
        }
        of(Categories::PFNZERO).map(|zero| Became::Split(Bytes(zero)))
    }
}

/// The stretches of a target that hold huge pages which may be split, its page tables, and what
/// it has in all. What is shared is among the eligible still: only the pages tell.
pub(super) fn stretches(target: &Target) -> Result<(Vec<Range>, Option<Tables>, HugePages)> {
    let mut stretches = Vec::new();
    let mut huge = HugePages::default();
    let mut path = None;
    each_vma(target, |prefix, vma| {
        path.get_or_insert_with(|| format!("{prefix}pagemap"));
        take(vma, &mut stretches, &mut huge);
        Ok::<(), Error>(())
    })?;
    let tables = match path {
        Some(path) => Some(Tables {
            pagemap: target.open_proc(&path)?,
            pid: target.pid(),
        }),
        None => None,
    };
    Ok((stretches, tables, huge))
}

fn take(vma: &Vma<'_>, stretches: &mut Vec<Range>, huge: &mut HugePages) {
    let counted = &vma.coverage;
    huge.other += counted.shmem_huge + counted.file_huge + counted.hugetlb;
    if counted.anon_huge.is_zero() {
        return;
    }
    if vma.kind != Kind::Anonymous {
        huge.other += counted.anon_huge;
    } else if vma.flags.has(VmFlag::Locked) {
        huge.locked += counted.anon_huge;
    } else if vma.has_userfaultfd() {
        huge.userfaultfd += counted.anon_huge;
    } else {
        huge.eligible += counted.anon_huge;
        stretches.push(Range {
            start: vma.start,
            len: vma.len(),
        });
    }
}
