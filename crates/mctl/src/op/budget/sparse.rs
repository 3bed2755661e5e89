//! How full the blocks are that would become huge pages.

use serde::Serialize;

use super::Growth;
use super::need::{Lists, Tables};
use crate::error::{Error, Result};
use crate::op::advice::Range;
use crate::see::address_space::Kind;
use crate::see::coverage::{Bytes, Vma, each_vma};
use crate::target::Target;
use mctl_sys::raw::pagemap::Categories;

const HUGE: u64 = 2 << 20;
const PAGES: usize = 512;

/// What was chosen of a list of ranges, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) ranges: Vec<Range>,
    pub(crate) spared: Spared,
    /// What has to come in for the chosen ones.
    pub(crate) need: Bytes,
}

/// Blocks of 2 MiB that are passed over, because too little of them is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spared {
    /// How many.
    pub blocks: u64,
    /// What of them is resident.
    pub resident: Bytes,
    /// By how much the target would have grown with them.
    pub growth: Bytes,
    /// Memory of its own in which nothing is resident, besides those.
    pub empty: Bytes,
}

/// How many blocks hold so many pages.
type Histogram = Vec<u64>;

/// Which blocks are taken: those that hold more pages than `above`, and of those that hold just so
/// many the first `more`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    above: usize,
    more: u64,
}

impl Rule {
    /// By the growth that is allowed. Pure.
    pub(super) fn of(growth: Growth, blocks: &[u64]) -> Rule {
        let most = match growth {
            Growth::AsAsked => return Rule { above: 0, more: 0 },
            Growth::Sparing => {
                return Rule {
                    above: PAGES / 2 - 1,
                    more: 0,
                };
            }
            Growth::AtMost(bytes) => bytes.0,
        };
        let mut left = most;
        for (pages, count) in blocks.iter().enumerate().skip(1).rev() {
            let each = growth_of(pages);
            let fit = left.checked_div(each).unwrap_or(u64::MAX);
            if fit < *count {
                return Rule {
                    above: pages,
                    more: fit,
                };
            }
            left -= each * count;
        }
        Rule { above: 0, more: 0 }
    }

    pub(super) fn takes(&mut self, pages: usize) -> bool {
        if pages > self.above {
            return true;
        }
        let more = pages == self.above && pages > 0 && self.more > 0;
        self.more -= u64::from(more);
        more
    }
}

fn growth_of(pages: usize) -> u64 {
    HUGE - (pages.min(PAGES) as u64) * 4096
}

/// One block of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    start: u64,
    pages: usize,
    huge: bool,
}

/// Calls `see` with every whole block of a stretch that holds pages, in order.
fn each_block(
    vma: &Vma<'_>,
    start: u64,
    end: u64,
    tables: &mut Tables,
    mut see: impl FnMut(Block),
) -> Result<()> {
    let (first, last) = (start.next_multiple_of(HUGE), end - end % HUGE);
    if first >= last {
        return Ok(());
    }
    let mut open: Option<Block> = None;
    let seen = tables.each(first, last, |from, to, categories| {
        if categories.has(Categories::PFNZERO) {
            return;
        }
        let huge = categories.has(Categories::HUGE);
        let mut at = from;
        while at < to {
            let block = at - at % HUGE;
            let stop = to.min(block + HUGE);
            let pages = usize::try_from((stop - at) / 4096).unwrap_or(PAGES);
            match &mut open {
                Some(open) if open.start == block => open.pages += pages,
                other => {
                    if let Some(done) = other.take() {
                        see(done);
                    }
                    *other = Some(Block {
                        start: block,
                        pages,
                        huge,
                    });
                }
            }
            at = stop;
        }
    })?;
    if let Some(done) = open {
        see(done);
    }
    if !seen {
        // Before Linux 6.7: as if what is there were spread evenly.
        let pages = (vma.coverage.rss + vma.coverage.swap).0 / 4096;
        let blocks = (vma.len() / HUGE).max(1);
        let share = usize::try_from(pages.div_ceil(blocks))
            .unwrap_or(PAGES)
            .min(PAGES);
        let full = vma.coverage.anon_huge + vma.coverage.shmem_huge == vma.coverage.rss;
        let mut at = first;
        while at < last && share > 0 {
            see(Block {
                start: at,
                pages: share,
                huge: full,
            });
            at += HUGE;
        }
    }
    Ok(())
}

/// What `MADV_COLLAPSE` would bring in, in the listed ranges.
pub(super) fn need(target: &Target, lists: &Lists) -> Result<Bytes> {
    let mut sum = Bytes::ZERO;
    walk(target, lists, |_, block| {
        if !block.huge {
            sum += Bytes(growth_of(block.pages));
        }
    })?;
    Ok(sum)
}

/// Whether the blocks of a mapping matter: huge pages are made of private and of shared memory. Those
/// of a shared file or memory are filled from the whole of it, whoever uses it.
fn matters(vma: &Vma<'_>, target: &Target) -> bool {
    match vma.kind {
        Kind::Anonymous => true,
        Kind::Shmem => !is_full(vma, target),
        Kind::File | Kind::Hugetlb | Kind::Special => false,
    }
}

/// Whether shared memory is there as a whole, though perhaps not mapped here.
fn is_full(vma: &Vma<'_>, target: &Target) -> bool {
    use std::os::unix::fs::MetadataExt;
    let path = format!(
        "/proc/{}/map_files/{:x}-{:x}",
        target.pid(),
        vma.start,
        vma.end
    );
    let full = std::fs::metadata(path).is_ok_and(|file| file.blocks() * 512 >= file.size());
    full && target.is_alive()
}

fn walk(target: &Target, lists: &Lists, mut see: impl FnMut(&Vma<'_>, Block)) -> Result<()> {
    let mut tables: Option<Tables> = None;
    each_vma(target, |prefix, vma| {
        let empty = vma.coverage.rss.is_zero() && vma.coverage.swap.is_zero();
        if empty || !matters(vma, target) {
            return Ok(());
        }
        for (start, end) in lists.within(vma.start, vma.end) {
            let tables = tables.get_or_insert_with(|| Tables::open(target, prefix));
            each_block(vma, start, end, tables, |block| see(vma, block))?;
        }
        Ok::<(), Error>(())
    })
    .map(drop)
}

/// Takes out of the listed ranges what is too sparse by the rule, and what is empty where only pages
/// of its own count: there is nothing to make a huge page of.
pub(crate) fn choose(target: &Target, ranges: Vec<Range>, growth: Growth) -> Result<Chosen> {
    target.look_in_one_task(|| choose_here(target, ranges, growth))
}

fn choose_here(target: &Target, ranges: Vec<Range>, growth: Growth) -> Result<Chosen> {
    let lists = Lists::new(&ranges);
    let mut histogram: Histogram = vec![0; PAGES + 1];
    walk(target, &lists, |_, block| {
        if !block.huge
            && let Some(count) = histogram.get_mut(block.pages.min(PAGES))
        {
            *count += 1;
        }
    })?;
    let mut rule = Rule::of(growth, &histogram);
    let mut chosen = Chosen::default();
    let mut out: Vec<(u64, u64)> = Vec::new();
    let mut tables: Option<Tables> = None;
    let mut sparse = 0;
    each_vma(target, |prefix, vma| {
        if !matters(vma, target) {
            return Ok(());
        }
        let empty = vma.coverage.rss.is_zero() && vma.coverage.swap.is_zero();
        let of_its_own = vma.kind == Kind::Anonymous;
        for (start, end) in lists.within(vma.start, vma.end) {
            if start.next_multiple_of(HUGE) >= end - end % HUGE || (empty && !of_its_own) {
                continue;
            }
            let mut gaps = Gaps::new(start, &mut out);
            if !empty {
                let tables = tables.get_or_insert_with(|| Tables::open(target, prefix));
                each_block(vma, start, end, tables, |block| {
                    let taken = block.huge || rule.takes(block.pages);
                    chosen.count(block, taken);
                    sparse += if of_its_own && !taken { HUGE } else { 0 };
                    // Of shared memory only what is there and too sparse: the rest may be there too.
                    match (taken, of_its_own) {
                        (true, true) => gaps.keep(block.start),
                        (false, false) => gaps.drop_block(block.start),
                        (true, false) | (false, true) => {}
                    }
                })?;
            }
            if of_its_own {
                chosen.spared.empty += gaps.drop_rest(end);
            }
        }
        Ok::<(), Error>(())
    })?;
    // What is sparse was counted with what is empty.
    chosen.spared.empty = chosen.spared.empty.less(Bytes(sparse));
    chosen.ranges = if out.is_empty() {
        ranges
    } else {
        without(&ranges, &out)
    };
    Ok(chosen)
}

impl Chosen {
    fn count(&mut self, block: Block, taken: bool) {
        let grows = Bytes(if block.huge {
            0
        } else {
            growth_of(block.pages)
        });
        if taken {
            self.need += grows;
            return;
        }
        self.spared.blocks += 1;
        self.spared.resident += Bytes(block.pages as u64 * 4096);
        self.spared.growth += grows;
    }
}

/// Collects the stretches that are taken out of one.
struct Gaps<'o> {
    at: u64,
    out: &'o mut Vec<(u64, u64)>,
    dropped: u64,
}

impl<'o> Gaps<'o> {
    fn new(at: u64, out: &'o mut Vec<(u64, u64)>) -> Gaps<'o> {
        Gaps {
            at,
            out,
            dropped: 0,
        }
    }

    fn push(&mut self, from: u64, to: u64) {
        self.dropped += to - from;
        match self.out.last_mut() {
            Some(last) if last.1 == from => last.1 = to,
            _ => self.out.push((from, to)),
        }
    }

    /// Everything between the last block that is kept and this one goes. What stands before the first
    /// whole block stays with it.
    fn keep(&mut self, block: u64) {
        if self.at.next_multiple_of(HUGE) < block {
            self.push(self.at, block);
        }
        self.at = block + HUGE;
    }

    fn drop_block(&mut self, block: u64) {
        self.push(block, block + HUGE);
    }

    /// Everything after the last block that is kept goes, where a whole block is among it.
    fn drop_rest(&mut self, end: u64) -> Bytes {
        if self.at.next_multiple_of(HUGE) < end - end % HUGE {
            self.push(self.at, end);
        }
        Bytes(self.dropped)
    }
}

/// Ranges without the stretches that are sorted in `out`.
pub(crate) fn without(ranges: &[Range], out: &[(u64, u64)]) -> Vec<Range> {
    let mut left = Vec::with_capacity(ranges.len());
    for range in ranges {
        let (mut at, end) = (range.start, range.start.saturating_add(range.len));
        let first = out.partition_point(|(_, stop)| *stop <= at);
        for (from, to) in out.iter().skip(first) {
            if *from >= end {
                break;
            }
            if at < *from {
                left.push(Range {
                    start: at,
                    len: from - at,
                });
            }
            at = *to;
        }
        if at < end {
            left.push(Range {
                start: at,
                len: end - at,
            });
        }
    }
    left
}
