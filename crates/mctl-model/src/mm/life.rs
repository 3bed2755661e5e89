//! The beginning and the end of an address space: exec, fork, teardown.

use mctl_abi::Policy;
use mctl_abi::thp::ThpDisable;

use super::zap::Why;
use super::{Cx, LockMode, Mm};
use crate::HUGE;
use crate::PAGE;
use crate::cache::Cache;
use crate::ids::NsId;
use crate::knobs::Image;
use crate::mutant::Mutant;
use crate::pages::{PageKind, Run, SWAP_MARK};
use crate::tree::Tree;
use crate::vma::{Backing, MARK_FILE, VmFlags, Vma};

impl Mm {
    /// A new image: mappings as `image` says, nothing locked, under the policy that survived.
    /// `mm_init()` keeps THP_DISABLE and the merging policy and nothing of the lock mode.
    pub(crate) fn from_image(
        image: &Image,
        policy: Policy,
        thp_disable: ThpDisable,
        user_ns: NsId,
        family: u32,
        mutant: Option<Mutant>,
    ) -> Mm {
        let mut mm = Mm {
            mutant,
            brk_start: image.brk_start,
            brk: image.brk,
            policy,
            thp_disable,
            user_ns,
            users: 1,
            family,
            ..Mm::default()
        };
        let mut regions = image.regions.clone();
        regions.sort_by_key(|region| region.start);
        for region in regions {
            let end = region.start.saturating_add(region.len);
            if region.len == 0 || mm.vmas.overlaps(region.start, end) {
                continue;
            }
            let mut vma = Vma {
                start: region.start,
                end,
                flags: region.flags,
                backing: if region.special {
                    Backing::Special
                } else {
                    Backing::Anon
                },
                offset: region.start / PAGE,
                anon: 0,
                epoch: 0,
            };
            mm.finish_flags(&mut vma);
            if vma.flags.has(VmFlags::GROWSDOWN) {
                // The stack is mapped before the policy comes to the new image.
                vma.flags = vma.flags.without(VmFlags::MERGEABLE);
            }
            mm.vmas.insert(vma);
        }
        mm
    }

    /// fork's copy (`dup_mmap()`). The trees are shared until one side changes them; only the
    /// mappings that fork treats specially are visited.
    pub(crate) fn fork(&self, cache: &mut Cache) -> Mm {
        let mut child = self.clone();
        // Page-cache pages are not copied: a fault brings them again.
        child.file = crate::pages::Pages::default();
        child.def_lock = LockMode::None;
        child.stale_locked = 0;
        child.policy = match self.mutant {
            Some(Mutant::ForkForgetsPolicy) => Policy::INHERIT,
            Some(Mutant::ForkKeepsFade) => self.policy,
            _ => self.policy.on_fork(),
        };
        if self.mutant == Some(Mutant::ForkKeepsLockMode) {
            child.def_lock = self.def_lock;
        }
        if self.mutant == Some(Mutant::ForkForgetsAdvice) {
            child.forget_advice();
        }
        child.epoch = self.epoch + 1;
        child.users = 1;
        child.drop_uncopied();
        child.unlock_copies();
        child.drop_zero_pages();
        child.drop_tables(self);
        if child.anon.any(SWAP_MARK) {
            cache.swap_used += child
                .anon
                .range(0, u64::MAX)
                .filter(|run| run.kind == PageKind::Swapped)
                .map(|run| (run.end - run.start) / PAGE)
                .sum::<u64>();
        }
        child
    }

    /// `MADV_DONTFORK` mappings stay away; `MADV_WIPEONFORK` ones come empty.
    fn drop_uncopied(&mut self) {
        let marks = (VmFlags::DONTCOPY | VmFlags::WIPEONFORK).bits();
        let mut cursor = 0;
        while let Some(vma) = self.vmas.find_marked(cursor, marks).copied() {
            cursor = vma.end;
            let wiped = vma.flags.has(VmFlags::WIPEONFORK);
            if wiped && self.mutant == Some(Mutant::WipeOnForkCopies) {
                continue;
            }
            self.anon.zap(vma.start, vma.end, |_| ());
            if vma.flags.has(VmFlags::DONTCOPY) {
                self.vmas.remove(vma.start);
            } else {
                self.vmas.modify(vma.start, |vma| vma.anon = 0);
            }
        }
    }

    /// A fault on purpose.
    fn forget_advice(&mut self) {
        let mut cursor = 0;
        while let Some(vma) = self.vmas.find(cursor).copied() {
            cursor = vma.end;
            let advice = VmFlags::HUGEPAGE | VmFlags::NOHUGEPAGE | VmFlags::MERGEABLE;
            self.vmas
                .modify(vma.start, |vma| vma.flags = vma.flags.without(advice));
        }
    }

    fn unlock_copies(&mut self) {
        let mut cursor = 0;
        let marks = VmFlags::LOCK_MASK.bits();
        while let Some(vma) = self.vmas.find_marked(cursor, marks).copied() {
            cursor = vma.end;
            self.vmas.modify(vma.start, |vma| {
                vma.flags = vma.flags.without(VmFlags::LOCK_MASK);
            });
        }
    }

    /// Mappings without an `anon_vma` are not copied page by page (`vma_needs_copy()`), so the
    /// zero pages that they hold are not there in the child.
    fn drop_zero_pages(&mut self) {
        let zeros: Vec<Run> = self.anon.of_kind(PageKind::Zero).collect();
        for run in zeros {
            let mut cursor = run.start;
            while cursor < run.end {
                let Some(vma) = self.vmas.at(cursor).copied() else {
                    break;
                };
                let end = vma.end.min(run.end);
                if vma.anon == 0 {
                    self.anon.zap(cursor, end, |_| ());
                }
                cursor = end;
            }
        }
    }

    /// Empty tables are copied where a mapping with an `anon_vma` touches the block.
    fn drop_tables(&mut self, parent: &Mm) {
        for block in parent.tables.blocks() {
            let copied = self
                .vmas
                .iter_from(block)
                .take_while(|vma| vma.start < block + HUGE)
                .any(|vma| vma.anon != 0);
            if !copied || self.has_entries(block) {
                self.tables.free(block);
            }
        }
    }

    fn has_entries(&self, block: u64) -> bool {
        !self.anon.is_clear(block, block + HUGE)
    }

    /// The last user is gone: page-cache pages lose their mappings, swap its slots.
    pub(crate) fn teardown(&mut self, cx: &mut Cx<'_>) {
        if self.file.totals()[0] > 0 {
            let mut cursor = 0;
            while let Some(vma) = self.vmas.find_marked(cursor, MARK_FILE).copied() {
                cursor = vma.end;
                self.zap(cx, &vma, Why::Exit);
            }
        }
        if self.anon.any(SWAP_MARK) {
            let swapped: u64 = self
                .anon
                .range(0, u64::MAX)
                .filter(|run| run.kind == PageKind::Swapped)
                .map(|run| (run.end - run.start) / PAGE)
                .sum();
            cx.cache.swap_used = cx.cache.swap_used.saturating_sub(swapped);
        }
        self.vmas = Tree::default();
        self.anon = crate::pages::Pages::default();
    }
}
