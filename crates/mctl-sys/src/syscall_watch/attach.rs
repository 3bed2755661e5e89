//! Attaching to every thread of a process that runs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::BorrowedFd;

use mctl_abi::Errno;

use super::stop::{Stop, decode};
use super::{Stops, Tid, Watch, options};
use crate::inject::runnable::state_of;
use crate::inject::{InjectError, may_stop};
use crate::ptrace::raw;
use crate::raw::pidfd::is_alive;
use crate::time::{Deadline, monotonic_ns};

/// How often the threads are listed again because there were new ones.
const PASSES: u32 = 1000;

/// How long the threads' first stops are waited for.
const PATIENCE_NS: u64 = 2_000_000_000;

/// What attaching to a thread came to.
enum Attached {
    Now,
    /// By its parent thread's attachment.
    Already,
    Gone,
}

impl Watch {
    /// Attaches to every thread of the process behind `pidfd`; its calls are seen from the next
    /// one on. Threads and children that it makes from now on are watched from birth; children
    /// that it has already are not.
    ///
    /// Every thread is stopped once, for some microseconds. A call that the stop made fail is
    /// entered again (see the [module](super)).
    ///
    /// # Errors
    ///
    /// [`InjectError::Gone`], or the [`Refusal`](crate::inject::Refusal) that applies; the process
    /// then goes on as before.
    pub fn attach(pid: i32, pidfd: BorrowedFd<'_>) -> Result<Self, InjectError> {
        may_stop(pid, pidfd)?;
        let mut watch = Self {
            stops: Stops::EveryCall,
            live: BTreeMap::new(),
            stood: BTreeSet::new(),
            later: VecDeque::new(),
            held: None,
            signals: None,
        };
        watch.take_signals().map_err(|error| InjectError::Os {
            step: "blocking SIGINT, SIGTERM and SIGHUP",
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
        })?;
        // A thread that is not yet attached may make others; one that is hands them over.
        for _ in 0..PASSES {
            let mut new = false;
            for tid in threads(pid)? {
                if watch.live.contains_key(&tid) {
                    continue;
                }
                match attach_one(pid, pidfd, tid)? {
                    Attached::Now | Attached::Already => {
                        watch.live.insert(tid, crate::inject::call_of(pid, tid));
                        new = true;
                    }
                    Attached::Gone => {}
                }
            }
            if !new {
                break;
            }
        }
        // The number might be another process's by now: then this stops no one, and dropping
        // `watch` lets go.
        if watch.live.is_empty() || is_alive(pidfd) != Ok(true) {
            return Err(InjectError::Gone);
        }
        for tid in watch.live.keys() {
            match raw::interrupt(*tid) {
                // It ended; the wait will tell.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => {
                    return Err(InjectError::Os {
                        step: "stopping a thread (PTRACE_INTERRUPT)",
                        errno,
                    });
                }
            }
        }
        watch.first_stops().map_err(|error| InjectError::Os {
            step: "waiting for the threads to stop",
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
        })?;
        Ok(watch)
    }

    /// Watches threads whose tracer was killed, and all that these made meanwhile, where their filter
    /// says so ([`Stops::Filtered`]). None is stopped for it.
    ///
    /// # Errors
    ///
    /// `EPERM` when ptrace(2) is not allowed. Threads that ended are passed over.
    pub fn adopt(tids: &[Tid]) -> io::Result<Self> {
        let mut watch = Self {
            stops: Stops::Filtered,
            live: BTreeMap::new(),
            stood: BTreeSet::new(),
            later: VecDeque::new(),
            held: None,
            signals: None,
        };
        let mut next = tids.to_vec();
        while let Some(tid) = next.pop() {
            if watch.live.contains_key(&tid) {
                continue;
            }
            match raw::seize(tid, options()) {
                Ok(()) => drop(watch.live.insert(tid, None)),
                // Ended, or watched from birth since its maker was taken over.
                Err(Errno::ESRCH | Errno::EPERM) => continue,
                Err(errno) => return Err(io::Error::from_raw_os_error(errno.raw())),
            }
            // What it made while it had no tracer; what it makes from now on comes by itself.
            let text = std::fs::read_to_string(format!("/proc/{tid}/task/{tid}/children"));
            let children = text.unwrap_or_default();
            next.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<Tid>().ok()),
            );
            next.extend(threads(tid).unwrap_or_default());
        }
        Ok(watch)
    }

    /// Waits until every thread has had its first stop and goes on: from then on all are watched,
    /// and nothing is left half mended. One in uninterruptible sleep is not waited for.
    fn first_stops(&mut self) -> io::Result<()> {
        let mut missing: BTreeSet<Tid> = self.live.keys().copied().collect();
        let deadline = Deadline::after(PATIENCE_NS);
        while !missing.is_empty() && !deadline.passed(monotonic_ns()) {
            match self.wait_at_most(50)? {
                // (A request to end waits until there is somebody to tell.)
                None => missing.retain(|tid| state_of(*tid).is_some_and(|s| s != b'D')),
                Some((0, _)) => break,
                Some((tid, status)) if decode(status) == Stop::Trap && missing.remove(&tid) => {
                    self.stopped(tid, status)?;
                }
                Some((tid, status)) => {
                    // It has stopped for something else, which used the request up.
                    missing.remove(&tid);
                    self.later.push_back((tid, status));
                }
            }
        }
        Ok(())
    }
}

fn threads(pid: i32) -> Result<Vec<Tid>, InjectError> {
    match std::fs::read_dir(format!("/proc/{pid}/task")) {
        Ok(entries) => Ok(entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(InjectError::Gone),
        Err(error) => Err(InjectError::Os {
            step: "listing the threads",
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
        }),
    }
}

fn attach_one(pid: i32, pidfd: BorrowedFd<'_>, tid: Tid) -> Result<Attached, InjectError> {
    match raw::seize(tid, options()) {
        Ok(()) => Ok(Attached::Now),
        Err(Errno::ESRCH) => Ok(Attached::Gone),
        Err(Errno::EPERM) => {
            let status =
                std::fs::read(format!("/proc/{pid}/task/{tid}/status")).unwrap_or_default();
            let status = crate::procfs::status::Status::parse(&status).ok();
            let (state, tracer) = status.map_or((None, None), |s| (s.state, s.tracer_pid));
            if matches!(state, None | Some(b'Z' | b'X')) {
                // A first thread that has exited while others run.
                return Ok(Attached::Gone);
            }
            if tracer == Some(std::process::id()) {
                return Ok(Attached::Already);
            }
            // Somebody was quicker, or the credentials changed.
            may_stop(pid, pidfd)?;
            Err(crate::inject::Refusal::NotPermitted.into())
        }
        Err(errno) => Err(InjectError::Os {
            step: "attaching (PTRACE_SEIZE)",
            errno,
        }),
    }
}
