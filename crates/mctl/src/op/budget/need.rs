//! How much has to come in, from the page tables.

use mctl_sys::bounded::ProcFile;
use std::os::fd::AsFd;

use mctl_abi::Errno;
use mctl_sys::procfs::vmflags::VmFlag;
use mctl_sys::raw::pagemap::{Categories, PageRegion, Scan, scan};

use crate::error::{Error, Result};
use crate::op::advice::Range;
use crate::see::address_space::Kind;
use crate::see::coverage::{Bytes, Vma, each_vma};
use crate::target::{Target, read_all};

/// What memory is brought in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// mlockall(2): pages of its own where it may write, else to be read; file pages stay too.
    Lock,
    /// `MADV_POPULATE_WRITE`.
    Write,
    /// `MADV_POPULATE_READ`: the zero page does where nothing was written.
    Read,
    /// `MADV_COLLAPSE`.
    Collapse,
}

/// Sorted ranges that do not overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lists(Vec<(u64, u64)>);

impl Lists {
    pub(crate) fn new(ranges: &[Range]) -> Lists {
        let mut sorted: Vec<(u64, u64)> = ranges
            .iter()
            .map(|range| (range.start, range.start.saturating_add(range.len)))
            .filter(|(start, end)| start < end)
            .collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(sorted.len());
        for (start, end) in sorted {
            match merged.last_mut() {
                Some(last) if start < last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        Lists(merged)
    }

    /// The parts of a stretch that are listed.
    pub(crate) fn within(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let first = self.0.partition_point(|(_, stop)| *stop <= start);
        self.0
            .iter()
            .skip(first)
            .take_while(move |(from, _)| *from < end)
            .map(move |(from, to)| ((*from).max(start), (*to).min(end)))
    }
}

/// The page tables of a target, as far as the kernel shows them by range.
#[derive(Debug)]
pub(super) struct Tables {
    pagemap: Option<ProcFile>,
    pid: i32,
    room: Vec<PageRegion>,
}

pub(super) const TOLD: Categories = Categories::PRESENT
    .and(Categories::SWAPPED)
    .and(Categories::PFNZERO)
    .and(Categories::HUGE)
    .and(Categories::FILE);

impl Tables {
    pub(super) fn open(target: &Target, prefix: &str) -> Tables {
        Tables {
            pagemap: target.open_proc(&format!("{prefix}pagemap")).ok(),
            pid: target.pid(),
            room: vec![PageRegion::default(); 512],
        }
    }

    /// Calls `see` with every stretch that has pages. `false`: they cannot be seen (before Linux
    /// 6.7), and nothing was shown.
    pub(super) fn each(
        &mut self,
        start: u64,
        end: u64,
        mut see: impl FnMut(u64, u64, Categories),
    ) -> Result<bool> {
        let Some(pagemap) = &self.pagemap else {
            return Ok(false);
        };
        let mut at = start;
        while at < end {
            let asked = Scan {
                start: at,
                end,
                any_of: Categories::PRESENT.and(Categories::SWAPPED),
                told: TOLD,
            };
            let found = match scan(pagemap.as_fd(), asked, &mut self.room) {
                Ok(found) => found,
                Err(Errno::ENOTTY) => {
                    self.pagemap = None;
                    return Ok(false);
                }
                // No page tables there.
                Err(Errno::EFAULT | Errno::EINVAL) => return Ok(true),
                Err(errno) => {
                    return Err(Error::Read {
                        what: format!("/proc/{}/pagemap", self.pid),
                        why: "its pages cannot be scanned".to_owned(),
                        errno,
                    });
                }
            };
            for region in self.room.get(..found.regions).unwrap_or_default() {
                see(region.start, region.end, region.categories);
            }
            if found.walk_end <= at {
                break;
            }
            at = found.walk_end;
        }
        Ok(true)
    }
}

/// What has to come in at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    /// Pages that are the target's alone, and page tables.
    pub(crate) own: Bytes,
    /// Pages that others may use too.
    pub(crate) shared: Bytes,
}

/// What has to come in at most, in the listed ranges.
///
/// # Errors
/// The target's mappings cannot be read.
pub(crate) fn need(target: &Target, purpose: Purpose, lists: &Lists) -> Result<Need> {
    if purpose == Purpose::Collapse {
        let own = super::sparse::need(target, lists)?;
        return Ok(Need {
            own,
            ..Need::default()
        });
    }
    let mut tables: Option<Tables> = None;
    let mut sum = Need::default();
    each_vma(target, |prefix, vma| {
        for (start, end) in lists.within(vma.start, vma.end) {
            if let Some(what) = what_comes_in(vma, purpose) {
                let tables = tables.get_or_insert_with(|| Tables::open(target, prefix));
                let comes = comes_in(vma, start, end, what, tables)?;
                match what {
                    What::AnyPages => sum.shared += comes,
                    What::OwnPages | What::Swapped => sum.own += comes,
                }
            }
        }
        Ok::<(), Error>(())
    })?;
    if purpose != Purpose::Read {
        sum.own += shared_copies(target);
    }
    Ok(sum)
}

/// What a mapping needs pages for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// A page of its own everywhere.
    OwnPages,
    /// A page, whosever it is.
    AnyPages,
    /// Only what is on swap: the rest is the zero page.
    Swapped,
}

fn what_comes_in(vma: &Vma<'_>, purpose: Purpose) -> Option<What> {
    let (read, write, private) = (vma.perms.read, vma.perms.write, !vma.perms.shared);
    // Hugetlb pages come from a pool of their own; device memory is there. What somebody serves by
    // userfaultfd is passed over, or comes in as fast as that one gives it.
    if vma.flags.has(VmFlag::UffdMissing) || matches!(vma.kind, Kind::Hugetlb | Kind::Special) {
        return None;
    }
    let writes = match purpose {
        Purpose::Write => write,
        Purpose::Lock => write && private,
        Purpose::Read | Purpose::Collapse => false,
    };
    if writes && private {
        return Some(What::OwnPages);
    }
    let reads = writes || (purpose != Purpose::Write && read);
    match vma.kind {
        _ if !reads => None,
        Kind::Shmem => Some(What::AnyPages),
        Kind::File if purpose == Purpose::Lock => Some(What::AnyPages),
        // Pages of files can be reclaimed again.
        Kind::File => None,
        _ => Some(What::Swapped),
    }
}

/// A page table entry for a page.
const TABLES: u64 = 512;

fn comes_in(vma: &Vma<'_>, start: u64, end: u64, what: What, tables: &mut Tables) -> Result<Bytes> {
    let len = end - start;
    let counted = &vma.coverage;
    let (mut there, mut swapped) = (0, 0);
    // What has no page needs no look.
    let seen = if counted.rss.is_zero() && counted.swap.is_zero() {
        true
    } else {
        tables.each(start, end, |from, to, categories| {
            let foreign = categories.has(Categories::FILE) && what == What::OwnPages;
            if categories.has(Categories::SWAPPED) {
                swapped += to - from;
            } else if !categories.has(Categories::PFNZERO) && !foreign {
                there += to - from;
            }
        })?
    };
    if !seen {
        (there, swapped) = (counted.rss.0.min(len), counted.swap.0.min(len));
    }
    let absent = len.saturating_sub(there);
    Ok(match what {
        What::OwnPages | What::AnyPages => Bytes(absent) + Bytes(absent / TABLES),
        What::Swapped => Bytes(swapped) + Bytes(absent / TABLES),
    })
}

/// Anonymous memory that is shared since a fork gets a copy where it is written to. smaps_rollup has
/// it among what is dirty and shared.
fn shared_copies(target: &Target) -> Bytes {
    let Ok(text) = read_all(target, "smaps_rollup") else {
        return Bytes::ZERO;
    };
    let text = String::from_utf8_lossy(&text);
    let value = |key| super::room::meminfo(&text, key).unwrap_or(0);
    let shmem = read_all(target, "status")
        .ok()
        .and_then(|text| super::room::meminfo(&String::from_utf8_lossy(&text), "RssShmem"))
        .unwrap_or(0);
    Bytes(
        value("Shared_Dirty")
            .saturating_sub(shmem)
            .min(value("Anonymous")),
    )
}
