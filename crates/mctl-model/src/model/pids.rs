//! The PID space: numbers go round and are used again, identities are not.

use std::collections::BTreeMap;

use mctl_abi::Errno;

use crate::ids::TaskId;

#[derive(Clone, Debug)]
pub(crate) struct Pids {
    max: u32,
    last: u32,
    inode: u64,
    used: BTreeMap<u32, TaskId>,
}

impl Pids {
    pub(super) fn new(max: u32) -> Pids {
        Pids {
            max: max.max(2),
            last: 0,
            inode: 0,
            used: BTreeMap::new(),
        }
    }

    /// The next free number after the last one given out, round the corner at `pid_max`
    /// (`alloc_pid()`), with its identity.
    pub(super) fn take(&mut self, task: TaskId) -> Result<(u32, u64), Errno> {
        for step in 1..self.max {
            let span = self.max - 1;
            let pid = (self.last + step - 1) % span + 1;
            if let std::collections::btree_map::Entry::Vacant(free) = self.used.entry(pid) {
                free.insert(task);
                self.last = pid;
                self.inode += 1;
                return Ok((pid, self.inode));
            }
        }
        Err(Errno::EAGAIN)
    }

    pub(super) fn free(&mut self, pid: u32) {
        self.used.remove(&pid);
    }

    pub(super) fn hand_over(&mut self, pid: u32, task: TaskId) {
        self.used.insert(pid, task);
    }

    pub(super) fn get(&self, pid: u32) -> Option<TaskId> {
        self.used.get(&pid).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, TaskId)> + '_ {
        self.used.iter().map(|(pid, task)| (*pid, *task))
    }

    /// Sets the number after which the search for the next one begins, as a write to
    /// /proc/sys/kernel/ns_last_pid does.
    pub(super) fn set_last(&mut self, pid: u32) {
        self.last = pid % self.max;
    }
}
