//! Changing the tree: insert, remove, and change in place.

use std::sync::Arc;

use super::{Body, Item, NARROW, Node, Sum, Tree, WIDTH};

impl<T: Item> Tree<T> {
    /// Puts an item in. The caller has made sure that its range is free.
    pub(crate) fn insert(&mut self, item: T) {
        if let Some(right) = insert(&mut self.root, item) {
            let left = std::mem::replace(&mut self.root, Node::new(Body::Leaf(Vec::new())));
            self.root = Node::new(Body::Inner(vec![left, right]));
        }
    }

    /// Takes out the item that starts at `start`.
    pub(crate) fn remove(&mut self, start: u64) -> Option<T> {
        if self.at(start).is_none_or(|item| item.start() != start) {
            return None;
        }
        let taken = remove(&mut self.root, start);
        loop {
            let only = match &*self.root.body {
                Body::Inner(nodes) if nodes.len() == 1 => nodes.first().cloned(),
                Body::Inner(nodes) if nodes.is_empty() => Some(Node::new(Body::Leaf(Vec::new()))),
                _ => None,
            };
            match only {
                Some(node) => self.root = node,
                None => return taken,
            }
        }
    }

    /// Changes the item that starts at `start` in place. The change may move its start or end
    /// only so far that order and disjointness stay.
    pub(crate) fn modify<R>(&mut self, start: u64, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        modify(&mut self.root, start, change).map(|(result, _)| result)
    }
}

fn child_for<T: Item>(nodes: &[Node<T>], start: u64) -> usize {
    nodes
        .partition_point(|n| n.sum.start <= start)
        .saturating_sub(1)
}

fn insert<T: Item>(node: &mut Node<T>, item: T) -> Option<Node<T>> {
    let right = match Arc::make_mut(&mut node.body) {
        Body::Leaf(items) => {
            let at = items.partition_point(|other| other.start() < item.start());
            items.insert(at, item);
            // Appending in order (the usual case) leaves full leaves behind.
            let cut = if at + 1 == items.len() {
                WIDTH - 2
            } else {
                WIDTH / 2
            };
            (items.len() > WIDTH).then(|| Node::new(Body::Leaf(items.split_off(cut))))
        }
        Body::Inner(nodes) => {
            let at = child_for(nodes, item.start());
            if let Some(new) = nodes.get_mut(at).and_then(|child| insert(child, item)) {
                nodes.insert(at + 1, new);
            }
            (nodes.len() > WIDTH).then(|| Node::new(Body::Inner(nodes.split_off(WIDTH / 2))))
        }
    };
    node.resum();
    right
}

fn remove<T: Item>(node: &mut Node<T>, start: u64) -> Option<T> {
    let taken = match Arc::make_mut(&mut node.body) {
        Body::Leaf(items) => {
            let at = items.partition_point(|other| other.start() < start);
            (at < items.len()).then(|| items.remove(at))
        }
        Body::Inner(nodes) => {
            let at = child_for(nodes, start);
            let taken = nodes.get_mut(at).and_then(|child| remove(child, start));
            if nodes.get(at).is_some_and(|child| child.width() < NARROW) {
                join(nodes, at);
            }
            taken
        }
    };
    node.resum();
    taken
}

/// Joins a narrow child with a neighbour, or drops it where it is empty.
fn join<T: Item>(nodes: &mut Vec<Node<T>>, at: usize) {
    if nodes.get(at).is_some_and(|child| child.width() == 0) {
        nodes.remove(at);
        return;
    }
    let left = if at > 0 { at - 1 } else { at };
    let fits = match (nodes.get(left), nodes.get(left + 1)) {
        (Some(a), Some(b)) => a.width() + b.width() <= WIDTH - NARROW,
        _ => false,
    };
    if !fits {
        return;
    }
    let right = nodes.remove(left + 1);
    if let Some(node) = nodes.get_mut(left) {
        match (Arc::make_mut(&mut node.body), &*right.body) {
            (Body::Leaf(items), Body::Leaf(more)) => items.extend_from_slice(more),
            (Body::Inner(children), Body::Inner(more)) => children.extend_from_slice(more),
            // Leaves all lie at one depth, so this pair cannot occur.
            _ => {
                nodes.insert(left + 1, right);
                return;
            }
        }
        node.resum();
    }
}

/// Returns what `change` returned and whether the item's sums are other ones now.
fn modify<T: Item, R>(
    node: &mut Node<T>,
    start: u64,
    change: impl FnOnce(&mut T) -> R,
) -> Option<(R, bool)> {
    let (result, stale) = match Arc::make_mut(&mut node.body) {
        Body::Leaf(items) => {
            let at = items.partition_point(|other| other.start() < start);
            let item = items.get_mut(at).filter(|item| item.start() == start)?;
            let before = Sum::of(item);
            let result = change(item);
            (result, Sum::of(item) != before)
        }
        Body::Inner(nodes) => {
            let at = child_for(nodes, start);
            modify(nodes.get_mut(at)?, start, change)?
        }
    };
    if stale {
        node.resum();
    }
    Some((result, stale))
}
