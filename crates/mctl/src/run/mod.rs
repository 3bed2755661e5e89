//! Doing it: one way through every operation (`each`), the walk over the steps of a policy, groups, and the carriers.
//! Nothing here decides.

mod advise;
pub(crate) mod carrier;
pub(crate) mod each;
pub(crate) mod group;
mod list;
mod native;
mod switch;
mod unmerge;

pub use list::{ListOutcome, apply_list};

use std::cell::RefCell;
use std::time::Duration;

use mctl_abi::permission::Holds;
use mctl_abi::thp::ThpDisable;
use mctl_abi::{Errno, Policy};
use mctl_sys::inject::{InjectError, Job, Prepared, Report, ScriptCall};

use advise::{Advising, advise_targets};
pub(crate) use native::failed as native_error;
use switch::{record, script, step_on_ourselves};

use crate::error::{Error, Result};
use crate::host::HostCaps;
use crate::op::Hooks;
use crate::op::outcome::{Note, Outcome};
use crate::op::policy::check::PolicyChange;
use crate::op::policy::plan::{CalledBy, Plan, Step, calls_between};
use crate::op::policy::request::Request;
use crate::target::Target;
use crate::wait::patience::{disturbance, in_turn, limits, run, together};
use crate::wait::stack::with_room;

/// Applies a request to one process.
///
/// ```
/// use mctl::{AcrossExec, HostCaps, PolicyKind, Request, Target, apply};
///
/// let mut child = std::process::Command::new("sleep").arg("10").spawn()?;
/// let target = Target::open(child.id().to_string().parse()?)?;
/// let request = Request::set(&[PolicyKind::Nohugepage], AcrossExec::Inherit)?;
/// let caps = HostCaps::probe_for(&request.kinds())?;
/// let outcome = apply(&request, &target, &caps)?;
/// assert!(outcome.is_exact());
/// assert_eq!(outcome.thp_disable_after, Some(1));
/// # child.kill()?; child.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As the contract says, in its order; nothing is changed then.
pub fn apply(request: &Request, target: &Target, caps: &HostCaps) -> Result<Outcome> {
    let change = PolicyChange::new(request, caps);
    each::run(&change, target, &mut Hooks::default())
}

/// Applies a request to several processes, each for itself: one result a target. They wait for harmless moments
/// together: for all of them no longer than for one. So it is with those about which the kernel does not answer.
#[must_use]
pub fn apply_each(request: &Request, targets: &[&Target], caps: &HostCaps) -> Vec<Result<Outcome>> {
    let change = PolicyChange::new(request, caps);
    each::run_each(&change, targets, &mut Hooks::default())
}

/// What [`apply`] would do, without doing it.
///
/// # Errors
/// What [`apply`] would answer, as far as it can be told without touching the target.
pub fn dry_run(request: &Request, target: &Target, caps: &HostCaps) -> Result<Plan> {
    each::dry_run(&PolicyChange::new(request, caps), target)
}

/// What [`launch`] would do, without doing it.
///
/// # Errors
/// As [`launch`].
pub fn launch_plan(request: &Request, caps: &HostCaps) -> Result<Plan> {
    let change = PolicyChange::for_next_image(request, caps);
    each::dry_run(&change, &Target::ourselves())
}

/// Puts a policy in force for the program that this process is about to execute.
///
/// # Errors
/// As [`apply`]; `EOPNOTSUPP` also where only advice on mappings could do it: exec drops them
/// all.
pub fn launch(request: &Request, caps: &HostCaps) -> Result<Outcome> {
    let change = PolicyChange::for_next_image(request, caps);
    each::run(&change, &Target::ourselves(), &mut Hooks::default())
}

/// One target on its way through its plan.
pub(crate) struct Work<'t> {
    target: &'t Target,
    prepared: Option<Prepared<'t>>,
    steps: std::vec::IntoIter<Step>,
    outcome: Outcome,
    failed: Option<Error>,
}

impl<'t> Work<'t> {
    pub(crate) fn new(target: &'t Target, prepared: Option<Prepared<'t>>, plan: Plan) -> Work<'t> {
        Work {
            target,
            prepared,
            steps: plan.steps.into_iter(),
            outcome: plan.promised,
            failed: None,
        }
    }

    fn finish(mut self, what: &str) -> Result<Outcome> {
        match self.failed.take() {
            None => Ok(self.outcome),
            Some(error) => {
                // All or nothing: what an earlier step changed is put back.
                if let Err(undo_error) = restore(self.target, &self.outcome) {
                    if undo_error.errno() == Errno::ESRCH {
                        // It ended meanwhile: there is nothing left to put back.
                        return Err(undo_error);
                    }
                    return Err(Error::HalfDone {
                        pid: self.target.pid(),
                        what: what.to_owned(),
                        source: Box::new(error),
                        left: format!("what it had changed could not be put back: {undo_error}"),
                    });
                }
                Err(error)
            }
        }
    }
}

/// Walks the plans of several targets. `what` was asked for.
pub(crate) fn walk_all(mut works: Vec<Result<Work<'_>>>, what: &str) -> Vec<Result<Outcome>> {
    walk(&mut works);
    let finished = works.into_iter().map(|work| work?.finish(what));
    finished.collect()
}

/// Runs every target's next step until none is left. The steps of all targets that are due at
/// the same time go into one shield. All of them together wait no longer than one may.
fn walk(works: &mut [Result<Work<'_>>]) {
    together(|| {
        loop {
            let mut due = Vec::new();
            for work in works.iter_mut().flatten() {
                if work.failed.is_none()
                    && let Some(step) = work.steps.next()
                {
                    due.push((work, step));
                }
            }
            if due.is_empty() {
                return;
            }
            take_steps(due);
        }
    });
}

fn take_steps(due: Vec<(&mut Work<'_>, Step)>) {
    let mut remote = Vec::new();
    let mut advising = Vec::new();
    let mut unmerging = Vec::new();
    for (work, step) in due {
        if work.target.is_own() {
            if let Err(error) = step_on_ourselves(&mut work.outcome, work.target, &step) {
                work.failed = Some(error);
            }
            continue;
        }
        match step {
            Step::Call {
                call,
                by: CalledBy::Us,
            } => {
                if let Err(error) = native::call(&mut work.outcome, work.target, call) {
                    work.failed = Some(error);
                }
            }
            Step::Advise {
                advice,
                runs,
                follow,
            } => advising.push(Advising::new(work, advice, runs, follow)),
            walk if unmerge::wants_a_carrier(work.target, &walk) => {
                unmerging.push(RefCell::new((work, walk, 0)));
            }
            switch => remote.push(Remote {
                script: script(&switch),
                step: switch,
                work,
            }),
        }
    }
    inject_scripts(&mut remote);
    for Remote { work, step, script } in remote {
        if work.failed.is_none()
            && let Err(error) = record(work.target.pid(), &mut work.outcome, &step, &script)
        {
            work.failed = Some(error);
        }
    }
    advise_targets(advising);
    let unmerged = in_turn(&unmerging, |item| {
        let (work, step, walked) = &mut *item.borrow_mut();
        let mut calls = script(step);
        unmerge::run(work.target, &mut calls, &mut work.outcome, walked)?;
        record(work.target.pid(), &mut work.outcome, step, &calls)
    });
    for (item, result) in unmerging.into_iter().zip(unmerged) {
        let (work, _, walked) = item.into_inner();
        work.failed = result
            .err()
            .map(|error| unmerge::half_done(work.target.pid(), error, walked));
    }
}

struct Remote<'w, 't> {
    work: &'w mut Work<'t>,
    step: Step,
    script: Vec<ScriptCall>,
}

fn inject_scripts(remote: &mut [Remote<'_, '_>]) {
    let limits = limits();
    let mut jobs = Vec::with_capacity(remote.len());
    let mut owners = Vec::with_capacity(remote.len());
    for (index, item) in remote.iter_mut().enumerate() {
        // The first step uses the look that the checks took; a later one looks again.
        let prepared = match item.work.prepared.take() {
            Some(prepared) => Ok(prepared),
            None => item.work.target.look_for_switches(),
        };
        match prepared {
            Ok(prepared) => {
                jobs.push(Job::script(prepared, &mut item.script, limits));
                owners.push(index);
            }
            Err(error) => {
                item.work.failed = Some(Error::inject(item.work.target.pid(), error));
            }
        }
    }
    run(&mut jobs);
    let reports: Vec<Result<Report, InjectError>> = jobs.iter().map(Job::outcome).collect();
    drop(jobs);
    for (index, report) in owners.into_iter().zip(reports) {
        let Some(item) = remote.get_mut(index) else {
            continue;
        };
        match report {
            Ok(report) => {
                item.work.outcome.stopped += Duration::from_nanos(report.stopped_ns);
                note_disturbance(&mut item.work.outcome, &report);
            }
            Err(InjectError::Gone) if item.work.target.goes_through_filter() => {
                let pid = item.work.target.pid();
                item.work.failed = Some(Error::KilledByFilter { pid });
            }
            Err(error) => {
                item.work.failed = Some(Error::inject(item.work.target.pid(), error));
            }
        }
    }
}

/// Says in the outcome that the target was disturbed, if it was.
fn note_disturbance(outcome: &mut Outcome, report: &Report) {
    let Some(what) = disturbance(report) else {
        return;
    };
    let note = Note::Disturbed { what };
    if !outcome.notes.contains(&note) {
        outcome.notes.push(note);
    }
}

/// Puts the switches and the policy record of a target back to what they were before an outcome. Advice stays: it
/// cannot be taken off.
///
/// # Errors
/// The target could not be reached; it then keeps what it has.
pub fn restore(target: &Target, outcome: &Outcome) -> Result<()> {
    let mut steps = Vec::new();
    if outcome.merge_before != outcome.merge_after
        && let Some(before) = outcome.merge_before
    {
        steps.push(Step::SetMerge { on: before != 0 });
    }
    if outcome.thp_disable_before != outcome.thp_disable_after
        && let Some(before) = outcome.thp_disable_before.and_then(ThpDisable::from_getter)
    {
        steps.push(Step::SetThpDisable {
            to: before,
            only_from: None,
        });
    }
    if let (Some(before), Some(after)) = (outcome.policy_before, outcome.policy_after)
        && let (Some(before), Some(after)) = (Policy::from_mask(before), Policy::from_mask(after))
    {
        steps.extend(record_steps(target, after, before));
    }
    if steps.is_empty() {
        return Ok(());
    }
    set_switches(target, steps).map(drop)
}

/// The steps that lead from one policy record to another on a kernel that keeps one.
pub(crate) fn record_steps(target: &Target, now: Policy, wanted: Policy) -> Vec<Step> {
    let by = if target.is_own() || crate::op::permission::sys_admin_over(target) == Holds::Yes {
        CalledBy::Us
    } else {
        CalledBy::Target
    };
    calls_between(now, wanted)
        .into_iter()
        .map(|call| Step::Call { call, by })
        .collect()
}

/// Sets switches to given states, whatever policy they belong to.
fn set_switches(target: &Target, steps: Vec<Step>) -> Result<Outcome> {
    let promised = Outcome::new();
    walk_one(Work::new(target, None, Plan { steps, promised }))
}

/// Walks a plan of which nothing is put back where a step fails.
pub(crate) fn walk_one(work: Work<'_>) -> Result<Outcome> {
    let mut works = [Ok(work)];
    with_room(|| walk(&mut works));
    let [work] = works;
    let work = work?;
    match work.failed {
        Some(error) => Err(error),
        None => Ok(work.outcome),
    }
}
