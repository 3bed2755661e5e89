//! Groups of processes: a process with all its descendants, or the members of a cgroup, and which of them a
//! change is for.

mod cgroup;
pub(crate) mod listing;

use std::collections::HashSet;

use mctl_sys::procfs::stat::Stat;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::target::{Target, read_all};
use crate::wait::one_task;
use crate::wait::patience::together;
use listing::{Key, Seen, descendants, list_all, look_at, open_all, orphans};

pub use cgroup::members_of_cgroup;
pub(crate) use cgroup::{cgroup_dir, list_cgroup};

/// The processes of a group, held, and what is known to be missing among them.
#[derive(Debug, Default)]
pub struct Members {
    /// Those that could be opened, parents before their children.
    pub processes: Vec<Target>,
    /// Those that could not.
    pub left_out: LeftOut,
}

impl Members {
    /// Those that a change of the group is for: not the calling process, unless it was named itself as
    /// `root`, and no kernel threads, which have no memory. [`apply_tree`](crate::apply_tree) and
    /// [`apply_cgroup`](crate::apply_cgroup) pass over the same.
    #[must_use]
    pub fn to_change(mut self, root: Option<&Target>) -> Members {
        let own_named = root.is_some_and(Target::is_own);
        let mut kernel =
            one_task::map(&self.processes, Target::is_own, is_kernel_thread).into_iter();
        self.processes.retain(|target| {
            let is_kernel_thread = kernel.next().unwrap_or(false);
            (own_named || !target.is_own()) && !is_kernel_thread
        });
        self
    }
}

/// Whether it is one, as far as that can be seen.
fn is_kernel_thread(target: &Target) -> bool {
    read_all(target, "stat")
        .is_ok_and(|text| Stat::parse(&text).is_ok_and(|stat| stat.is_kernel_thread()))
}

/// What belongs to a group, or may, and is not reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Members of a cgroup that have no number in the caller's PID namespace, or that its `/proc`
    /// hides. They were not looked at and keep what they have.
    pub invisible: u64,
    /// The cgroup is of version 1, whose lists leave out what is in another PID namespace, and the
    /// caller is not in the first one: whether there is more cannot be told.
    pub uncounted: bool,
    /// Processes that may descend from a tree: they lost their parent before they were listed, and are in
    /// a process group of the tree. Those in a session of the tree are members.
    pub orphans: Vec<i32>,
}

/// A process and everything that descends from it now.
///
/// # Errors
/// `/proc` cannot be read, or the root has ended.
pub fn members_of_tree(root: &Target) -> Result<Members> {
    crate::with_room(|| together(|| list_tree(root)))
}

fn list_tree(root: &Target) -> Result<Members> {
    let key = key_of(root)?;
    let all = list_all()?;
    let found = descendants(&all, key, &HashSet::new());
    let left_out = LeftOut {
        orphans: orphans(&all, &found),
        ..LeftOut::default()
    };
    Ok(Members {
        processes: open_all(&found)?,
        left_out,
    })
}

/// What one listing of a group shows.
pub(crate) struct Group {
    pub(crate) seen: Vec<Seen>,
    pub(crate) left_out: LeftOut,
}

pub(crate) fn key_of(target: &Target) -> Result<Key> {
    let seen = look_at(target.pid())?.filter(|_| target.is_alive());
    seen.map(|seen| (seen.pid, seen.start))
        .ok_or(Error::NoProcess { pid: target.pid() })
}
