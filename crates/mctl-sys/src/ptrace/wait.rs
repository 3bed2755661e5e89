//! Waiting for a tracee, bounded in time.

use mctl_abi::Errno;

use super::raw;
use crate::time::{Deadline, monotonic_ns};

/// What a tracee did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Entered or left a system call.
    Syscall,
    /// Stopped by PTRACE_INTERRUPT, or its group stopped or was continued.
    Stop {
        /// The signal of a group-stop; SIGTRAP for everything else.
        signal: i32,
    },
    /// About to get a signal.
    Signal(i32),
    /// Exited or was killed, or another thread's exec removed it.
    Gone,
    /// Nothing in the time allowed.
    Timeout,
}

const EVENT_STOP: i32 = 128;
const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;

/// Waits until the tracee does something. The caller is the shield task: SIGCHLD is blocked
/// there and tells of the tracee's changes.
///
/// It sleeps rather than spins: tracer and tracee then hand one processor to and fro (14 µs a
/// stop), while a spinning tracer keeps the tracee from it on a busy machine (90 µs).
///
/// The caller has just set the tracee going, so it sleeps first and looks then: one system call
/// less while the target stands still.
pub(crate) fn wait(tid: i32, deadline: Deadline) -> Event {
    let mut now = monotonic_ns();
    loop {
        crate::time::wait_for_sigchld(deadline.remaining(now));
        match raw::wait_now(tid) {
            Ok(Some(status)) => return decode(status),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(_) => return Event::Gone,
        }
        now = monotonic_ns();
        if deadline.passed(now) {
            return Event::Timeout;
        }
    }
}

pub(crate) fn decode(status: i32) -> Event {
    if !libc::WIFSTOPPED(status) {
        return Event::Gone;
    }
    let signal = libc::WSTOPSIG(status);
    match (status >> 16, signal) {
        (EVENT_STOP, signal) => Event::Stop { signal },
        (_, SYSCALL_STOP) => Event::Syscall,
        (_, signal) => Event::Signal(signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        let stopped = |signal: i32, event: i32| event << 16 | signal << 8 | 0x7f;
        assert_eq!(decode(stopped(SYSCALL_STOP, 0)), Event::Syscall);
        assert_eq!(decode(stopped(5, EVENT_STOP)), Event::Stop { signal: 5 });
        assert_eq!(decode(stopped(19, EVENT_STOP)), Event::Stop { signal: 19 });
        assert_eq!(decode(stopped(10, 0)), Event::Signal(10));
        assert_eq!(decode(0), Event::Gone);
        assert_eq!(decode(9), Event::Gone);
    }
}
