//! The one way through an operation: check, plan, and either show the plan or carry it out.

use crate::error::Result;
use crate::op::budget::Ahead;
use crate::op::{Detail, Hooks, Operation, Order, Ready};
use crate::target::Target;
use crate::wait::one_task;
use crate::wait::patience::{in_turn, together};
use crate::wait::stack::with_room;

/// What an operation would do to a process. Nothing is touched.
///
/// # Errors
/// What [`run`] would answer, as far as that can be told without touching the process.
pub fn dry_run<O: Operation>(operation: &O, target: &Target) -> Result<O::Plan> {
    dry_run_after(operation, target, &mut Ahead::default())
}

/// As [`dry_run`], for one of several processes: it finds the room that those before it leave, and takes its own.
///
/// # Errors
/// As [`dry_run`].
pub fn dry_run_after<O: Operation>(
    operation: &O,
    target: &Target,
    ahead: &mut Ahead,
) -> Result<O::Plan> {
    with_room(|| {
        let facts = operation.check(target, Detail::Shown)?;
        let plan = operation.plan(&facts, ahead)?;
        if let Some((cost, growth)) = operation.cost(&plan) {
            ahead.add(cost, growth);
        }
        Ok(plan)
    })
}

/// Does it to one process.
///
/// # Errors
/// Those of the operation; nothing was changed then, unless [`Error::changed`](crate::Error::changed) says so.
pub fn run<O: Operation>(
    operation: &O,
    target: &Target,
    hooks: &mut Hooks<'_>,
) -> Result<O::Outcome> {
    with_room(|| {
        together(|| {
            let ready = ready(operation, target)?;
            operation.run(ready, hooks)
        })
    })
}

/// Does it to several processes, each for itself: one result a process, in their order. They share the time for
/// which harmless moments are waited for.
pub fn run_each<O: Operation>(
    operation: &O,
    targets: &[&Target],
    hooks: &mut Hooks<'_>,
) -> Vec<Result<O::Outcome>> {
    match O::ORDER {
        Order::InTurn => in_turn(targets, |target| run(operation, target, hooks)),
        Order::SideBySide => with_room(|| {
            together(|| {
                let all = one_task::map(
                    targets,
                    |target| target.is_own(),
                    |target| ready(operation, target),
                );
                operation.run_each(all, hooks)
            })
        }),
    }
}

fn ready<'t, O: Operation>(operation: &O, target: &'t Target) -> Result<Ready<'t, O>> {
    let facts = operation.check(target, Detail::Needed)?;
    let plan = operation.plan(&facts, &Ahead::default())?;
    Ok(Ready {
        target,
        facts,
        plan,
    })
}
