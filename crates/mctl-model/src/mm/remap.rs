//! mremap(2).

use mctl_abi::Errno;

use super::{Cx, Mm};
use crate::pages::{PageKind, Run};
use crate::vma::{VmFlags, Vma};
use crate::{HUGE, PAGE, TASK_SIZE, page_align};

/// The flags of mremap(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MoveFlags {
    pub(crate) maymove: bool,
    /// `MREMAP_FIXED`, with the new address.
    pub(crate) fixed: Option<u64>,
    pub(crate) dontunmap: bool,
}

/// A length in whole pages of the mapping: hugetlb's are larger, and it moves by them only (`align_hugetlb()`).
fn in_huge_pages(vma: &Vma, len: u64, to: Option<u64>) -> Result<u64, Errno> {
    if !vma.flags.has(VmFlags::HUGETLB) {
        return Ok(len);
    }
    if to.is_some_and(|to| !to.is_multiple_of(HUGE)) {
        return Err(Errno::EINVAL);
    }
    len.checked_next_multiple_of(HUGE).ok_or(Errno::EINVAL)
}

impl Mm {
    /// mremap(2), with the checks of Linux 6.17 and later in their order
    /// (`check_mremap_params()`, `check_prep_vma()`, mm/mremap.c).
    pub(crate) fn mremap(
        &mut self,
        cx: &mut Cx<'_>,
        old: u64,
        old_len: u64,
        new_len: u64,
        flags: MoveFlags,
    ) -> Result<u64, Errno> {
        if !old.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        let old_len = page_align(old_len).unwrap_or(0);
        let new_len = page_align(new_len).unwrap_or(0);
        if new_len == 0 || new_len > TASK_SIZE {
            return Err(Errno::EINVAL);
        }
        let moves = flags.fixed.is_some() || flags.dontunmap;
        if moves {
            let new = flags.fixed.unwrap_or(0);
            let overlaps = old.saturating_add(old_len) > new && new + new_len > old;
            if new > TASK_SIZE - new_len
                || !new.is_multiple_of(PAGE)
                || !flags.maymove
                || (flags.dontunmap && old_len != new_len)
                || overlaps
            {
                return Err(Errno::EINVAL);
            }
            if self.map_count() + 2 >= cx.knobs.max_map_count.saturating_sub(3) {
                return Err(Errno::ENOMEM);
            }
        }
        if let Some(new) = flags.fixed
            && old_len == new_len
        {
            return self.move_many(cx, old, old_len, new, flags.dontunmap);
        }
        let vma = self.vmas.at(old).copied().ok_or(Errno::EFAULT)?;
        let old_len = in_huge_pages(&vma, old_len, flags.fixed)?;
        let new_len = in_huge_pages(&vma, new_len, flags.fixed)?;
        self.check_resize(cx, &vma, old, old_len, new_len, moves, flags.dontunmap)?;
        if let Some(new) = flags.fixed {
            self.unmap(cx, new, new + new_len)?;
            return self.move_to(cx, old, old_len, new_len, new, false);
        }
        if flags.dontunmap {
            let new = self.free_range(new_len, PAGE).ok_or(Errno::ENOMEM)?;
            return self.move_to(cx, old, old_len, new_len, new, true);
        }
        if new_len <= old_len {
            if new_len < old_len {
                self.unmap(cx, old + new_len, old + old_len)?;
            }
            return Ok(old);
        }
        self.grow(cx, &vma, old, old_len, new_len, flags.maymove)
    }

    /// A move without resizing may span several mappings and the gaps between them
    /// (Linux 6.17), but not begin in a gap.
    fn move_many(
        &mut self,
        cx: &mut Cx<'_>,
        old: u64,
        len: u64,
        new: u64,
        dontunmap: bool,
    ) -> Result<u64, Errno> {
        if len == 0 {
            let vma = self.vmas.at(old).copied().ok_or(Errno::EFAULT)?;
            self.check_resize(cx, &vma, old, 0, len, true, dontunmap)?;
        }
        if self.vmas.at(old).is_none() {
            return Err(Errno::EFAULT);
        }
        let mut cursor = old;
        while let Some(vma) = self.vmas.find(cursor).copied() {
            if cursor >= old + len || vma.start >= old + len {
                break;
            }
            let start = vma.start.max(cursor);
            let end = vma.end.min(old + len);
            let to = new + (start - old);
            let len = in_huge_pages(&vma, end - start, Some(to))?;
            self.check_resize(cx, &vma, start, len, len, true, dontunmap)?;
            self.unmap(cx, to, to + len)?;
            self.move_to(cx, start, len, len, to, dontunmap)?;
            cursor = start + len;
        }
        Ok(new)
    }

    #[expect(clippy::too_many_arguments, reason = "the system call's own arguments")]
    fn check_resize(
        &self,
        cx: &Cx<'_>,
        vma: &Vma,
        old: u64,
        old_len: u64,
        new_len: u64,
        moves: bool,
        dontunmap: bool,
    ) -> Result<(), Errno> {
        if vma.flags.has(VmFlags::HUGETLB)
            && (!old.is_multiple_of(HUGE) || page_align(new_len) > page_align(old_len))
        {
            return Err(Errno::EINVAL);
        }
        if old_len == 0 && !vma.flags.has(VmFlags::MAYSHARE) {
            return Err(Errno::EINVAL);
        }
        let rigid = vma.flags.any(VmFlags::DONTEXPAND | VmFlags::PFNMAP);
        if dontunmap && rigid {
            return Err(Errno::EINVAL);
        }
        if !moves && new_len <= old_len {
            return Ok(());
        }
        if old_len.min(new_len) > vma.end - old {
            return Err(Errno::EFAULT);
        }
        if new_len <= old_len {
            return Ok(());
        }
        if rigid {
            return Err(Errno::EFAULT);
        }
        if !self.may_lock(cx, vma.flags, new_len.saturating_sub(old_len) / PAGE) {
            return Err(Errno::EAGAIN);
        }
        Ok(())
    }

    fn grow(
        &mut self,
        cx: &mut Cx<'_>,
        vma: &Vma,
        old: u64,
        old_len: u64,
        new_len: u64,
        maymove: bool,
    ) -> Result<u64, Errno> {
        let end = old + new_len;
        if old + old_len == vma.end && !self.vmas.overlaps(vma.end, end) && end <= TASK_SIZE {
            self.vmas.modify(vma.start, |vma| vma.end = end);
            self.merge_at(end);
            if vma.flags.has(VmFlags::LOCKED) {
                self.populate(cx, vma.end, end);
            }
            return Ok(old);
        }
        if !maymove {
            return Err(Errno::ENOMEM);
        }
        let new = self.free_range(new_len, PAGE).ok_or(Errno::ENOMEM)?;
        self.move_to(cx, old, old_len, new_len, new, false)
    }

    /// `move_vma()`: the target range is free.
    fn move_to(
        &mut self,
        cx: &mut Cx<'_>,
        old: u64,
        old_len: u64,
        new_len: u64,
        new: u64,
        keep: bool,
    ) -> Result<u64, Errno> {
        if old_len > new_len {
            self.unmap(cx, old + new_len, old + old_len)?;
        }
        let len = old_len.min(new_len);
        let whole = self.vmas.at(old).copied().ok_or(Errno::EFAULT)?;
        if self.map_count() >= cx.knobs.max_map_count.saturating_sub(3) {
            return Err(Errno::ENOMEM);
        }
        let mut vma = whole.part(old, whole.end);
        vma.start = new;
        vma.end = new + new_len;
        if vma.is_anon() && vma.anon == 0 {
            vma.offset = new / PAGE;
        }
        self.vmas.insert(vma);
        self.move_pages(old, len, new);
        self.merge_at(vma.end);
        self.merge_at(vma.start);
        if keep {
            self.leave_behind(old, old + len);
        } else if len > 0 {
            self.unmap(cx, old, old + len)?;
        }
        if vma.flags.has(VmFlags::LOCKED) && new_len > old_len {
            self.populate(cx, new + old_len, new + new_len);
        }
        Ok(new)
    }

    /// `MREMAP_DONTUNMAP`: the old mapping stays, empty and no longer locked.
    fn leave_behind(&mut self, start: u64, end: u64) {
        if let Some(vma) = self.vmas.at(start).copied() {
            let unlocked = vma.flags.without(VmFlags::LOCK_MASK);
            if vma.start == start && vma.end == end {
                self.vmas.modify(start, |vma| vma.anon = 0);
            }
            if vma.flags != unlocked {
                // The kernel clears the lock on the whole mapping and goes on counting its pages
                // (`dontunmap_complete()`, mm/mremap.c).
                if vma.flags.has(VmFlags::LOCKED) {
                    self.stale_locked += vma.pages();
                }
                // Nothing is joined: the flags change in place.
                self.vmas.modify(vma.start, |vma| vma.flags = unlocked);
            }
        }
    }

    /// Moves page-table entries. Whole aligned blocks move with their tables; others leave an
    /// empty table behind.
    fn move_pages(&mut self, old: u64, len: u64, new: u64) {
        let mut moved: Vec<Run> = Vec::new();
        let aligned = old % HUGE == new % HUGE;
        let blocks = (old & !(HUGE - 1)..old + len).step_by(usize::try_from(HUGE).unwrap_or(1));
        let tables: Vec<u64> = blocks.filter(|block| self.has_table(*block)).collect();
        if len > 0 {
            let take = |run: Run| moved.push(run);
            self.anon.zap(old, old + len, take);
        }
        self.moved |= !moved.is_empty();
        let shift = |address: u64| address - old + new;
        for mut run in moved {
            run.start = shift(run.start);
            run.end = shift(run.end);
            if !aligned {
                run.kind = match run.kind {
                    PageKind::Huge => PageKind::Base,
                    PageKind::HugeZero => PageKind::Zero,
                    kind => kind,
                };
            }
            self.anon.put(run);
        }
        let mut moved_file = Vec::new();
        if len > 0 {
            self.file.zap(old, old + len, |run| moved_file.push(run));
        }
        for mut run in moved_file {
            run.start = shift(run.start);
            run.end = shift(run.end);
            self.file.put(run);
        }
        for block in tables {
            let whole = aligned && block >= old && block + HUGE <= old + len;
            if whole {
                self.tables.free(block);
            } else if !self.has_table(block) {
                self.tables.leave(block);
            }
            let first = shift(block.max(old)) & !(HUGE - 1);
            let last = (shift((block + HUGE).min(old + len)) - 1) & !(HUGE - 1);
            for target in [first, last] {
                let huge = self
                    .anon
                    .at(target)
                    .is_some_and(|run| matches!(run.kind, PageKind::Huge | PageKind::HugeZero));
                if !huge && !self.has_table(target) {
                    self.tables.leave(target);
                }
            }
        }
    }
}
