//! A process with all its descendants, or all members of a cgroup, as one target.
//!
//! Both fork while we work. So they are listed and treated again and again until a pass finds
//! nothing that was not in the wanted state already: a process forked by one that has the policy
//! has it too, so then none is left without.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use mctl_abi::{Errno, PolicyKind, Verb};
use mctl_sys::procfs::stat::Stat;
use serde::Serialize;

use crate::apply::{apply_each, restore};
use crate::error::{Error, Result};
use crate::host::HostCaps;
use crate::outcome::Outcome;
use crate::plan::unsupported;
use crate::request::Request;
use crate::target::{ProcessSpec, Target};

/// After so many passes a group that still brings forth untreated processes is reported as
/// incomplete.
const MAX_PASSES: u32 = 64;

/// What to do when one member fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Atomicity {
    /// The others keep what they got; the failure is reported.
    #[default]
    Each,
    /// Those already changed are put back.
    AllOrNothing,
}

/// One process of a group and what became of it.
#[derive(Debug)]
pub struct Member {
    /// Which process.
    pub spec: ProcessSpec,
    /// Its command name.
    pub name: String,
    /// What was done.
    pub result: Result<Outcome>,
}

/// How a group fared.
#[derive(Debug, Default)]
pub struct TreeOutcome {
    /// Every process that was found, in the order of treatment.
    pub members: Vec<Member>,
    /// How often the group was listed.
    pub passes: u32,
    /// How many ended before they could be treated. Children that such a process leaves behind
    /// belong to another parent and cannot be found any more.
    pub ended: u64,
    /// How many kernel threads were passed over.
    pub kernel_threads: u64,
    /// Whether the last pass found nothing left to do.
    pub complete: bool,
    /// What became of putting things back, where it had to be.
    pub rollback: Option<Rollback>,
}

/// The putting back of an [`Atomicity::AllOrNothing`] group.
#[derive(Debug, Default, Serialize)]
pub struct Rollback {
    /// How many processes have their former state again.
    pub restored: u64,
    /// How many could not be reached for it, and why.
    pub failed: Vec<(ProcessSpec, String)>,
}

impl TreeOutcome {
    /// Whether every member that lives has what was asked.
    #[must_use]
    pub fn all_done(&self) -> bool {
        self.complete
            && self.rollback.is_none()
            && self.members.iter().all(|member| member.result.is_ok())
    }
}

/// What one listing says of a process.
#[derive(Clone, Copy, Debug)]
struct Seen {
    pid: i32,
    parent: i32,
    /// In clock ticks since boot; with the number it names a process.
    start: u64,
}

type Key = (i32, u64);

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

fn look_at(pid: i32) -> Option<Seen> {
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
fn list_all() -> Result<Vec<Seen>> {
    let entries = std::fs::read_dir("/proc").map_err(|error| Error::read("/proc", &error))?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(look_at)
        .collect())
}

/// The root, what descends from it, and what descends from processes already found to do so even
/// if their parents have gone since. Parents come before children.
fn descendants(all: &[Seen], root: Key, known: &HashSet<Key>) -> Vec<Seen> {
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

/// Opens a process of a listing, making sure that it still is that process.
fn open(seen: Seen) -> Option<Target> {
    let target = Target::open(ProcessSpec {
        pid: seen.pid,
        inode: None,
    })
    .ok()?;
    let now = look_at(seen.pid)?;
    (now.start == seen.start && target.is_alive()).then_some(target)
}

/// A process and everything that descends from it now.
///
/// # Errors
/// `/proc` cannot be read, or the root has ended.
pub fn members_of_tree(root: &Target) -> Result<Vec<Target>> {
    let key = key_of(root)?;
    let found = descendants(&list_all()?, key, &HashSet::new());
    Ok(found.into_iter().filter_map(open).collect())
}

fn key_of(target: &Target) -> Result<Key> {
    let seen = look_at(target.pid()).filter(|_| target.is_alive());
    seen.map(|seen| (seen.pid, seen.start))
        .ok_or(Error::NoProcess { pid: target.pid() })
}

/// All processes of a cgroup and of the cgroups below it, now.
///
/// `path` is a directory of the cgroup file system, or a cgroup's own path (as in
/// `/proc/PID/cgroup`), which is looked for where cgroup v2 is mounted.
///
/// # Errors
/// `EINVAL` no cgroup; `ENOENT`; or it cannot be read.
pub fn members_of_cgroup(path: &Path) -> Result<Vec<Target>> {
    let dir = cgroup_dir(path)?;
    Ok(list_cgroup(&dir)?.into_iter().filter_map(open).collect())
}

/// `CGROUP2_SUPER_MAGIC` and `CGROUP_SUPER_MAGIC` (linux/magic.h).
const CGROUP_MAGICS: [u64; 2] = [0x6367_7270, 0x0027_e0eb];

fn is_cgroup(dir: &Path) -> bool {
    rustix::fs::statfs(dir)
        .is_ok_and(|fs| u64::try_from(fs.f_type).is_ok_and(|magic| CGROUP_MAGICS.contains(&magic)))
}

fn cgroup_dir(path: &Path) -> Result<PathBuf> {
    if is_cgroup(path) && path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let mounts = std::fs::read("/proc/self/mountinfo")
        .map_err(|error| Error::read("/proc/self/mountinfo", &error))?;
    let root = mctl_sys::procfs::mountinfo::MountLines::new(&mounts)
        .flatten()
        .find(|mount| mount.fs_type == b"cgroup2")
        .map(|mount| mctl_sys::procfs::mountinfo::unescape(mount.mount_point).into_owned());
    let invalid = |why: &str| Error::Invalid {
        why: format!("{}: {why}", path.display()),
    };
    let Some(root) = root.and_then(|root| String::from_utf8(root).ok()) else {
        return Err(invalid(
            "no such cgroup directory, and cgroup v2 is not mounted",
        ));
    };
    let dir = Path::new(&root).join(path.strip_prefix("/").unwrap_or(path));
    let escapes = path
        .components()
        .any(|part| part == std::path::Component::ParentDir);
    if !escapes && is_cgroup(&dir) && dir.is_dir() {
        return Ok(dir);
    }
    Err(invalid("no such cgroup"))
}

fn list_cgroup(dir: &Path) -> Result<Vec<Seen>> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(dir) = todo.pop() {
        let file = dir.join("cgroup.procs");
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                let pids = text.lines().filter_map(|line| line.parse::<i32>().ok());
                // 0 stands for a process that our PID namespace does not show.
                found.extend(pids.filter(|pid| *pid > 0).filter_map(look_at));
            }
            // Threaded cgroups have no list of processes: their members are listed at the top of
            // the threaded tree. One that was removed meanwhile has no members.
            Err(error)
                if matches!(
                    error.raw_os_error().map(Errno::from_raw),
                    Some(Errno::EOPNOTSUPP | Errno::ENOENT | Errno::ENODEV)
                ) => {}
            Err(error) => return Err(Error::read(file.display().to_string(), &error)),
        }
        if let Ok(entries) = std::fs::read_dir(&dir) {
            let dirs = entries
                .flatten()
                .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
            todo.extend(dirs.map(|entry| entry.path()));
        }
    }
    Ok(found)
}

/// Applies a request to a process and all its descendants, until none is left out.
///
/// `progress` is told of every member as it is done. The calling process is passed over where it
/// is itself a descendant.
///
/// # Errors
/// The request cannot be carried out on this kernel at all (nothing is touched then), `/proc`
/// cannot be read, or the root has ended. A member's failure is in its result.
pub fn apply_tree(
    request: &Request,
    root: &Target,
    caps: &HostCaps,
    atomicity: Atomicity,
    progress: &mut dyn FnMut(&Member),
) -> Result<TreeOutcome> {
    let key = key_of(root)?;
    let list = |known: &HashSet<Key>| {
        let found = descendants(&list_all()?, key, known);
        let ourselves = own_pid();
        Ok(found
            .into_iter()
            .filter(|s| s.pid != ourselves || key.0 == ourselves)
            .collect())
    };
    treat(request, caps, atomicity, progress, list)
}

/// Applies a request to every process of a cgroup and of those below it, until none is left out.
///
/// # Errors
/// As [`apply_tree`]; `EINVAL` where the path is no cgroup.
pub fn apply_cgroup(
    request: &Request,
    path: &Path,
    caps: &HostCaps,
    atomicity: Atomicity,
    progress: &mut dyn FnMut(&Member),
) -> Result<TreeOutcome> {
    let dir = cgroup_dir(path)?;
    let list = |_: &HashSet<Key>| {
        let ourselves = own_pid();
        Ok(list_cgroup(&dir)?
            .into_iter()
            .filter(|seen| seen.pid != ourselves)
            .collect())
    };
    treat(request, caps, atomicity, progress, list)
}

fn treat(
    request: &Request,
    caps: &HostCaps,
    atomicity: Atomicity,
    progress: &mut dyn FnMut(&Member),
    mut list: impl FnMut(&HashSet<Key>) -> Result<Vec<Seen>>,
) -> Result<TreeOutcome> {
    if atomicity == Atomicity::AllOrNothing {
        refuse_what_cannot_be_put_back(request, caps)?;
    }
    let mut outcome = TreeOutcome::default();
    let mut known: HashSet<Key> = HashSet::new();
    let mut held: Vec<Target> = Vec::new();
    while outcome.passes < MAX_PASSES {
        outcome.passes += 1;
        let new: Vec<Seen> = list(&known)?
            .into_iter()
            .filter(|seen| known.insert((seen.pid, seen.start)))
            .collect();
        if new.is_empty() {
            outcome.complete = true;
            break;
        }
        let mut targets = Vec::with_capacity(new.len());
        for seen in new {
            match open(seen) {
                Some(target) => targets.push(target),
                None => outcome.ended += 1,
            }
        }
        let refs: Vec<&Target> = targets.iter().collect();
        let results = apply_each(request, &refs, caps);
        let mut quiet = true;
        let first = outcome.members.len();
        for (target, result) in targets.into_iter().zip(results) {
            match &result {
                Ok(outcome) => quiet &= !outcome.changed(),
                Err(error) if is_kernel_thread(error) => {
                    outcome.kernel_threads += 1;
                    continue;
                }
                Err(error) if error.errno() == Errno::ESRCH => {
                    // It ended, or is a zombie: there is no memory left to have a policy.
                    outcome.ended += 1;
                    quiet = false;
                    continue;
                }
                Err(_) => {}
            }
            let member = Member {
                spec: target.spec(),
                name: target.name(),
                result,
            };
            progress(&member);
            outcome.members.push(member);
            held.push(target);
        }
        let failed = outcome
            .members
            .iter()
            .skip(first)
            .any(|member| member.result.is_err());
        if failed && atomicity == Atomicity::AllOrNothing {
            outcome.rollback = Some(roll_back(&outcome.members, &held));
            return Ok(outcome);
        }
        if quiet {
            // Everything new had the policy already: it was inherited, and so will be what comes.
            outcome.complete = true;
            break;
        }
    }
    Ok(outcome)
}

fn is_kernel_thread(error: &Error) -> bool {
    use mctl_sys::inject::{InjectError, Refusal};
    matches!(
        error,
        Error::Inject {
            source: InjectError::Refused(Refusal::KernelThread),
            ..
        }
    )
}

fn refuse_what_cannot_be_put_back(request: &Request, caps: &HostCaps) -> Result<()> {
    let by_advice = request
        .calls()
        .iter()
        .any(|call| call.action().info().effect == Some((Verb::Set, PolicyKind::Hugepage)))
        && caps
            .thp
            .as_ref()
            .is_some_and(|host| host.overall() == mctl_abi::thp::Host::Madvise);
    if by_advice {
        return Err(unsupported(
            "set hugepage for all or none",
            "on this host it goes by advice on mappings, which cannot be taken back",
        ));
    }
    Ok(())
}

fn roll_back(members: &[Member], held: &[Target]) -> Rollback {
    let mut rollback = Rollback::default();
    // The last first, so that what a parent hands down is put back after its children.
    for (member, target) in members.iter().zip(held).rev() {
        let Ok(outcome) = &member.result else {
            continue;
        };
        if !outcome.changed() {
            continue;
        }
        match restore(target, outcome) {
            Ok(()) => rollback.restored += 1,
            Err(error) if error.errno() == Errno::ESRCH => {}
            Err(error) => rollback.failed.push((member.spec, error.to_string())),
        }
    }
    rollback
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

    #[test]
    fn what_is_no_cgroup() {
        for path in ["/tmp", "/no/such", "../../..", "/proc"] {
            assert!(cgroup_dir(Path::new(path)).is_err(), "{path}");
        }
    }
}
