//! A persistent ordered map of disjoint ranges.
//!
//! A B+tree whose nodes are shared by [`Arc`](std::sync::Arc): a clone costs O(1) and a change copies only the
//! path to the changed leaf, so that a fork of an address space is copy-on-write. Every node
//! carries a [`Sum`] of what is below it: weights are summed, marks are or-ed, and the widest gap
//! between two items is kept, so that a free range is found in O(log n).

mod edit;
mod gap;
mod inner;
mod iter;
mod leaf;
mod node;
mod row;
#[cfg(test)]
mod tests;

pub(crate) use iter::Iter;
use node::{Link, Node};
use row::WIDTH;

/// Below this a node is joined with a neighbour.
const NARROW: usize = WIDTH / 4;

/// One range with what is known about it.
pub(crate) trait Item: Copy {
    /// The first address.
    fn start(&self) -> u64;
    /// The first address after it; greater than `start`.
    fn end(&self) -> u64;
    /// What is summed over the tree.
    fn weights(&self) -> [u64; 2];
    /// What is or-ed over the tree.
    fn marks(&self) -> u32;
}

/// What is below a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// The first item's first address.
    pub(crate) start: u64,
    /// The last item's end.
    pub(crate) end: u64,
    /// Items.
    pub(crate) count: u64,
    /// The widest gap between two neighbouring items.
    pub(crate) gap: u64,
    /// The items' weights, added.
    pub(crate) weights: [u64; 2],
    /// The items' marks, or-ed.
    pub(crate) marks: u32,
}

impl Sum {
    fn of<T: Item>(item: &T) -> Sum {
        Sum {
            start: item.start(),
            end: item.end(),
            count: 1,
            gap: 0,
            weights: item.weights(),
            marks: item.marks(),
        }
    }

    fn push(&mut self, next: Sum) {
        if self.count == 0 {
            *self = next;
            return;
        }
        self.gap = self
            .gap
            .max(next.gap)
            .max(next.start.saturating_sub(self.end));
        self.end = next.end;
        self.count += next.count;
        self.weights[0] += next.weights[0];
        self.weights[1] += next.weights[1];
        self.marks |= next.marks;
    }
}

/// The map.
#[derive(Clone, Debug)]
pub(crate) struct Tree<T> {
    root: Option<Link<T>>,
    sum: Sum,
}

impl<T: Item> Default for Tree<T> {
    fn default() -> Self {
        Tree {
            root: None,
            sum: Sum::default(),
        }
    }
}

impl<T: Item> Tree<T> {
    /// What the whole tree adds up to.
    pub(crate) fn sum(&self) -> Sum {
        self.sum
    }

    /// The first item whose end lies above `address`.
    pub(crate) fn find(&self, address: u64) -> Option<&T> {
        let mut node = self.root.as_deref()?;
        loop {
            match node {
                Node::Leaf(leaf) => match leaf.get(leaf.reaching(address)) {
                    Some(item) => return Some(item),
                    // In a gap after the leaf's last item.
                    None => return self.iter_from(address).next(),
                },
                Node::Inner(inner) => node = inner.child(inner.child_for(address))?,
            }
        }
    }

    /// The item that holds `address`.
    pub(crate) fn at(&self, address: u64) -> Option<&T> {
        self.before(address.saturating_add(1))
            .filter(|item| address < item.end())
    }

    /// The last item that starts below `address`.
    pub(crate) fn before(&self, address: u64) -> Option<&T> {
        let mut node = self.root.as_deref()?;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.get(leaf.below(address).checked_sub(1)?),
                Node::Inner(inner) => node = inner.child(inner.below(address).checked_sub(1)?)?,
            }
        }
    }

    /// The neighbours below and above that meet the item that starts at `start`, without a gap.
    pub(crate) fn meeting(&self, start: u64) -> (Option<&T>, Option<&T>) {
        let mut node = self.root.as_deref();
        while let Some(Node::Inner(inner)) = node {
            node = inner.child(inner.child_for(start)).map(|child| &**child);
        }
        let Some(Node::Leaf(leaf)) = node else {
            return (None, None);
        };
        let at = leaf.below(start);
        let Some(end) = leaf.end_of(at) else {
            return (None, None);
        };
        let below = match at.checked_sub(1) {
            Some(left) if leaf.end_of(left) == Some(start) => leaf.get(left),
            Some(_) => None,
            // The neighbour is in another leaf.
            None => self.before(start).filter(|item| item.end() == start),
        };
        let above = match leaf.start_of(at + 1) {
            Some(next) if next == end => leaf.get(at + 1),
            Some(_) => None,
            None => self.at(end),
        };
        (below, above)
    }

    /// Whether any item touches `start..end`.
    pub(crate) fn overlaps(&self, start: u64, end: u64) -> bool {
        self.find(start).is_some_and(|item| item.start() < end)
    }

    /// Every item, in order.
    pub(crate) fn iter(&self) -> Iter<'_, T> {
        Iter::new(self.root.as_deref(), 0)
    }

    /// Every item whose end lies above `address`, in order.
    pub(crate) fn iter_from(&self, address: u64) -> Iter<'_, T> {
        Iter::new(self.root.as_deref(), address)
    }

    /// The first item that ends above `address` and carries one of the marks.
    pub(crate) fn find_marked(&self, address: u64, marks: u32) -> Option<&T> {
        fn go<T: Item>(node: &Node<T>, sum: Sum, address: u64, marks: u32) -> Option<&T> {
            if sum.marks & marks == 0 || sum.end <= address {
                return None;
            }
            match node {
                Node::Leaf(leaf) => leaf
                    .items()
                    .iter()
                    .find(|item| item.end() > address && item.marks() & marks != 0),
                Node::Inner(inner) => (0..inner.len())
                    .find_map(|at| go(inner.child(at)?, inner.sum_of(at), address, marks)),
            }
        }
        go(self.root.as_deref()?, self.sum, address, marks)
    }

    /// Checks order, disjointness, widths and sums.
    pub(crate) fn check(&self) -> Result<(), String> {
        fn go<T: Item>(node: &Node<T>, sum: Sum) -> Result<usize, String> {
            if node.sum() != sum {
                return Err(format!("sums are stale at {:#x}", sum.start));
            }
            if node.len() > WIDTH || node.len() == 0 {
                return Err(format!("a node holds {}", node.len()));
            }
            let mut last = 0;
            match node {
                Node::Leaf(leaf) => {
                    for item in leaf.items() {
                        if item.start() < last || item.end() <= item.start() {
                            return Err(format!("out of order at {:#x}", item.start()));
                        }
                        last = item.end();
                    }
                    if !leaf.agrees() {
                        return Err(format!("a leaf disagrees at {:#x}", sum.start));
                    }
                    Ok(0)
                }
                Node::Inner(inner) => {
                    let mut depths = Vec::new();
                    for at in 0..inner.len() {
                        let (sum, child) = (inner.sum_of(at), inner.child(at));
                        let child = child.ok_or("a child is missing")?;
                        if sum.start < last {
                            return Err(format!("out of order at {:#x}", sum.start));
                        }
                        last = sum.end;
                        depths.push(go(child, sum)?);
                    }
                    depths.dedup();
                    match depths.as_slice() {
                        [one] => Ok(one + 1),
                        _ => Err("leaves at different depths".to_owned()),
                    }
                }
            }
        }
        match &self.root {
            Some(root) => go(root, self.sum).map(|_| ()),
            None if self.sum == Sum::default() => Ok(()),
            None => Err("an empty tree has sums".to_owned()),
        }
    }
}
