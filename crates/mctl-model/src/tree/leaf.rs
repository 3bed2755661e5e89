//! Leaves: the items.

use super::node::Changed;
use super::row::{Row, WIDTH, append, close, get, open, part, rank, widest};
use super::{Item, Sum};

#[derive(Clone, Debug)]
pub(super) struct Leaf<T> {
    starts: Row<u64>,
    len: usize,
    ends: Row<u64>,
    items: Row<T>,
}

impl<T: Item> Leaf<T> {
    pub(super) fn new(item: T) -> Leaf<T> {
        let mut leaf = Leaf {
            starts: [u64::MAX; WIDTH],
            len: 0,
            ends: [0; WIDTH],
            items: [item; WIDTH],
        };
        leaf.insert(0, item);
        leaf
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn items(&self) -> &[T] {
        self.items.get(..self.len).unwrap_or(&[])
    }

    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.items().get(at)
    }

    pub(super) fn start_of(&self, at: usize) -> Option<u64> {
        self.starts.get(at).copied().filter(|_| at < self.len)
    }

    pub(super) fn end_of(&self, at: usize) -> Option<u64> {
        self.ends.get(at).copied().filter(|_| at < self.len)
    }

    /// How many items start below `address`.
    pub(super) fn below(&self, address: u64) -> usize {
        rank(&self.starts, address)
    }

    /// The first item whose end lies above `address`, by its place.
    pub(super) fn reaching(&self, address: u64) -> usize {
        let at = self.below(address.saturating_add(1)).min(self.len);
        match at.checked_sub(1) {
            Some(last) if get(&self.ends, last) > address => last,
            _ => at,
        }
    }

    /// Puts an item in, unless the leaf is full.
    pub(super) fn insert(&mut self, at: usize, item: T) {
        open(&mut self.starts, self.len, at, item.start());
        open(&mut self.ends, self.len, at, item.end());
        open(&mut self.items, self.len, at, item);
        self.len += usize::from(self.len < WIDTH);
    }

    /// Takes out the item that starts at `start`.
    pub(super) fn remove(&mut self, start: u64) -> Option<T> {
        let at = self.below(start);
        let item = *self.get(at).filter(|item| item.start() == start)?;
        close(&mut self.starts, self.len, at, u64::MAX);
        close(&mut self.ends, self.len, at, 0);
        close(&mut self.items, self.len, at, item);
        self.len -= 1;
        Some(item)
    }

    /// Changes the item that starts at `start`.
    pub(super) fn modify<R>(
        &mut self,
        start: u64,
        change: impl FnOnce(&mut T) -> R,
    ) -> Option<(R, Changed)> {
        let at = self.below(start);
        let item = self
            .items
            .get_mut(at)
            .filter(|item| item.start() == start)?;
        if at >= self.len {
            return None;
        }
        let old = Sum::of(item);
        let result = change(item);
        let new = Sum::of(item);
        if old == new {
            return Some((result, Changed::Nothing));
        }
        if let Some(start) = self.starts.get_mut(at) {
            *start = new.start;
        }
        if let Some(end) = self.ends.get_mut(at) {
            *end = new.end;
        }
        Some((result, Changed::Item(old, new)))
    }

    /// Takes away what lies from `at` on.
    pub(super) fn split_off(&mut self, at: usize) -> Leaf<T> {
        let len = self.len.saturating_sub(at);
        self.len -= len;
        let items = self.items;
        Leaf {
            starts: part(&mut self.starts, at, [u64::MAX; WIDTH]),
            len,
            ends: part(&mut self.ends, at, [0; WIDTH]),
            items: part(&mut self.items, at, items),
        }
    }

    /// Appends what the next leaf holds, where it fits.
    pub(super) fn append(&mut self, next: &Leaf<T>) {
        append(&mut self.starts, self.len, &next.starts, next.len);
        append(&mut self.ends, self.len, &next.ends, next.len);
        append(&mut self.items, self.len, &next.items, next.len);
        self.len = (self.len + next.len).min(WIDTH);
    }

    pub(super) fn sum(&self) -> Sum {
        let mut sum = Sum::default();
        self.items().iter().for_each(|item| sum.push(Sum::of(item)));
        sum
    }

    pub(super) fn sum_after(&self, sum: Sum, old: Sum, new: Sum) -> Sum {
        if old.marks & !new.marks != 0 {
            return self.sum();
        }
        let mut sum = sum.exchange(old, new);
        sum.start = if self.len == 0 {
            0
        } else {
            get(&self.starts, 0)
        };
        sum.end = match self.len.checked_sub(1) {
            Some(last) => get(&self.ends, last),
            None => 0,
        };
        sum.gap = widest(&self.starts, &self.ends, self.len);
        sum
    }

    /// Whether the columns say what the items say.
    pub(super) fn agrees(&self) -> bool {
        let beyond = self.starts.get(self.len..).unwrap_or(&[]);
        let columns = self.starts.iter().zip(&self.ends);
        beyond.iter().all(|start| *start == u64::MAX)
            && self
                .items()
                .iter()
                .zip(columns)
                .all(|(item, (start, end))| item.start() == *start && item.end() == *end)
    }
}
