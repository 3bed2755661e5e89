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

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mctl_abi::Errno;
use mctl_sys::arch::{NR_MLOCKALL, NR_MUNLOCKALL};
use mctl_sys::inject::{Job, Limits, Prepared, ScriptCall, run};
use mctl_sys::procfs::status::Status;
use serde::Serialize;

use crate::advise::listing::each_mapping;
use crate::advise::{Advice, Advise, Progress, Range};
use crate::coverage::{Bytes, through_a_thread};
use crate::error::{Error, Result};
use crate::target::{Target, read_all};

const MCL_CURRENT: u64 = 1;
const MCL_FUTURE: u64 = 2;
const MCL_ONFAULT: u64 = 4;
const CAP_IPC_LOCK: u64 = 1 << 14;

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

/// What decides whether a target may lock its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Allowance {
    /// The soft RLIMIT_MEMLOCK of the target; `None`: unlimited.
    pub limit: Option<Bytes>,
    /// Whether the target holds CAP_IPC_LOCK, to which no limit applies. (In a user namespace of
    /// its own it may show the capability and yet not have it.)
    pub capable: bool,
    /// What it has mapped: the kernel counts all of it against the limit.
    pub size: Bytes,
    /// What is locked now.
    pub locked: Bytes,
}

impl Allowance {
    /// Reads it from `/proc/PID/limits` and `/proc/PID/status`.
    ///
    /// # Errors
    /// `ESRCH` it ended or has no memory; `EACCES` not ours to read.
    pub fn of(target: &Target) -> Result<Allowance> {
        let limits = read_all(target, "limits")?;
        let limit = memlock_limit(&limits).ok_or_else(|| Error::Read {
            what: format!("/proc/{}/limits", target.pid()),
            why: "no limit on locked memory in it".to_owned(),
            errno: Errno::EIO,
        })?;
        // A first thread that has exited shows no memory.
        let (capable, size, locked) = through_a_thread(target, |prefix| -> Result<_> {
            let text = read_all(target, &format!("{prefix}status"))?;
            let status = Status::parse(&text).map_err(|error| Error::Read {
                what: format!("/proc/{}/status", target.pid()),
                why: error.to_string(),
                errno: Errno::EIO,
            })?;
            let capable = status.cap_eff.unwrap_or(0) & CAP_IPC_LOCK != 0;
            Ok(status.vm_size.map(|size| {
                let locked = status.vm_lck.unwrap_or(0);
                (capable, Bytes::from_kb(size), Bytes::from_kb(locked))
            }))
        })?;
        Ok(Allowance {
            limit,
            capable,
            size,
            locked,
        })
    }

    /// Why the kernel would refuse; `None` where it would not (mm/mlock.c, `mlockall()`).
    #[must_use]
    pub fn refusal(&self, lock: Lock) -> Option<(Errno, String)> {
        let limit = self.limit.filter(|_| !self.capable)?;
        if limit == Bytes::ZERO {
            return Some((
                Errno::EPERM,
                "its RLIMIT_MEMLOCK is 0 and it has no CAP_IPC_LOCK; raise the limit first \
                 (prlimit --memlock)"
                    .to_owned(),
            ));
        }
        (lock.current && self.size > limit).then(|| {
            (
                Errno::ENOMEM,
                format!(
                    "it has {} mapped and may lock {}: its RLIMIT_MEMLOCK counts everything \
                     that is mapped; raise it first (prlimit --memlock)",
                    self.size, limit
                ),
            )
        })
    }
}

/// The soft limit, in bytes. Outer `None`: no such line.
fn memlock_limit(limits: &[u8]) -> Option<Option<Bytes>> {
    let text = String::from_utf8_lossy(limits);
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"))?;
    match rest.split_whitespace().next()? {
        "unlimited" => Some(None),
        bytes => bytes.parse().ok().map(|bytes| Some(Bytes(bytes))),
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
    each_mapping(target, &mut |line| {
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
            .ranges(ranges)
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
    Prepared::look(target.pid(), target.as_fd())
        .map(drop)
        .map_err(|error| Error::inject(target.pid(), error))
}

/// Runs one call in the target; returns how long it was stopped.
fn call(target: &Target, number: i64, flags: u64, name: &'static str) -> Result<Duration> {
    let pid = target.pid();
    let inject = |error| Error::inject(pid, error);
    let prepared = Prepared::look(pid, target.as_fd()).map_err(inject)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_found() {
        let line = |value: &str| format!("Limit\nMax locked memory         {value}  8  bytes \n");
        let limit = |value: &str| memlock_limit(line(value).as_bytes());
        assert_eq!(limit("8388608"), Some(Some(Bytes(8 << 20))));
        assert_eq!(limit("unlimited"), Some(None));
        assert_eq!(limit("many"), None);
        assert_eq!(memlock_limit(b""), None);
    }

    #[test]
    fn what_the_kernel_would_refuse() {
        let allowance = |limit: Option<u64>, capable, size| Allowance {
            limit: limit.map(Bytes),
            capable,
            size: Bytes(size),
            locked: Bytes::ZERO,
        };
        let now = Lock {
            current: true,
            ..Lock::default()
        };
        let later = Lock {
            future: true,
            ..Lock::default()
        };
        let errno = |a: Allowance, lock| a.refusal(lock).map(|(errno, _)| errno);
        assert_eq!(errno(allowance(Some(0), false, 1), now), Some(Errno::EPERM));
        assert_eq!(
            errno(allowance(Some(0), false, 1), later),
            Some(Errno::EPERM)
        );
        assert_eq!(
            errno(allowance(Some(10), false, 11), now),
            Some(Errno::ENOMEM)
        );
        assert_eq!(errno(allowance(Some(10), false, 11), later), None);
        assert_eq!(errno(allowance(Some(10), false, 10), now), None);
        assert_eq!(errno(allowance(Some(0), true, 11), now), None);
        assert_eq!(errno(allowance(None, false, 11), now), None);
    }
}
