//! A carrier as a tracee: a task that stands at an exit instruction of the target's own text, and makes
//! the calls that it is told to on the way.
//!
//! Each call begins as exit(2), entered by that instruction. At its checked entry stop the number and
//! the arguments become those of the call, and the way back leads to the instruction again. Whatever
//! becomes of its tracer, the carrier's next step in user mode ends it.

use mctl_abi::Errno;

use super::entry::Entry;
use super::raw;
use super::wait::{Event, wait};
use crate::arch::{Arch, Native, SyscallArgs};
use crate::time::{Deadline, monotonic_ns};

type Regs = <Native as Arch>::Regs;

/// Where a carrier stands between two calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gadget {
    /// The first instruction.
    pub(crate) start: u64,
    /// The address behind the last, by which the kernel is entered.
    pub(crate) end: u64,
    /// The number of the call that they make: exit(2) or exit_group(2), which is one to a process of its
    /// own.
    pub(crate) number: u64,
}

/// Why a call of a carrier has no result. The carrier is of no use then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken<W> {
    /// It has ended: somebody killed it.
    Gone,
    /// It was found elsewhere than it was sent: the target has changed its text.
    Elsewhere,
    /// The watch said so, while a call ran.
    Watched(W),
    /// The kernel refused a step.
    Os(Errno),
}

/// How often the watch is asked while a call runs.
const SLICE_NS: u64 = 5_000_000;
/// For the way to the kernel's entry: two instructions, whose page may have to be read.
const ENTRY_NS: u64 = 1_000_000_000;
/// For a carrier that was killed to end.
const END_NS: u64 = 1_000_000_000;
/// The same where nobody else will see to it.
const END_ALONE_NS: u64 = 60_000_000_000;
/// For a child that was born to show itself.
const BIRTH_NS: u64 = 1_000_000_000;

/// A stopped carrier, at its gadget. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Carried {
    tid: i32,
    gadget: Gadget,
    /// Whether a filter may stand in the way of its calls.
    filtered: bool,
    held: bool,
}

/// With [`raw::O_EXITKILL`] the kernel kills it when we end, without it ends itself.
const OPTIONS: u64 = raw::O_TRACESYSGOOD | raw::O_EXITKILL;

impl Carried {
    /// Takes in the child that a thread of the target has borne for us. The only other tracee of this
    /// task, that thread, has been let go.
    pub(crate) fn adopt(gadget: Gadget, filtered: bool) -> Option<Carried> {
        let deadline = Deadline::after(BIRTH_NS);
        let (tid, status) = loop {
            match raw::wait_any_now() {
                Ok(Some(found)) => break found,
                Err(Errno::EINTR) | Ok(None) => {}
                Err(_) => return None,
            }
            let now = monotonic_ns();
            if deadline.passed(now) {
                return None;
            }
            crate::time::wait_for_sigchld(deadline.remaining(now));
        };
        let carried = Carried {
            tid,
            gadget,
            filtered,
            held: libc::WIFSTOPPED(status),
        };
        if !carried.held {
            return None;
        }
        // Dropping it on the way out kills it.
        raw::set_options(tid, OPTIONS).ok()?;
        let regs = raw::get_regs::<Regs>(tid).ok()?;
        (Native::pc(&regs) == gadget.start).then_some(carried)
    }

    /// Its number.
    pub(crate) fn tid(&self) -> i32 {
        self.tid
    }

    /// Makes one call. `watch` is asked every few milliseconds while it runs, and may end it.
    pub(crate) fn call<W>(
        &mut self,
        call: SyscallArgs,
        mut watch: impl FnMut() -> Option<W>,
    ) -> Result<i64, Broken<W>> {
        let entry = Deadline::after(ENTRY_NS);
        raw::run_to_syscall(self.tid, 0).map_err(|errno| self.os(errno))?;
        self.syscall_stop(&mut || {
            if entry.passed(monotonic_ns()) {
                return Some(Broken::Elsewhere);
            }
            watch().map(Broken::Watched)
        })?;
        match Entry::of(self.tid).map_err(|errno| self.os(errno))? {
            Some(entry) if entry.number == self.gadget.number && entry.ip == self.gadget.end => {}
            _ => return Err(Broken::Elsewhere),
        }
        let regs = raw::get_regs::<Regs>(self.tid).map_err(|errno| self.os(errno))?;
        let swapped = Native::swapped(&regs, call, self.gadget.start);
        raw::set_regs(self.tid, &swapped).map_err(|errno| self.os(errno))?;
        raw::set_entered_number(self.tid, call.number).map_err(|errno| self.os(errno))?;
        if self.filtered {
            // From here to the exit stop it runs in the kernel only.
            let suspended = OPTIONS | raw::O_SUSPEND_SECCOMP;
            raw::set_options(self.tid, suspended).map_err(|errno| self.os(errno))?;
        }
        raw::run_to_syscall(self.tid, 0).map_err(|errno| self.os(errno))?;
        self.syscall_stop(&mut || watch().map(Broken::Watched))?;
        if self.filtered {
            raw::set_options(self.tid, OPTIONS).map_err(|errno| self.os(errno))?;
        }
        let regs = raw::get_regs::<Regs>(self.tid).map_err(|errno| self.os(errno))?;
        if Native::pc(&regs) != self.gadget.start {
            return Err(Broken::Elsewhere);
        }
        let after = Native::after_call(&regs, self.gadget.start);
        raw::set_regs(self.tid, &after).map_err(|errno| self.os(errno))?;
        Ok(Native::result(&regs))
    }

    fn os<W>(&mut self, errno: Errno) -> Broken<W> {
        if errno == Errno::ESRCH {
            Broken::Gone
        } else {
            Broken::Os(errno)
        }
    }

    /// Waits for the next system-call stop. `ask` is asked every few milliseconds.
    fn syscall_stop<W>(
        &mut self,
        ask: &mut dyn FnMut() -> Option<Broken<W>>,
    ) -> Result<(), Broken<W>> {
        loop {
            match wait(self.tid, Deadline::after(SLICE_NS)) {
                Event::Syscall => return Ok(()),
                // Its process group was stopped, which is no business of its own.
                Event::Stop { .. } | Event::Signal(libc::SIGSTOP) => {
                    raw::run_to_syscall(self.tid, 0).map_err(|errno| self.os(errno))?;
                }
                // All others are held back, but for those that its own instructions raise.
                Event::Signal(_) => return Err(Broken::Elsewhere),
                Event::Gone => {
                    self.held = false;
                    return Err(Broken::Gone);
                }
                Event::Timeout => {
                    if let Some(broken) = ask() {
                        return Err(broken);
                    }
                }
            }
        }
    }

    /// Ends it. False: it has not ended yet; it will when the call that it is in lets go of it. `alone`: whether nobody
    /// else will see to it then, so that it is waited for longer.
    pub(crate) fn end(mut self, alone: impl Fn() -> bool) -> bool {
        self.kill(alone)
    }

    fn kill(&mut self, alone: impl Fn() -> bool) -> bool {
        if !self.held {
            return true;
        }
        self.held = false;
        raw::kill(self.tid);
        let begun = monotonic_ns();
        loop {
            match wait(self.tid, Deadline::after(SLICE_NS)) {
                Event::Gone => return true,
                _ => {
                    let waited = monotonic_ns().saturating_sub(begun);
                    if waited >= END_ALONE_NS || waited >= END_NS && !alone() {
                        return false;
                    }
                }
            }
        }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.kill(|| false);
    }
}
