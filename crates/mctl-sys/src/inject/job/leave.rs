//! Having the target wait for a carrier that has ended: in the shield, which no kill of the caller reaches. No
//! allocation, no lock, no panic.

use super::{Job, State, Work};
use crate::inject::moment::Moment;
use crate::inject::pick::KEEP;
use crate::inject::runnable::state_of;
use crate::inject::shield;
use crate::inject::user_mode;
use crate::raw::pidfd::is_alive;
use crate::time::{Deadline, monotonic_ns};

/// How long the shield looks for a moment to have an ended carrier waited for, while its keeper lives and can go on
/// with that, and where nobody else will.
const LEAVE_NS: u64 = 200_000_000;
const LEAVE_ALONE_NS: u64 = 60_000_000_000;
/// How long that is tried with sleepers only, and the pause between two looks at them.
const SLEEPERS_NS: u64 = 50_000_000;
const LEAVE_PAUSE_NS: u64 = 2_000_000;

impl Job<'_> {
    /// Has the target wait for its carrier, which has ended: in the shield, which a kill of the caller does not reach.
    /// Where no moment comes soon the keeper goes on looking for one; where there is none any more, it is done here.
    pub(super) fn take_leave(&mut self) {
        if !self.has_to_reap() {
            return;
        }
        let (state, lost) = (self.state, self.lost);
        self.lost = false;
        self.leave_by_sleepers();
        if self.has_to_reap() && !self.lost {
            self.leave_by_any();
        }
        self.state = state;
        self.lost |= lost;
    }

    /// Whether a carrier has ended, and the target lives that is to wait for it.
    fn has_to_reap(&self) -> bool {
        matches!(&self.work, Work::Carry(birth) if birth.is_to_be_reaped())
            && is_alive(self.prepared.pidfd) == Ok(true)
    }

    /// By a thread that sleeps where it may be interrupted. It has only just been let go, perhaps, and is on its way
    /// back to sleep.
    fn leave_by_sleepers(&mut self) {
        let end = Deadline::after(SLEEPERS_NS);
        loop {
            let on_its_way = self.has_one_awake();
            for index in 0..KEEP {
                let Some(candidate) = self.asleep_now(index) else {
                    continue;
                };
                match self.try_thread(&candidate) {
                    Ok(again) => self.note_stop(again.stopped_ns),
                    // It may still be attached: only our end lets it go.
                    Err(State::NoThread(_)) => return,
                    Err(_) => {}
                }
                if !self.has_to_reap() {
                    return;
                }
            }
            // Where all sleep elsewhere, none is on its way back.
            if self.lost || !on_its_way || end.passed(monotonic_ns()) {
                return;
            }
            crate::time::wait_for_sigchld(LEAVE_PAUSE_NS);
        }
    }

    fn has_one_awake(&self) -> bool {
        let mut all = self.prepared.candidates.iter().flatten();
        all.any(|candidate| state_of(candidate.tid) == Some(b'R'))
    }

    /// By any thread that runs its own code, or falls asleep where it may be interrupted.
    fn leave_by_any(&mut self) {
        // A target that sleeps for long is the keeper's, which has more means.
        if !shield::is_orphaned() && !self.has_one_awake() {
            return;
        }
        let mut arms = std::mem::take(&mut self.arms);
        let which = user_mode::Which {
            job: 0,
            pid: self.prepared.pid,
            first: 0,
            most: KEEP,
        };
        let soon = Deadline::after(LEAVE_NS);
        let is_over = || !shield::is_orphaned() && soon.passed(monotonic_ns());
        let end = Deadline::after(LEAVE_ALONE_NS);
        while self.has_to_reap() && !self.lost && !is_over() && !end.passed(monotonic_ns()) {
            for candidate in self.prepared.candidates.iter_mut().flatten() {
                // It slept when the carrier was born.
                if state_of(candidate.tid) == Some(b'R') {
                    candidate.moment = Moment::Running;
                }
            }
            let _ = user_mode::arm(&mut arms, &which, &self.prepared.candidates);
            if !arms.is_empty() {
                self.state = State::NoMoment;
                user_mode::watch(std::slice::from_mut(self), &mut arms, end, is_over);
                // What was attached is so until the shield ends.
                return;
            }
            self.leave_by_sleepers();
            crate::time::wait_for_sigchld(LEAVE_PAUSE_NS);
        }
    }

    fn note_stop(&mut self, ns: u64) {
        if let Work::Carry(birth) = &mut self.work {
            birth.note_stop(ns);
        }
    }
}
