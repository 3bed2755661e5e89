//! A request for a plain list of processes.

use crate::error::{Error, Result};
use crate::host::HostCaps;
use crate::op::outcome::Outcome;
use crate::op::policy::plan::{Step, unsupported};
use crate::op::policy::request::Request;
use crate::run::group::{Atomicity, Rollback};
use crate::target::Target;
use crate::wait::patience::together;

use super::{apply_each, dry_run, restore};

/// What became of a list.
#[derive(Debug)]
pub struct ListOutcome {
    /// One result a target, in their order; `None` where one was left as it is because another
    /// one failed.
    pub results: Vec<Option<Result<Outcome>>>,
    /// What became of putting things back, where that had to be.
    pub rollback: Option<Rollback>,
}

/// Applies a request to every process of a list: to each for itself, or to all of them or none.
///
/// All or none: every target is checked before the first is changed, and where one fails all the
/// same, those that were changed are put back. What goes by advice on mappings cannot be put back
/// and is refused (`EOPNOTSUPP`).
#[must_use]
pub fn apply_list(
    request: &Request,
    targets: &[&Target],
    caps: &HostCaps,
    atomicity: Atomicity,
) -> ListOutcome {
    together(|| apply_all(request, targets, caps, atomicity))
}

fn apply_all(
    request: &Request,
    targets: &[&Target],
    caps: &HostCaps,
    atomicity: Atomicity,
) -> ListOutcome {
    if atomicity == Atomicity::AllOrNothing {
        let refusals: Vec<Option<Error>> = targets
            .iter()
            .map(|target| refusal(request, target, caps))
            .collect();
        if refusals.iter().any(Option::is_some) {
            return ListOutcome {
                results: refusals.into_iter().map(|why| why.map(Err)).collect(),
                rollback: Some(Rollback::default()),
            };
        }
    }
    let results = apply_each(request, targets, caps);
    let failed = results.iter().any(Result::is_err);
    let rollback =
        (failed && atomicity == Atomicity::AllOrNothing).then(|| put_back(targets, &results));
    ListOutcome {
        results: results.into_iter().map(Some).collect(),
        rollback,
    }
}

/// Why a target cannot be one of all or none.
fn refusal(request: &Request, target: &Target, caps: &HostCaps) -> Option<Error> {
    let plan = match dry_run(request, target, caps) {
        Ok(plan) => plan,
        Err(error) => return Some(error),
    };
    let by_advice = |step: &Step| matches!(step, Step::Advise { .. });
    plan.steps.iter().any(by_advice).then(|| {
        unsupported(
            &format!("{} for all or none", request.words()),
            "on this host it goes by advice on mappings, which cannot be taken back",
        )
    })
}

/// The last first, so that what a parent hands down is put back after its children.
fn put_back(targets: &[&Target], results: &[Result<Outcome>]) -> Rollback {
    let mut rollback = Rollback::default();
    for (target, result) in targets.iter().zip(results).rev() {
        rollback.add(target.spec(), result, |outcome| restore(target, outcome));
    }
    rollback
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AcrossExec, PolicyKind};
    use mctl_testkit::start;

    /// Changed, then ended: there is nothing left that could have the wrong state.
    #[test]
    fn an_ended_process_is_no_failure_of_putting_back() {
        let kinds = [PolicyKind::Nohugepage];
        let request = Request::set(&kinds, AcrossExec::Ends).expect("a request");
        let caps = HostCaps::probe().expect("probed");
        let fixtures = [start!("pause"), start!("pause")];
        let targets: Vec<Target> = fixtures
            .iter()
            .map(|f| Target::open(f.pid().to_string().parse().expect("a PID")).expect("opened"))
            .collect();
        let targets: Vec<&Target> = targets.iter().collect();
        let results = apply_each(&request, &targets, &caps);
        assert!(
            results
                .iter()
                .all(|r| r.as_ref().is_ok_and(Outcome::changed))
        );
        let [first, second] = fixtures;
        drop(second);
        let rollback = put_back(&targets, &results);
        assert_eq!((rollback.restored, rollback.failed.len()), (1, 0));
        // It has its former state again: the same request changes it once more.
        let again = apply_each(&request, &targets[..1], &caps);
        assert!(again[0].as_ref().is_ok_and(Outcome::changed));
        drop(first);
    }
}
