//! Waiting for threads to run their own code, and stopping them there.
//!
//! A thread that is stopped on its way back from a timer interrupt that hit user mode stands in no system call, so
//! none is cut short. [`UserClock`] makes it so: it signals the thread at such a moment, and the tracer takes the
//! stop that every signal of a tracee is and drops the signal.
//!
//! A thread that runs can be let go only by its tracer's end. So everything here happens in a shield that lives
//! for a slice of the wait, and whose end lets go of all threads that did not come. They are attached meanwhile,
//! but not stopped; their other signals are handed on at once.

use mctl_abi::Errno;

use super::blocked::{BlockedCall, loses_only_time};
use super::job::Job;
use super::let_go::{self, Leaving, Left};
use super::moment::Moment;
use super::pick::Candidate;
use super::shield;
use crate::procfs::status::Status;
use crate::ptrace::raw;
use crate::ptrace::tracee::{Seized, Stopped};
use crate::ptrace::wait::{Event, decode};
use crate::raw::perf::{NEVER_NS, UserClock};
use crate::time::{Deadline, monotonic_ns};

/// Signals that a program that did not ask for them never sees.
const IGNORED: [i32; 3] = [libc::SIGWINCH, libc::SIGURG, libc::SIGCHLD];

fn bit(signal: i32) -> u64 {
    1u64.checked_shl(signal.unsigned_abs().wrapping_sub(1))
        .unwrap_or(0)
}

/// The signal for a thread's clock. It must not be blocked: it would wait until it is not, perhaps in a call. It had
/// better not be caught: should we die after it was sent, the program ignores it. A program that catches every
/// signal (Go) gets the one that it expects out of the blue, since no socket of its own sends it for nothing.
pub(super) fn signal_for(status: &Status<'_>) -> Option<i32> {
    let (blocked, caught) = (status.sig_blk?, status.sig_cgt?);
    let free = |signal: &&i32| blocked & bit(**signal) == 0;
    IGNORED
        .iter()
        .filter(free)
        .find(|signal| caught & bit(**signal) == 0)
        .or_else(|| Some(&libc::SIGURG).filter(free))
        .copied()
}

/// A tick every 20 µs of the thread's own time at first: short bursts of its own code are then found. Each tick
/// costs the thread about a microsecond, so one that spends its time in the kernel gets fewer by and by.
const PERIODS: [(u64, u64); 3] = [(0, 20_000), (1_500_000, 100_000), (10_000_000, 250_000)];

/// One thread that is waited for.
#[derive(Debug)]
pub(super) struct Arm {
    pub(super) job: usize,
    /// Which of the job's candidates.
    pub(super) candidate: usize,
    tid: i32,
    signal: i32,
    clock: UserClock,
    period: usize,
    state: State,
    /// The call in which it was asked to stop.
    call: Option<BlockedCall>,
    /// While it is let go.
    leaving: Option<Leaving>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Seized,
    /// It has been asked to stop: where it stood still for a signal of its own, to stop once more on its way from there;
    /// or asleep where it may be.
    Asked,
    /// Detached, or ended.
    Done,
}

/// How a thread that stands still is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    InItsOwnCode,
    InGroupStop,
    OnItsWay,
}

/// Whether it makes sense, and does no harm, to wait for this thread.
///
/// A first thread that sleeps in a call whose failure nobody could mend is left alone: while it is attached, a
/// signal that its process ignores wakes it (`sig_ignored()`, kernel/signal.c).
fn may_be_waited_for(pid: i32, candidate: &Candidate) -> bool {
    match candidate.moment {
        Moment::Running => true,
        Moment::Elsewhere => {
            candidate.call.is_some()
                && (candidate.tid != pid
                    || candidate.barred
                    || candidate.call.is_some_and(|call| loses_only_time(&call)))
        }
        Moment::Asleep | Moment::Stopped | Moment::Unreachable => false,
    }
}

/// Whose threads are waited for.
pub(super) struct Which {
    /// The job's index.
    pub(super) job: usize,
    pub(super) pid: i32,
    /// The candidate to begin with, and how many to take.
    pub(super) first: usize,
    pub(super) most: usize,
}

/// Prepares to wait for the threads of a job. The clocks do not run yet.
///
/// # Errors
/// Why no clock could be had for any of them, where none could.
///
/// It allocates nothing where `arms` has room for as many as there are candidates.
pub(super) fn arm(
    arms: &mut Vec<Arm>,
    which: &Which,
    candidates: &[Option<Candidate>],
) -> Result<(), Errno> {
    let mut failed = None;
    let before = arms.len();
    let usable = |(index, candidate): (usize, &Option<Candidate>)| {
        let candidate = candidate.as_ref()?;
        let signal = candidate.signal?;
        may_be_waited_for(which.pid, candidate).then_some((index, candidate.tid, signal))
    };
    let threads = || candidates.iter().enumerate().filter_map(usable);
    let first = which.first % threads().count().max(1);
    for (candidate, tid, signal) in threads()
        .skip(first)
        .chain(threads().take(first))
        .take(which.most)
    {
        match UserClock::open(tid, PERIODS[0].1, signal) {
            Ok(clock) => arms.push(Arm {
                job: which.job,
                candidate,
                tid,
                signal,
                clock,
                period: 0,
                state: State::Idle,
                call: None,
                leaving: None,
            }),
            Err(Errno::ESRCH) => {}
            Err(errno) => failed = Some(errno),
        }
    }
    match failed {
        Some(errno) if arms.len() == before => Err(errno),
        _ => Ok(()),
    }
}

/// Waits for the armed threads, and serves the job of each that comes. In the shield: no allocation, no lock, no
/// panic. The shield has to end afterwards. `is_over`: nobody wants it any more.
pub(super) fn watch(
    jobs: &mut [Job<'_>],
    arms: &mut [Arm],
    slice: Deadline,
    is_over: impl Fn() -> bool,
) {
    for arm in arms.iter_mut() {
        if jobs.get(arm.job).is_some_and(Job::is_waiting) {
            arm.begin(jobs);
        }
    }
    let waiting = |jobs: &[Job<'_>], arms: &[Arm]| {
        arms.iter()
            .any(|arm| arm.is_attached() && jobs.get(arm.job).is_some_and(Job::is_waiting))
    };
    let mut pause = FIRST_LOOK_NS;
    let mut next_look = monotonic_ns().saturating_add(pause);
    while waiting(jobs, arms) && !is_over() {
        if look_round(jobs, arms) {
            continue;
        }
        let now = monotonic_ns();
        if slice.passed(now) {
            break;
        }
        if now >= next_look {
            look_for_sleepers(jobs, arms);
            pause = (pause * 2).min(LONGEST_LOOK_NS);
            next_look = monotonic_ns().saturating_add(pause);
            continue;
        }
        for arm in arms.iter_mut() {
            arm.slow_down();
        }
        crate::time::wait_for_sigchld(slice.remaining(now).min(LONGEST_NAP_NS));
    }
    let_all_go(arms);
}

/// Lets go of all threads that are still attached, side by side: none stands still while another one is waited for.
fn let_all_go(arms: &mut [Arm]) {
    for arm in arms.iter_mut().filter(|arm| arm.is_attached()) {
        arm.clock.only_count();
        arm.leaving = Some(Leaving::begin(arm.tid, Some(arm.clock.run_ns())));
    }
    loop {
        let mut some_run = false;
        for arm in arms.iter_mut() {
            some_run |= arm.leave();
        }
        if !some_run {
            break;
        }
        let_go::pause();
    }
    for arm in arms.iter() {
        arm.clock.stop();
    }
}

/// When the attached threads are first looked at for one that has fallen asleep where it may be interrupted, and the
/// longest pause between two such looks.
const FIRST_LOOK_NS: u64 = 3_000_000;
const LONGEST_LOOK_NS: u64 = 50_000_000;

/// Asks the threads to stop that have fallen asleep where they may be interrupted, one of a job. They are not waited for:
/// others may stand still meanwhile.
fn look_for_sleepers(jobs: &[Job<'_>], arms: &mut [Arm]) {
    for index in 0..arms.len() {
        let is_asked = |job| {
            arms.iter()
                .any(|other| other.job == job && other.state == State::Asked)
        };
        let Some(arm) = arms.get(index).filter(|arm| !is_asked(arm.job)) else {
            continue;
        };
        let Some(job) = jobs.get(arm.job).filter(|job| job.is_waiting()) else {
            continue;
        };
        if let Some(arm) = arms.get_mut(index) {
            arm.ask_if_asleep(job);
        }
    }
}

const LONGEST_NAP_NS: u64 = 5_000_000;

/// Takes one event of any tracee; whether there was one.
fn look_round(jobs: &mut [Job<'_>], arms: &mut [Arm]) -> bool {
    let Ok(Some((tid, status))) = raw::wait_any_now() else {
        return false;
    };
    let Some(index) = arms
        .iter()
        .position(|arm| arm.tid == tid && arm.is_attached())
    else {
        // A thread of ours that has taken another's number (exec): it goes on.
        let _ = raw::cont(tid, 0);
        return true;
    };
    let served = arms.get_mut(index).and_then(|arm| {
        let job = jobs.get_mut(arm.job)?;
        arm.take(job, decode(status))
    });
    if let Some(job) = served {
        // Its other threads need not come any more.
        for arm in arms.iter().filter(|arm| arm.job == job) {
            arm.clock.only_count();
        }
    }
    true
}

impl Arm {
    fn begin(&mut self, jobs: &[Job<'_>]) {
        crate::bounded::next_item();
        // It stays attached until the shield ends, whatever comes.
        if shield::holding_nobody(false, || Seized::seize(self.tid)).is_err() {
            return;
        }
        self.state = State::Seized;
        let same = jobs
            .get(self.job)
            .is_some_and(|job| job.still_has(self.tid));
        if same {
            let _ = self.clock.start();
        }
    }

    /// Lets it tick more slowly once it has used up some time.
    fn slow_down(&mut self) {
        let Some((after, period)) = PERIODS.get(self.period + 1) else {
            return;
        };
        if self.is_attached() && self.clock.run_ns() > *after {
            self.period += 1;
            self.clock.set_period(*period);
        }
    }

    /// What the thread did. Returns the job that was served by it.
    fn take(&mut self, job: &mut Job<'_>, event: Event) -> Option<usize> {
        match event {
            Event::Signal(signal) if signal == self.signal && self.is_ours() => {
                return self.serve(job, Standing::InItsOwnCode);
            }
            // Its group stops: it stands still, whatever it was doing, and would without us.
            Event::Stop { signal } if signal != libc::SIGTRAP => {
                return self.serve(job, Standing::InGroupStop);
            }
            // A signal of its own has ended the call that it was in, or (one that the program ignores) has only for us:
            // that call is entered again. Either way it comes by no other before it stops once more.
            Event::Signal(signal) => {
                if raw::interrupt(self.tid).is_ok() {
                    self.state = State::Asked;
                    self.call = None;
                }
                if let Ok(stopped) = Stopped::already(self.tid) {
                    stopped.hand_on(signal);
                }
            }
            Event::Stop { .. } if self.state == State::Asked => {
                return self.serve(job, Standing::OnItsWay);
            }
            Event::Stop { .. } | Event::Syscall => {
                let _ = raw::cont(self.tid, 0);
            }
            Event::Gone => self.state = State::Done,
            Event::Timeout => {}
        }
        None
    }

    /// Where the thread has fallen asleep in a call that may be interrupted: interrupts it there.
    fn ask_if_asleep(&mut self, job: &Job<'_>) {
        if self.state != State::Seized {
            return;
        }
        let Some(candidate) = job.asleep_now(self.candidate) else {
            return;
        };
        // No more signals for it: what stops it now is ours.
        self.clock.set_period(NEVER_NS);
        // The last thing before the request to stop it.
        if candidate.is_still_there() && raw::interrupt(self.tid).is_ok() {
            self.state = State::Asked;
            self.call = candidate.call;
        } else if let Some((_, period)) = PERIODS.get(self.period) {
            self.clock.set_period(*period);
        }
    }

    /// A look at it while it is let go; whether it has to be looked at again.
    fn leave(&mut self) -> bool {
        let Some(leaving) = &self.leaving else {
            return false;
        };
        let Some(left) = leaving.step(|| Some(self.clock.run_ns())) else {
            return true;
        };
        match left {
            Left::AtSignal(signal) => {
                let ours = signal == self.signal && self.is_ours();
                if let Ok(stopped) = Stopped::already(self.tid) {
                    stopped.release_with(if ours { 0 } else { signal });
                }
                self.state = State::Done;
                self.leaving = None;
            }
            Left::Detached => {
                self.state = State::Done;
                self.leaving = None;
            }
            // Attached until the shield ends: looked at for as long as others are, since a signal of its own may come.
            Left::Running => {}
        }
        false
    }

    fn is_attached(&self) -> bool {
        matches!(self.state, State::Seized | State::Asked)
    }

    fn is_ours(&self) -> bool {
        raw::signal_source(self.tid)
            .is_ok_and(|(code, fd)| code == raw::POLL_IN && fd == self.clock.number())
    }

    fn serve(&mut self, job: &mut Job<'_>, standing: Standing) -> Option<usize> {
        self.clock.stop();
        self.state = State::Done;
        let Ok(stopped) = Stopped::already(self.tid) else {
            return None;
        };
        let stopped = match standing {
            Standing::InGroupStop => stopped.in_group_stop(),
            Standing::InItsOwnCode | Standing::OnItsWay => stopped,
        };
        let astray = standing == Standing::InItsOwnCode && stopped.is_in_a_call();
        if !job.is_waiting() || astray {
            // Dropping it lets it go.
            return None;
        }
        let call = self.call.filter(|_| standing == Standing::OnItsWay);
        job.serve_waiting(stopped, self.candidate, call);
        Some(self.job)
    }
}
