//! Jobs: what to run in which target, carried out in a shield.

mod explain;
mod leave;
mod schedule;
mod serve;
mod wait;

use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicBool;

use mctl_abi::Errno;

use super::carrier::Birth;
use super::error::InjectError;
use super::files::command_name;
use super::look::Prepared;
use super::moment::{Harm, call_words};
use super::pick::KEEP;
use super::runs::Runs;
use super::script::ScriptCall;
use super::user_mode::Arm;
use crate::ptrace::raw;
use crate::ptrace::tracee::{NoResult, NotStopped};
use crate::raw::pidfd::is_alive;

pub use schedule::{for_now, run};
pub(super) use schedule::{more_ns, with_more};

/// How long to wait for what, and what to do in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a thread to stop, and for an injected call to begin, in milliseconds.
    pub stop_ms: u32,
    /// For a moment at which a thread can be stopped without harm, in milliseconds. The jobs of one [`run`] wait
    /// together: it takes no longer than the longest of them.
    pub wait_ms: u32,
    /// Where there was no such moment: interrupt the thread to which that does least
    /// ([`Report::disturbed`] then tells what), instead of giving up.
    pub disturb: bool,
}

impl Default for Limits {
    /// 200 ms to stop: far beyond any scheduling delay of a thread that can be stopped at all. 1 s for a harmless
    /// moment, and no disturbance.
    fn default() -> Limits {
        Limits {
            stop_ms: 200,
            wait_ms: 1000,
            disturb: false,
        }
    }
}

/// A call that was interrupted because the caller accepted that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disturbed {
    /// Its number; `None`: the thread ran when it was looked at.
    pub call: Option<u64>,
    /// What may have become of it.
    pub harm: Harm,
}

impl Disturbed {
    /// The call in words, for a message.
    #[must_use]
    pub fn call_words(&self) -> String {
        match self.call {
            Some(number) => call_words(Some(number)),
            None => "whatever it was doing".to_owned(),
        }
    }
}

/// What an injection cost its target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The thread that was borrowed.
    pub tid: i32,
    /// How long it was stopped, in nanoseconds: from the request to stop it to its release.
    pub stopped_ns: u64,
    /// How many system calls were run in it.
    pub calls: u32,
    /// What it was disturbed in, where that was accepted ([`Limits::disturb`]).
    pub disturbed: Option<Disturbed>,
}

/// What a job runs.
#[derive(Debug)]
enum Work<'a> {
    Script(&'a mut [ScriptCall]),
    Runs(&'a mut Runs),
    Carry(&'a mut Birth),
}

/// How far a job came. Plain data: it is written in the shield, where nothing may be allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    NotRun,
    /// No thread of it can be stopped without harm for the time being.
    NoMoment,
    Done(Report),
    Gone,
    NoThread(NotStopped),
    Dispatches,
    Bits32,
    InRseq,
    NoInsn,
    Failed(NoResult),
    Attach(Errno),
    /// The kernel did not answer in time while attaching, or looking at the stopped thread's memory.
    NoAnswer,
    Interrupted,
    Seccomp,
    Replaced,
}

/// One target and what to run in it.
#[derive(Debug)]
pub struct Job<'a> {
    prepared: Prepared<'a>,
    work: Work<'a>,
    limits: Limits,
    state: State,
    /// A thread was lost on the way. Where it has called exec it lives on, with another number and still attached
    /// to the shield.
    lost: bool,
    /// A thread was let go past its filters, and is attached until the shield ends.
    attached: bool,
    /// No thread that would have to be let go so is stopped any more.
    no_barred: bool,
    /// The candidate to begin with, and the one that was tried last.
    first: usize,
    tried: usize,
    /// Whether threads may be disturbed now: it has waited in vain, and the caller accepts that.
    disturbs: bool,
    /// Why not, found out when it failed: later the target may be in another state.
    why_not: Option<InjectError>,
    /// Why no thread's own code could be waited for.
    no_clock: Option<Errno>,
    /// How much longer it may wait when it is come back to, in nanoseconds; `None`: it is not.
    more_ns: Option<u64>,
    /// Since when a moment is waited for, in nanoseconds.
    waits_since: Option<u64>,
    /// Once it is true, no moment is waited for any more.
    cancel: Option<&'a AtomicBool>,
    /// Room for the threads that may have to be waited for in the shield.
    arms: Vec<Arm>,
}

impl<'a> Job<'a> {
    /// Runs a script in the target.
    #[must_use]
    pub fn script(prepared: Prepared<'a>, calls: &'a mut [ScriptCall], limits: Limits) -> Job<'a> {
        Job::new(prepared, Work::Script(calls), limits)
    }

    /// Advises runs of memory in the target.
    #[must_use]
    pub fn runs(prepared: Prepared<'a>, runs: &'a mut Runs, limits: Limits) -> Job<'a> {
        Job::new(prepared, Work::Runs(runs), limits)
    }

    /// Waits for a moment no longer than until this is true (`EINTR` then).
    #[must_use]
    pub fn cancelled_by(mut self, cancel: Option<&'a AtomicBool>) -> Job<'a> {
        self.cancel = cancel;
        self
    }

    /// Has the target bear a carrier, and keeps it until it ends.
    pub(super) fn carry(prepared: Prepared<'a>, birth: &'a mut Birth, limits: Limits) -> Job<'a> {
        let mut job = Job::new(prepared, Work::Carry(birth), limits);
        // In the shield there is none to be had.
        job.arms.reserve(KEEP);
        job
    }

    fn new(prepared: Prepared<'a>, work: Work<'a>, limits: Limits) -> Job<'a> {
        Job {
            prepared,
            work,
            limits,
            state: State::NotRun,
            lost: false,
            attached: false,
            no_barred: false,
            first: 0,
            tried: 0,
            disturbs: false,
            why_not: None,
            no_clock: None,
            more_ns: more_ns(),
            waits_since: None,
            cancel: None,
            arms: Vec::new(),
        }
    }

    /// What became of it.
    ///
    /// # Errors
    /// Why it did not happen. The target is then as it was before; what calls of a script had
    /// already been run is in their results.
    pub fn outcome(&self) -> Result<Report, InjectError> {
        match (self.state, &self.why_not) {
            (State::Done(report), _) => Ok(report),
            (_, Some(error)) => Err(error.clone()),
            _ => Err(self.explain()),
        }
    }

    /// Whether it waits for a harmless moment.
    pub(super) fn is_waiting(&self) -> bool {
        self.state == State::NoMoment && self.why_not.is_none()
    }

    /// Whether the thread belongs to the process that is meant, now that nobody else can get its number. In the
    /// shield.
    pub(super) fn still_has(&self, tid: i32) -> bool {
        is_alive(self.prepared.pidfd) == Ok(true)
            && !matches!(raw::thread_is_in(self.prepared.pid, tid), Err(Errno::ESRCH))
    }

    /// Whether the shield must end at once, so that the kernel lets go of a thread that was asked
    /// to stop and did not, or that may have another number now.
    fn leaves_a_thread_attached(&self) -> bool {
        self.lost || self.attached || self.is_unresponsive()
    }

    fn is_unresponsive(&self) -> bool {
        matches!(self.state, State::NoThread(NotStopped::Unresponsive))
    }
}

impl Prepared<'_> {
    /// The process that was looked at.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its command name, for messages.
    #[must_use]
    pub fn name(&self) -> String {
        command_name(self.pid)
    }
}

impl AsRawFd for Prepared<'_> {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.pidfd.as_raw_fd()
    }
}
