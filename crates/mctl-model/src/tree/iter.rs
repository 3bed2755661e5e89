//! Walking the tree in order.

use super::Item;
use super::inner::Inner;
use super::node::Node;

/// An iterator over the items, lowest first.
#[derive(Debug)]
pub(crate) struct Iter<'a, T> {
    /// The inner nodes above the leaf, and which of their children comes next.
    path: Vec<(&'a Inner<T>, usize)>,
    leaf: &'a [T],
}

impl<'a, T: Item> Iter<'a, T> {
    /// From the first item whose end lies above `address`.
    pub(super) fn new(root: Option<&'a Node<T>>, address: u64) -> Iter<'a, T> {
        let mut iter = Iter {
            path: Vec::new(),
            leaf: &[],
        };
        if let Some(root) = root {
            iter.descend(root, address);
        }
        iter
    }

    fn descend(&mut self, mut node: &'a Node<T>, address: u64) {
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let at = leaf.reaching(address);
                    self.leaf = leaf.items().get(at..).unwrap_or(&[]);
                    return;
                }
                Node::Inner(inner) => {
                    let at = inner.reaching(address);
                    let Some(child) = inner.child(at) else {
                        return;
                    };
                    self.path.push((inner, at + 1));
                    node = child;
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
            let (inner, at) = self.path.pop()?;
            if let Some(child) = inner.child(at) {
                self.path.push((inner, at + 1));
                self.descend(child, 0);
            }
        }
    }
}
