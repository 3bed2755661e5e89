//! Locking a process's memory: mlockall(2) and munlockall(2), run in the target.
//!
//! What would fail is found out and explained before the target is touched: its RLIMIT_MEMLOCK
//! and CAP_IPC_LOCK are what counts, not the caller's. Locking memory that has to be populated
//! first takes long; it is therefore marked first, populated in short stops, and locked in full
//! once its pages are there.
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

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mctl_abi::Errno;
use mctl_sys::arch::{NR_MLOCKALL, NR_MUNLOCKALL};
use mctl_sys::inject::{Job, Limits, ScriptCall, run};
use serde::Serialize;

use crate::advise::listing::each_mapping;
use crate::advise::{Advice, Advise, Progress, Range};
use crate::coverage::Bytes;
use crate::error::{Error, Result};
use crate::target::Target;

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
    /// `VmLck` before.
    pub before: Bytes,
    /// `VmLck` after.
    pub after: Bytes,
    /// The longest that a thread of the target was stopped at a time.
    #[serde(rename = "longest_stop_us", serialize_with = "micros")]
    pub longest_stop: Duration,
    /// Whether it was cancelled while pages were brought in.
    pub cancelled: bool,
    /// What is to be known about it.
    pub notes: Vec<String>,
}

/// What long work reports to, and is ended by.
#[derive(Default)]
pub struct Hooks<'a> {
    /// Is told how far it is.
    pub progress: Option<&'a mut dyn FnMut(&Progress)>,
    /// Ends it between two stops once this is true.
    pub cancel: Option<&'a AtomicBool>,
}

impl std::fmt::Debug for Hooks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks")
            .field("progress", &self.progress.is_some())
            .field("cancel", &self.cancel)
            .finish()
    }
}

fn micros<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// Locks a target's memory.
///
/// # Errors
/// `EINVAL` neither `current` nor `future`; `EPERM`, `ENOMEM` the target's limit, found out
/// beforehand, in words; else as for any call that is run in the target.
pub fn lock(target: &Target, lock: Lock) -> Result<Locked> {
    lock_with(target, lock, Hooks::default())
}

/// As [`lock`], with progress and a way to end it.
///
/// Cancelled while pages are brought in, what is there stays locked and the rest is locked as it
/// comes in (`MCL_ONFAULT`); the result says so.
///
/// # Errors
/// As [`lock`].
pub fn lock_with(target: &Target, lock: Lock, mut hooks: Hooks<'_>) -> Result<Locked> {
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
            errno => Error::Read {
                what: format!("process {}", target.pid()),
                why,
                errno,
            },
        });
    }
    let mut longest = Duration::ZERO;
    let mut notes = Vec::new();
    let mut cancelled = false;
    if lock.current && !lock.on_fault {
        let marked = Lock {
            on_fault: true,
            ..lock
        };
        match call(target, NR_MLOCKALL, marked.bits(), "mlockall") {
            Ok(stop) => {
                longest = longest.max(stop).max(populate(target, &mut hooks)?);
                cancelled = hooks
                    .cancel
                    .is_some_and(|cancel| cancel.load(Ordering::Relaxed));
            }
            // Before Linux 4.4: all in one stop.
            Err(error) if error.errno() == Errno::EINVAL => {}
            Err(error) => return Err(error),
        }
    }
    if cancelled {
        notes.push(
            "interrupted: what is there is locked, the rest is locked as it comes in; \
             'mctl unlock' takes that back"
                .to_owned(),
        );
    } else {
        longest = longest.max(call(target, NR_MLOCKALL, lock.bits(), "mlockall")?);
    }
    if lock.future {
        notes.push(
            "memory that it maps later is locked too, and mapping fails (EAGAIN) beyond its \
             RLIMIT_MEMLOCK; children and the next program start unlocked"
                .to_owned(),
        );
    }
    let after = Allowance::of(target)?;
    Ok(Locked {
        before: allowance.locked,
        after: after.locked,
        longest_stop: longest,
        cancelled,
        notes,
    })
}

/// Whether [`lock`] and [`unlock`] could be called in the target now. It is not stopped for that; what its
/// limit allows is [`Allowance`].
///
/// # Errors
/// As for any call that is run in the target.
pub fn rehearse(target: &Target) -> Result<()> {
    check_reachable(target)
}

/// Unlocks a target's memory, whoever locked it, and ends `MCL_FUTURE`.
///
/// # Errors
/// As for any call that is run in the target.
pub fn unlock(target: &Target) -> Result<Locked> {
    check_reachable(target)?;
    let before = Allowance::of(target)?.locked;
    let longest_stop = call(target, NR_MUNLOCKALL, 0, "munlockall")?;
    Ok(Locked {
        before,
        after: Allowance::of(target)?.locked,
        longest_stop,
        cancelled: false,
        notes: Vec::new(),
    })
}

/// Brings in what mlockall(2) would, in short stops: writable private memory by writing, so that
/// it gets pages of its own, the rest by reading. What has no pages to bring in is passed over.
fn populate(target: &Target, hooks: &mut Hooks<'_>) -> Result<Duration> {
    let (mut write, mut read) = (Vec::new(), Vec::new());
    each_mapping(target, |line| {
        let range = Range {
            start: line.start,
            len: line.end - line.start,
        };
        if line.perms.write && !line.perms.shared {
            write.push(range);
        } else if line.perms.read {
            read.push(range);
        }
    })?;
    let begun = Instant::now();
    let bytes = |ranges: &[Range]| ranges.iter().map(|range| range.len).sum::<u64>();
    let total = bytes(&write).saturating_add(bytes(&read));
    let mut before = 0;
    let mut longest = Duration::ZERO;
    for (advice, ranges) in [
        (Advice::POPULATE_WRITE, write),
        (Advice::POPULATE_READ, read),
    ] {
        let of_this = bytes(&ranges);
        // Both parts are one piece of work to whoever watches.
        let mut step = |part: &Progress| {
            if let Some(progress) = hooks.progress.as_deref_mut() {
                progress(&Progress {
                    bytes: before + part.bytes,
                    total,
                    elapsed: begun.elapsed(),
                });
            }
        };
        let mut advise = Advise::new(advice)
            .listed(ranges)
            .skip_errors()
            .on_progress(&mut step);
        if let Some(cancel) = hooks.cancel {
            advise = advise.cancelled_by(cancel);
        }
        let given = advise.give(target);
        before += of_this;
        match given {
            Ok(advised) => longest = longest.max(advised.longest_stop),
            // Before Linux 5.14; the lock itself then brings the pages in.
            Err(error) if error.errno() == Errno::EINVAL => {}
            Err(error) => return Err(error),
        }
    }
    Ok(longest)
}

fn check_reachable(target: &Target) -> Result<()> {
    if target.is_own() {
        return Err(Error::Invalid {
            why: "that is this process itself: it calls mlockall(2)".to_owned(),
        });
    }
    target.look().map(drop)
}

/// Runs one call in the target; returns how long it was stopped.
fn call(target: &Target, number: i64, flags: u64, name: &'static str) -> Result<Duration> {
    let pid = target.pid();
    let inject = |error| Error::inject(pid, error);
    let prepared = target.look()?;
    let mut script = [ScriptCall::new(number, [flags, 0, 0, 0, 0, 0])];
    let report = {
        let mut jobs = [Job::script(prepared, &mut script, Limits::default())];
        run(&mut jobs);
        let [job] = jobs;
        job.outcome().map_err(inject)?
    };
    match script[0].result {
        Some(ret) if ret < 0 => Err(Error::TargetCall {
            pid,
            call: name,
            errno: i32::try_from(-ret).map_or(Errno::EIO, Errno::from_raw),
        }),
        _ => Ok(Duration::from_nanos(report.stopped_ns)),
    }
}
