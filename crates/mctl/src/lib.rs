//! Memory policy for whole processes on Linux.
//!
//! One operation sets a policy for an entire address space: huge pages always, never or only
//! where advised, and same-page merging; for this process or another one, now and for every later
//! mapping, and, where asked, across exec.

#![forbid(unsafe_code)]

mod call;
mod error;
mod host;
mod op;
mod run;
mod see;
mod target;
mod wait;

/// Every operation, in one way: what is needed to know, a plan, and the work.
///
/// ```
/// use mctl::operation::{Hooks, dry_run, run};
/// use mctl::{AcrossExec, HostCaps, PolicyChange, PolicyKind, Request, Target};
///
/// let mut child = std::process::Command::new("sleep").arg("10").spawn()?;
/// let target = Target::open(child.id().to_string().parse()?)?;
/// let request = Request::set(&[PolicyKind::Nohugepage], AcrossExec::Ends)?;
/// let caps = HostCaps::probe_for(&request.kinds())?;
/// let change = PolicyChange::new(&request, &caps);
/// let plan = dry_run(&change, &target)?;
/// let outcome = run(&change, &target, &mut Hooks::default())?;
/// assert_eq!(outcome.guarantees, plan.promised.guarantees);
/// # child.kill()?; child.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub mod operation {
    pub use crate::op::{Detail, Hooks, Operation, Order, Progress, Ready};
    pub use crate::run::each::{dry_run, dry_run_after, run, run_each};
}

/// A process with all its descendants, or all members of a cgroup, as one target.
pub mod tree {
    pub use crate::run::group::{
        Atomicity, Member, Rollback, TreeOutcome, apply_cgroup, apply_tree,
    };
    pub use crate::target::group::{LeftOut, Members, members_of_cgroup, members_of_tree};
}

pub use call::{decode, mctl, mctl_errno, policy_mask, read_mask};
pub use error::{Error, Result};
pub use host::caller::Caller;
pub use host::{HostCaps, KnobValue, Support, ThpHost, ThpSize};
pub use mctl_abi::permission::Holds;
pub use mctl_abi::{Action, Errno, Flags, Policy, PolicyKind, Thp, Verb};
pub use mctl_sys::raw::exec::exec_in_place;
pub use mctl_sys::text::printable;
pub use op::outcome::{Guarantee, Guarantees, Mechanism, Note, Outcome};
pub use op::policy::check::{PolicyChange, PolicyFacts};
pub use op::policy::plan::{CalledBy, Follow, Plan, Standing, Step, Whose, plan};
pub use op::policy::request::{AcrossExec, Exactness, Request, Rule};
pub use op::restore::Saved;
pub use op::{advice as advise, budget, lock as memlock, restore as saved, split};
pub use run::{ListOutcome, apply, apply_each, apply_list, dry_run, launch, launch_plan, restore};
pub use see::address_space::AddressSpace;
pub use see::coverage::{Bytes, Coverage};
pub use see::mappings::{Failure, MappingCounts, Override};
pub use see::policy::{Doubt, Known, Look, Reading, read_policy};
pub use see::process::{self, ProcessFacts};
pub use see::{address_space, coverage, pages, reclaim, why};
pub use target::{OwnCalls, ProcessSpec, Target};
pub use tree::{
    Atomicity, LeftOut, Member, Members, Rollback, TreeOutcome, apply_cgroup, apply_tree,
};
pub use wait::patience::{Patience, in_share, in_turn, patience, set_patience, together};
pub use wait::stack::with_room;
