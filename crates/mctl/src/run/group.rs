//! A process with all its descendants, or all members of a cgroup, as one target.
//!
//! Both fork while we work. So they are listed and treated again and again until a pass finds
//! nothing that was not in the wanted state already: a process forked by one that has the policy
//! has it too, so then none is left without.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use mctl_abi::{Errno, PolicyKind, Verb};
use serde::Serialize;

use super::{apply_each, restore};
use crate::error::{Error, Result};
use crate::host::HostCaps;
use crate::op::outcome::Outcome;
use crate::op::policy::plan::unsupported;
use crate::op::policy::request::Request;
use crate::see::mappings::Override;
use crate::target::group::listing::{
    Key, Seen, descendants, list_all, open, open_each, orphans, own_pid,
};
use crate::target::group::{Group, LeftOut, cgroup_dir, key_of, list_cgroup};
use crate::target::{ProcessSpec, Target};
use crate::wait::patience::{Turn, after_waiting, has_no_moment, spent, together};

/// So many processes are held open at a time: well below the usual limit on descriptors.
const HELD: usize = 128;
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
    /// What is known not to have been reached.
    pub left_out: LeftOut,
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

impl Rollback {
    /// Counts one process and what became of putting it back. One that was not changed, or that has
    /// ended meanwhile, has nothing to be put back.
    pub(crate) fn add(
        &mut self,
        spec: ProcessSpec,
        result: &Result<Outcome>,
        put_back: impl FnOnce(&Outcome) -> Result<()>,
    ) {
        let Ok(outcome) = result else { return };
        if !outcome.changed() {
            return;
        }
        match put_back(outcome) {
            Ok(()) => self.restored += 1,
            Err(error) if error.errno() == Errno::ESRCH => {}
            Err(error) => self.failed.push((spec, error.to_string())),
        }
    }
}

impl TreeOutcome {
    /// Whether every member that lives has what was asked.
    #[must_use]
    pub fn all_done(&self) -> bool {
        self.complete
            && self.rollback.is_none()
            && self.left_out.invisible == 0
            && self.members.iter().all(|member| member.result.is_ok())
    }
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
        let all = list_all()?;
        let mut seen = descendants(&all, key, known);
        let ourselves = own_pid();
        let left_out = LeftOut {
            orphans: orphans(&all, &seen),
            ..LeftOut::default()
        };
        seen.retain(|s| s.pid != ourselves || key.0 == ourselves);
        Ok(Group { seen, left_out })
    };
    crate::with_room(|| together(|| treat(request, caps, atomicity, progress, list)))
}

/// Applies a request to every process of a cgroup and of those below it, until none is left out.
///
/// # Errors
/// As [`apply_tree`]; `ENOENT` where the path is no cgroup.
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
        let mut listed = list_cgroup(&dir)?;
        listed.seen.retain(|seen| seen.pid != ourselves);
        let left_out = LeftOut {
            invisible: listed.invisible,
            uncounted: listed.uncounted,
            ..LeftOut::default()
        };
        Ok(Group {
            seen: listed.seen,
            left_out,
        })
    };
    crate::with_room(|| together(|| treat(request, caps, atomicity, progress, list)))
}

fn treat(
    request: &Request,
    caps: &HostCaps,
    atomicity: Atomicity,
    progress: &mut dyn FnMut(&Member),
    mut list: impl FnMut(&HashSet<Key>) -> Result<Group>,
) -> Result<TreeOutcome> {
    if atomicity == Atomicity::AllOrNothing {
        refuse_what_cannot_be_put_back(request, caps)?;
    }
    let mut outcome = TreeOutcome::default();
    let mut known: HashSet<Key> = HashSet::new();
    // For putting things back: which process each member is.
    let mut keys: Vec<Seen> = Vec::new();
    let mut pending: Vec<Due> = Vec::new();
    let mut born_with = BornWith::default();
    while outcome.passes < MAX_PASSES {
        outcome.passes += 1;
        let group = list(&known)?;
        if atomicity == Atomicity::AllOrNothing
            && outcome.passes == 1
            && group.left_out.invisible > 0
        {
            return Err(unsupported(
                "all or none",
                &format!(
                    "{} of its processes are not visible here (another PID namespace, or hidepid)",
                    group.left_out.invisible
                ),
            ));
        }
        outcome.left_out = group.left_out;
        let mut due = std::mem::take(&mut pending);
        born_with.list(outcome.passes, &group.seen, &known);
        let new = group.seen.into_iter();
        let new = new.filter(|seen| known.insert((seen.pid, seen.start)));
        due.extend(new.map(Due::new));
        if due.is_empty() {
            outcome.complete = true;
            break;
        }
        let mut quiet = true;
        let chunks = due.len().div_ceil(HELD);
        for (at, chunk) in due.chunks(HELD).enumerate() {
            let turn = match outcome.passes {
                MAX_PASSES => Turn::last(chunks - at),
                pass => Turn::of(pass - 1, chunks - at),
            };
            let mut treating = Treating {
                outcome: &mut outcome,
                keys: &mut keys,
                pending: &mut pending,
                born_with: &mut born_with,
                progress: &mut *progress,
            };
            quiet &= treating.some(request, caps, chunk, turn);
            let failed = outcome.members.iter().any(|member| member.result.is_err());
            if failed && atomicity == Atomicity::AllOrNothing {
                outcome.rollback = Some(roll_back(&outcome.members, &keys));
                return Ok(outcome);
            }
        }
        if quiet && pending.is_empty() {
            // Everything new had the policy already: it was inherited, and so will be what comes.
            outcome.complete = true;
            break;
        }
    }
    Ok(outcome)
}

/// Which processes had the wanted state from birth: they need no treatment, and what they fork has it too. Without
/// this a group of processes that live for milliseconds would never be done: some always end before their turn.
#[derive(Debug, Default)]
struct BornWith {
    /// From which pass on what it forks, and was not listed before, was forked by one that has the state.
    since: HashMap<Key, u32>,
}

impl BornWith {
    /// Takes a listing, parents before their children. `known`: what earlier ones showed.
    fn list(&mut self, pass: u32, seen: &[Seen], known: &HashSet<Key>) {
        let starts: HashMap<i32, u64> = seen.iter().map(|seen| (seen.pid, seen.start)).collect();
        for seen in seen {
            let key = (seen.pid, seen.start);
            let parent = starts.get(&seen.parent).map(|start| (seen.parent, *start));
            let since = parent.and_then(|parent| self.since.get(&parent));
            if !known.contains(&key) && since.is_some_and(|since| *since <= pass) {
                self.since.insert(key, 0);
            }
        }
    }

    /// Treated in this pass. The listing of the next one may show what it forked before that.
    fn treated(&mut self, seen: Seen, pass: u32) {
        let key = (seen.pid, seen.start);
        self.since.entry(key).or_insert(pass.saturating_add(2));
    }

    fn has(&self, seen: Seen) -> bool {
        self.since.get(&(seen.pid, seen.start)) == Some(&0)
    }
}

/// A process to be treated.
#[derive(Clone, Copy, Debug)]
struct Due {
    seen: Seen,
    /// How long a harmless moment was waited for so far.
    waited: Duration,
}

impl Due {
    fn new(seen: Seen) -> Due {
        Due {
            seen,
            waited: Duration::ZERO,
        }
    }
}

/// What one pass adds to.
struct Treating<'a> {
    outcome: &'a mut TreeOutcome,
    keys: &'a mut Vec<Seen>,
    /// Those that had no harmless moment yet. They are taken up again, with what was forked meanwhile.
    pending: &'a mut Vec<Due>,
    born_with: &'a mut BornWith,
    progress: &'a mut dyn FnMut(&Member),
}

impl Treating<'_> {
    fn take(&mut self, seen: Seen, member: Member) {
        (self.progress)(&member);
        self.outcome.members.push(member);
        self.keys.push(seen);
    }

    /// Treats some processes; false if any of them was not in the wanted state before.
    fn some(&mut self, request: &Request, caps: &HostCaps, chunk: &[Due], turn: Turn) -> bool {
        let mut quiet = true;
        let mut targets = Vec::with_capacity(chunk.len());
        let mut opened = Vec::with_capacity(chunk.len());
        let seen: Vec<Seen> = chunk.iter().map(|due| due.seen).collect();
        for (due, target) in chunk.iter().zip(open_each(&seen)) {
            match target {
                Ok(Some(target)) => {
                    targets.push(target);
                    opened.push(*due);
                }
                Ok(None) => {
                    self.outcome.ended += 1;
                    quiet &= self.born_with.has(due.seen);
                }
                Err(error) => {
                    quiet = false;
                    let spec = ProcessSpec {
                        pid: due.seen.pid,
                        inode: None,
                    };
                    let member = Member {
                        spec,
                        name: "?".to_owned(),
                        result: Err(error),
                    };
                    self.take(due.seen, member);
                }
            }
        }
        let refs: Vec<&Target> = targets.iter().collect();
        let before = spent();
        let results = turn.run(|| apply_each(request, &refs, caps));
        let waited = spent().saturating_sub(before);
        for ((target, due), result) in targets.iter().zip(opened).zip(results) {
            let waited = due.waited.saturating_add(waited);
            match &result {
                Ok(outcome) => {
                    quiet &= !outcome.changed();
                    self.born_with.treated(due.seen, self.outcome.passes);
                }
                Err(error) if is_kernel_thread(error) => {
                    self.outcome.kernel_threads += 1;
                    continue;
                }
                Err(error) if error.errno() == Errno::ESRCH => {
                    // It ended, or is a zombie: there is no memory left to have a policy.
                    self.outcome.ended += 1;
                    quiet &= self.born_with.has(due.seen);
                    continue;
                }
                Err(_) if !turn.is_last && has_no_moment(&result, turn.most) => {
                    let seen = due.seen;
                    self.pending.push(Due { seen, waited });
                    continue;
                }
                Err(_) => {}
            }
            let member = Member {
                spec: target.spec(),
                name: target.name(),
                result: result.map_err(|error| after_waiting(error, waited)),
            };
            self.take(due.seen, member);
        }
        quiet
    }
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
    let always = request
        .calls()
        .iter()
        .any(|call| call.action().effect() == Some((Verb::Set, PolicyKind::Hugepage)));
    // Where the kernel keeps the policy, advice only overrides NOHUGEPAGE.
    let by_advice = match caps.native {
        Some(_) => request.override_advice == Override::Advice,
        None => caps
            .thp
            .as_ref()
            .is_some_and(|host| host.overall() == mctl_abi::thp::Host::Madvise),
    };
    if always && by_advice {
        return Err(unsupported(
            "set hugepage for all or none",
            "on this host it goes by advice on mappings, which cannot be taken back",
        ));
    }
    Ok(())
}

fn roll_back(members: &[Member], keys: &[Seen]) -> Rollback {
    let mut rollback = Rollback::default();
    // The last first, so that what a parent hands down is put back after its children.
    for (member, seen) in members.iter().zip(keys).rev() {
        rollback.add(member.spec, &member.result, |outcome| {
            let target = open(*seen)?.ok_or(Error::NoProcess { pid: seen.pid })?;
            restore(&target, outcome)
        });
    }
    rollback
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AcrossExec;

    fn seen(pid: i32, parent: i32) -> Seen {
        Seen {
            pid,
            parent,
            start: 1,
            session: 1,
            group: 1,
        }
    }

    #[test]
    fn what_was_forked_by_one_that_has_it_has_it() {
        let (root, early, late, grandchild) = (seen(1, 0), seen(2, 1), seen(3, 1), seen(4, 3));
        let mut born_with = BornWith::default();
        let mut known = HashSet::new();
        born_with.list(1, &[root], &known);
        known.insert((1, 1));
        born_with.treated(root, 1);
        // It may have been forked between the first listing and the treatment.
        born_with.list(2, &[root, early], &known);
        known.insert((2, 1));
        assert!(!born_with.has(root) && !born_with.has(early));
        // The second listing did not show it: it was forked after that, and so after the treatment.
        born_with.list(3, &[root, early, late, grandchild], &known);
        assert!(born_with.has(late) && born_with.has(grandchild));
        assert!(!born_with.has(early));
        // Another process with the number of one that had it.
        let again = Seen { start: 9, ..late };
        born_with.list(4, &[again], &known);
        assert!(!born_with.has(again));
    }

    #[test]
    fn overridden_advice_cannot_be_put_back_on_a_native_kernel_either() {
        let mut caps = HostCaps::probe().expect("probed");
        caps.native = Some(548);
        let kinds = [PolicyKind::Hugepage];
        let mut request = Request::set(&kinds, AcrossExec::Ends).expect("a request");
        assert!(refuse_what_cannot_be_put_back(&request, &caps).is_ok());
        request.override_advice = Override::Advice;
        let error = refuse_what_cannot_be_put_back(&request, &caps).expect_err("refused");
        assert_eq!(error.errno(), mctl_abi::Errno::EOPNOTSUPP);
    }
}
