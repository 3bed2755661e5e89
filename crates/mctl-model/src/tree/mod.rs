//! A persistent ordered map of disjoint ranges.
//!
//! A B+tree whose nodes are shared by [`Arc`]: a clone costs O(1) and a change copies only the
//! path to the changed leaf, so that a fork of an address space is copy-on-write. Every node
//! carries a [`Sum`] of what is below it: weights are summed, marks are or-ed, and the widest gap
//! between two items is kept, so that a free range is found in O(log n).

mod edit;
mod gap;
mod iter;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use iter::Iter;

/// The most items in a leaf or children in a node.
const WIDTH: usize = 24;
/// Below this a node is joined with a neighbour.
const NARROW: usize = WIDTH / 4;

/// One range with what is known about it.
pub(crate) trait Item: Clone {
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

#[derive(Clone, Debug)]
enum Body<T> {
    Leaf(Vec<T>),
    Inner(Vec<Node<T>>),
}

#[derive(Clone, Debug)]
struct Node<T> {
    sum: Sum,
    body: Arc<Body<T>>,
}

impl<T: Item> Node<T> {
    fn new(body: Body<T>) -> Node<T> {
        let mut node = Node {
            sum: Sum::default(),
            body: Arc::new(body),
        };
        node.resum();
        node
    }

    fn resum(&mut self) {
        let mut sum = Sum::default();
        match &*self.body {
            Body::Leaf(items) => items.iter().for_each(|item| sum.push(Sum::of(item))),
            Body::Inner(nodes) => nodes.iter().for_each(|node| sum.push(node.sum)),
        }
        self.sum = sum;
    }

    fn width(&self) -> usize {
        match &*self.body {
            Body::Leaf(items) => items.len(),
            Body::Inner(nodes) => nodes.len(),
        }
    }
}

/// The map.
#[derive(Clone, Debug)]
pub(crate) struct Tree<T> {
    root: Node<T>,
}

impl<T: Item> Default for Tree<T> {
    fn default() -> Self {
        Tree {
            root: Node::new(Body::Leaf(Vec::new())),
        }
    }
}

impl<T: Item> Tree<T> {
    /// What the whole tree adds up to.
    pub(crate) fn sum(&self) -> Sum {
        self.root.sum
    }

    /// The first item whose end lies above `address`.
    pub(crate) fn find(&self, address: u64) -> Option<&T> {
        let mut node = &self.root;
        loop {
            match &*node.body {
                Body::Leaf(items) => {
                    return items.get(items.partition_point(|item| item.end() <= address));
                }
                Body::Inner(nodes) => {
                    node = nodes.get(nodes.partition_point(|n| n.sum.end <= address))?;
                }
            }
        }
    }

    /// The item that holds `address`.
    pub(crate) fn at(&self, address: u64) -> Option<&T> {
        self.find(address).filter(|item| item.start() <= address)
    }

    /// The last item that starts below `address`.
    pub(crate) fn before(&self, address: u64) -> Option<&T> {
        let mut node = &self.root;
        loop {
            match &*node.body {
                Body::Leaf(items) => {
                    let above = items.partition_point(|item| item.start() < address);
                    return items.get(above.checked_sub(1)?);
                }
                Body::Inner(nodes) => {
                    let above = nodes.partition_point(|n| n.sum.start < address);
                    node = nodes.get(above.checked_sub(1)?)?;
                }
            }
        }
    }

    /// Whether any item touches `start..end`.
    pub(crate) fn overlaps(&self, start: u64, end: u64) -> bool {
        self.find(start).is_some_and(|item| item.start() < end)
    }

    /// Every item, in order.
    pub(crate) fn iter(&self) -> Iter<'_, T> {
        Iter::new(&self.root, 0)
    }

    /// Every item whose end lies above `address`, in order.
    pub(crate) fn iter_from(&self, address: u64) -> Iter<'_, T> {
        Iter::new(&self.root, address)
    }

    /// The start of the first item at or after `address` that carries one of the marks.
    pub(crate) fn find_marked(&self, address: u64, marks: u32) -> Option<&T> {
        fn go<T: Item>(node: &Node<T>, address: u64, marks: u32) -> Option<&T> {
            if node.sum.marks & marks == 0 || node.sum.end <= address {
                return None;
            }
            match &*node.body {
                Body::Leaf(items) => items
                    .iter()
                    .find(|item| item.end() > address && item.marks() & marks != 0),
                Body::Inner(nodes) => nodes.iter().find_map(|n| go(n, address, marks)),
            }
        }
        go(&self.root, address, marks)
    }

    /// Checks order, disjointness, widths and sums.
    pub(crate) fn check(&self) -> Result<(), String> {
        fn go<T: Item>(node: &Node<T>, top: bool) -> Result<usize, String> {
            let mut again = node.clone();
            again.resum();
            if again.sum != node.sum {
                return Err(format!("sums are stale at {:#x}", node.sum.start));
            }
            if node.width() > WIDTH || (!top && node.width() == 0) {
                return Err(format!("a node holds {}", node.width()));
            }
            match &*node.body {
                Body::Leaf(items) => {
                    let mut last = 0;
                    for item in items {
                        if item.start() < last || item.end() <= item.start() {
                            return Err(format!("out of order at {:#x}", item.start()));
                        }
                        last = item.end();
                    }
                    Ok(0)
                }
                Body::Inner(nodes) => {
                    let mut last = 0;
                    let mut depths = Vec::new();
                    for child in nodes {
                        if child.sum.start < last {
                            return Err(format!("out of order at {:#x}", child.sum.start));
                        }
                        last = child.sum.end;
                        depths.push(go(child, false)?);
                    }
                    depths.dedup();
                    match depths.as_slice() {
                        [one] => Ok(one + 1),
                        _ => Err("leaves at different depths".to_owned()),
                    }
                }
            }
        }
        go(&self.root, true).map(|_| ())
    }
}
