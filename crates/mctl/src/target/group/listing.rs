//! Which processes there are, and who descends from whom.

use std::collections::{HashMap, HashSet};

use mctl_abi::Errno;
use mctl_sys::bounded;
use mctl_sys::inject::{CARRIER_NAME, is_carrier};
use mctl_sys::procfs::stat::Stat;
use mctl_sys::procfs::status::Status;

use crate::error::{Error, Result};
use crate::target::{ProcessSpec, Target};

/// What one listing says of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    /// In clock ticks since boot; with the number it names a process.
    pub(crate) start: u64,
    /// The number of the process that began its session.
    pub(crate) session: i32,
    /// The number of the process that began its process group.
    pub(crate) group: i32,
}

/// The start of a process about which the kernel does not answer.
const UNKNOWN: u64 = u64::MAX;

pub(crate) type Key = (i32, u64);

pub(crate) fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// `None`: it has ended, is hidden, or is a carrier.
///
/// # Errors
/// It cannot be looked at for a reason of ours (`EMFILE`, `ENFILE`, `ENOMEM`, `EINTR`).
pub(crate) fn look_at(pid: i32) -> Result<Option<Seen>> {
    let mut buffer = [0u8; 1024];
    let path = format!("/proc/{pid}/stat");
    let text = match mctl_sys::read_small(&path, &mut buffer) {
        Ok(text) => text,
        Err(Errno::EBUSY) => return Ok(look_at_silent(pid)),
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EACCES | Errno::EPERM) => return Ok(None),
        Err(errno) => {
            let error = std::io::Error::from_raw_os_error(errno.raw());
            return Err(Error::read(path, &error));
        }
    };
    Ok(told_of(pid, text))
}

fn told_of(pid: i32, text: &[u8]) -> Option<Seen> {
    let stat = Stat::parse(text).ok()?;
    // A carrier of a command that is at work is no process of anybody's: its policy is its parent's.
    if stat.comm == CARRIER_NAME && is_carrier(pid) {
        return None;
    }
    Some(Seen {
        pid,
        parent: i32::try_from(stat.ppid).ok()?,
        start: stat.starttime,
        session: stat.session,
        group: stat.pgrp,
    })
}

/// Of a process about which the kernel does not answer: what it tells of any.
fn look_at_silent(pid: i32) -> Option<Seen> {
    let text = std::fs::read(format!("/proc/{pid}/status")).ok()?;
    let parent = Status::parse(&text).ok()?.ppid?;
    Some(Seen {
        pid,
        parent: i32::try_from(parent).ok()?,
        start: UNKNOWN,
        session: 0,
        group: 0,
    })
}

/// Every process that `/proc` shows.
pub(crate) fn list_all() -> Result<Vec<Seen>> {
    crate::target::view::check(|| "the processes of this host".to_owned())?;
    let unread = |error: std::io::Error| Error::read("/proc", &error);
    let mut pids: Vec<i32> = Vec::new();
    for entry in std::fs::read_dir("/proc").map_err(unread)? {
        let name = entry.map_err(unread)?.file_name();
        pids.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    let mut all = Vec::with_capacity(pids.len());
    let mut failed = None;
    let silent = bounded::each(&pids, |pid| match look_at(pid) {
        Ok(seen) => all.extend(seen),
        Err(error) => failed = Some(error),
    });
    let silent = silent.map_err(not_listed)?;
    // One that was passed over for it might have been the one that matters.
    if let Some(error) = failed {
        return Err(error);
    }
    all.extend(silent.into_iter().filter_map(look_at_silent));
    Ok(all)
}

/// The root, what descends from it, and what descends from processes already found to do so even
/// if their parents have gone since. Parents come before children.
///
/// A process whose parent has gone belongs to another parent from then on. Where it is in a session that
/// a member began it descends from that member all the same: a session is joined by birth only.
pub(crate) fn descendants(all: &[Seen], root: Key, known: &HashSet<Key>) -> Vec<Seen> {
    let mut children: HashMap<i32, Vec<Seen>> = HashMap::new();
    let mut sessions: HashMap<i32, Vec<Seen>> = HashMap::new();
    for seen in all {
        children.entry(seen.parent).or_default().push(*seen);
        // A kernel thread is in session 0.
        if seen.session > 0 && seen.session != seen.pid {
            sessions.entry(seen.session).or_default().push(*seen);
        }
    }
    let mut found: Vec<Seen> = all
        .iter()
        .filter(|seen| (seen.pid, seen.start) == root || known.contains(&(seen.pid, seen.start)))
        .copied()
        .collect();
    found.sort_by_key(|seen| (seen.pid, seen.start) != root);
    let mut have: HashSet<i32> = found.iter().map(|seen| seen.pid).collect();
    let living: HashSet<i32> = all.iter().map(|seen| seen.pid).collect();
    // The kernel gives a number to nobody else for as long as a session is named by it: where no
    // process has it, the session is still that of the member that had it.
    for (pid, _) in known.iter().filter(|(pid, _)| !living.contains(pid)) {
        for orphan in sessions.remove(pid).unwrap_or_default() {
            if have.insert(orphan.pid) {
                found.push(orphan);
            }
        }
    }
    let mut next = 0;
    while let Some(member) = found.get(next).copied() {
        next += 1;
        let born = children.get(&member.pid).map(Vec::as_slice);
        let led = sessions.get(&member.pid).map(Vec::as_slice);
        for seen in born.into_iter().chain(led).flatten() {
            if have.insert(seen.pid) {
                found.push(*seen);
            }
        }
    }
    found
}

/// Processes that may descend from members and cannot be told to: they are in a process group that a
/// member began, which a process can also join, and their parent is one that takes in what has lost its own.
pub(crate) fn orphans(all: &[Seen], members: &[Seen]) -> Vec<i32> {
    let sessions: HashMap<i32, i32> = all.iter().map(|seen| (seen.pid, seen.session)).collect();
    let members: HashSet<i32> = members.iter().map(|seen| seen.pid).collect();
    all.iter()
        .filter(|seen| !members.contains(&seen.pid) && members.contains(&seen.group))
        // Born into its parent's session, and not the leader of its own: the parent is not its first.
        .filter(|seen| sessions.get(&seen.parent) != Some(&seen.session))
        .map(|seen| seen.pid)
        .collect()
}

/// Opens a process of a listing, making sure that it still is that process. `None`: it has ended.
///
/// # Errors
/// It lives but could not be opened (`EMFILE`).
pub(crate) fn open(seen: Seen) -> Result<Option<Target>> {
    let Some(target) = open_number(seen.pid)? else {
        return Ok(None);
    };
    let same = look_at(seen.pid)?.is_some_and(|now| is_same(&seen, &now));
    Ok((same && target.is_alive()).then_some(target))
}

/// The process that has the number now. `None`: there is none.
fn open_number(pid: i32) -> Result<Option<Target>> {
    match Target::open_seen(ProcessSpec { pid, inode: None }) {
        Ok(target) => Ok(Some(target)),
        Err(error) if error.errno() == Errno::ESRCH => Ok(None),
        // The number belongs to a thread by now.
        Err(Error::IsThread { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_same(then: &Seen, now: &Seen) -> bool {
    match (now.start, then.start) {
        (UNKNOWN, _) | (_, UNKNOWN) => now.parent == then.parent,
        (now, then) => now == then,
    }
}

/// Opens those that still live.
pub(crate) fn open_all(all: &[Seen]) -> Result<Vec<Target>> {
    open_each(all)
        .into_iter()
        .filter_map(Result::transpose)
        .collect()
}

/// As [`open`], for many. All are opened first and then looked at by one task: whoever is alive after that had its
/// number at the look.
pub(crate) fn open_each(all: &[Seen]) -> Vec<Result<Option<Target>>> {
    let opened: Vec<Result<Option<Target>>> =
        all.iter().map(|seen| open_number(seen.pid)).collect();
    let mut looked: Vec<Option<Result<Option<Seen>>>> = all.iter().map(|_| None).collect();
    let held: Vec<usize> = opened
        .iter()
        .enumerate()
        .filter(|(_, opened)| matches!(opened, Ok(Some(_))))
        .map(|(index, _)| index)
        .collect();
    // Those that did not answer are looked at below once more, without their start.
    let ended = bounded::each(&held, |index| {
        if let (Some(seen), Some(looked)) = (all.get(index), looked.get_mut(index)) {
            *looked = Some(look_at(seen.pid));
        }
    });
    let one = |((seen, opened), looked): ((&Seen, Result<Option<Target>>), _)| {
        let Some(target) = opened? else {
            return Ok(None);
        };
        let now = match (looked, &ended) {
            (Some(now), _) => now?,
            (None, Ok(_)) => look_at_silent(seen.pid),
            (None, Err(undone)) => return Err(not_listed(*undone)),
        };
        let same = now.is_some_and(|now| is_same(seen, &now));
        Ok((same && target.is_alive()).then_some(target))
    };
    all.iter().zip(opened).zip(looked).map(one).collect()
}

fn not_listed(undone: bounded::Undone) -> Error {
    Error::Read {
        what: "/proc".to_owned(),
        why: undone.to_string(),
        errno: undone.errno(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pid: i32, parent: i32) -> Seen {
        in_group(pid, parent, 1, 1)
    }

    fn in_group(pid: i32, parent: i32, session: i32, group: i32) -> Seen {
        Seen {
            pid,
            parent,
            start: u64::try_from(pid).unwrap(),
            session,
            group,
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
                start: 99,
                ..seen(4, 1)
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

    /// 4 began a session; 5 is of it and lost its parent before anybody looked, and 9 is its child.
    #[test]
    fn orphans_of_a_members_session_are_of_the_tree() {
        let all = [
            in_group(1, 0, 1, 1),
            in_group(4, 1, 4, 4),
            in_group(5, 1, 4, 5),
            in_group(9, 5, 4, 5),
            in_group(8, 1, 8, 8),
        ];
        let pids = |known: &HashSet<Key>| -> Vec<i32> {
            let found = descendants(&all, (4, 4), known);
            found.iter().map(|s| s.pid).collect()
        };
        assert_eq!(pids(&HashSet::new()), [4, 5, 9]);
        // Another process began this session, which only has the number of one that was known.
        let known = HashSet::from([(4, 4), (8, 7)]);
        assert_eq!(pids(&known), [4, 5, 9]);
        // The member itself has gone, and nobody else has its number.
        let known = HashSet::from([(4, 4)]);
        let left = [all[0], all[2], all[3], all[4]];
        let found = descendants(&left, (4, 4), &known);
        assert_eq!(found.iter().map(|s| s.pid).collect::<Vec<_>>(), [5, 9]);
    }

    /// 4 began a process group in session 2. 5 is in it and belongs to init: it may descend from 4. 6 is in it
    /// too, but still has the parent in whose session it was born: a pipeline of a shell.
    #[test]
    fn orphans_of_a_members_process_group_are_named() {
        let all = [
            in_group(1, 0, 1, 1),
            in_group(2, 1, 2, 2),
            in_group(4, 2, 2, 4),
            in_group(5, 1, 2, 4),
            in_group(6, 2, 2, 4),
        ];
        let found = descendants(&all, (4, 4), &HashSet::new());
        assert_eq!(found.iter().map(|s| s.pid).collect::<Vec<_>>(), [4]);
        assert_eq!(orphans(&all, &found), [5]);
    }
}
