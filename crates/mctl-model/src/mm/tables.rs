//! Page tables that are left behind empty.
//!
//! A huge page can appear at a fault only where the page-table entry for the whole block is
//! empty. A block that holds base pages has a table; so does one whose base pages were taken
//! away again, until the table is freed. The first kind is seen in the pages themselves, only
//! the second is kept here.

use crate::HUGE;
use crate::tree::{Item, Tree};

#[derive(Clone, Copy, Debug)]
struct Block {
    start: u64,
}

impl Item for Block {
    fn start(&self) -> u64 {
        self.start
    }
    fn end(&self) -> u64 {
        self.start + HUGE
    }
    fn weights(&self) -> [u64; 2] {
        [1, 0]
    }
    fn marks(&self) -> u32 {
        0
    }
}

/// The 2 MiB blocks with an empty page table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    left: Tree<Block>,
}

impl Tables {
    pub(super) fn has(&self, block: u64) -> bool {
        self.left.sum().count != 0 && self.left.at(block).is_some()
    }

    pub(super) fn leave(&mut self, block: u64) {
        if !self.has(block) {
            self.left.insert(Block { start: block });
        }
    }

    pub(super) fn free(&mut self, block: u64) {
        if self.has(block) {
            self.left.remove(block);
        }
    }

    /// Frees every table that lies wholly inside `start..end`.
    pub(super) fn free_inside(&mut self, start: u64, end: u64) {
        let mut cursor = start.next_multiple_of(HUGE);
        while let Some(block) = self.left.find(cursor).copied() {
            if block.end() > end {
                return;
            }
            self.left.remove(block.start);
            cursor = block.end();
        }
    }

    /// Every block that is kept, for fork.
    pub(super) fn blocks(&self) -> Vec<u64> {
        self.left.iter().map(|block| block.start).collect()
    }
}
