//! What can be done to a process, an operation a module: what it needs to know, what it decides from that, and the
//! work. [`crate::run`] walks them.

pub mod advice;
pub mod budget;
pub mod lock;
pub(crate) mod outcome;
pub(crate) mod permission;
pub(crate) mod policy;
pub mod restore;
pub mod split;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::error::Result;
use crate::target::Target;
use budget::{Ahead, Cost, Growth};

/// Something that can be done to processes.
///
/// Every operation has the same life. [`check`](Operation::check) reads what it depends on and touches nothing;
/// [`plan`](Operation::plan) decides, and reads nothing; [`run`](Operation::run) carries the plan out and decides
/// nothing. [`dry_run`](crate::operation::dry_run) ends after the plan, and [`run`](crate::operation::run) goes on.
pub trait Operation {
    /// What it depends on, of one process.
    type Facts<'t>;
    /// What it would do to that process.
    type Plan;
    /// What it did.
    type Outcome;

    /// How it goes about several processes.
    const ORDER: Order = Order::InTurn;

    /// What it is called, as in `set nohugepage`.
    fn name(&self) -> String;

    /// Checks in the contract's order, and reads what the plan depends on.
    ///
    /// # Errors
    /// Why the operation cannot be done. The target has been left as it was.
    fn check<'t>(&self, target: &'t Target, detail: Detail) -> Result<Self::Facts<'t>>;

    /// Decides what is to be done. Pure. `ahead` is what would be done to other processes first.
    ///
    /// # Errors
    /// Why the operation cannot be done.
    fn plan(&self, facts: &Self::Facts<'_>, ahead: &Ahead) -> Result<Self::Plan>;

    /// What a plan brings into memory, and how much of it may come.
    fn cost<'p>(&self, plan: &'p Self::Plan) -> Option<(&'p Cost, Growth)> {
        let _ = plan;
        None
    }

    /// Carries the plan for one process out.
    ///
    /// # Errors
    /// Why it failed. Nothing was changed, unless the error says otherwise
    /// ([`Error::changed`](crate::Error::changed)).
    fn run<'t>(&self, ready: Ready<'t, Self>, hooks: &mut Hooks<'_>) -> Result<Self::Outcome>
    where
        Self: Sized;

    /// Carries out the plans for several processes. Each result stands where its plan stood.
    fn run_each<'t>(
        &self,
        ready: Vec<Result<Ready<'t, Self>>>,
        hooks: &mut Hooks<'_>,
    ) -> Vec<Result<Self::Outcome>>
    where
        Self: Sized,
    {
        ready
            .into_iter()
            .map(|ready| self.run(ready?, hooks))
            .collect()
    }
}

/// How an operation goes about several processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// All at once, so that their waits overlap: short work.
    SideBySide,
    /// One after the other, each checked when its turn comes: work that takes memory or time.
    InTurn,
}

/// How much [`Operation::check`] looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What the work needs. Long lists are left to the work, which reads them in pieces.
    Needed,
    /// Also what a dry run shows.
    Shown,
}

/// A process for which an operation is planned.
pub struct Ready<'t, O: Operation> {
    /// The process.
    pub target: &'t Target,
    /// What the plan depends on.
    pub facts: O::Facts<'t>,
    /// What is to be done.
    pub plan: O::Plan,
}

impl<O: Operation> std::fmt::Debug for Ready<'_, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ready")
            .field("target", self.target)
            .finish_non_exhaustive()
    }
}

/// What long work reports to, and what ends it.
#[derive(Default)]
pub struct Hooks<'a> {
    /// Called after every piece of the work.
    pub progress: Option<&'a mut dyn FnMut(&Progress)>,
    /// Ends the work between two pieces once it is true.
    pub cancel: Option<&'a AtomicBool>,
}

impl Hooks<'_> {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel
            .is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }

    pub(crate) fn report(&mut self, progress: &Progress) {
        if let Some(hook) = self.progress.as_deref_mut() {
            hook(progress);
        }
    }
}

impl std::fmt::Debug for Hooks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks")
            .field("progress", &self.progress.is_some())
            .field("cancel", &self.cancel)
            .finish()
    }
}

/// How far a long operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Bytes of address space done or passed over.
    pub bytes: u64,
    /// Bytes of address space in all, as listed at the beginning.
    pub total: u64,
    /// Time since the beginning.
    #[serde(skip)]
    pub elapsed: Duration,
}
