//! Memory policy for whole processes on Linux.
//!
//! One operation sets a policy for an entire address space: huge pages always, never or only
//! where advised, and same-page merging; for this process or another one, now and for every later
//! mapping, and, where asked, across exec.

#![forbid(unsafe_code)]

pub mod address_space;
pub mod advise;
mod apply;
pub mod budget;
mod call;
mod caller;
mod carrier;
pub mod coverage;
mod descriptors;
mod engine;
mod error;
mod host;
mod huge_zero;
pub mod memlock;
mod outcome;
pub mod pages;
mod patience;
mod permission;
mod plan;
pub mod process;
mod reading;
pub mod reclaim;
mod request;
mod room;
pub mod saved;
pub mod split;
mod target;
mod tasks;
pub mod tree;
mod view;
pub mod why;

pub use address_space::AddressSpace;
pub use apply::{
    ListOutcome, apply, apply_each, apply_list, dry_run, launch, launch_plan, restore,
};
pub use call::{decode, mctl, mctl_errno, policy_mask, read_mask};
pub use caller::Caller;
pub use coverage::{Bytes, Coverage};
pub use error::{Error, Result};
pub use host::{HostCaps, KnobValue, Support, ThpHost, ThpSize};
pub use mctl_abi::permission::Holds;
pub use mctl_abi::{Action, Errno, Flags, Policy, PolicyKind, Thp, Verb};
pub use mctl_sys::raw::exec::exec_in_place;
pub use mctl_sys::text::printable;
pub use outcome::{Failure, Guarantee, Guarantees, MappingCounts, Mechanism, Note, Outcome};
pub use patience::{Patience, in_share, in_turn, patience, set_patience, together};
pub use plan::{CalledBy, Follow, Plan, Standing, Step, Whose, plan};
pub use process::ProcessFacts;
pub use reading::{Doubt, Known, Look, Reading, read_policy};
pub use request::{AcrossExec, Exactness, Override, Request, Rule};
pub use room::with_room;
pub use saved::Saved;
pub use target::{OwnCalls, ProcessSpec, Target};
pub use tree::{
    Atomicity, LeftOut, Member, Members, Rollback, TreeOutcome, apply_cgroup, apply_tree,
};
