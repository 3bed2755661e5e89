//! The tree against a sorted list.

use proptest::prelude::*;

use super::{Item, Tree};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    at: u64,
    value: u32,
}

impl Item for Cell {
    fn start(&self) -> u64 {
        self.at * 10
    }
    fn end(&self) -> u64 {
        self.at * 10 + 4
    }
    fn weights(&self) -> [u64; 2] {
        [1, u64::from(self.value)]
    }
    fn marks(&self) -> u32 {
        self.value
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever is done, the tree holds what a map holds, its sums are right, a clone taken
    /// before stays as it was, and the free range found is the highest there is.
    #[test]
    fn behaves_like_a_map(ops in proptest::collection::vec((0_u64..300, 0_u32..4, 0_u8..4), 1..600)) {
        let mut tree = Tree::default();
        let mut map = std::collections::BTreeMap::new();
        let mut before = None;
        for (step, (at, value, op)) in ops.into_iter().enumerate() {
            if step == 100 {
                before = Some((tree.clone(), map.clone()));
            }
            match op {
                0 | 1 if !map.contains_key(&at) => {
                    tree.insert(Cell { at, value });
                    map.insert(at, value);
                }
                2 => prop_assert_eq!(tree.remove(at * 10).map(|c| c.value), map.remove(&at)),
                _ => {
                    let changed = tree.modify(at * 10, |cell| cell.value = value);
                    prop_assert_eq!(changed.is_some(), map.contains_key(&at));
                    map.entry(at).and_modify(|old| *old = value);
                }
            }
            prop_assert_eq!(tree.at(at * 10 + 3).map(|c| c.value), map.get(&at).copied());
            prop_assert_eq!(tree.before(at * 10).map(|c| c.at), map.range(..at).next_back().map(|(k, _)| *k));
        }
        for (tree, map) in std::iter::once((tree, map)).chain(before) {
            tree.check().map_err(TestCaseError::fail)?;
            prop_assert_eq!(tree.sum().weights[1], map.values().map(|v| u64::from(*v)).sum::<u64>());
            let items: Vec<(u64, u32)> = tree.iter().map(|c| (c.at, c.value)).collect();
            prop_assert_eq!(&items, &map.clone().into_iter().collect::<Vec<_>>());
            let marked = tree.find_marked(500, 2).map(|c| c.at);
            prop_assert_eq!(marked, map.range(50..).find(|(_, v)| **v & 2 != 0).map(|(k, _)| *k));
            for len in [1, 6, 7, 16, 17, 40] {
                let free = |start: u64| !map.keys().any(|k| k * 10 < start + len && start < k * 10 + 4);
                let highest = (0..=3000 - len).rev().find(|start| free(*start));
                prop_assert_eq!(tree.gap_top_down(0, 3000, len), highest);
            }
        }
    }
}
