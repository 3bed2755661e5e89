//! What a touch brings: page faults, and populating a range.

use mctl_abi::Errno;

use super::{Cx, Mm};
use crate::knobs::HugeZeroWrite;
use crate::mutant::Mutant;
use crate::pages::{PageKind, Run};
use crate::vma::{Backing, VmFlags, Vma};
use crate::{HUGE, MMAP_MIN, PAGE};

/// `EFAULT` stands for SIGSEGV, `ENXIO` for SIGBUS.
const SEGV: Errno = Errno::EFAULT;
const BUS: Errno = Errno::ENXIO;

/// Who faults.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

impl Mm {
    /// A load or store at `address` by the program.
    ///
    /// `EFAULT` where it would get SIGSEGV, `ENXIO` where SIGBUS.
    pub(crate) fn touch(
        &mut self,
        cx: &mut Cx<'_>,
        address: u64,
        access: Access,
    ) -> Result<(), Errno> {
        let page = address & !(PAGE - 1);
        let vma = match self.vmas.find(page).copied() {
            Some(vma) if vma.start <= page => vma,
            Some(vma) => self.grow_stack(cx, &vma, page)?,
            None => return Err(SEGV),
        };
        let needed = match access {
            Access::Write => VmFlags::WRITE,
            Access::Read => VmFlags::ACCESS,
        };
        if !vma.flags.any(needed) {
            return Err(SEGV);
        }
        self.fault(cx, &vma, page, access)
    }

    /// `expand_downwards()`: a mapping that grows down reaches to the touched page, unless an
    /// accessible neighbour is nearer than the guard gap, or a limit stands against it.
    fn grow_stack(&mut self, cx: &mut Cx<'_>, vma: &Vma, page: u64) -> Result<Vma, Errno> {
        if !vma.flags.has(VmFlags::GROWSDOWN) || page < MMAP_MIN {
            return Err(SEGV);
        }
        if let Some(below) = self.vmas.before(vma.start)
            && !below.flags.has(VmFlags::GROWSDOWN)
            && below.flags.any(VmFlags::ACCESS)
            && page - below.end < cx.knobs.stack_guard
        {
            return Err(SEGV);
        }
        // The anon_vma comes before the limits are looked at.
        self.prepare_anon(vma.start);
        let pages = (vma.start - page) / PAGE;
        if pages > vma.offset || vma.end - page > cx.limits.stack {
            return Err(SEGV);
        }
        if !self.may_lock(cx, vma.flags, pages) {
            return Err(SEGV);
        }
        self.vmas.modify(vma.start, |vma| {
            vma.start = page;
            vma.offset -= pages;
        });
        self.vmas.at(page).copied().ok_or(SEGV)
    }

    /// Gives a mapping its `anon_vma`: a neighbour's where both fit together and it was not
    /// inherited by fork (`reusable_anon_vma()`), else a new one.
    pub(super) fn prepare_anon(&mut self, start: u64) {
        let Some(vma) = self.vmas.at(start).copied() else {
            return;
        };
        if vma.anon != 0 {
            return;
        }
        let epoch = self.epoch;
        let usable = |other: &Vma| other.owns_anon(epoch).then_some(other.anon);
        let above = self.vmas.at(vma.end).filter(|a| vma.anon_compatible(a));
        let below = self
            .vmas
            .before(vma.start)
            .filter(|b| b.anon_compatible(&vma));
        let found = above.and_then(usable).or_else(|| below.and_then(usable));
        let anon = found.unwrap_or_else(|| self.new_anon());
        self.vmas.modify(vma.start, |vma| {
            vma.anon = anon;
            vma.epoch = epoch;
        });
    }

    /// A fault that the mapping permits (or that is forced, for populating).
    fn fault(
        &mut self,
        cx: &mut Cx<'_>,
        vma: &Vma,
        page: u64,
        access: Access,
    ) -> Result<(), Errno> {
        match vma.backing {
            Backing::Special => Ok(()),
            Backing::Hugetlb => self.hugetlb_fault(cx, vma, page),
            Backing::Anon => self.anon_fault(cx, vma, page, access),
            Backing::File(_) => match self.anon.at(page) {
                Some(run) => self.present_fault(cx, vma, page, run, access),
                None => self.file_fault(cx, vma, page, access),
            },
        }
    }

    fn hugetlb_fault(&mut self, cx: &mut Cx<'_>, vma: &Vma, page: u64) -> Result<(), Errno> {
        if let Some(block) = vma.huge_block(page)
            && self.anon.at(page).is_none()
        {
            if vma.flags.has(VmFlags::NORESERVE) && cx.knobs.hugetlb_pages == 0 {
                return Err(BUS);
            }
            let frame = cx.cache.new_frames(HUGE / PAGE);
            self.anon
                .put(written(block, block + HUGE, PageKind::Huge, frame));
        }
        Ok(())
    }

    /// `do_anonymous_page()` and `do_huge_pmd_anonymous_page()`.
    fn anon_fault(
        &mut self,
        cx: &mut Cx<'_>,
        vma: &Vma,
        page: u64,
        access: Access,
    ) -> Result<(), Errno> {
        if let Some(run) = self.anon.at(page) {
            return self.present_fault(cx, vma, page, run, access);
        }
        let read = access == Access::Read;
        if let Some(block) = vma.huge_block(page)
            && self.may_be_huge(cx.knobs, vma)
            && self.anon.is_clear(block, block + HUGE)
            && !self.tables.has(block)
        {
            self.prepare_anon(vma.start);
            let run = if read && cx.knobs.huge_zero {
                zero(block, block + HUGE, PageKind::HugeZero)
            } else {
                let frame = cx.cache.new_frames(HUGE / PAGE);
                written(block, block + HUGE, PageKind::Huge, frame)
            };
            self.anon.put(run);
            return Ok(());
        }
        self.tables.free(page & !(HUGE - 1));
        if read {
            // The zero page needs no anon_vma.
            self.anon.put(zero(page, page + PAGE, PageKind::Zero));
            return Ok(());
        }
        self.prepare_anon(vma.start);
        let frame = cx.cache.new_frames(1);
        self.anon
            .put(written(page, page + PAGE, PageKind::Base, frame));
        Ok(())
    }

    /// A fault on an entry that is there.
    fn present_fault(
        &mut self,
        cx: &mut Cx<'_>,
        vma: &Vma,
        page: u64,
        run: Run,
        access: Access,
    ) -> Result<(), Errno> {
        let write = access == Access::Write;
        let block = page & !(HUGE - 1);
        match run.kind {
            PageKind::Guard => return Err(SEGV),
            PageKind::Swapped => {
                cx.cache.swap_used = cx.cache.swap_used.saturating_sub(1);
                self.anon.change(page, page + PAGE, |mut run| {
                    run.kind = PageKind::Base;
                    run.young = true;
                    Some(run)
                });
                if write {
                    return self.fault(cx, vma, page, access);
                }
            }
            PageKind::HugeZero if write => {
                let huge = match cx.knobs.huge_zero_write {
                    _ if self.mutant == Some(Mutant::HugeZeroStays) => true,
                    HugeZeroWrite::AsTable => self.may_be_huge(cx.knobs, vma),
                    HugeZeroWrite::Huge => true,
                    HugeZeroWrite::Small => false,
                };
                if !huge {
                    // __split_huge_zero_page_pmd(): the zero page everywhere, and one copy.
                    self.anon.change(block, block + HUGE, |mut run| {
                        run.kind = PageKind::Zero;
                        Some(run)
                    });
                    self.new_copy(cx, vma, page);
                    return Ok(());
                }
                self.prepare_anon(vma.start);
                let frame = cx.cache.new_frames(HUGE / PAGE);
                self.anon.change(block, block + HUGE, |_| {
                    Some(written(block, block + HUGE, PageKind::Huge, frame))
                });
            }
            PageKind::Zero if write => self.new_copy(cx, vma, page),
            PageKind::Huge if write => {
                let first = run.frame - (page - block) / PAGE;
                if vma.is_anon() && cx.shared(self, first..first + HUGE / PAGE, block) {
                    // do_huge_pmd_wp_page(): a shared huge page is mapped by base pages first.
                    self.anon.break_block(block);
                    return self.fault(cx, vma, page, access);
                }
                self.mark(block, block + HUGE, true);
            }
            PageKind::Base if write => {
                if cx.shared(self, run.frame..run.frame + 1, page) {
                    self.new_copy(cx, vma, page);
                } else {
                    self.mark(page, page + PAGE, true);
                }
            }
            PageKind::Huge | PageKind::HugeZero => self.mark(block, block + HUGE, false),
            PageKind::Zero | PageKind::Base => self.mark(page, page + PAGE, false),
        }
        Ok(())
    }

    fn mark(&mut self, start: u64, end: u64, dirty: bool) {
        self.anon.change(start, end, |mut run| {
            run.young = true;
            run.dirty |= dirty;
            Some(run)
        });
    }

    /// Copy-on-write of one page.
    fn new_copy(&mut self, cx: &mut Cx<'_>, vma: &Vma, page: u64) {
        self.prepare_anon(vma.start);
        let frame = cx.cache.new_frames(1);
        self.anon.change(page, page + PAGE, |_| {
            Some(written(page, page + PAGE, PageKind::Base, frame))
        });
    }

    fn file_fault(
        &mut self,
        cx: &mut Cx<'_>,
        vma: &Vma,
        page: u64,
        access: Access,
    ) -> Result<(), Errno> {
        let Backing::File(file) = vma.backing else {
            return Ok(());
        };
        let index = vma.offset + (page - vma.start) / PAGE;
        if index >= cx.cache.file_pages(file) {
            return Err(BUS);
        }
        let write = access == Access::Write;
        if write && !vma.flags.has(VmFlags::SHARED) {
            // A private copy takes the file page's place.
            cx.cache.load(file, index);
            let part = vma.part(page, page + PAGE);
            self.zap(cx, &part, super::zap::Why::Unmap);
            self.tables.free(page & !(HUGE - 1));
            self.prepare_anon(vma.start);
            let frame = cx.cache.new_frames(1);
            self.anon
                .put(written(page, page + PAGE, PageKind::Base, frame));
            return Ok(());
        }
        if self.file.at(page).is_some() {
            self.file.change(page, page + PAGE, |mut run| {
                run.young = true;
                run.dirty |= write;
                Some(run)
            });
            return Ok(());
        }
        cx.cache.map(file, index);
        self.tables.free(page & !(HUGE - 1));
        self.file.put(Run {
            start: page,
            end: page + PAGE,
            kind: PageKind::Base,
            frame: index + 1,
            dirty: write,
            young: true,
        });
        Ok(())
    }

    /// `mm_populate()`: brings in what is mapped of a range and locked at once; gaps, mappings
    /// locked on fault and mappings that fail are passed over.
    pub(super) fn populate(&mut self, cx: &mut Cx<'_>, start: u64, end: u64) {
        let walked = self.walk(start, end, |mm, part| {
            mm.populate_vma(cx, &part).ok();
            Ok(())
        });
        walked.ok();
    }

    /// `__mm_populate()` as mlock(2) calls it: stops at the first error.
    pub(super) fn populate_strictly(
        &mut self,
        cx: &mut Cx<'_>,
        start: u64,
        end: u64,
    ) -> Result<(), Errno> {
        self.walk(start, end, |mm, part| mm.populate_vma(cx, &part))
            .map(|_| ())
    }

    /// `populate_vma_page_range()`.
    fn populate_vma(&mut self, cx: &mut Cx<'_>, part: &Vma) -> Result<(), Errno> {
        if part
            .flags
            .any(VmFlags::IO | VmFlags::PFNMAP | VmFlags::LOCKONFAULT)
        {
            return Ok(());
        }
        if !part.flags.any(VmFlags::ACCESS) {
            return Err(SEGV);
        }
        let write = part.flags & (VmFlags::WRITE | VmFlags::SHARED) == VmFlags::WRITE;
        let access = if write { Access::Write } else { Access::Read };
        self.populate_part(cx, part, access)
    }

    /// Faults every page of a part of a mapping in, unless it is there in the way that `access`
    /// needs.
    pub(super) fn populate_part(
        &mut self,
        cx: &mut Cx<'_>,
        part: &Vma,
        access: Access,
    ) -> Result<(), Errno> {
        let mut page = part.start;
        while page < part.end {
            let vma = self.vmas.at(page).copied().ok_or(SEGV)?;
            self.fault(cx, &vma, page, access)?;
            page = match self.anon.at(page) {
                Some(run) if matches!(run.kind, PageKind::Huge | PageKind::HugeZero) => {
                    (page & !(HUGE - 1)) + HUGE
                }
                _ => page + PAGE,
            };
        }
        Ok(())
    }
}

fn zero(start: u64, end: u64, kind: PageKind) -> Run {
    Run {
        start,
        end,
        kind,
        frame: 0,
        dirty: false,
        young: true,
    }
}

fn written(start: u64, end: u64, kind: PageKind, frame: u64) -> Run {
    Run {
        start,
        end,
        kind,
        frame,
        dirty: true,
        young: true,
    }
}
