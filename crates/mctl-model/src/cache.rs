//! Files, their folios on the active and the inactive list, and what reclaim does with them.
//!
//! The lists follow mm/swap.c and mm/vmscan.c with the classic (not multi-generational) LRU.
//! Anonymous pages are not on these lists: the model swaps them out only for `MADV_PAGEOUT`.

use std::collections::{BTreeMap, BTreeSet};

use crate::PAGE;
use crate::mutant::Mutant;
use crate::vma::FileId;

/// What a file is, for opening mappings of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Its name in scenarios; empty for the object behind a shared anonymous mapping.
    pub name: String,
    /// Size in bytes.
    pub len: u64,
    /// Shared memory (tmpfs, memfd): its folios do not leave for being clean.
    pub shmem: bool,
    /// Opened for writing.
    pub writable: bool,
}

/// Where a folio stands, as the lists see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FolioState {
    /// On the active list.
    pub active: bool,
    /// Used once since it was last looked at.
    pub referenced: bool,
    /// Written, not yet on disk.
    pub dirty: bool,
    /// To be reclaimed as soon as its write is done.
    pub reclaim: bool,
    /// How many page-table entries map it.
    pub mapped: u32,
    /// Its place: lower is nearer to the tail.
    order: i64,
}

/// What a round of reclaim did, in folios.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Freed.
    pub freed: u64,
    /// Moved to the active list for having been used.
    pub activated: u64,
    /// Written out and kept.
    pub written: u64,
}

type Key = (FileId, u64);

/// Every file with its folios, and the sources of frame and swap numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cache {
    files: Vec<FileInfo>,
    folios: BTreeMap<Key, FolioState>,
    lists: [BTreeMap<i64, Key>; 2],
    /// Folios that were evicted: their return is a refault.
    shadows: BTreeSet<Key>,
    refaults: BTreeMap<FileId, u64>,
    head: i64,
    tail: i64,
    frames: u64,
    pub(crate) swap_used: u64,
    /// Folios of punched holes that somebody still maps.
    pub(crate) holes: Vec<Key>,
    /// A fault on purpose.
    pub(crate) mutant: Option<Mutant>,
}

impl Cache {
    pub(crate) fn new(mutant: Option<Mutant>) -> Cache {
        Cache {
            mutant,
            ..Cache::default()
        }
    }

    pub(crate) fn new_file(&mut self, info: FileInfo) -> FileId {
        let id = FileId(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
        self.files.push(info);
        id
    }

    pub(crate) fn file(&self, id: FileId) -> Option<&FileInfo> {
        self.files.get(usize::try_from(id.0).ok()?)
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<FileId> {
        let at = self.files.iter().position(|f| f.name == name)?;
        u32::try_from(at).ok().map(FileId)
    }

    /// The first of `pages` fresh page identities in a row.
    pub(crate) fn new_frames(&mut self, pages: u64) -> u64 {
        let first = self.frames + 1;
        self.frames += pages;
        first
    }

    pub(crate) fn folio(&self, file: FileId, page: u64) -> Option<&FolioState> {
        self.folios.get(&(file, page))
    }

    /// Folios of a file in the cache: on the active and on the inactive list.
    pub(crate) fn counts(&self, file: FileId) -> (u64, u64) {
        let mut counts = (0, 0);
        for (_, folio) in self.folios.range((file, 0)..=(file, u64::MAX)) {
            if folio.active {
                counts.0 += 1;
            } else {
                counts.1 += 1;
            }
        }
        counts
    }

    pub(crate) fn refaults(&self, file: FileId) -> u64 {
        self.refaults.get(&file).copied().unwrap_or(0)
    }

    fn list(&mut self, active: bool) -> &mut BTreeMap<i64, Key> {
        let [inactive, active_list] = &mut self.lists;
        if active { active_list } else { inactive }
    }

    /// Moves a folio to the head or the tail of a list.
    fn place(&mut self, key: Key, active: bool, at_head: bool) {
        let order = if at_head {
            self.head += 1;
            self.head
        } else {
            self.tail -= 1;
            self.tail
        };
        let Some(folio) = self.folios.get_mut(&key) else {
            return;
        };
        let old = (folio.active, folio.order);
        folio.active = active;
        folio.order = order;
        self.list(old.0).remove(&old.1);
        self.list(active).insert(order, key);
    }

    /// Brings a page into the cache; one that comes back is a refault and active at once
    /// (`workingset_refault()`).
    pub(crate) fn load(&mut self, file: FileId, page: u64) {
        let key = (file, page);
        if self.folios.contains_key(&key) {
            return;
        }
        let back = self.shadows.remove(&key);
        if back {
            *self.refaults.entry(file).or_default() += 1;
        }
        self.head += 1;
        let order = self.head;
        self.folios.insert(
            key,
            FolioState {
                active: back,
                referenced: false,
                dirty: false,
                reclaim: false,
                mapped: 0,
                order,
            },
        );
        self.list(back).insert(order, key);
    }

    pub(crate) fn map(&mut self, file: FileId, page: u64) {
        self.load(file, page);
        if let Some(folio) = self.folios.get_mut(&(file, page)) {
            folio.mapped += 1;
        }
    }

    /// A page-table entry goes away. `recency` is whether its use counts
    /// (`vma_has_recency()`), `fade` whether the address space fades.
    pub(crate) fn unmap(&mut self, file: FileId, page: u64, used: Use) {
        let key = (file, page);
        let Some(folio) = self.folios.get_mut(&key) else {
            return;
        };
        folio.mapped = folio.mapped.saturating_sub(1);
        folio.dirty |= used.dirty;
        let alone = folio.mapped == 0;
        let (mut dirty, shmem) = (folio.dirty, self.is_shmem(file));
        let mutant = self.mutant;
        if used.fade && dirty && mutant == Some(Mutant::FadeDropsDirty) {
            dirty = false;
            if let Some(folio) = self.folios.get_mut(&key) {
                folio.dirty = false;
            }
        }
        let alone = alone || (used.fade && mutant == Some(Mutant::FadeMovesShared));
        if used.fade && mutant == Some(Mutant::FadePromotes) {
            self.accessed(key);
            self.accessed(key);
            return;
        }
        if used.fade && mutant == Some(Mutant::FadeLeavesPlace) {
            return;
        }
        if used.fade {
            // docs/CONTRACT.md#fade-not-promoted: not promoted for having been used by the dying one, and what only it
            // had mapped goes to the tail; a dirty folio is only marked for reclaim.
            if alone && !shmem {
                self.place(key, false, dirty);
                if let Some(folio) = self.folios.get_mut(&key) {
                    folio.referenced = false;
                    folio.reclaim = dirty;
                }
            }
        } else if used.young && used.recency {
            self.accessed(key);
        }
    }

    fn is_shmem(&self, file: FileId) -> bool {
        self.file(file).is_some_and(|f| f.shmem)
    }

    /// `folio_mark_accessed()`: inactive → inactive, referenced → active → active, referenced.
    fn accessed(&mut self, key: Key) {
        let Some(folio) = self.folios.get_mut(&key) else {
            return;
        };
        if !folio.referenced {
            folio.referenced = true;
        } else if !folio.active {
            folio.referenced = false;
            self.place(key, true, true);
        }
    }

    /// A page is used by read(2).
    pub(crate) fn read(&mut self, file: FileId, page: u64) {
        self.load(file, page);
        self.accessed((file, page));
    }

    /// `MADV_COLD`: off the active list (`folio_deactivate()`).
    pub(crate) fn deactivate(&mut self, file: FileId, page: u64) {
        let key = (file, page);
        if self.folios.get(&key).is_some_and(|f| f.active) {
            self.place(key, false, true);
        }
        if let Some(folio) = self.folios.get_mut(&key) {
            folio.referenced = false;
        }
    }

    /// Drops a clean, unmapped page, leaving a shadow; false where it must stay.
    pub(crate) fn evict(&mut self, file: FileId, page: u64) -> bool {
        let key = (file, page);
        match self.folios.get(&key) {
            Some(folio) if folio.mapped == 0 && !folio.dirty && !self.is_shmem(file) => {
                let (active, order) = (folio.active, folio.order);
                self.folios.remove(&key);
                self.list(active).remove(&order);
                self.shadows.insert(key);
                true
            }
            _ => false,
        }
    }

    /// A hole is punched into an object: its folios go, contents and all. Those that are mapped
    /// wait in `holes` until every mapping has let go of them.
    pub(crate) fn punch(&mut self, file: FileId, pages: std::ops::Range<u64>) {
        let inside = (file, pages.start)..(file, pages.end);
        let found: Vec<(Key, bool, bool, i64)> = self
            .folios
            .range(inside)
            .map(|(key, folio)| (*key, folio.mapped > 0, folio.active, folio.order))
            .collect();
        for (key, mapped, active, order) in found {
            if mapped {
                self.holes.push(key);
            } else {
                self.folios.remove(&key);
                self.list(active).remove(&order);
            }
        }
    }

    /// Writes a dirty folio out.
    pub(crate) fn clean(&mut self, file: FileId, page: u64) {
        if let Some(folio) = self.folios.get_mut(&(file, page)) {
            folio.dirty = false;
        }
    }

    /// The folio nearest to the inactive list's tail, after the active list was aged if it had
    /// grown longer (`inactive_is_low()`).
    pub(crate) fn tail_folio(&mut self, after: i64) -> Option<(i64, FileId, u64)> {
        let [inactive, active] = &self.lists;
        if inactive.len() < active.len()
            && let Some(key) = active.values().next().copied()
        {
            self.place(key, false, true);
            if let Some(folio) = self.folios.get_mut(&key) {
                folio.referenced = false;
            }
        }
        let [inactive, _] = &self.lists;
        inactive
            .range(after..)
            .next()
            .map(|(order, key)| (*order, key.0, key.1))
    }

    /// `folio_check_references()` for a folio with `uses` young entries: true where it moved to
    /// the active list, `None` where it may be reclaimed.
    pub(crate) fn judge(&mut self, file: FileId, page: u64, uses: u32, exec: bool) -> Option<bool> {
        let key = (file, page);
        let folio = self.folios.get_mut(&key)?;
        if uses == 0 {
            return None;
        }
        let before = folio.referenced;
        folio.referenced = true;
        let promote = before || uses > 1 || exec;
        self.place(key, promote, true);
        Some(promote)
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let listed: usize = self.lists.iter().map(BTreeMap::len).sum();
        if listed != self.folios.len() {
            return Err(format!("{listed} folios listed of {}", self.folios.len()));
        }
        let [inactive, active] = &self.lists;
        for (key, folio) in &self.folios {
            let list = if folio.active { active } else { inactive };
            if list.get(&folio.order) != Some(key) {
                return Err(format!("folio {key:?} is on the wrong list"));
            }
            if self.shadows.contains(key) {
                return Err(format!("folio {key:?} is also a shadow"));
            }
        }
        Ok(())
    }

    /// Every folio with its mapping count.
    pub(crate) fn mapped(&self) -> impl Iterator<Item = (Key, u32)> + '_ {
        self.folios.iter().map(|(key, folio)| (*key, folio.mapped))
    }

    /// Pages of a file.
    pub(crate) fn file_pages(&self, file: FileId) -> u64 {
        self.file(file).map_or(0, |f| f.len.div_ceil(PAGE))
    }
}

/// How an unmapped page had been used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use {
    pub(crate) young: bool,
    pub(crate) dirty: bool,
    pub(crate) recency: bool,
    pub(crate) fade: bool,
}
