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

/// What a change did to the sums of an inner node.
enum Changed {
    /// Only this child's, which were these.
    Child(usize, Sum),
    /// Anything.
    Anything,
}

impl<T: Item> Node<T> {
    /// Brings the sums up to date after a change. Where one child has changed, the others are
    /// looked at only if the widest gap or a mark may have been its own.
    fn refresh(&mut self, changed: Changed) {
        let fresh = match (changed, &*self.body) {
            (Changed::Child(at, old), Body::Inner(nodes)) => with_child(self.sum, nodes, at, old),
            _ => None,
        };
        match fresh {
            Some(sum) => self.sum = sum,
            None => self.resum(),
        }
    }
}

/// The sums of `nodes`, which were `sum` when those of the child `at` were `old`; `None` where
/// that does not tell them.
fn with_child<T: Item>(sum: Sum, nodes: &[Node<T>], at: usize, old: Sum) -> Option<Sum> {
    let new = nodes.get(at)?.sum;
    if new == old {
        return Some(sum);
    }
    if new.count == 0 || old.count == 0 || old.marks & !new.marks != 0 {
        return None;
    }
    let left = at.checked_sub(1).and_then(|left| nodes.get(left));
    let right = nodes.get(at + 1);
    let widest = |child: Sum| {
        let before = left.map_or(0, |left| child.start.saturating_sub(left.sum.end));
        let after = right.map_or(0, |right| right.sum.start.saturating_sub(child.end));
        child.gap.max(before).max(after)
    };
    let (was, is) = (widest(old), widest(new));
    if is < sum.gap && was == sum.gap {
        return None;
    }
    let add = |total: u64, old: u64, new: u64| total.wrapping_sub(old).wrapping_add(new);
    Some(Sum {
        start: nodes.first()?.sum.start,
        end: nodes.last()?.sum.end,
        count: add(sum.count, old.count, new.count),
        gap: sum.gap.max(is),
        weights: [
            add(sum.weights[0], old.weights[0], new.weights[0]),
            add(sum.weights[1], old.weights[1], new.weights[1]),
        ],
        marks: sum.marks | new.marks,
    })
}

/// Where a full node is cut: appending in order (the usual case) leaves full ones behind.
fn cut(at: usize, len: usize) -> usize {
    if at + 1 == len { WIDTH - 2 } else { WIDTH / 2 }
}

fn insert<T: Item>(node: &mut Node<T>, item: T) -> Option<Node<T>> {
    let mut changed = Changed::Anything;
    let right = match Arc::make_mut(&mut node.body) {
        Body::Leaf(items) => {
            let at = items.partition_point(|other| other.start() < item.start());
            items.insert(at, item);
            let cut = cut(at, items.len());
            (items.len() > WIDTH).then(|| Node::new(Body::Leaf(items.split_off(cut))))
        }
        Body::Inner(nodes) => {
            let at = child_for(nodes, item.start());
            let old = nodes.get(at).map(|child| child.sum);
            match (old, nodes.get_mut(at).and_then(|child| insert(child, item))) {
                (_, Some(new)) => nodes.insert(at + 1, new),
                (Some(old), None) => changed = Changed::Child(at, old),
                (None, None) => {}
            }
            let cut = cut(at + 1, nodes.len());
            (nodes.len() > WIDTH).then(|| Node::new(Body::Inner(nodes.split_off(cut))))
        }
    };
    node.refresh(changed);
    right
}

fn remove<T: Item>(node: &mut Node<T>, start: u64) -> Option<T> {
    let mut changed = Changed::Anything;
    let taken = match Arc::make_mut(&mut node.body) {
        Body::Leaf(items) => {
            let at = items.partition_point(|other| other.start() < start);
            (at < items.len()).then(|| items.remove(at))
        }
        Body::Inner(nodes) => {
            let at = child_for(nodes, start);
            let old = nodes.get(at).map(|child| child.sum);
            let taken = nodes.get_mut(at).and_then(|child| remove(child, start));
            if nodes.get(at).is_some_and(|child| child.width() < NARROW) {
                join(nodes, at);
            } else if let Some(old) = old {
                changed = Changed::Child(at, old);
            }
            taken
        }
    };
    node.refresh(changed);
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
    let mut changed = Changed::Anything;
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
            let child = nodes.get_mut(at)?;
            changed = Changed::Child(at, child.sum);
            modify(child, start, change)?
        }
    };
    if !stale {
        return Some((result, false));
    }
    let before = node.sum;
    node.refresh(changed);
    // Above, nothing changes where this node's sums are what they were.
    Some((result, node.sum != before))
}
