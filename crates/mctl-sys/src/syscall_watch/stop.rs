//! Stops: what each means, and how the tracee goes on.

use std::io;

use super::info::info;
use super::{Event, Tid, Watch, ptrace, unless_gone};
use crate::arch::{Arch, Native};
use crate::inject::blocked::{BlockedCall, reissuable};
use crate::procfs::status::Status;
use crate::ptrace::raw;

type Regs = <Native as Arch>::Regs;

const EINTR: i64 = -(libc::EINTR as i64);

/// A stop that wait(2) reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// At a system call, or where a seccomp filter says so.
    Call,
    /// The whole process stands (SIGSTOP, Ctrl-Z).
    Group,
    /// Asked for by PTRACE_INTERRUPT, the first one of a new tracee, or a group stop's end.
    Trap,
    /// Before this signal is delivered.
    Signal(i32),
    /// It made this child or thread.
    Made,
    /// It executed a program.
    Executed,
    /// Nothing to be done about.
    Other,
}

const STOPPING: [i32; 4] = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

pub(super) fn decode(status: i32) -> Stop {
    let signal = libc::WSTOPSIG(status);
    match status >> 16 {
        0 if signal == libc::SIGTRAP | 0x80 => Stop::Call,
        0 => Stop::Signal(signal),
        libc::PTRACE_EVENT_SECCOMP => Stop::Call,
        libc::PTRACE_EVENT_STOP if STOPPING.contains(&signal) => Stop::Group,
        libc::PTRACE_EVENT_STOP => Stop::Trap,
        libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => Stop::Made,
        libc::PTRACE_EVENT_EXEC => Stop::Executed,
        _ => Stop::Other,
    }
}

/// The thread that an event speaks of.
fn message(tid: Tid) -> Option<Tid> {
    let mut word: libc::c_ulong = 0;
    ptrace(
        libc::PTRACE_GETEVENTMSG,
        tid,
        0,
        (&raw mut word).expose_provenance(),
    )
    .ok()?;
    Tid::try_from(word).ok().filter(|tid| *tid > 0)
}

/// Has a call entered again that only our presence made fail with EINTR.
pub(super) fn mend(tid: Tid, call: Option<&BlockedCall>) {
    let Ok(regs) = raw::get_regs::<Regs>(tid) else {
        return;
    };
    let back = Native::restored(&regs, call);
    if back != regs {
        let _ = raw::set_regs(tid, &back);
    }
}

/// The same before a signal: one that has a handler, or stops the process, ends the call also
/// where nobody watches.
pub(super) fn mend_before(tid: Tid, signal: i32, call: Option<&BlockedCall>) {
    if STOPPING.contains(&signal) {
        return;
    }
    let caught = std::fs::read(format!("/proc/{tid}/status"))
        .ok()
        .and_then(|text| Status::parse(&text).ok().and_then(|status| status.sig_cgt))
        .is_none_or(|set| set >> (signal - 1).clamp(0, 63) & 1 == 1);
    if !caught {
        mend(tid, call);
    }
}

impl Watch {
    /// Notes who appeared or vanished at a stop.
    pub(super) fn note(&mut self, tid: Tid, stop: Stop) {
        match stop {
            Stop::Made => {
                // It is a tracee from birth; its own first stop may come before or after.
                if let Some(child) = message(tid) {
                    self.live.entry(child).or_default();
                }
            }
            Stop::Executed => {
                // The one that called exec has the leader's number now, and its own is no more.
                if let Some(former) = message(tid).filter(|former| *former != tid) {
                    self.forget(former);
                }
            }
            _ => {}
        }
    }

    /// Deals with a stop; an event is handed out before the tracee goes on.
    pub(super) fn stopped(&mut self, tid: Tid, status: i32) -> io::Result<Option<Event>> {
        let stop = decode(status);
        self.note(tid, stop);
        let call = self.live.get(&tid).copied().flatten();
        match stop {
            Stop::Call => return self.at_call(tid),
            // It stays one.
            Stop::Group => {
                self.stood.insert(tid);
                self.resume(tid, libc::PTRACE_LISTEN, 0)?;
            }
            Stop::Trap => {
                if !self.stood.remove(&tid) {
                    mend(tid, call.as_ref());
                }
                self.resume(tid, self.usual(), 0)?;
            }
            Stop::Signal(signal) => {
                mend_before(tid, signal, call.as_ref());
                self.resume(tid, self.usual(), signal)?;
            }
            Stop::Made => {
                let child = message(tid);
                self.resume(tid, self.usual(), 0)?;
                return Ok(child.map(Event::Made));
            }
            Stop::Executed | Stop::Other => self.resume(tid, self.usual(), 0)?,
        }
        Ok(None)
    }

    fn at_call(&mut self, tid: Tid) -> io::Result<Option<Event>> {
        let event = info(tid)?;
        let (request, call) = match event {
            Some(Event::Entry { number, args }) => {
                // Its return is wanted, too.
                (libc::PTRACE_SYSCALL, Some(BlockedCall { number, args }))
            }
            Some(_) => (self.usual(), self.live.get(&tid).copied().flatten()),
            None => {
                self.resume(tid, self.usual(), 0)?;
                return Ok(None);
            }
        };
        // Perhaps only our presence made it fail, and the signal behind it may be another thread's
        // by now. The result is final here; at the stop that this asks for the kernel still decides.
        if let Some(Event::Exit { value: EINTR, .. }) = event
            && call.is_none_or(|call| reissuable(call.number))
        {
            unless_gone(ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0))?;
        }
        self.live.insert(tid, call);
        self.held = Some((tid, request));
        Ok(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        let stopped = |signal: i32, event: i32| event << 16 | signal << 8 | 0x7f;
        assert_eq!(decode(stopped(libc::SIGTRAP | 0x80, 0)), Stop::Call);
        assert_eq!(decode(stopped(5, 7)), Stop::Call);
        assert_eq!(decode(stopped(5, 128)), Stop::Trap);
        assert_eq!(decode(stopped(19, 128)), Stop::Group);
        assert_eq!(decode(stopped(19, 0)), Stop::Signal(19));
        assert_eq!(decode(stopped(5, 0)), Stop::Signal(5));
        for made in 1..=3 {
            assert_eq!(decode(stopped(5, made)), Stop::Made);
        }
        assert_eq!(decode(stopped(5, 4)), Stop::Executed);
        assert_eq!(decode(stopped(5, 6)), Stop::Other);
    }
}
