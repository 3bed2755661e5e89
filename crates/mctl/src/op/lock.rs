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

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mctl_abi::Errno;
use mctl_sys::arch::NR_MLOCKALL;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::op::advice::{Progress, Way};
use crate::op::budget::{Ahead, Cost, Growth, Purpose, before_locking, cost_of_locking};
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

/// What long work reports to, and is ended by.
#[derive(Default)]
pub struct Hooks<'a> {
    /// Is told how far it is.
    pub progress: Option<&'a mut dyn FnMut(&Progress)>,
    /// Ends it between two pieces once this is true.
    pub cancel: Option<&'a AtomicBool>,
    /// Memory that somebody serves by userfaultfd(2) too: its pages are then asked for.
    pub served_too: bool,
    /// How much the target may grow.
    pub growth: Growth,
}

impl std::fmt::Debug for Hooks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks")
            .field("progress", &self.progress.is_some())
            .field("cancel", &self.cancel)
            .field("served_too", &self.served_too)
            .field("growth", &self.growth)
            .finish()
    }
}

fn micros<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// Locks a target's memory.
///
/// # Errors
/// `EINVAL` neither `current` nor `future`; `EPERM`, `ENOMEM` the target's limit, or no room for what
/// has to come in ([`crate::op::budget`]), found out beforehand, in words; else as for any call that is run in the target.
pub fn lock(target: &Target, lock: Lock) -> Result<Locked> {
    lock_with(target, lock, Hooks::default())
}

/// As [`lock`], with progress and a way to end it.
///
/// Cancelled, what came before stays locked and the rest is as it was; where the most growth or the
/// end of the room is reached, the rest is locked as it comes in. The result says so.
///
/// # Errors
/// As [`lock`].
pub fn lock_with(target: &Target, lock: Lock, hooks: Hooks<'_>) -> Result<Locked> {
    crate::with_room(|| crate::together(|| lock_here(target, lock, hooks)))
}

fn lock_here(target: &Target, lock: Lock, mut hooks: Hooks<'_>) -> Result<Locked> {
    if !(lock.current || lock.future) {
        return Err(Error::Invalid {
            why: "lock what is mapped now, what is mapped later, or both".to_owned(),
        });
    }
    check_reachable(target)?;
    let allowance = Allowance::of(target)?;
    if let Some((errno, why)) = allowance.refusal(lock) {
        return Err(match errno {
            Errno::EPERM => Error::Permission {
                pid: target.pid(),
                why,
            },
            errno => Error::Limit {
                pid: target.pid(),
                why,
                errno,
            },
        });
    }
    let guard = before_locking(target, lock, hooks.growth)?;
    let mut work = Work::new(target, guard, &mut hooks)?;
    if lock.future {
        // First, so that what it maps meanwhile is locked too.
        let later = Lock {
            current: false,
            ..lock
        };
        work.one(NR_MLOCKALL, [later.bits(), 0, 0, 0, 0, 0], "mlockall")?;
    }
    if lock.current {
        let locked = work.lock(lock.on_fault);
        locked.map_err(|error| work.died(error))?;
    }
    let mut notes = work.notes();
    if lock.future {
        let how = if lock.on_fault {
            "locked as it comes in"
        } else {
            "brought in and locked"
        };
        notes.push(format!(
            "memory that it maps later is {how}; where RLIMIT_MEMLOCK holds for it, mapping fails (EAGAIN) \
             beyond that; children and the next program start unlocked"
        ));
    }
    work.done(allowance.locked, notes)
}

/// Whether [`lock`] and [`unlock`] could be called in the target now. It is not stopped for that; what its
/// limit allows is [`Allowance`].
///
/// # Errors
/// As for any call that is run in the target.
pub fn rehearse(target: &Target) -> Result<()> {
    check_reachable(target)
}

/// How much [`lock`] would pass over because somebody serves its pages by userfaultfd(2).
///
/// # Errors
/// `ESRCH` it ended; `EACCES`/`EPERM` not ours to read.
pub fn left_to_server(target: &Target, lock: Lock) -> Result<Bytes> {
    if lock.on_fault || !lock.current {
        return Ok(Bytes::ZERO);
    }
    let served = crate::op::advice::served::served(target)?;
    Ok(Bytes(served.iter().map(|range| range.len).sum()))
}

/// What [`lock`] would bring in, and what it is compared with; `None`: nothing. `ahead`: what would come in for
/// other processes first.
///
/// # Errors
/// `ENOMEM` there is not room for it; `ESRCH` it ended; `EACCES`/`EPERM` not ours to read.
pub fn check_room(
    target: &Target,
    lock: Lock,
    growth: Growth,
    ahead: &Ahead,
) -> Result<Option<Cost>> {
    if !lock.current || lock.on_fault {
        return Ok(None);
    }
    let mut cost = cost_of_locking(target)?;
    cost.room = cost.room.after(ahead);
    cost.check(target.pid(), Purpose::Lock, growth)?;
    Ok(Some(cost))
}

/// Unlocks a target's memory, whoever locked it, and ends `MCL_FUTURE`.
///
/// # Errors
/// As for any call that is run in the target.
pub fn unlock(target: &Target) -> Result<Locked> {
    unlock_with(target, Hooks::default())
}

/// As [`unlock`], with progress and a way to end it.
///
/// # Errors
/// As [`unlock`].
pub fn unlock_with(target: &Target, hooks: Hooks<'_>) -> Result<Locked> {
    crate::with_room(|| crate::together(|| unlock_here(target, hooks)))
}

fn unlock_here(target: &Target, mut hooks: Hooks<'_>) -> Result<Locked> {
    check_reachable(target)?;
    let before = Allowance::of(target)?.locked;
    let mut work = Work::new(target, None, &mut hooks)?;
    work.unlock()?;
    let notes = work.notes();
    work.done(before, notes)
}

fn check_reachable(target: &Target) -> Result<()> {
    if target.is_own() {
        return Err(Error::Invalid {
            why: "that is this process itself: it calls mlockall(2)".to_owned(),
        });
    }
    target.look().map(drop)
}
