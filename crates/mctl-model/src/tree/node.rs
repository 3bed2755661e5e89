//! Nodes, and how their sums follow a change.

use std::sync::Arc;

use super::inner::Inner;
use super::leaf::Leaf;
use super::{Item, Sum};

/// A node, shared by every tree that has it.
pub(super) type Link<T> = Arc<Node<T>>;

#[expect(
    clippy::large_enum_variant,
    reason = "a leaf of mappings is as large, and a box would be one more cold line to wait for"
)]
#[derive(Clone, Debug)]
pub(super) enum Node<T> {
    Leaf(Leaf<T>),
    Inner(Inner<T>),
}

/// What a change did to the sums of a node.
pub(super) enum Changed {
    Nothing,
    /// A leaf's item had these sums and now has those; either may be of no item.
    Item(Sum, Sum),
    /// The sums of this child only, which were these.
    Child(usize, Sum),
    Anything,
}

impl<T: Item> Node<T> {
    pub(super) fn len(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.len(),
            Node::Inner(inner) => inner.len(),
        }
    }

    /// The sums, from what the node holds.
    pub(super) fn sum(&self) -> Sum {
        match self {
            Node::Leaf(leaf) => leaf.sum(),
            Node::Inner(inner) => inner.sum(),
        }
    }

    /// The sums after a change; before it they were `sum`.
    pub(super) fn sum_after(&self, sum: Sum, changed: Changed) -> Sum {
        match (self, changed) {
            (_, Changed::Nothing) => sum,
            (Node::Leaf(leaf), Changed::Item(old, new)) => leaf.sum_after(sum, old, new),
            (Node::Inner(inner), Changed::Child(at, old)) => inner.sum_after(sum, at, old),
            _ => self.sum(),
        }
    }
}

impl Sum {
    /// Counts and weights with one part's exchanged, and that part's marks added.
    pub(super) fn exchange(mut self, old: Sum, new: Sum) -> Sum {
        let add = |total: u64, old: u64, new: u64| total.wrapping_sub(old).wrapping_add(new);
        self.count = add(self.count, old.count, new.count);
        for (total, (old, new)) in self
            .weights
            .iter_mut()
            .zip(old.weights.into_iter().zip(new.weights))
        {
            *total = add(*total, old, new);
        }
        self.marks |= new.marks;
        self
    }
}
