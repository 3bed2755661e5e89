//! Carriers: long calls in a target, without the target's threads.
//!
//! A thread of the target is stopped for the microseconds of one clone(2). The child shares the memory
//! and is ours: it stands at an exit instruction of the target's own text, makes the calls that it is
//! told to, and can be killed at any time. When it has ended, the target is stopped once more to wait
//! for it. See docs/design/carriers.md.

mod birth;
mod gadget;
mod mailbox;
mod name;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use mctl_abi::Errno;

use super::error::{InjectError, NO_CHILD, NO_THREAD, Refusal};
use super::files::thread_is_ending;
use super::job::{Job, Limits, Report, more_ns, run, with_more};
use super::look::Prepared;
use super::memory::Memory;
use super::script::ScriptCall;
use crate::arch::SyscallArgs;
use crate::ptrace::carried::Gadget;
pub(crate) use birth::Birth;
pub(super) use birth::Served;
use birth::{Refused, wait_for};
use mailbox::{ENDED, End, Mailbox, POSTED, STARTING};
pub use name::{NAME as CARRIER_NAME, is_carrier};

/// A call for a carrier, and what it returned: a negative number is an errno. `None`: it was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CarriedCall {
    /// What to run.
    pub call: SyscallArgs,
    /// What it returned.
    pub result: Option<i64>,
    /// How long it took, with the turns that the carrier and its keeper take.
    pub took: Duration,
}

impl CarriedCall {
    /// A call that was not made yet.
    #[must_use]
    pub const fn new(number: i64, args: [u64; 6]) -> CarriedCall {
        let call = SyscallArgs {
            number: number.cast_unsigned(),
            args,
        };
        CarriedCall {
            call,
            result: None,
            took: Duration::ZERO,
        }
    }
}

/// Why calls were left undone. What was done before is in the results.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Undone {
    /// The caller wanted no more.
    Cancelled,
    /// The first call without a result took longer than it might, and was ended.
    TooLong,
    /// Nothing was asked of it for a while, or somebody else has killed it; another carrier may do.
    Ended,
    /// As for any call that is run in the target.
    Failed(InjectError),
}

/// What a carrier cost its target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CarrierReport {
    /// How long threads of the target were stopped, in all.
    pub stopped: Duration,
    /// The longest of these stops.
    pub longest: Duration,
    /// Its number in the target's PID namespace, where it could not be waited for in the target: an
    /// ended child without a parent's care, until the target ends or waits for all its children.
    pub left: Option<i64>,
    /// The last stop that disturbed a thread, where that was accepted ([`Limits::disturb`]).
    pub disturbed: Option<Report>,
}

impl CarrierReport {
    fn note(&mut self, stop: Report) {
        self.disturbed = stop.disturbed.map(|_| stop).or(self.disturbed);
    }
}

/// What its keeper found out.
#[derive(Debug)]
struct Kept {
    report: CarrierReport,
    error: Option<InjectError>,
}

/// A carrier. Dropping it ends it.
#[derive(Debug)]
pub struct Carrier {
    mailbox: Arc<Mailbox>,
    keeper: Option<JoinHandle<Kept>>,
    error: Option<InjectError>,
    report: CarrierReport,
}

/// How often the caller looks whether it is still wanted.
const SLICE_NS: u64 = 20_000_000;
/// How often it is tried to wait for an ended carrier in its target, and the pause between two tries.
const REAP_TRIES: u32 = 5;
/// How often a target is looked at again because the thread that was looked at has ended.
const LOOKS: u32 = 64;
/// So long a moment for it is waited for at least, however little the caller would wait for the work itself.
const REAP_MS: u32 = 1000;
const REAP_PAUSE: Duration = Duration::from_millis(20);
/// How often a call that only asks to be made again is.
const BROKEN_OFF: u32 = 16;

impl Carrier {
    /// Has the process behind `pidfd` bear a carrier. `memory`: what the calls concern, so that another
    /// program gets none of them. `most` bounds each call, `cancelled` the wait for the birth.
    ///
    /// # Errors
    /// As for any call that is run in the target. [`Refusal::NoExitInstructions`] none of its text ends
    /// a task; `EAGAIN` it may have no more processes (RLIMIT_NPROC, pids.max).
    pub fn start(
        pid: i32,
        pidfd: BorrowedFd<'_>,
        memory: Option<Arc<Memory>>,
        limits: Limits,
        most: Duration,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Carrier, InjectError> {
        let os = |step| {
            move |error: std::io::Error| InjectError::Os {
                step,
                errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EAGAIN)),
            }
        };
        let pidfd = pidfd
            .try_clone_to_owned()
            .map_err(os("duplicating a pidfd"))?;
        let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        let mailbox = Arc::new(Mailbox::new(most));
        let keeper = {
            let mailbox = Arc::clone(&mailbox);
            let more = more_ns();
            let keep = move || with_more(more, || keep(pid, &pidfd, &mailbox, memory, limits));
            std::thread::Builder::new()
                .name("mctl carrier".to_owned())
                .spawn(keep)
                .map_err(os(NO_THREAD))?
        };
        let mut carrier = Carrier {
            mailbox,
            keeper: Some(keeper),
            error: None,
            report: CarrierReport::default(),
        };
        while carrier.mailbox.wait_while(STARTING, SLICE_NS) == STARTING {
            if cancelled() {
                carrier.mailbox.ask_to_stop();
            }
        }
        if carrier.mailbox.turn() == ENDED && carrier.mailbox.why() == End::Unborn {
            carrier.join();
            let fallback = InjectError::Os {
                step: "making a carrier",
                errno: Errno::EAGAIN,
            };
            return Err(carrier.error.take().unwrap_or(fallback));
        }
        Ok(carrier)
    }

    /// Makes the calls, in order, up to the first that fails: those after it have no result.
    ///
    /// # Errors
    /// Why there are calls without a result although none has failed.
    pub fn run(
        &mut self,
        calls: &mut [CarriedCall],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), Undone> {
        let mut first = 0;
        let mut broken_off = 0;
        while let Some(rest) = calls.get_mut(first..).filter(|rest| !rest.is_empty()) {
            if cancelled() {
                return Err(Undone::Cancelled);
            }
            let posted = self.mailbox.post(rest.iter().map(|call| &call.call));
            self.wait_for_results(cancelled);
            let done = self.mailbox.done().min(posted);
            for (index, call) in rest.iter_mut().take(done).enumerate() {
                let (result, took_ns) = self.mailbox.result(index);
                if is_broken_off(result) && broken_off < BROKEN_OFF {
                    // A SIGSTOP for its process group, most likely. Once more, from this one on.
                    broken_off += 1;
                    break;
                }
                broken_off = 0;
                call.result = Some(result);
                call.took = Duration::from_nanos(took_ns);
                first += 1;
                if result < 0 {
                    return Ok(());
                }
            }
            if self.mailbox.turn() == ENDED && first < calls.len() {
                return Err(self.undone());
            }
        }
        Ok(())
    }

    fn wait_for_results(&self, cancelled: &dyn Fn() -> bool) {
        while self.mailbox.wait_while(POSTED, SLICE_NS) == POSTED {
            if cancelled() {
                self.mailbox.ask_to_stop();
            }
        }
    }

    fn undone(&self) -> Undone {
        match self.mailbox.why() {
            End::Asked => Undone::Cancelled,
            End::TooLong => Undone::TooLong,
            End::TargetGone => Undone::Failed(InjectError::Gone),
            End::Replaced => Undone::Failed(Refusal::Replaced.into()),
            End::Elsewhere => Undone::Failed(Refusal::ForeignText.into()),
            End::Killed | End::Idle | End::Orphaned => Undone::Ended,
            End::Unborn | End::Os => Undone::Failed(InjectError::Os {
                step: "running a call in a carrier",
                errno: Errno::EIO,
            }),
        }
    }

    /// How long its birth waited for a harmless moment.
    #[must_use]
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.mailbox.waited_ns())
    }

    /// Whether it takes further calls.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.mailbox.turn() != ENDED
    }

    /// Ends it; what it cost.
    pub fn end(mut self) -> CarrierReport {
        self.join();
        self.report
    }

    fn join(&mut self) {
        self.mailbox.ask_to_stop();
        if let Some(keeper) = self.keeper.take()
            && let Ok(kept) = keeper.join()
        {
            self.report = kept.report;
            self.error = kept.error;
        }
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.join();
    }
}

/// `EINTR`, or the kernel's own words for it (include/linux/errno.h).
fn is_broken_off(result: i64) -> bool {
    result == -i64::from(libc::EINTR) || (-516..=-512).contains(&result)
}

/// The keeper: a thread that is suspended while its shield keeps the carrier.
fn keep(
    pid: i32,
    pidfd: &OwnedFd,
    mailbox: &Arc<Mailbox>,
    memory: Option<Arc<Memory>>,
    limits: Limits,
) -> Kept {
    let mut report = CarrierReport::default();
    let error = keep_one(pid, pidfd.as_fd(), mailbox, memory, limits, &mut report).err();
    // A carrier that was born has said so itself, and why it ended.
    if mailbox.turn() != ENDED {
        mailbox.end(End::Unborn);
    }
    Kept { report, error }
}

fn keep_one(
    pid: i32,
    pidfd: BorrowedFd<'_>,
    mailbox: &Arc<Mailbox>,
    memory: Option<Arc<Memory>>,
    limits: Limits,
    report: &mut CarrierReport,
) -> Result<(), InjectError> {
    let (prepared, tid, gadget) = look(pid, pidfd)?;
    let mut birth = Birth::new(Arc::clone(mailbox), gadget, name::address(pid, tid), memory);
    for (slot, child) in birth.leftovers.iter_mut().zip(name::ended_children(pid)) {
        *slot = child;
    }
    let outcome = {
        let mut jobs = [Job::carry(prepared, &mut birth, limits)];
        run(&mut jobs);
        let [job] = jobs;
        job.outcome()
    };
    report.stopped = Duration::from_nanos(birth.stopped_ns);
    report.longest = Duration::from_nanos(birth.longest_ns);
    if let Ok(stop) = outcome {
        report.note(stop);
    }
    if let Some(child) = birth.child()
        && !birth.reaped
    {
        // A finite wait is entered again at once for it: an ended child is not to be left for long.
        let reaped = with_more(Some(0), || reap(pid, pidfd, child, limits, report));
        report.left = (!reaped).then_some(child);
    }
    match birth.refused {
        _ if outcome.is_err() => outcome.map(drop),
        None => Ok(()),
        Some(Refused::Clone(errno)) => Err(InjectError::Os {
            step: NO_CHILD,
            errno,
        }),
        Some(Refused::PidNamespace) => Err(Refusal::OtherPidNamespace.into()),
        Some(Refused::Lost) => Err(InjectError::Os {
            step: NO_CHILD,
            errno: Errno::EIO,
        }),
    }
}

/// Looks at the target, and at its text by the thread that would be stopped. That one may end meanwhile, and the process
/// live on.
fn look<'fd>(
    pid: i32,
    pidfd: BorrowedFd<'fd>,
) -> Result<(Prepared<'fd>, i32, Gadget), InjectError> {
    let mut looks = 0;
    loop {
        let prepared = Prepared::look(pid, pidfd)?;
        let tid = prepared.best().ok_or(InjectError::Gone)?;
        looks += 1;
        match gadget::find(pid, tid) {
            Ok(gadget) => return Ok((prepared, tid, gadget)),
            // One that has ended has no text to look at.
            Err(_) if looks < LOOKS && thread_is_ending(pid, tid) => std::thread::yield_now(),
            Err(error) => return Err(error),
        }
    }
}

/// Waits for an ended carrier in its target, whose threads have moved on since it was born.
fn reap(
    pid: i32,
    pidfd: BorrowedFd<'_>,
    child: i64,
    limits: Limits,
    report: &mut CarrierReport,
) -> bool {
    let wait = wait_for(child);
    let mut limits = limits;
    limits.wait_ms = limits.wait_ms.max(REAP_MS);
    for _ in 0..REAP_TRIES {
        let mut script = [ScriptCall::new(wait.number.cast_signed(), wait.args)];
        let Ok(prepared) = Prepared::look(pid, pidfd) else {
            return crate::raw::pidfd::is_alive(pidfd) != Ok(true);
        };
        let outcome = {
            let mut jobs = [Job::script(prepared, &mut script, limits)];
            // All tries together wait no longer than one.
            let waited = u32::try_from(run(&mut jobs).as_millis()).unwrap_or(u32::MAX);
            limits.wait_ms = limits.wait_ms.saturating_sub(waited);
            let [job] = jobs;
            job.outcome()
        };
        if let Ok(stop) = outcome {
            report.note(stop);
            let stop = Duration::from_nanos(stop.stopped_ns);
            report.stopped += stop;
            report.longest = report.longest.max(stop);
        }
        match script[0].result {
            // Its own child, or none of that number any more.
            Some(got) if got == child || got == -i64::from(libc::ECHILD) => return true,
            _ => std::thread::sleep(REAP_PAUSE),
        }
    }
    false
}
