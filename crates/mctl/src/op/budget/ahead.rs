//! What comes in before: of several processes each finds the room that those before it left.

use std::collections::HashMap;

use super::{Cost, Growth, Room};
use crate::see::coverage::Bytes;

/// What work on other processes, which comes first, would bring in. For dry runs: where the work is done, the room
/// is read anew for each process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// By memory cgroup; `None` is the host.
    own: HashMap<Option<String>, Bytes>,
    /// Memory that several may share comes in once: the most of any of them.
    shared: HashMap<Option<String>, Bytes>,
}

impl Ahead {
    /// Takes one more process into account.
    pub fn add(&mut self, cost: &Cost, growth: Growth) {
        let most = match growth {
            Growth::AtMost(most) => most,
            Growth::Sparing | Growth::AsAsked => Bytes(u64::MAX),
        };
        let own = cost.bytes.less(cost.shared).min(most);
        let shared = cost.shared.min(most.less(own));
        for level in cost.room.levels() {
            *self.own.entry(level.cgroup.clone()).or_default() += own;
            let known = self.shared.entry(level.cgroup.clone()).or_default();
            *known = shared.max(*known);
        }
    }

    pub(crate) fn of(&self, cgroup: &Option<String>) -> Bytes {
        let part = |of: &HashMap<Option<String>, Bytes>| of.get(cgroup).copied();
        part(&self.own).unwrap_or_default() + part(&self.shared).unwrap_or_default()
    }
}

impl Room {
    /// What is left of it for one that comes after others.
    pub(crate) fn after(mut self, ahead: &Ahead) -> Room {
        for level in self.cgroups.iter_mut().chain([&mut self.host]) {
            level.ahead = ahead.of(&level.cgroup);
        }
        self
    }
}
