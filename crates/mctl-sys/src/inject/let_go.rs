//! Letting go of a thread that was attached and has not stopped for us. In the shield: no allocation, no lock, no
//! panic.
//!
//! The kernel detaches a thread that runs only when its tracer ends. Until then a signal that its process ignores,
//! and that would not have woken it, does wake it (`sig_ignored()`, kernel/signal.c); were the tracer gone by then,
//! nobody would have its call entered again. So a thread that stands still is let go in good order, and one that goes
//! back to sleep where it may be interrupted is, to be let go likewise.

use super::allowed::{may_be_woken_in, ring_waits_endlessly};
use super::blocked::{BlockedCall, is_ring_wait, loses_nothing};
use super::files::{path_of, read_small};
use crate::procfs::syscall::TaskSyscall;
use crate::ptrace::raw;
use crate::ptrace::tracee::{Seized, Stopped};
use crate::ptrace::wait::{Event, decode};
use crate::time::{Deadline, monotonic_ns};

/// A thread that has run for so long since is in no call that a signal has just ended: it would have stopped.
const RAN_NS: u64 = 100_000;
/// How long one is waited for that waits for a processor itself (a busy machine, a throttled cgroup).
const PATIENCE_NS: u64 = 10_000_000_000;
const NAP_NS: u64 = 200_000;
/// For one that was interrupted to stop.
const STOP_NS: u64 = 200_000_000;

/// Where it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Detached, or ended.
    Detached,
    /// It stands still for this signal, still attached, and in no call that has not been ended by that.
    AtSignal(i32),
    /// Still attached: it is left to the end of the shield.
    Running,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    Runs,
    /// Asleep in a call that comes out of an interruption as if nothing had been, by the call alone.
    SleepsEndlessly,
    /// Asleep elsewhere.
    Sleeps,
}

/// A thread that is being let go.
#[derive(Debug)]
pub(super) struct Leaving {
    tid: i32,
    /// How long it had run at the beginning.
    before: Option<u64>,
    end: Deadline,
}

impl Leaving {
    /// `ran` is how long it has run by now, on the clock that [`step`](Leaving::step) is given the later readings of.
    pub(super) fn begin(tid: i32, ran: Option<u64>) -> Leaving {
        Leaving {
            tid,
            before: ran,
            end: Deadline::after(PATIENCE_NS),
        }
    }

    /// One look. `None`: it runs, and has to be looked at again.
    pub(super) fn step(&self, ran: impl Fn() -> Option<u64>) -> Option<Left> {
        match raw::wait_now(self.tid) {
            Ok(Some(status)) => {
                match decode(status) {
                    Event::Signal(signal) => return Some(Left::AtSignal(signal)),
                    Event::Gone => {}
                    _ => drop(Stopped::already(self.tid)),
                }
                return Some(Left::Detached);
            }
            Ok(None) => {}
            Err(_) => return Some(Left::Detached),
        }
        match doing(self.tid) {
            Doing::SleepsEndlessly => {
                // Signals that come first are handed on; after the last it is interrupted all the same.
                let stopped = Seized::already(self.tid).stop(Deadline::after(STOP_NS));
                Some(match stopped {
                    Ok(stopped) => {
                        stopped.release(None);
                        Left::Detached
                    }
                    Err(_) => Left::Running,
                })
            }
            Doing::Sleeps => Some(Left::Running),
            Doing::Runs => {
                let has_run = match (self.before, ran()) {
                    (Some(before), Some(now)) => now.saturating_sub(before) > RAN_NS,
                    _ => true,
                };
                (has_run || self.end.passed(monotonic_ns())).then_some(Left::Running)
            }
        }
    }
}

/// Between two looks at those that still run.
pub(super) fn pause() {
    crate::time::wait_for_sigchld(NAP_NS);
}

/// Lets go of it, unless it stands still for a signal; `ran` tells how long it has run.
pub(super) fn let_go(tid: i32, ran: impl Fn() -> Option<u64>) -> Left {
    let leaving = Leaving::begin(tid, ran());
    loop {
        if let Some(left) = leaving.step(&ran) {
            return left;
        }
        pause();
    }
}

/// Whether it returns a bare `EINTR` when it is interrupted, and is as it was once it is entered again.
fn is_endless(tid: i32, call: &BlockedCall, sp: u64) -> bool {
    loses_nothing(call) || is_ring_wait(call) && ring_waits_endlessly(tid, call, sp)
}

fn doing(tid: i32) -> Doing {
    let (mut path, mut buffer) = ([0u8; 40], [0u8; 192]);
    let call = path_of(tid, "syscall", &mut path)
        .and_then(|path| read_small(path, &mut buffer).ok())
        .map(TaskSyscall::parse);
    let Some(Ok(TaskSyscall::Blocked { nr, args, sp, .. })) = call else {
        return Doing::Runs;
    };
    let call = BlockedCall {
        number: u64::from(nr.unsigned_abs()),
        args,
    };
    let (mut path, mut buffer) = ([0u8; 40], [0u8; 64]);
    let wchan =
        path_of(tid, "wchan", &mut path).and_then(|path| read_small(path, &mut buffer).ok());
    match wchan {
        // It stands still for a signal, or is about to, or has woken: the next look tells.
        Some(b"0") => Doing::Runs,
        Some(wchan) if wchan.starts_with(b"ptrace_stop") || wchan.starts_with(b"get_signal") => {
            Doing::Runs
        }
        Some(wchan) if may_be_woken_in(wchan) && is_endless(tid, &call, sp) => {
            Doing::SleepsEndlessly
        }
        _ => Doing::Sleeps,
    }
}
