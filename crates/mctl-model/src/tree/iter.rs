//! Walking the tree in order.

use super::{Body, Item, Node};

/// An iterator over the items, lowest first.
#[derive(Debug)]
pub(crate) struct Iter<'a, T> {
    path: Vec<&'a [Node<T>]>,
    leaf: &'a [T],
}

impl<'a, T: Item> Iter<'a, T> {
    /// From the first item whose end lies above `address`.
    pub(super) fn new(root: &'a Node<T>, address: u64) -> Iter<'a, T> {
        let mut iter = Iter {
            path: Vec::new(),
            leaf: &[],
        };
        iter.descend(root, address);
        iter
    }

    fn descend(&mut self, mut node: &'a Node<T>, address: u64) {
        loop {
            match &*node.body {
                Body::Leaf(items) => {
                    let at = items.partition_point(|item| item.end() <= address);
                    self.leaf = items.get(at..).unwrap_or(&[]);
                    return;
                }
                Body::Inner(nodes) => {
                    let at = nodes.partition_point(|n| n.sum.end <= address);
                    let Some((first, rest)) = nodes.get(at..).and_then(|n| n.split_first()) else {
                        self.leaf = &[];
                        return;
                    };
                    self.path.push(rest);
                    node = first;
                }
            }
        }
    }
}

impl<'a, T: Item> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some((first, rest)) = self.leaf.split_first() {
                self.leaf = rest;
                return Some(first);
            }
            let siblings = self.path.pop()?;
            if let Some((node, rest)) = siblings.split_first() {
                self.path.push(rest);
                self.descend(node, 0);
            }
        }
    }
}
