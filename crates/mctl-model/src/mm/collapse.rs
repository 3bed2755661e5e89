//! `MADV_COLLAPSE`.

use mctl_abi::Errno;
use mctl_abi::thp::{Host, may_collapse};

use super::{Cx, Mm};
use crate::kernel::Feature;
use crate::mutant::Mutant;
use crate::pages::{PageKind, Run};
use crate::vma::{Backing, FileId, Vma};
use crate::{HUGE, PAGE};

impl Mm {
    /// `madvise_collapse()` (mm/khugepaged.c) on a part of one mapping: every aligned block
    /// inside becomes huge. `EINVAL` where the policy or the advice says no, where the mapping
    /// holds no aligned block, and where a block has no page table yet, which ends the walk.
    pub(super) fn collapse(&mut self, cx: &mut Cx<'_>, part: &Vma) -> Result<(), Errno> {
        let whole = self.vmas.at(part.start).copied().ok_or(Errno::EINVAL)?;
        match self.mutant {
            Some(Mutant::CollapseIgnoresPolicy) => {}
            Some(Mutant::CollapseAsksHost) if cx.knobs.thp == Host::Never => {
                return Err(Errno::EINVAL);
            }
            _ => may_collapse(self.policy.thp(), self.thp_disable, part.flags.advice())?,
        }
        if !whole.holds_block() || !part.supports_mlock() {
            return Err(Errno::EINVAL);
        }
        if let Backing::File(file) = part.backing
            && cx.cache.file(file).is_none_or(|f| !f.shmem)
        {
            return Err(Errno::EINVAL);
        }
        if part.is_anon() && whole.anon == 0 {
            return Err(Errno::EINVAL);
        }
        let mut block = part.start.next_multiple_of(HUGE);
        let features = cx.knobs.features;
        if part.end & !(HUGE - 1) < block && !features.has(Feature::PartialCollapse) {
            // A range inside one block is refused; one that touches two and holds none is not.
            return Err(Errno::EINVAL);
        }
        let mut result = Ok(());
        while block + HUGE <= part.end {
            if part.is_anon() && self.anon.is_clear(block, block + HUGE) && !self.tables.has(block)
            {
                // SCAN_PMD_NONE is not among the results after which the walk goes on.
                return Err(Errno::EINVAL);
            }
            let done = match part.backing {
                // A private copy stands in the way of mapping the object's huge page.
                Backing::File(_) if !self.anon.is_clear(block, block + HUGE) => Err(()),
                Backing::File(file) => collapse_object(cx, file, &whole, block),
                _ => self.collapse_block(cx, block),
            };
            result = done.map_err(|()| Errno::EINVAL).and(result);
            block += HUGE;
        }
        result
    }

    /// One block. Its pages are copied into a huge page of its own; a table must be there.
    fn collapse_block(&mut self, cx: &mut Cx<'_>, block: u64) -> Result<(), ()> {
        let runs: Vec<Run> = self.anon.range(block, block + HUGE).collect();
        match runs.first() {
            Some(run) if matches!(run.kind, PageKind::Huge | PageKind::HugeZero) => return Ok(()),
            None if !self.tables.has(block) => return Err(()),
            _ => {}
        }
        if runs.iter().any(|run| run.kind == PageKind::Guard) {
            return Err(());
        }
        self.tables.free(block);
        let swapped: u64 = runs
            .iter()
            .filter(|run| run.kind == PageKind::Swapped)
            .map(|run| (run.end - run.start) / PAGE)
            .sum();
        cx.cache.swap_used = cx.cache.swap_used.saturating_sub(swapped);
        let frame = cx.cache.new_frames(HUGE / PAGE);
        self.anon.change(block, block + HUGE, |_| None);
        self.anon.put(Run {
            start: block,
            end: block + HUGE,
            kind: PageKind::Huge,
            frame,
            dirty: true,
            young: true,
        });
        Ok(())
    }
}

/// A block of shared memory: the object's pages become one huge page. One of them must be there.
fn collapse_object(cx: &mut Cx<'_>, file: FileId, vma: &Vma, block: u64) -> Result<(), ()> {
    let first = vma.offset + (block - vma.start) / PAGE;
    let pages = first..first + HUGE / PAGE;
    if !first.is_multiple_of(HUGE / PAGE) {
        return Err(());
    }
    if !pages
        .clone()
        .any(|page| cx.cache.folio(file, page).is_some())
    {
        return Err(());
    }
    for page in pages {
        cx.cache.load(file, page);
    }
    Ok(())
}
