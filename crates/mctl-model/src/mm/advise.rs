//! madvise(2).

use mctl_abi::Errno;

use super::fault::Access;
use super::zap::Why;
use super::{Cx, Mm};
use crate::kernel::Feature;
use crate::madv::Madvise;
use crate::mutant::Mutant;
use crate::pages::{PageKind, Run};
use crate::vma::{Backing, VmFlags, Vma};
use crate::{HUGE, PAGE, page_align};

impl Mm {
    /// madvise(2) with the order of checks of `do_madvise()` (mm/madvise.c): advice, alignment,
    /// length, overflow; an empty range succeeds; gaps are passed over and reported as `ENOMEM`
    /// at the end; the first other error stops the walk.
    pub(crate) fn madvise(
        &mut self,
        cx: &mut Cx<'_>,
        start: u64,
        len: u64,
        advice: Madvise,
    ) -> Result<(), Errno> {
        if !has_advice(cx, advice) {
            return Err(Errno::EINVAL);
        }
        let end = advice_range(start, len, advice)?;
        if end == start {
            return Ok(());
        }
        if matches!(advice, Madvise::POPULATE_READ | Madvise::POPULATE_WRITE) {
            return self.madvise_populate(cx, start, end, advice == Madvise::POPULATE_WRITE);
        }
        let gap = self.walk(start, end, |mm, part| mm.advise_part(cx, &part, advice))?;
        if gap { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// One mapping's part of an advice (`madvise_vma_behavior()`).
    pub(crate) fn advise_part(
        &mut self,
        cx: &mut Cx<'_>,
        part: &Vma,
        advice: Madvise,
    ) -> Result<(), Errno> {
        if !has_advice(cx, advice) {
            return Err(Errno::EINVAL);
        }
        match advice {
            Madvise::DONTNEED | Madvise::DONTNEED_LOCKED | Madvise::FREE => {
                self.dontneed_free(cx, part, advice)
            }
            Madvise::COLD | Madvise::PAGEOUT => self.cold_pageout(cx, part, advice),
            Madvise::COLLAPSE => self.collapse(cx, part),
            Madvise::WILLNEED => {
                self.willneed(cx, part);
                Ok(())
            }
            Madvise::REMOVE => self.remove_part(cx, part),
            Madvise::GUARD_INSTALL | Madvise::GUARD_REMOVE => self.guard(cx, part, advice),
            Madvise::DOFORK
                if part.flags.any(VmFlags::SPECIAL)
                    && cx.knobs.features.has(Feature::StrictDofork) =>
            {
                Err(Errno::EINVAL)
            }
            _ => {
                let flags = new_flags(part, advice)?;
                self.set_flags(cx, part.start, part.end, flags)
                    .map_err(|errno| match errno {
                        // Too many mappings is this here: "kernel resources temporarily unavailable".
                        Errno::ENOMEM => Errno::EAGAIN,
                        // A huge page of hugetlb cannot be cut.
                        errno => errno,
                    })
            }
        }
    }

    fn dontneed_free(&mut self, cx: &mut Cx<'_>, part: &Vma, advice: Madvise) -> Result<(), Errno> {
        let locked = part.flags.has(VmFlags::LOCKED) && advice != Madvise::DONTNEED_LOCKED;
        if locked || part.flags.has(VmFlags::PFNMAP) {
            return Err(Errno::EINVAL);
        }
        if advice != Madvise::FREE {
            if part.flags.has(VmFlags::HUGETLB) && !part.start.is_multiple_of(HUGE) {
                return Err(Errno::EINVAL);
            }
            self.zap(cx, part, Why::Dontneed);
            return Ok(());
        }
        if !part.is_anon() {
            return Err(Errno::EINVAL);
        }
        self.free_lazily(cx, part);
        Ok(())
    }

    /// `MADV_FREE`: pages that nobody shares stop being dirty; swapped ones go at once.
    fn free_lazily(&mut self, cx: &mut Cx<'_>, part: &Vma) {
        self.split_cut_blocks(cx, part);
        let runs: Vec<Run> = self.anon.range(part.start, part.end).collect();
        for run in runs {
            match run.kind {
                PageKind::Swapped => {
                    let pages = (run.end - run.start) / PAGE;
                    cx.cache.swap_used = cx.cache.swap_used.saturating_sub(pages);
                    self.anon.change(run.start, run.end, |_| None);
                }
                PageKind::Base | PageKind::Huge => {
                    let pages = (run.end - run.start) / PAGE;
                    if !cx.shared(self, run.frame..run.frame + pages, run.start) {
                        self.anon.change(run.start, run.end, |mut run| {
                            run.dirty = false;
                            run.young = false;
                            Some(run)
                        });
                    }
                }
                PageKind::Zero | PageKind::HugeZero | PageKind::Guard => {}
            }
        }
    }

    /// A huge page that the range cuts, and that nobody shares, becomes base pages.
    fn split_cut_blocks(&mut self, cx: &Cx<'_>, part: &Vma) {
        for cut in [part.start, part.end] {
            let block = cut & !(HUGE - 1);
            if cut == block {
                continue;
            }
            if let Some(run) = self.anon.at(block)
                && run.kind == PageKind::Huge
                && !cx.shared(self, run.frame..run.frame + HUGE / PAGE, block)
            {
                self.anon.break_block(block);
            }
        }
    }

    /// `MADV_COLD` and `MADV_PAGEOUT`: pages that somebody else maps are left alone.
    fn cold_pageout(&mut self, cx: &mut Cx<'_>, part: &Vma, advice: Madvise) -> Result<(), Errno> {
        let refused = VmFlags::LOCKED | VmFlags::PFNMAP | VmFlags::HUGETLB;
        if part.flags.any(refused) {
            return Err(Errno::EINVAL);
        }
        self.split_cut_blocks(cx, part);
        let out = advice == Madvise::PAGEOUT;
        let runs: Vec<Run> = self.anon.range(part.start, part.end).collect();
        for run in runs {
            if run.kind == PageKind::Base || run.kind == PageKind::Huge {
                self.cold_run(cx, run, out);
            }
        }
        if let Backing::File(file) = part.backing {
            let runs: Vec<Run> = self.file.range(part.start, part.end).collect();
            for run in runs {
                self.cold_file_run(cx, part, file, run, out);
            }
        }
        Ok(())
    }

    fn cold_run(&mut self, cx: &mut Cx<'_>, run: Run, out: bool) {
        let step = if run.kind == PageKind::Huge {
            HUGE
        } else {
            PAGE
        };
        let mut start = run.start;
        while start < run.end {
            let end = (start & !(step - 1)) + step;
            let end = end.min(run.end);
            let first = run.frame + (start - run.start) / PAGE;
            let pages = (end - start) / PAGE;
            let room = cx.cache.swap_used + pages <= cx.knobs.swap_pages;
            if !cx.shared(self, first..first + pages, start) {
                if out && run.kind == PageKind::Huge {
                    // Reclaim splits a huge page that gets no swap slot in one piece; the model
                    // always splits.
                    self.anon.break_block(start);
                }
                self.anon.change(start, end, |mut run| {
                    run.young = false;
                    if out && room {
                        run.kind = PageKind::Swapped;
                        run.dirty = false;
                    }
                    Some(run)
                });
                if out && room {
                    cx.cache.swap_used += pages;
                }
            }
            start = end;
        }
    }

    fn cold_file_run(
        &mut self,
        cx: &mut Cx<'_>,
        part: &Vma,
        file: crate::vma::FileId,
        run: Run,
        out: bool,
    ) {
        for at in 0..(run.end - run.start) / PAGE {
            let page = run.frame - 1 + at;
            let address = run.start + at * PAGE;
            if cx.cache.folio(file, page).is_none_or(|f| f.mapped != 1) {
                continue;
            }
            self.file.change(address, address + PAGE, |mut run| {
                run.young = false;
                Some(run)
            });
            cx.cache.deactivate(file, page);
            if out {
                let piece = part.part(address, address + PAGE);
                self.zap(cx, &piece, Why::Unmap);
                cx.cache.clean(file, page);
                cx.cache.evict(file, page);
            }
        }
    }

    /// `MADV_WILLNEED`: file pages come into the cache; of shared memory only what is in swap
    /// (`shmem_swapin_range()`), which the model does not put there.
    fn willneed(&mut self, cx: &mut Cx<'_>, part: &Vma) {
        if let Backing::File(file) = part.backing
            && cx.cache.file(file).is_some_and(|f| !f.shmem)
        {
            let last = cx.cache.file_pages(file);
            let first = part.offset.min(last);
            for page in first..(part.offset + part.pages()).min(last) {
                cx.cache.load(file, page);
            }
        }
    }

    /// `MADV_REMOVE` (`madvise_remove()`): a hole in a shared, writable object.
    fn remove_part(&mut self, cx: &mut Cx<'_>, part: &Vma) -> Result<(), Errno> {
        if part.flags.has(VmFlags::LOCKED) {
            return Err(Errno::EINVAL);
        }
        let Backing::File(file) = part.backing else {
            return Err(Errno::EINVAL);
        };
        if !part.flags.has(VmFlags::SHARED | VmFlags::MAYWRITE) {
            return Err(Errno::EACCES);
        }
        // A file system that can punch holes: tmpfs, ext4, xfs, btrfs.
        if cx.cache.file(file).is_none() {
            return Err(Errno::EINVAL);
        }
        self.zap(cx, part, Why::Hole);
        if self.mutant == Some(Mutant::RemoveIsLocal) {
            return Ok(());
        }
        cx.cache
            .punch(file, part.offset..part.offset + part.pages());
        Ok(())
    }

    /// Guard markers, on private anonymous memory (`is_valid_guard_vma()`).
    fn guard(&mut self, cx: &mut Cx<'_>, part: &Vma, advice: Madvise) -> Result<(), Errno> {
        let install = advice == Madvise::GUARD_INSTALL;
        let special = VmFlags::SPECIAL | VmFlags::HUGETLB;
        let locked = install && part.flags.has(VmFlags::LOCKED);
        if part.flags.any(special) || locked || matches!(part.backing, Backing::Special) {
            return Err(Errno::EINVAL);
        }
        if install {
            self.prepare_anon(part.start);
            self.zap(cx, part, Why::Unmap);
            for block in [part.start & !(HUGE - 1), (part.end - 1) & !(HUGE - 1)] {
                self.tables.free(block);
            }
            self.anon.put(Run {
                start: part.start,
                end: part.end,
                kind: PageKind::Guard,
                frame: 0,
                dirty: false,
                young: false,
            });
            return Ok(());
        }
        let ends = [part.start & !(HUGE - 1), (part.end - 1) & !(HUGE - 1)];
        let tables = ends.map(|block| self.has_table(block));
        let marked: Vec<Run> = self
            .anon
            .range(part.start, part.end)
            .filter(|run| run.kind == PageKind::Guard)
            .collect();
        for run in marked {
            self.anon.change(run.start, run.end, |_| None);
        }
        for (block, had) in ends.into_iter().zip(tables) {
            if had && !self.has_table(block) {
                self.tables.leave(block);
            }
        }
        Ok(())
    }

    /// `madvise_populate()`: stops at the first gap (`ENOMEM`) or refusal (`EINVAL`).
    fn madvise_populate(
        &mut self,
        cx: &mut Cx<'_>,
        start: u64,
        end: u64,
        write: bool,
    ) -> Result<(), Errno> {
        let access = if write { Access::Write } else { Access::Read };
        let needed = if write { VmFlags::WRITE } else { VmFlags::READ };
        let mut cursor = start;
        while cursor < end {
            let Some(vma) = self.vmas.at(cursor).copied() else {
                return Err(Errno::ENOMEM);
            };
            if vma.flags.any(VmFlags::IO | VmFlags::PFNMAP) || !vma.flags.has(needed) {
                return Err(Errno::EINVAL);
            }
            let part = vma.part(cursor, vma.end.min(end));
            self.populate_part(cx, &part, access)
                .map_err(|_| Errno::EFAULT)?;
            cursor = part.end;
        }
        Ok(())
    }
}

/// Whether the kernel knows an advice that not every one has.
fn has_advice(cx: &Cx<'_>, advice: Madvise) -> bool {
    !matches!(advice, Madvise::GUARD_INSTALL | Madvise::GUARD_REMOVE)
        || cx.knobs.features.has(Feature::GuardRegions)
}

/// The checks before the walk, and the range's end.
pub(crate) fn advice_range(start: u64, len: u64, advice: Madvise) -> Result<u64, Errno> {
    if advice.word().is_none() || matches!(advice, Madvise::HWPOISON | Madvise::SOFT_OFFLINE) {
        // Poisoning needs CONFIG_MEMORY_FAILURE, which the model's host does not have.
        return Err(Errno::EINVAL);
    }
    if !start.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    let len = page_align(len).ok_or(Errno::EINVAL)?;
    start.checked_add(len).ok_or(Errno::EINVAL)
}

/// The advices that only change flags.
fn new_flags(part: &Vma, advice: Madvise) -> Result<VmFlags, Errno> {
    let flags = part.flags;
    Ok(match advice {
        Madvise::NORMAL => flags.without(VmFlags::RAND | VmFlags::SEQ),
        Madvise::SEQUENTIAL => flags.without(VmFlags::RAND) | VmFlags::SEQ,
        Madvise::RANDOM => flags.without(VmFlags::SEQ) | VmFlags::RAND,
        Madvise::DONTFORK => flags | VmFlags::DONTCOPY,
        Madvise::DOFORK if flags.has(VmFlags::IO) => return Err(Errno::EINVAL),
        Madvise::DOFORK => flags.without(VmFlags::DONTCOPY),
        Madvise::WIPEONFORK if !part.is_anon() => return Err(Errno::EINVAL),
        Madvise::WIPEONFORK => flags | VmFlags::WIPEONFORK,
        Madvise::KEEPONFORK => flags.without(VmFlags::WIPEONFORK),
        Madvise::DONTDUMP => flags | VmFlags::DONTDUMP,
        Madvise::DODUMP if flags.any(VmFlags::SPECIAL) && !flags.has(VmFlags::HUGETLB) => {
            return Err(Errno::EINVAL);
        }
        Madvise::DODUMP => flags.without(VmFlags::DONTDUMP),
        Madvise::MERGEABLE if part.ksm_compatible() => flags | VmFlags::MERGEABLE,
        Madvise::UNMERGEABLE => flags.without(VmFlags::MERGEABLE),
        Madvise::HUGEPAGE => flags.without(VmFlags::NOHUGEPAGE) | VmFlags::HUGEPAGE,
        Madvise::NOHUGEPAGE => flags.without(VmFlags::HUGEPAGE) | VmFlags::NOHUGEPAGE,
        _ => flags,
    })
}
