//! Inner nodes: children and what they sum up to.

use super::node::{Changed, Link};
use super::row::{Row, WIDTH, append, close, get, open, part, rank, widest};
use super::{Item, Sum};

#[derive(Clone, Debug)]
pub(super) struct Inner<T> {
    starts: Row<u64>,
    len: usize,
    children: Row<Option<Link<T>>>,
    ends: Row<u64>,
    gaps: Row<u64>,
    rests: Row<Rest>,
}

/// What of a child's sums no search looks at.
#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    count: u64,
    weights: [u64; 2],
    marks: u32,
}

impl<T: Item> Inner<T> {
    pub(super) fn new(children: [(Sum, Link<T>); 2]) -> Inner<T> {
        let mut inner = Inner {
            starts: [u64::MAX; WIDTH],
            len: 0,
            children: std::array::from_fn(|_| None),
            ends: [0; WIDTH],
            gaps: [0; WIDTH],
            rests: [Rest::default(); WIDTH],
        };
        for (at, (sum, child)) in children.into_iter().enumerate() {
            inner.insert(at, sum, child);
        }
        inner
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn child(&self, at: usize) -> Option<&Link<T>> {
        self.children.get(at)?.as_ref()
    }

    pub(super) fn child_mut(&mut self, at: usize) -> Option<&mut Link<T>> {
        self.children.get_mut(at)?.as_mut()
    }

    /// How many children start below `address`.
    pub(super) fn below(&self, address: u64) -> usize {
        rank(&self.starts, address)
    }

    /// The child where an item that starts at `start` is, or belongs.
    pub(super) fn child_for(&self, start: u64) -> usize {
        self.below(start.saturating_add(1))
            .min(self.len)
            .saturating_sub(1)
    }

    /// The first child whose end lies above `address`, by its place.
    pub(super) fn reaching(&self, address: u64) -> usize {
        let ends = self.ends.get(..self.len).unwrap_or(&[]);
        ends.partition_point(|end| *end <= address)
    }

    pub(super) fn sum_of(&self, at: usize) -> Sum {
        let rest = self.rests.get(at).copied().unwrap_or_default();
        Sum {
            start: get(&self.starts, at),
            end: get(&self.ends, at),
            count: rest.count,
            gap: get(&self.gaps, at),
            weights: rest.weights,
            marks: rest.marks,
        }
    }

    /// Brings the sums of the child `at` up to date after a change below.
    pub(super) fn refresh(&mut self, at: usize, changed: Changed) -> Changed {
        if matches!(changed, Changed::Nothing) {
            return changed;
        }
        let old = self.sum_of(at);
        let new = self
            .child(at)
            .map_or(Sum::default(), |child| child.sum_after(old, changed));
        if new == old {
            return Changed::Nothing;
        }
        self.set_sum(at, new);
        Changed::Child(at, old)
    }

    fn set_sum(&mut self, at: usize, sum: Sum) {
        for (row, value) in [
            (&mut self.starts, sum.start),
            (&mut self.ends, sum.end),
            (&mut self.gaps, sum.gap),
        ] {
            if let Some(cell) = row.get_mut(at) {
                *cell = value;
            }
        }
        if let Some(rest) = self.rests.get_mut(at) {
            *rest = sum.rest();
        }
    }

    pub(super) fn insert(&mut self, at: usize, sum: Sum, child: Link<T>) {
        open(&mut self.starts, self.len, at, sum.start);
        open(&mut self.ends, self.len, at, sum.end);
        open(&mut self.gaps, self.len, at, sum.gap);
        open(&mut self.rests, self.len, at, sum.rest());
        open(&mut self.children, self.len, at, Some(child));
        self.len += usize::from(self.len < WIDTH);
    }

    pub(super) fn remove(&mut self, at: usize) -> Option<Link<T>> {
        close(&mut self.starts, self.len, at, u64::MAX)?;
        close(&mut self.ends, self.len, at, 0);
        close(&mut self.gaps, self.len, at, 0);
        close(&mut self.rests, self.len, at, Rest::default());
        let child = close(&mut self.children, self.len, at, None);
        self.len -= 1;
        child.flatten()
    }

    /// Takes away what lies from `at` on.
    pub(super) fn split_off(&mut self, at: usize) -> Inner<T> {
        let len = self.len.saturating_sub(at);
        self.len -= len;
        Inner {
            starts: part(&mut self.starts, at, [u64::MAX; WIDTH]),
            len,
            children: part(&mut self.children, at, std::array::from_fn(|_| None)),
            ends: part(&mut self.ends, at, [0; WIDTH]),
            gaps: part(&mut self.gaps, at, [0; WIDTH]),
            rests: part(&mut self.rests, at, [Rest::default(); WIDTH]),
        }
    }

    /// Appends what the next node holds, where it fits.
    pub(super) fn append(&mut self, next: &Inner<T>) {
        append(&mut self.starts, self.len, &next.starts, next.len);
        append(&mut self.ends, self.len, &next.ends, next.len);
        append(&mut self.gaps, self.len, &next.gaps, next.len);
        append(&mut self.rests, self.len, &next.rests, next.len);
        append(&mut self.children, self.len, &next.children, next.len);
        self.len = (self.len + next.len).min(WIDTH);
    }

    pub(super) fn sum(&self) -> Sum {
        let mut sum = Sum::default();
        (0..self.len).for_each(|at| sum.push(self.sum_of(at)));
        sum
    }

    /// The sums, which were `sum` when those of the child `at` were `old`.
    pub(super) fn sum_after(&self, sum: Sum, at: usize, old: Sum) -> Sum {
        let new = self.sum_of(at);
        if new.count == 0 || old.count == 0 || old.marks & !new.marks != 0 {
            return self.sum();
        }
        let mut sum = sum.exchange(old, new);
        sum.start = get(&self.starts, 0);
        sum.end = get(&self.ends, self.len.saturating_sub(1));
        let around = |child: Sum| {
            let below = match at.checked_sub(1) {
                Some(left) => child.start.saturating_sub(get(&self.ends, left)),
                None => 0,
            };
            let above = if at + 1 < self.len {
                get(&self.starts, at + 1).saturating_sub(child.end)
            } else {
                0
            };
            child.gap.max(below).max(above)
        };
        let (was, is) = (around(old), around(new));
        if is >= sum.gap || was < sum.gap {
            sum.gap = sum.gap.max(is);
        } else {
            let gaps = self.gaps.get(..self.len).unwrap_or(&[]);
            sum.gap = gaps
                .iter()
                .copied()
                .fold(widest(&self.starts, &self.ends, self.len), u64::max);
        }
        sum
    }
}

impl Sum {
    fn rest(&self) -> Rest {
        Rest {
            count: self.count,
            weights: self.weights,
            marks: self.marks,
        }
    }
}
