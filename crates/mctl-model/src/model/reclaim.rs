//! Memory pressure on file folios.

use super::Model;
use crate::cache::Reclaimed;
use crate::creds::Caps;
use crate::ids::MmId;
use crate::mm::{Cx, Mm};
use crate::vma::{Backing, FileId, MARK_FILE, VmFlags, Vma};
use crate::{Limits, PAGE};

impl Model {
    /// Looks at up to `scan` folios from the inactive list's tail (`shrink_inactive_list()`):
    /// one that was used stays or becomes active, a dirty one is written, the others are freed.
    pub fn reclaim(&mut self, scan: u64) -> Reclaimed {
        let mut done = Reclaimed::default();
        let mut after = i64::MIN;
        for _ in 0..scan {
            let Some((order, file, page)) = self.cache.tail_folio(after) else {
                break;
            };
            after = order.saturating_add(1);
            let (uses, exec) = self.clear_young(file, page);
            match self.cache.judge(file, page, uses, exec) {
                Some(true) => done.activated += 1,
                Some(false) => {}
                None => self.drop_folio(file, page, &mut done),
            }
        }
        done
    }

    fn drop_folio(&mut self, file: FileId, page: u64, done: &mut Reclaimed) {
        self.each_mapping(file, page, |mm, cx, piece| mm.zap_for_reclaim(cx, &piece));
        if self.cache.folio(file, page).is_some_and(|f| f.dirty) {
            self.cache.clean(file, page);
            done.written += 1;
        } else if self.cache.evict(file, page) {
            done.freed += 1;
        }
    }

    /// Takes the folios of punched holes out of every mapping (`unmap_mapping_range()`).
    pub(super) fn fill_holes(&mut self) {
        for (file, page) in std::mem::take(&mut self.cache.holes) {
            self.each_mapping(file, page, |mm, cx, piece| mm.zap_for_reclaim(cx, &piece));
            self.cache.punch(file, page..page + 1);
        }
        // What counts as mapped although nobody maps it would come round again.
        self.cache.holes.clear();
    }

    /// Clears the young bits of every mapping of a folio: how many there were, and whether one
    /// was executable (`folio_referenced()`).
    fn clear_young(&mut self, file: FileId, page: u64) -> (u32, bool) {
        let mut found = (0, false);
        self.each_mapping(file, page, |mm, _, piece| {
            mm.file.change(piece.start, piece.end, |mut run| {
                if run.young {
                    // vma_has_recency(): what is read once in order does not count.
                    if !piece.flags.any(VmFlags::SEQ | VmFlags::RAND) {
                        found.0 += 1;
                        found.1 |= piece.flags.has(VmFlags::EXEC);
                    }
                    run.young = false;
                }
                Some(run)
            });
        });
        found
    }

    /// Every mapped page-table entry of a folio.
    fn each_mapping(
        &mut self,
        file: FileId,
        page: u64,
        mut visit: impl FnMut(&mut Mm, &mut Cx<'_>, Vma),
    ) {
        if self.cache.folio(file, page).is_none_or(|f| f.mapped == 0) {
            return;
        }
        let ids: Vec<MmId> = self.mms.keys().copied().collect();
        for id in ids {
            self.on_mm(id, Limits::default(), Caps::FULL, |mm, cx| {
                let mut cursor = 0;
                while let Some(vma) = mm.vmas.find_marked(cursor, MARK_FILE).copied() {
                    cursor = vma.end;
                    let inside = vma.offset <= page && page < vma.offset + vma.pages();
                    if vma.backing != Backing::File(file) || !inside {
                        continue;
                    }
                    let address = vma.start + (page - vma.offset) * PAGE;
                    if mm.file.at(address).is_some() {
                        visit(mm, cx, vma.part(address, address + PAGE));
                    }
                }
            })
            .ok();
        }
    }
}
