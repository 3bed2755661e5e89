//! Named sets of constants, and the headers that constants come from.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::super::prototype::is_identifier;
use super::identifier;
use super::types::hex;
use crate::ir::Value;

/// What constants that begin so need.
const HEADERS: [(&str, &str); 17] = [
    ("AT_", "linux/fcntl.h"),
    ("CLONE_", "linux/sched.h"),
    ("EPOLL", "linux/eventpoll.h"),
    ("F_", "linux/fcntl.h"),
    ("FUTEX_", "linux/futex.h"),
    ("GRND_", "linux/random.h"),
    ("MADV_", "linux/mman.h"),
    ("MAP_", "linux/mman.h"),
    ("MCL_", "linux/mman.h"),
    ("MLOCK_", "linux/mman.h"),
    ("MPOL_", "linux/mempolicy.h"),
    ("MREMAP_", "linux/mman.h"),
    ("O_", "linux/fcntl.h"),
    ("PIDFD_", "linux/pidfd.h"),
    ("PR_", "linux/prctl.h"),
    ("PROT_", "linux/mman.h"),
    ("SIG", "linux/signal.h"),
];

/// The sets, each once.
#[derive(Default)]
pub(super) struct Sets {
    sets: Vec<(String, Vec<String>)>,
    headers: BTreeSet<&'static str>,
}

impl Sets {
    /// A constant of a description.
    pub(super) fn constant(&mut self, name: &str) -> String {
        if let Some((_, header)) = HEADERS.iter().find(|(p, _)| name.starts_with(p)) {
            self.headers.insert(header);
        }
        name.to_owned()
    }

    /// `A`, or the number of `BIT(3) | 1`; `None` where there is neither.
    pub(super) fn value(&mut self, value: &Value) -> Option<String> {
        if is_identifier(&value.text) {
            Some(self.constant(&value.text))
        } else {
            value.number.map(hex)
        }
    }

    /// The name of the set of `values`; an equal set is used again.
    pub(super) fn named(&mut self, owner: &str, place: &str, values: Vec<String>) -> String {
        let base = identifier(&format!("kapi_{owner}_{place}"));
        for n in 1..=self.sets.len() + 1 {
            let name = if n == 1 {
                base.clone()
            } else {
                format!("{base}_{n}")
            };
            match self.sets.iter().find(|(taken, _)| *taken == name) {
                Some((_, same)) if *same == values => return name,
                Some(_) => {}
                None => {
                    self.sets.push((name.clone(), values));
                    return name;
                }
            }
        }
        base
    }

    pub(super) fn includes(&self) -> Vec<&'static str> {
        self.headers.iter().copied().collect()
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for (name, values) in &self.sets {
            let _ = writeln!(out, "{name} = {}", values.join(", "));
        }
        out
    }
}
