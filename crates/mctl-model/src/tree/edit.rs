//! Changing the tree: insert, remove, and change in place.

use std::sync::Arc;

use super::inner::Inner;
use super::leaf::Leaf;
use super::node::{Changed, Link, Node};
use super::row::WIDTH;
use super::{Item, NARROW, Sum, Tree};

impl<T: Item> Tree<T> {
    /// Puts an item in. The caller has made sure that its range is free.
    pub(crate) fn insert(&mut self, item: T) {
        let Some(mut root) = self.root.take() else {
            self.sum = Sum::of(&item);
            self.root = Some(Arc::new(Node::Leaf(Leaf::new(item))));
            return;
        };
        let (changed, right) = insert(&mut root, item);
        self.sum = root.sum_after(self.sum, changed);
        if let Some(right) = right {
            let left = (self.sum, root);
            let right = (right.sum(), right);
            self.sum.push(right.0);
            root = Arc::new(Node::Inner(Inner::new([left, right])));
        }
        self.root = Some(root);
    }

    /// Takes out the item that starts at `start`.
    pub(crate) fn remove(&mut self, start: u64) -> Option<T> {
        let root = self.root.as_mut()?;
        let (taken, changed) = remove(root, start)?;
        self.sum = root.sum_after(self.sum, changed);
        while let Some(root) = &self.root {
            let only = match &**root {
                Node::Inner(inner) if inner.len() == 1 => inner.child(0).cloned(),
                node if node.len() == 0 => None,
                _ => break,
            };
            self.root = only;
        }
        Some(taken)
    }

    /// Changes the item that starts at `start` in place. The change may move its start or end
    /// only so far that order and disjointness stay.
    pub(crate) fn modify<R>(&mut self, start: u64, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let root = self.root.as_mut()?;
        let (result, changed) = modify(root, start, change)?;
        self.sum = root.sum_after(self.sum, changed);
        Some(result)
    }
}

/// Where a full node is cut to take one more at `at`: appending in order (the usual case) leaves
/// full ones behind.
fn cut(at: usize) -> usize {
    if at == WIDTH { WIDTH - 2 } else { WIDTH / 2 }
}

/// Where the node had to be cut, returns its right part.
fn insert<T: Item>(link: &mut Link<T>, item: T) -> (Changed, Option<Link<T>>) {
    match Arc::make_mut(link) {
        Node::Leaf(leaf) => {
            let at = leaf.below(item.start());
            if leaf.len() < WIDTH {
                leaf.insert(at, item);
                let changed = Changed::Item(Sum::default(), Sum::of(&item));
                return (changed, None);
            }
            let cut = cut(at);
            let mut right = leaf.split_off(cut);
            match at.checked_sub(cut) {
                Some(at) => right.insert(at, item),
                None => leaf.insert(at, item),
            }
            (Changed::Anything, Some(Arc::new(Node::Leaf(right))))
        }
        Node::Inner(inner) => {
            let at = inner.child_for(item.start());
            let Some(child) = inner.child_mut(at) else {
                return (Changed::Nothing, None);
            };
            let (changed, right) = insert(child, item);
            let changed = inner.refresh(at, changed);
            let Some(right) = right else {
                return (changed, None);
            };
            let (at, sum) = (at + 1, right.sum());
            if inner.len() < WIDTH {
                inner.insert(at, sum, right);
                return (Changed::Anything, None);
            }
            let cut = cut(at);
            let mut more = inner.split_off(cut);
            match at.checked_sub(cut) {
                Some(at) => more.insert(at, sum, right),
                None => inner.insert(at, sum, right),
            }
            (Changed::Anything, Some(Arc::new(Node::Inner(more))))
        }
    }
}

fn remove<T: Item>(link: &mut Link<T>, start: u64) -> Option<(T, Changed)> {
    match Arc::make_mut(link) {
        Node::Leaf(leaf) => {
            let item = leaf.remove(start)?;
            Some((item, Changed::Item(Sum::of(&item), Sum::default())))
        }
        Node::Inner(inner) => {
            let at = inner.child_for(start);
            let child = inner.child_mut(at)?;
            let (taken, changed) = remove(child, start)?;
            let narrow = child.len() < NARROW;
            let changed = inner.refresh(at, changed);
            if !narrow {
                return Some((taken, changed));
            }
            join(inner, at);
            Some((taken, Changed::Anything))
        }
    }
}

/// Joins a narrow child with a neighbour, or drops it where it is empty.
fn join<T: Item>(inner: &mut Inner<T>, at: usize) {
    let len = |at: usize| inner.child(at).map(|child| child.len());
    if len(at) == Some(0) {
        inner.remove(at);
        return;
    }
    let left = at.saturating_sub(1);
    let fits = match (len(left), len(left + 1)) {
        (Some(a), Some(b)) => a + b <= WIDTH - NARROW,
        _ => false,
    };
    if !fits {
        return;
    }
    let Some(right) = inner.child(left + 1).cloned() else {
        return;
    };
    let Some(node) = inner.child_mut(left) else {
        return;
    };
    match (Arc::make_mut(node), &*right) {
        (Node::Leaf(items), Node::Leaf(more)) => items.append(more),
        (Node::Inner(children), Node::Inner(more)) => children.append(more),
        // Leaves all lie at one depth, so this pair cannot occur.
        _ => return,
    }
    inner.remove(left + 1);
    inner.refresh(left, Changed::Anything);
}

fn modify<T: Item, R>(
    link: &mut Link<T>,
    start: u64,
    change: impl FnOnce(&mut T) -> R,
) -> Option<(R, Changed)> {
    match Arc::make_mut(link) {
        Node::Leaf(leaf) => leaf.modify(start, change),
        Node::Inner(inner) => {
            let at = inner.child_for(start);
            let (result, changed) = modify(inner.child_mut(at)?, start, change)?;
            Some((result, inner.refresh(at, changed)))
        }
    }
}
