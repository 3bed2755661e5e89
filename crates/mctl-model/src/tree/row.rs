//! The columns of a node.
//!
//! What a search compares lies together, apart from the rest of what a node holds: a search in
//! cold memory then waits for few cache lines, and for all of a node's at once.

/// The most items in a leaf or children in a node.
pub(super) const WIDTH: usize = 24;

/// One column of a node. What lies beyond the node's length has no meaning, except in the column
/// of starts, where it is `u64::MAX`.
pub(super) type Row<V> = [V; WIDTH];

/// Keys in a cache line.
const LINE: usize = 8;

/// How many of the starts lie below `address`, which `u64::MAX` never does. One key of each line
/// says which line to search, so that the loads of cold lines do not wait for one another.
pub(super) fn rank(starts: &Row<u64>, address: u64) -> usize {
    let heads = starts.iter().skip(LINE).step_by(LINE);
    let lines: usize = heads.map(|start| usize::from(*start < address)).sum();
    let from = lines * LINE;
    let line = starts.get(from..from + LINE).unwrap_or(&[]);
    from + line.partition_point(|start| *start < address)
}

/// Makes room at `at` in a column of `len`.
pub(super) fn open<V>(row: &mut Row<V>, len: usize, at: usize, value: V) {
    if let Some(part) = row.get_mut(at..=len) {
        part.rotate_right(1);
        if let Some(first) = part.first_mut() {
            *first = value;
        }
    }
}

/// Takes `at` out of a column of `len`; `fill` comes in at the end.
pub(super) fn close<V>(row: &mut Row<V>, len: usize, at: usize, fill: V) -> Option<V> {
    let part = row.get_mut(at..len)?;
    part.rotate_left(1);
    part.last_mut().map(|last| std::mem::replace(last, fill))
}

/// Moves what lies from `at` on into `to`, whose contents come in its place.
pub(super) fn part<V>(row: &mut Row<V>, at: usize, mut to: Row<V>) -> Row<V> {
    if let Some(rest) = row.get_mut(at..) {
        rest.iter_mut()
            .zip(&mut to)
            .for_each(|(old, new)| std::mem::swap(old, new));
    }
    to
}

/// Appends the first `more` of `from` to the first `len` of `row`.
pub(super) fn append<V: Clone>(row: &mut Row<V>, len: usize, from: &Row<V>, more: usize) {
    if let (Some(to), Some(from)) = (row.get_mut(len..len + more), from.get(..more)) {
        to.clone_from_slice(from);
    }
}

pub(super) fn get(row: &Row<u64>, at: usize) -> u64 {
    row.get(at).copied().unwrap_or(u64::MAX)
}

/// The widest gap between neighbours.
pub(super) fn widest(starts: &Row<u64>, ends: &Row<u64>, len: usize) -> u64 {
    let starts = starts.get(1..len).unwrap_or(&[]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| start.saturating_sub(*end))
        .max()
        .unwrap_or(0)
}
