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

/// Lets go of it, unless it stands still for a signal; `ran` tells how long it has run.
pub(super) fn let_go(tid: i32, ran: impl Fn() -> Option<u64>) -> Left {
    let end = Deadline::after(PATIENCE_NS);
    let before = ran();
    loop {
        match raw::wait_now(tid) {
            Ok(Some(status)) => {
                match decode(status) {
                    Event::Signal(signal) => return Left::AtSignal(signal),
                    Event::Gone => {}
                    _ => drop(Stopped::already(tid)),
                }
                return Left::Detached;
            }
            Ok(None) => {}
            Err(_) => return Left::Detached,
        }
        match doing(tid) {
            Doing::SleepsEndlessly => {
                // Signals that come first are handed on; after the last it is interrupted all the same.
                return match Seized::already(tid).stop(Deadline::after(STOP_NS)) {
                    Ok(stopped) => {
                        stopped.release(None);
                        Left::Detached
                    }
                    Err(_) => Left::Running,
                };
            }
            Doing::Sleeps => return Left::Running,
            Doing::Runs => {
                let has_run = match (before, ran()) {
                    (Some(before), Some(now)) => now.saturating_sub(before) > RAN_NS,
                    _ => true,
                };
                if has_run || end.passed(monotonic_ns()) {
                    return Left::Running;
                }
                crate::time::wait_for_sigchld(NAP_NS);
            }
        }
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
