//! Finding free ranges, from the top down as mmap(2) does.

use super::node::Node;
use super::{Item, Sum, Tree};

impl<T: Item> Tree<T> {
    /// The highest `start` with `start..start + len` free inside `low..high`, or `None`.
    pub(crate) fn gap_top_down(&self, low: u64, high: u64, len: u64) -> Option<u64> {
        let mut search = Search {
            low,
            len,
            above: high,
        };
        self.root
            .as_deref()
            .and_then(|root| search.node(root, self.sum))
            .or_else(|| search.try_gap(low))
    }
}

/// A walk from the top down. `above` is the end of the free range that is being looked at.
struct Search {
    low: u64,
    len: u64,
    above: u64,
}

impl Search {
    /// Whether the range fits between `floor` and `above`.
    fn try_gap(&self, floor: u64) -> Option<u64> {
        let start = self.above.checked_sub(self.len)?;
        (start >= floor.max(self.low)).then_some(start)
    }

    fn node<T: Item>(&mut self, node: &Node<T>, sum: Sum) -> Option<u64> {
        if sum.count == 0 || sum.start >= self.above {
            return None;
        }
        if let Some(found) = self.try_gap(sum.end) {
            return Some(found);
        }
        if sum.gap < self.len {
            // Nothing inside is wide enough: go on below the node.
            self.above = self.above.min(sum.start);
            return None;
        }
        match node {
            Node::Leaf(leaf) => {
                for item in leaf.items().iter().rev() {
                    if item.start() >= self.above {
                        continue;
                    }
                    if let Some(found) = self.try_gap(item.end()) {
                        return Some(found);
                    }
                    self.above = self.above.min(item.start());
                }
                None
            }
            Node::Inner(inner) => (0..inner.len())
                .rev()
                .find_map(|at| self.node(inner.child(at)?, inner.sum_of(at))),
        }
    }
}
