//! Waiting for moments: several targets together, in slices.

use std::sync::atomic::Ordering;

use mctl_abi::Errno;

use super::schedule::settle;
use super::{Job, State, Work};
use crate::bounded::{self, End};
use crate::inject::moment::Moment;
use crate::inject::pick::KEEP;
use crate::inject::shield;
use crate::inject::user_mode;
use crate::time::{Deadline, monotonic_ns};

/// How long threads are kept attached at a time: a wait of a second is cut into slices, since a thread is let go
/// only by the end of its shield, and a sleeper is found only by a look.
const FIRST_SLICE_NS: u64 = 3_000_000;
const LONGEST_SLICE_NS: u64 = 100_000_000;
/// In so many of the first slices it is looked whether all threads of a target sleep for long.
const LONG_WAITS_ROUNDS: usize = 3;
/// How many threads are waited for at once, by a descriptor each.
const MOST_ARMS: usize = 256;

/// Serves those that can have no better moment for as long as they may wait: all their threads sleep, and one of them in
/// a finite wait that ends later.
fn enter_long_waits_again(jobs: &mut [Job<'_>], waited: u64) {
    let mut some = false;
    for job in jobs.iter_mut().filter(|job| job.is_fast_asleep()) {
        let left = wait_ns(job).saturating_sub(waited);
        some |= job.look_for_finite_waits(job.more_ns.unwrap_or(left));
    }
    if some {
        settle(jobs);
    }
}

fn wait_ns(job: &Job<'_>) -> u64 {
    u64::from(job.limits.wait_ms).saturating_mul(1_000_000)
}

/// Waits for moments at which the remaining targets can be served.
pub(super) fn wait_for_moments(jobs: &mut [Job<'_>]) {
    let begun = monotonic_ns();
    for job in jobs.iter_mut() {
        job.waits_since = Some(begun);
    }
    let mut slice = FIRST_SLICE_NS;
    let mut first = 0;
    let mut slices = 0;
    loop {
        let waited = monotonic_ns().saturating_sub(begun);
        if slices < LONG_WAITS_ROUNDS {
            enter_long_waits_again(jobs, waited);
        }
        for job in jobs.iter_mut().filter(|job| job.is_unwanted()) {
            job.state = State::Interrupted;
        }
        // Those whose time is up wait no more, whatever the others do.
        let left = |job: &Job<'_>| {
            if job.is_waiting() {
                wait_ns(job).saturating_sub(waited)
            } else {
                0
            }
        };
        let longest = jobs.iter().map(left).max().unwrap_or(0);
        if longest == 0 {
            return;
        }
        // A thread that sleeps on while it is let go has its call ended by a signal that it ignores, should one come at
        // that very moment. So it is let go seldom; where there is no other to be looked for, once.
        let alone = slices >= LONG_WAITS_ROUNDS
            && jobs
                .iter()
                .filter(|job| job.is_waiting())
                .all(Job::has_one_thread);
        let times = Times {
            slice: slice.min(longest),
            alone: alone.then_some(longest),
        };
        first = one_slice(jobs, first, slices, times);
        slices += 1;
        slice = (slice * 2).min(LONGEST_SLICE_NS);
        for job in &mut *jobs {
            if left(job) > 0 {
                job.look_again();
            }
        }
        settle(jobs);
    }
}

/// How long a slice is, in nanoseconds.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) slice: u64,
    /// Where every job that waits has its only thread in it.
    pub(super) alone: Option<u64>,
}

/// One slice of the wait. Where there are too many threads for one, `first` is the job to begin with, and the job to
/// begin the next slice with is returned.
pub(super) fn one_slice(jobs: &mut [Job<'_>], first: usize, slices: usize, times: Times) -> usize {
    let mut arms = Vec::new();
    let mut next = first;
    for turn in 0..jobs.len() {
        let index = (first + turn) % jobs.len();
        if arms.len() >= MOST_ARMS {
            next = index;
            break;
        }
        let Some(job) = jobs.get_mut(index).filter(|job| job.is_waiting()) else {
            continue;
        };
        // What bears a carrier is to be its tracer's only tracee: its threads are waited for one by one.
        let most = match job.work {
            Work::Carry(_) => 1,
            Work::Script(_) | Work::Runs(_) => KEEP,
        };
        let prepared = &job.prepared;
        let which = user_mode::Which {
            job: index,
            pid: prepared.pid,
            first: if most == 1 { slices } else { 0 },
            most,
        };
        match user_mode::arm(&mut arms, &which, &prepared.candidates) {
            // The next slice goes on from here.
            Err(Errno::EMFILE | Errno::ENFILE) => {
                next = index;
                break;
            }
            Err(errno) => job.no_clock = Some(errno),
            Ok(()) => job.no_clock = None,
        }
    }
    let all_armed = jobs
        .iter()
        .enumerate()
        .filter(|(_, job)| job.is_waiting())
        .all(|(index, _)| arms.iter().any(|arm: &user_mode::Arm| arm.job == index));
    let ns = times.alone.filter(|_| all_armed).unwrap_or(times.slice);
    let slice = Deadline::after(ns);
    let mut is_to_end = false;
    let watched = match arms.is_empty() {
        true => Err(Errno::ESRCH),
        false => shield::run(|| {
            let is_over = || shield::is_orphaned() || bounded::is_to_end();
            user_mode::watch(jobs, &mut arms, slice, is_over);
            is_to_end = bounded::is_to_end();
        }),
    };
    is_to_end |= match watched {
        Ok(End::Done | End::NoAnswer) => false,
        Ok(End::Interrupted | End::Died) => true,
        Err(_) => bounded::nap(ns.min(5_000_000)),
    };
    if is_to_end {
        for job in jobs.iter_mut().filter(|job| job.is_waiting()) {
            job.state = State::Interrupted;
        }
    }
    next
}

impl Job<'_> {
    /// Whether nothing better than a finite wait can come within the time: all threads sleep, where none may be
    /// interrupted.
    fn is_fast_asleep(&self) -> bool {
        let mut all = self.prepared.candidates.iter().flatten();
        self.is_waiting()
            && all.all(|one| matches!(one.moment, Moment::Elsewhere | Moment::Unreachable))
    }

    /// Whether its only thread is one that can be waited for, for as long as it takes.
    fn has_one_thread(&self) -> bool {
        self.prepared.candidates.iter().flatten().count() == 1
            && !matches!(self.work, Work::Carry(_))
    }

    /// Whether it waits for what its caller no longer wants.
    fn is_unwanted(&self) -> bool {
        let carries = matches!(&self.work, Work::Carry(birth) if birth.is_unwanted());
        let cancelled = self.cancel.is_some_and(|c| c.load(Ordering::Relaxed));
        self.is_waiting() && (carries || cancelled)
    }
}
