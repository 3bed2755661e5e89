//! In which order targets are served, and how long they wait.
//!
//! First every target that has a thread asleep where it may be interrupted: one look, one stop. Then, for those that
//! have none, all together: their threads' own code is waited for, in slices; between two slices each target is
//! looked at again, since a thread may have fallen asleep where it may be interrupted. What is left in the end is
//! refused, or disturbed where the caller accepts that.

use std::cell::Cell;
use std::time::Duration;

use mctl_abi::Errno;

use super::serve::another_thread_may_do;
use super::wait::{Times, one_slice, wait_for_moments};
use super::{Job, State, Work};
use crate::bounded::{self, End};
use crate::inject::error::{InjectError, Refusal};
use crate::inject::idle::Awake;
use crate::inject::look::is_shield;
use crate::inject::moment::{Harm, Moment};
use crate::inject::remaining::{Finite, SOON_NS};
use crate::inject::shield;
use crate::ptrace::tracee::{NoResult, NotStopped};
use crate::raw::pidfd::is_alive;
use crate::time::monotonic_ns;

/// How often a target is looked at again because it has changed since it was looked at: its thread
/// has ended, it has called exec, or another injector came first.
///
/// An exec on a busy machine takes its time: with the pauses below it is about half a second.
const LOOKS: u32 = 60;
/// So often where attaching was denied although the look allowed it: another injector was there for
/// its few microseconds, or the thread is just ending.
const LOOKS_IF_DENIED: u32 = 30;
const FIRST_PAUSE: Duration = Duration::from_micros(250);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// How often a target is looked at for a finite wait.
const FINITE_ROUNDS: u32 = 8;
/// How many targets are served in one shield: during it our own thread stands still.
const PER_SHIELD: usize = 64;

thread_local! {
    /// How much longer the jobs that this thread makes may wait when they are come back to, in nanoseconds.
    static MORE_NS: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Makes and runs jobs that are come back to where they have no moment now, and may then wait for so long in all. What
/// is the last resort is left for then.
pub fn for_now<R>(more: Duration, work: impl FnOnce() -> R) -> R {
    let more = u64::try_from(more.as_nanos()).unwrap_or(u64::MAX);
    with_more(Some(more), work)
}

pub(in crate::inject) fn with_more<R>(more: Option<u64>, work: impl FnOnce() -> R) -> R {
    let before = MORE_NS.with(|now| now.replace(more));
    let result = work();
    MORE_NS.with(|now| now.set(before));
    result
}

pub(in crate::inject) fn more_ns() -> Option<u64> {
    MORE_NS.with(Cell::get)
}

/// Runs jobs in a shield task. Each has its own [`Job::outcome`]. Returns how long was waited for harmless moments.
pub fn run(jobs: &mut [Job<'_>]) -> Duration {
    let awake = Awake::request(jobs.iter().all(Job::is_short));
    settle(jobs);
    drop(awake);
    let begun = monotonic_ns();
    let waits = jobs.iter().any(Job::is_waiting);
    wait_for_moments(jobs);
    enter_finite_waits_again(jobs);
    let waited = match waits {
        true => Duration::from_nanos(monotonic_ns().saturating_sub(begun)),
        false => Duration::ZERO,
    };
    let mut disturbs = false;
    for job in jobs.iter_mut() {
        if job.is_waiting() && job.limits.disturb {
            job.disturbs = true;
            job.state = State::NotRun;
            job.first = 0;
            job.prepared.candidates.sort_by_key(|candidate| {
                candidate.as_ref().map_or((true, true, Harm::Unknown), |c| {
                    let never = c.moment == Moment::Unreachable;
                    (never, c.seccomp, Harm::of(c.call.as_ref()))
                })
            });
            disturbs = true;
        }
    }
    if disturbs {
        settle(jobs);
    }
    waited
}

/// Serves those that still wait by a thread in a finite wait that goes on beyond ours, where that can be entered again
/// with the time that remains. One that ends in a moment is waited for instead, and looked at again.
fn enter_finite_waits_again(jobs: &mut [Job<'_>]) {
    for round in 1..=FINITE_ROUNDS {
        let mut some = false;
        // Those that are come back to may have a better moment then.
        let last = |job: &&mut Job<'_>| job.is_waiting() && job.more_ns.is_none();
        for job in jobs.iter_mut().filter(last) {
            some |= job.look_for_finite_waits(SOON_NS);
        }
        if some {
            settle(jobs);
        } else if round > 1 {
            return;
        }
        // A thread that was just awake is most likely back in its wait at the next look.
        let patient =
            |job: &Job<'_>| job.is_waiting() && job.limits.wait_ms > 0 && job.more_ns.is_none();
        if round == FINITE_ROUNDS || !jobs.iter().any(patient) {
            return;
        }
        let times = Times {
            slice: SOON_NS,
            alone: None,
        };
        one_slice(jobs, 0, 0, times);
        for job in jobs.iter_mut().filter(|job| patient(job)) {
            job.look_again();
        }
        settle(jobs);
    }
}

/// Runs what has not been run, and again what failed because its target is no longer as it was looked at.
pub(super) fn settle(jobs: &mut [Job<'_>]) {
    let mut pause = FIRST_PAUSE;
    for look in 0..LOOKS {
        run_round(jobs);
        if !jobs.iter().any(|job| job.another_look_may_help(look)) {
            return;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
        let mut again = false;
        for job in &mut *jobs {
            again |= job.another_look_may_help(look) && job.look_again();
        }
        if !again {
            return;
        }
    }
    run_round(jobs);
}

/// Runs what has not been run.
fn run_round(jobs: &mut [Job<'_>]) {
    let mut next = 0;
    while next < jobs.len() {
        let last = jobs.len().min(next + PER_SHIELD);
        let mut attached = false;
        let mut begun = false;
        let ended = shield::run(|| {
            begun = true;
            while let Some(job) = jobs.get_mut(next).filter(|_| next < last) {
                if shield::is_orphaned() {
                    return;
                }
                if job.state == State::NotRun {
                    crate::bounded::next_item();
                    job.execute();
                    if job.leaves_a_thread_attached() {
                        attached = true;
                        return;
                    }
                }
                next += 1;
            }
        });
        let Ok(ended) = ended else {
            // No shield, no injection: the jobs say so by their state.
            return;
        };
        match ended {
            End::Done if !begun => return,
            End::Done if !attached => {}
            End::Done if jobs.get_mut(next).is_some_and(Job::next_thread) => {}
            // Cut short at this job, and no other.
            End::NoAnswer | End::Done => next += 1,
            End::Interrupted | End::Died => {
                if let Some(job) = jobs.get_mut(next) {
                    job.state = State::Interrupted;
                }
                return;
            }
        }
    }
}

impl Job<'_> {
    /// Whether its calls take microseconds, as far as can be told.
    fn is_short(&self) -> bool {
        match &self.work {
            Work::Script(calls) => calls
                .iter()
                .all(|script| script.call.number == libc::SYS_prctl.cast_unsigned()),
            Work::Runs(runs) => runs.is_short(),
            Work::Carry(_) => false,
        }
    }

    /// After a thread did not stop, or could not be let go: whether there is another one to try.
    fn next_thread(&mut self) -> bool {
        let others = self.prepared.candidates.get(self.tried + 1..);
        let last = others.is_none_or(|others| others.iter().flatten().next().is_none());
        if self.is_unresponsive() {
            let error = self.explain_unresponsive();
            if last || matches!(error, InjectError::Refused(Refusal::Frozen)) {
                self.why_not = Some(error);
                return false;
            }
        } else if last || !another_thread_may_do(self.state) {
            return false;
        }
        self.first = self.tried + 1;
        self.state = State::NotRun;
        true
    }

    /// Whether the job failed because the target is no longer as it was looked at.
    fn another_look_may_help(&self, looks: u32) -> bool {
        match self.state {
            State::Gone
            | State::NoThread(NotStopped::Gone)
            | State::Failed(NoResult::Gone)
            | State::NoInsn
            | State::Replaced => {
                self.why_not.is_none() && is_alive(self.prepared.pidfd) == Ok(true)
            }
            State::Attach(Errno::EPERM) => self.why_not.is_none() && looks < LOOKS_IF_DENIED,
            _ => false,
        }
    }

    /// Whether one of its threads is in a finite wait that can be entered again, and lasts longer than `soon`
    /// nanoseconds; the job is then to be run with it.
    pub(super) fn look_for_finite_waits(&mut self, soon: u64) -> bool {
        let pid = self.prepared.pid;
        let mut some = false;
        for candidate in self.prepared.candidates.iter_mut().flatten() {
            // (A filter might refuse the call that it is entered again by.)
            let may = candidate.moment == Moment::Elsewhere && !candidate.seccomp;
            let look = || Finite::look(pid, candidate.tid, soon);
            candidate.finite = if may {
                bounded::run(look).unwrap_or(None)
            } else {
                None
            };
            some |= candidate.finite.is_some();
        }
        if some {
            self.state = State::NotRun;
            self.first = 0;
        }
        some
    }

    /// Looks again; true if the job is to be run again.
    pub(super) fn look_again(&mut self) -> bool {
        let new = match self.prepared.again() {
            Ok(new) => new,
            // Another injector waits for a moment of it too.
            Err(InjectError::Refused(Refusal::Traced { tracer, .. })) if is_shield(tracer) => {
                self.state = State::NoMoment;
                return false;
            }
            Err(error) => {
                self.why_not = Some(error);
                return false;
            }
        };
        if self.state == State::NoInsn && new.insn.is_none() && new.own.is_none() {
            return false;
        }
        match &mut self.work {
            Work::Script(calls) => {
                for call in calls.iter_mut() {
                    call.result = None;
                }
            }
            // The vDSO of another program has another address.
            Work::Runs(runs) if runs.are_gone() || new.insn != self.prepared.insn => {
                self.state = State::Replaced;
                return false;
            }
            Work::Runs(_) => {}
            Work::Carry(birth) if birth.is_of_memory_that_is_gone() => {
                self.state = State::Replaced;
                return false;
            }
            Work::Carry(_) => {}
        }
        self.prepared = new;
        self.leave_barred_alone();
        self.first = 0;
        self.state = State::NotRun;
        true
    }
}
