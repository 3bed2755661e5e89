//! Which processes there are, and who descends from whom.

use std::collections::{HashMap, HashSet};

use mctl_abi::Errno;
use mctl_sys::procfs::stat::Stat;

use crate::error::{Error, Result};
use crate::target::{ProcessSpec, Target};

/// What one listing says of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) pid: i32,
    pub(super) parent: i32,
    /// In clock ticks since boot; with the number it names a process.
    pub(super) start: u64,
}

pub(super) type Key = (i32, u64);

pub(super) fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

pub(super) fn look_at(pid: i32) -> Option<Seen> {
    let mut buffer = [0u8; 1024];
    let text = mctl_sys::read_small(&format!("/proc/{pid}/stat"), &mut buffer).ok()?;
    let stat = Stat::parse(text).ok()?;
    Some(Seen {
        pid,
        parent: i32::try_from(stat.ppid).ok()?,
        start: stat.starttime,
    })
}

/// Every process that `/proc` shows.
pub(super) fn list_all() -> Result<Vec<Seen>> {
    crate::view::check(|| "the processes of this host".to_owned())?;
    let entries = std::fs::read_dir("/proc").map_err(|error| Error::read("/proc", &error))?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(look_at)
        .collect())
}

/// The root, what descends from it, and what descends from processes already found to do so even
/// if their parents have gone since. Parents come before children.
pub(super) fn descendants(all: &[Seen], root: Key, known: &HashSet<Key>) -> Vec<Seen> {
    let mut children: HashMap<i32, Vec<Seen>> = HashMap::new();
    for seen in all {
        children.entry(seen.parent).or_default().push(*seen);
    }
    let mut found: Vec<Seen> = all
        .iter()
        .filter(|seen| (seen.pid, seen.start) == root || known.contains(&(seen.pid, seen.start)))
        .copied()
        .collect();
    found.sort_by_key(|seen| (seen.pid, seen.start) != root);
    let mut have: HashSet<i32> = found.iter().map(|seen| seen.pid).collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        for child in children
            .get(&parent.pid)
            .map(Vec::as_slice)
            .unwrap_or_default()
        {
            if have.insert(child.pid) {
                found.push(*child);
            }
        }
    }
    found
}

/// Opens a process of a listing, making sure that it still is that process. `None`: it has ended.
///
/// # Errors
/// It lives but could not be opened (`EMFILE`).
pub(super) fn open(seen: Seen) -> Result<Option<Target>> {
    let spec = ProcessSpec {
        pid: seen.pid,
        inode: None,
    };
    let target = match Target::open_seen(spec) {
        Ok(target) => target,
        Err(error) if error.errno() == Errno::ESRCH => return Ok(None),
        // The number belongs to a thread by now.
        Err(Error::IsThread { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let same = look_at(seen.pid).is_some_and(|now| now.start == seen.start);
    Ok((same && target.is_alive()).then_some(target))
}

/// Opens those that still live.
pub(super) fn open_all(all: Vec<Seen>) -> Result<Vec<Target>> {
    all.into_iter()
        .filter_map(|seen| open(seen).transpose())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pid: i32, parent: i32) -> Seen {
        Seen {
            pid,
            parent,
            start: u64::try_from(pid).unwrap(),
        }
    }

    #[test]
    fn descendants_come_after_their_parents() {
        let all = [
            seen(1, 0),
            seen(9, 5),
            seen(5, 4),
            seen(4, 1),
            seen(7, 4),
            seen(8, 1),
        ];
        let found = descendants(&all, (4, 4), &HashSet::new());
        let pids: Vec<i32> = found.iter().map(|s| s.pid).collect();
        assert_eq!(pids, [4, 5, 7, 9]);
    }

    #[test]
    fn orphans_that_were_known_stay_in_the_tree() {
        // 5 lost its parent 4 and now belongs to 1; its child 9 is new.
        let all = [seen(1, 0), seen(5, 1), seen(9, 5)];
        let known = HashSet::from([(4, 4), (5, 5)]);
        let found = descendants(&all, (4, 4), &known);
        let pids: Vec<i32> = found.iter().map(|s| s.pid).collect();
        assert_eq!(pids, [5, 9]);
    }

    #[test]
    fn a_number_used_again_is_another_process() {
        let all = [
            Seen {
                pid: 4,
                parent: 1,
                start: 99,
            },
            seen(5, 4),
        ];
        assert!(descendants(&all, (4, 4), &HashSet::new()).is_empty());
    }

    #[test]
    fn a_loop_in_a_torn_listing_ends() {
        let all = [seen(4, 5), seen(5, 4)];
        assert_eq!(descendants(&all, (4, 4), &HashSet::new()).len(), 2);
    }
}
