//! Locking a process's memory: mlockall(2) and munlockall(2), run in the target.
//!
//! What would fail is found out and explained before the target is touched: its RLIMIT_MEMLOCK
//! and CAP_IPC_LOCK are what counts, not the caller's. The work is done by a carrier, a task of ours
//! that shares the target's memory, in pieces: its own threads are not held, and its mmap(2) waits for
//! a piece at most. Memory whose pages somebody serves by userfaultfd(2) is passed over unless it is
//! asked for.
//!
//! ```
//! use mctl::Target;
//! use mctl::memlock::{Lock, lock, unlock};
//!
//! let mut child = std::process::Command::new("sleep").arg("10").spawn()?;
//! let target = Target::open(child.id().to_string().parse()?)?;
//! match lock(&target, Lock { current: true, ..Lock::default() }) {
//!     Ok(locked) => assert!(locked.after.0 > 0),
//!     Err(error) => eprintln!("{error}"), // its limit, in words
//! }
//! unlock(&target)?;
//! # child.kill()?; child.wait()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod allowance;
mod work;

use std::time::Duration;

use mctl_abi::Errno;
use mctl_sys::arch::NR_MLOCKALL;
use mctl_sys::raw::madvise::Range;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::op::advice::Way;
use crate::op::budget::{Ahead, Cost, Growth, Guard, Purpose, cost_of_locking};
use crate::op::{Detail, Hooks, Operation, Ready};
use crate::run::carrier::Carrying;
use crate::run::each;
use crate::see::coverage::Bytes;
use crate::target::Target;
use work::Work;

pub use allowance::Allowance;

const MCL_CURRENT: u64 = 1;
const MCL_FUTURE: u64 = 2;
const MCL_ONFAULT: u64 = 4;

/// What to lock (mlockall(2)). At least one of `current` and `future`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lock {
    /// `MCL_CURRENT`: what is mapped now.
    pub current: bool,
    /// `MCL_FUTURE`: what is mapped later. Not inherited by children, and gone at exec.
    pub future: bool,
    /// `MCL_ONFAULT` (Linux 4.4): lock pages when they come in, do not bring them in.
    pub on_fault: bool,
}

impl Lock {
    fn bits(self) -> u64 {
        u64::from(self.current) * MCL_CURRENT
            + u64::from(self.future) * MCL_FUTURE
            + u64::from(self.on_fault) * MCL_ONFAULT
    }
}

/// What locking or unlocking did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Locked {
    /// By whom it was done.
    pub way: Way,
    /// `VmLck` before.
    pub before: Bytes,
    /// `VmLck` after.
    pub after: Bytes,
    /// The longest that a thread of the target was stopped at a time.
    #[serde(rename = "longest_stop_us", serialize_with = "micros")]
    pub longest_stop: Duration,
    /// How long threads of the target were stopped in all.
    #[serde(rename = "stopped_us", serialize_with = "micros")]
    pub stopped: Duration,
    /// Bytes of mappings that were passed over because somebody serves their pages by userfaultfd(2).
    pub left_to_server: Bytes,
    /// Bytes that could not be locked, or unlocked.
    pub failed: Bytes,
    /// Whether it was cancelled before its end.
    pub cancelled: bool,
    /// What is to be known about it.
    pub notes: Vec<String>,
}

fn micros<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// Locking the memory of processes, as an [`Operation`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Locking {
    /// What to lock.
    pub what: Lock,
    /// Whether memory that somebody serves by userfaultfd(2) is locked too: its pages are asked for then.
    pub served_too: bool,
    /// How much a process may grow.
    pub growth: Growth,
}

/// Unlocking the memory of processes, as an [`Operation`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unlocking;

/// What locking depends on, of one process.
#[derive(Debug)]
pub struct LockFacts<'t> {
    target: &'t Target,
    allowance: Allowance,
    cost: Option<Cost>,
    served: Vec<Range>,
    carrying: Carrying<'t>,
}

/// What would be locked or unlocked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LockPlan {
    /// What its limit allows. Where that does not suffice, the work is refused.
    pub allowance: Allowance,
    /// How much would be passed over because somebody serves its pages by userfaultfd(2).
    pub left_to_server: Bytes,
    /// What would come in, and what it is compared with; `None`: nothing.
    pub cost: Option<Cost>,
}

impl Locking {
    /// Whether pages are brought in.
    fn brings_in(&self) -> bool {
        self.what.current && !self.what.on_fault
    }
}

impl Operation for Locking {
    type Facts<'t> = LockFacts<'t>;
    type Plan = LockPlan;
    type Outcome = Locked;

    fn name(&self) -> String {
        "lock".to_owned()
    }

    fn check<'t>(&self, target: &'t Target, _: Detail) -> Result<LockFacts<'t>> {
        if !(self.what.current || self.what.future) {
            return Err(Error::Invalid {
                why: "lock what is mapped now, what is mapped later, or both".to_owned(),
            });
        }
        let carrying = reach(target)?;
        let allowance = Allowance::of(target)?;
        let mut facts = LockFacts {
            target,
            allowance,
            cost: None,
            served: Vec::new(),
            carrying,
        };
        if !self.brings_in() {
            return Ok(facts);
        }
        // What its limit forbids is said first.
        if allowance.refusal(self.what).is_none() {
            facts.cost = Some(cost_of_locking(target)?);
        }
        if !self.served_too {
            facts.served = crate::op::advice::served::served(target)?;
        }
        Ok(facts)
    }

    fn plan(&self, facts: &LockFacts<'_>, ahead: &Ahead) -> Result<LockPlan> {
        let cost = match facts.cost.clone() {
            None => None,
            Some(mut cost) => {
                cost.room = cost.room.after(ahead);
                cost.check(facts.target.pid(), Purpose::Lock, self.growth)?;
                Some(cost)
            }
        };
        Ok(LockPlan {
            allowance: facts.allowance,
            left_to_server: Bytes(facts.served.iter().map(|range| range.len).sum()),
            cost,
        })
    }

    fn cost<'p>(&self, plan: &'p LockPlan) -> Option<(&'p Cost, Growth)> {
        plan.cost.as_ref().map(|cost| (cost, self.growth))
    }

    fn run<'t>(&self, ready: Ready<'t, Self>, hooks: &mut Hooks<'_>) -> Result<Locked> {
        let Ready {
            target,
            facts,
            plan,
        } = ready;
        if let Some((errno, why)) = plan.allowance.refusal(self.what) {
            let pid = target.pid();
            return Err(match errno {
                Errno::EPERM => Error::Permission { pid, why },
                errno => Error::Limit { pid, why, errno },
            });
        }
        let guard = plan
            .cost
            .is_some()
            .then(|| Guard::new(target, Purpose::Lock, self.growth));
        let mut work = Work::new(target, facts.carrying, guard, hooks);
        if self.what.future {
            // First, so that what it maps meanwhile is locked too.
            let later = Lock {
                current: false,
                ..self.what
            };
            work.one(NR_MLOCKALL, [later.bits(), 0, 0, 0, 0, 0], "mlockall")?;
        }
        if self.what.current {
            let locked = work.lock(self.what.on_fault, &facts.served);
            locked.map_err(|error| work.died(error))?;
        }
        let mut notes = work.notes();
        if self.what.future {
            let how = if self.what.on_fault {
                "locked as it comes in"
            } else {
                "brought in and locked"
            };
            notes.push(format!(
                "memory that it maps later is {how}; where RLIMIT_MEMLOCK holds for it, mapping fails (EAGAIN) \
                 beyond that; children and the next program start unlocked"
            ));
        }
        work.done(plan.allowance.locked, notes)
    }
}

impl Operation for Unlocking {
    type Facts<'t> = LockFacts<'t>;
    type Plan = LockPlan;
    type Outcome = Locked;

    fn name(&self) -> String {
        "unlock".to_owned()
    }

    fn check<'t>(&self, target: &'t Target, _: Detail) -> Result<LockFacts<'t>> {
        let carrying = reach(target)?;
        Ok(LockFacts {
            target,
            allowance: Allowance::of(target)?,
            cost: None,
            served: Vec::new(),
            carrying,
        })
    }

    fn plan(&self, facts: &LockFacts<'_>, _: &Ahead) -> Result<LockPlan> {
        Ok(LockPlan {
            allowance: facts.allowance,
            left_to_server: Bytes::ZERO,
            cost: None,
        })
    }

    fn run<'t>(&self, ready: Ready<'t, Self>, hooks: &mut Hooks<'_>) -> Result<Locked> {
        let mut work = Work::new(ready.target, ready.facts.carrying, None, hooks);
        work.unlock()?;
        let notes = work.notes();
        work.done(ready.plan.allowance.locked, notes)
    }
}

/// Locks a target's memory.
///
/// # Errors
/// `EINVAL` neither `current` nor `future`; `EPERM`, `ENOMEM` the target's limit, or no room for what
/// has to come in ([`crate::op::budget`]), found out beforehand, in words; else as for any call that is run in the
/// target.
pub fn lock(target: &Target, lock: Lock) -> Result<Locked> {
    let locking = Locking {
        what: lock,
        ..Locking::default()
    };
    each::run(&locking, target, &mut Hooks::default())
}

/// Unlocks a target's memory, whoever locked it, and ends `MCL_FUTURE`.
///
/// # Errors
/// As for any call that is run in the target.
pub fn unlock(target: &Target) -> Result<Locked> {
    each::run(&Unlocking, target, &mut Hooks::default())
}

/// The carrier to be, of a target that can be reached. It is not stopped for that.
fn reach(target: &Target) -> Result<Carrying<'_>> {
    if target.is_own() {
        return Err(Error::OwnProcess {
            pid: target.pid(),
            call: "mlockall(2)",
        });
    }
    Carrying::new(target)
}
