//! Splitting, merging and flagging mappings.

use mctl_abi::Errno;

use super::{Cx, Mm};
use crate::vma::{INHERITED, VmFlags, Vma};
use crate::{HUGE, PAGE};

impl Mm {
    /// A fresh `anon_vma` identity.
    pub(super) fn new_anon(&mut self) -> u32 {
        self.next_anon += 1;
        self.next_anon
    }

    /// Makes one mapping of the two that meet at `address`, where they are alike.
    pub(super) fn merge_at(&mut self, address: u64) {
        let Some(above) = self.vmas.at(address).copied() else {
            return;
        };
        if above.start != address {
            return;
        }
        let Some(below) = self.vmas.before(address).copied() else {
            return;
        };
        if !below.merges_with(&above, self.epoch) {
            return;
        }
        self.vmas.remove(above.start);
        self.vmas.modify(below.start, |vma| {
            vma.end = above.end;
            if vma.anon == 0 {
                vma.anon = above.anon;
                vma.epoch = above.epoch;
            }
        });
    }

    /// Makes one mapping of the one that starts at `start` and its neighbours, first the upper
    /// one, where they are alike.
    fn merge_around(&mut self, start: u64) {
        // The usual case is a gap on both sides, which one look finds.
        if self.vmas.meeting(start) == (None, None) {
            return;
        }
        if let Some(vma) = self.vmas.at(start).copied() {
            self.merge_at(vma.end);
            self.merge_at(start);
        }
    }

    /// Cuts the mapping that holds `address` in its inside. A huge page across the cut is mapped
    /// by base pages from then on (`vma_adjust_trans_huge()`).
    ///
    /// `ENOMEM` where there are too many mappings (`split_vma()`).
    pub(super) fn split_at(&mut self, cx: &Cx<'_>, address: u64) -> Result<(), Errno> {
        let Some(vma) = self.vmas.at(address).copied() else {
            return Ok(());
        };
        if vma.start == address {
            return Ok(());
        }
        if self.map_count() >= cx.knobs.max_map_count {
            return Err(Errno::ENOMEM);
        }
        self.split_freely(address)
    }

    /// As [`Mm::split_at`], without the limit.
    pub(super) fn split_freely(&mut self, address: u64) -> Result<(), Errno> {
        if let Some(vma) = self.vmas.at(address).copied()
            && vma.start < address
        {
            // hugetlb_vm_op_split()
            if vma.flags.has(VmFlags::HUGETLB) && !address.is_multiple_of(HUGE) {
                return Err(Errno::EINVAL);
            }
            self.cut(vma, address);
        }
        Ok(())
    }

    fn cut(&mut self, mut vma: Vma, address: u64) {
        self.anon.break_huge(address);
        if vma.anon != 0 && vma.epoch != self.epoch {
            // Two halves of one inherited mapping keep a common identity that nothing else has.
            vma.anon = self.new_anon() | INHERITED;
            vma.epoch = self.epoch;
        }
        self.vmas.modify(vma.start, |low| {
            low.end = address;
            low.anon = vma.anon;
            low.epoch = vma.epoch;
        });
        self.vmas.insert(vma.part(address, vma.end));
    }

    /// Gives `start..end`, which lies inside one mapping, other flags, cutting and merging as
    /// needed.
    pub(super) fn set_flags(
        &mut self,
        cx: &Cx<'_>,
        start: u64,
        end: u64,
        flags: VmFlags,
    ) -> Result<(), Errno> {
        let Some(vma) = self.vmas.at(start).copied() else {
            return Ok(());
        };
        if vma.flags == flags {
            return Ok(());
        }
        if vma.start < start {
            self.split_at(cx, start)?;
        }
        if end < vma.end {
            self.split_at(cx, end)?;
        }
        self.vmas.modify(start, |vma| vma.flags = flags);
        self.merge_around(start);
        Ok(())
    }

    /// Puts a mapping into a free range and merges it with what lies beside it.
    pub(super) fn add(&mut self, vma: Vma) {
        self.vmas.insert(vma);
        self.merge_around(vma.start);
    }

    /// The parts of mappings inside `start..end`, lowest first, one at a time: `step` gets the
    /// part cut to the range. Gaps are reported by the result: true where there was one.
    pub(crate) fn walk(
        &mut self,
        start: u64,
        end: u64,
        mut step: impl FnMut(&mut Mm, Vma) -> Result<(), Errno>,
    ) -> Result<bool, Errno> {
        let mut gap = false;
        let mut cursor = start;
        while cursor < end {
            let Some(vma) = self.vmas.find(cursor).copied() else {
                return Ok(true);
            };
            if vma.start > cursor {
                gap = true;
                if vma.start >= end {
                    return Ok(gap);
                }
            }
            let part = vma.part(vma.start.max(cursor), vma.end.min(end));
            step(self, part)?;
            cursor = part.end;
        }
        Ok(gap)
    }

    /// Pages of locked mappings inside `start..end` (`count_mm_mlocked_page_nr()`).
    pub(super) fn locked_in(&self, start: u64, end: u64) -> u64 {
        self.vmas
            .iter_from(start)
            .take_while(|vma| vma.start < end)
            .filter(|vma| vma.flags.has(VmFlags::LOCKED))
            .map(|vma| (vma.end.min(end) - vma.start.max(start)) / PAGE)
            .sum()
    }
}
