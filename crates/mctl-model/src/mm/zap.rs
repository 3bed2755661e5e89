//! Taking pages away.

use super::{Cx, Mm};
use crate::HUGE;
use crate::PAGE;
use crate::cache::Use;
use crate::kernel::Feature;
use crate::mutant::Mutant;
use crate::pages::{PageKind, Run};
use crate::vma::{Backing, VmFlags, Vma};
use mctl_abi::PolicyKind;

/// Why pages are taken away.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// `MADV_DONTNEED`: guard markers stay, and a whole block's table is freed
    /// (CONFIG_PT_RECLAIM, Linux 6.14).
    Dontneed,
    /// A hole is punched into the object: guard markers stay.
    Hole,
    /// The mapping goes.
    Unmap,
    /// The address space goes.
    Exit,
}

impl Mm {
    /// Whether a page table covers the block.
    pub(super) fn has_table(&self, block: u64) -> bool {
        self.tables.has(block)
            || !self.file.is_clear(block, block + HUGE)
            || self
                .anon
                .range(block, block + HUGE)
                .next()
                .is_some_and(|run| !matches!(run.kind, PageKind::Huge | PageKind::HugeZero))
    }

    /// Takes the pages of a part of one mapping away.
    pub(super) fn zap(&mut self, cx: &mut Cx<'_>, part: &Vma, why: Why) {
        let ends = [part.start & !(HUGE - 1), (part.end - 1) & !(HUGE - 1)];
        let tables = ends.map(|block| self.has_table(block));
        self.zap_anon(cx, part, why);
        if let Backing::File(_) = part.backing {
            self.zap_file(cx, part, why);
        }
        if why == Why::Exit {
            return;
        }
        let frees = why == Why::Dontneed && cx.knobs.features.has(Feature::TableReclaim);
        for (block, had) in ends.into_iter().zip(tables) {
            let whole = part.start <= block && block + HUGE <= part.end;
            if had && !(whole && frees) && !self.has_table(block) {
                self.tables.leave(block);
            }
        }
        if frees {
            self.tables.free_inside(part.start, part.end);
        }
    }

    fn zap_anon(&mut self, cx: &mut Cx<'_>, part: &Vma, why: Why) {
        let mut swapped = 0;
        let count = |run: Run| {
            if run.kind == PageKind::Swapped {
                (run.end - run.start) / PAGE
            } else {
                0
            }
        };
        if matches!(why, Why::Dontneed | Why::Hole) {
            self.anon.change(part.start, part.end, |run| {
                swapped += count(run);
                (run.kind == PageKind::Guard).then_some(run)
            });
        } else {
            self.anon
                .zap(part.start, part.end, |run| swapped += count(run));
        }
        cx.cache.swap_used = cx.cache.swap_used.saturating_sub(swapped);
    }

    fn zap_file(&mut self, cx: &mut Cx<'_>, part: &Vma, why: Why) {
        let Backing::File(file) = part.backing else {
            return;
        };
        let fade = why == Why::Exit
            && (self.policy.has(PolicyKind::FadeOnDeath)
                || self.mutant == Some(Mutant::FadeAlways));
        let recency = !part.flags.any(VmFlags::SEQ | VmFlags::RAND);
        let cache = &mut *cx.cache;
        self.file.zap(part.start, part.end, |run| {
            let pages = (run.end - run.start) / PAGE;
            for page in run.frame - 1..run.frame - 1 + pages {
                cache.unmap(
                    file,
                    page,
                    Use {
                        young: run.young,
                        dirty: run.dirty && part.flags.has(VmFlags::SHARED),
                        recency,
                        fade,
                    },
                );
            }
        });
    }

    /// After mappings went from `start..end`: frees the tables of blocks that no mapping
    /// touches any more (`free_pgtables()`).
    pub(super) fn free_tables(&mut self, start: u64, end: u64) {
        self.tables.free_inside(start, end);
        for block in [start & !(HUGE - 1), (end - 1) & !(HUGE - 1)] {
            if self.tables.has(block) && !self.vmas.overlaps(block, block + HUGE) {
                self.tables.free(block);
            }
        }
    }
}

impl Mm {
    /// Reclaim takes a page-cache page's entry away.
    pub(crate) fn zap_for_reclaim(&mut self, cx: &mut Cx<'_>, piece: &Vma) {
        self.zap(cx, piece, Why::Unmap);
    }
}
