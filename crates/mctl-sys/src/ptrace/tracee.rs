//! One thread of a target, by what may be done with it: [`Seized`] (running, attached) →
//! [`Stopped`] → [`Borrowed`] (its registers are ours) → released.
//!
//! Each step consumes the value before it, so a stopped tracee can be neither resumed twice nor
//! forgotten: dropping a [`Stopped`] detaches it, dropping a [`Borrowed`] first puts everything
//! back.

use mctl_abi::Errno;

pub(crate) use super::borrowed::{Borrowed, NoResult};
use super::borrowed::{Loan, held_back};
use super::filter::{Verdict, verdict};
pub(crate) use super::past_filter::LetGo;
use super::raw;
use super::rest::until;
use super::wait::{Event, wait};
use crate::arch::{Arch, Native};
use crate::bounded::may_wait;
use crate::inject::blocked::BlockedCall;
use crate::inject::runnable::state_of;
use crate::time::{Deadline, monotonic_ns};

type Regs = <Native as Arch>::Regs;

/// Why a thread was not stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotStopped {
    /// It ended.
    Gone,
    /// It did not stop in the time allowed (uninterruptible sleep, frozen cgroup).
    Unresponsive,
    /// The kernel refused a step.
    Os(Errno),
}

/// An attached, running thread.
///
/// A running tracee cannot be detached by request; the kernel does it when its tracer ends. The
/// shield task, the only place where this type lives, ends right after.
#[derive(Debug)]
pub(crate) struct Seized {
    tid: i32,
}

impl Seized {
    pub(crate) fn seize(tid: i32) -> Result<Seized, Errno> {
        raw::seize(tid, raw::O_TRACESYSGOOD)?;
        Ok(Seized { tid })
    }

    /// A thread that is attached already.
    pub(crate) fn already(tid: i32) -> Seized {
        Seized { tid }
    }

    /// Of a thread in a group-stop: attached, it stops for us by itself, and is not interrupted. `None`: it was
    /// continued, and runs.
    pub(crate) fn standing(self, deadline: Deadline) -> Result<Option<Stopped>, NotStopped> {
        loop {
            match wait(self.tid, deadline) {
                Event::Stop {
                    signal: libc::SIGTRAP,
                }
                | Event::Syscall => {
                    raw::cont(self.tid, 0).map_err(os)?;
                    return Ok(None);
                }
                Event::Stop { .. } => {
                    return Stopped::already(self.tid).map(|s| Some(s.in_group_stop()));
                }
                Event::Signal(signal) => raw::cont(self.tid, signal).map_err(os)?,
                Event::Gone => return Err(NotStopped::Gone),
                Event::Timeout => return Ok(None),
            }
        }
    }

    /// Stops the thread. Signals that arrive first are delivered as ever.
    pub(crate) fn stop(self, deadline: Deadline) -> Result<Stopped, NotStopped> {
        let mut deadline = deadline;
        let since = monotonic_ns();
        raw::interrupt(self.tid).map_err(os)?;
        loop {
            match wait(self.tid, deadline) {
                Event::Stop {
                    signal: libc::SIGTRAP,
                } => break,
                // A group-stop: it stands still, as it would without us.
                Event::Stop { .. } => {
                    return Stopped::since(self.tid, since).map(Stopped::in_group_stop);
                }
                Event::Signal(signal) => {
                    // Any stop uses up a pending interrupt (ptrace_stop(), kernel/signal.c), this
                    // one perhaps too: without a new one the thread would just run on, and where
                    // the signal is ignored its call would have failed with EINTR for nothing.
                    raw::interrupt(self.tid).map_err(os)?;
                    raw::cont(self.tid, signal).map_err(os)?;
                }
                Event::Syscall => {
                    raw::interrupt(self.tid).map_err(os)?;
                    raw::cont(self.tid, 0).map_err(os)?;
                }
                Event::Gone => return Err(NotStopped::Gone),
                Event::Timeout => {
                    let waited = monotonic_ns().saturating_sub(since);
                    let patience = match state_of(self.tid) {
                        // Awake and only waiting for a processor (a busy machine, a throttled
                        // cgroup). To give it up now would let its call fail with EINTR.
                        Some(b'R') => RUNNABLE_NS,
                        // It has stopped this very moment.
                        Some(b't' | b'T') => RUNNABLE_NS,
                        // Perhaps only a page fault or a lock on its address space.
                        Some(b'D') => BLOCKED_NS,
                        // Asleep in spite of the request: something else used it up. Once more.
                        Some(b'S') => {
                            raw::interrupt(self.tid).map_err(os)?;
                            ASLEEP_NS
                        }
                        // It has ended. (Of a first thread nobody hears before the last.)
                        Some(b'Z' | b'X') | None => return Err(NotStopped::Gone),
                        _ => 0,
                    };
                    if waited >= patience {
                        return Err(NotStopped::Unresponsive);
                    }
                    deadline = Deadline::after(RUNNABLE_SLICE_NS);
                }
            }
        }
        Stopped::since(self.tid, since)
    }
}

/// How long a thread that only waits for a processor is waited for, and how often it is looked at.
const RUNNABLE_NS: u64 = 10_000_000_000;
const RUNNABLE_SLICE_NS: u64 = 100_000_000;
/// How long one in uninterruptible sleep is, or one that sleeps on.
const BLOCKED_NS: u64 = 1_000_000_000;
const ASLEEP_NS: u64 = 500_000_000;

fn os(errno: Errno) -> NotStopped {
    if errno == Errno::ESRCH {
        NotStopped::Gone
    } else {
        NotStopped::Os(errno)
    }
}

/// Where a stopped thread stands with respect to rseq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RseqSection {
    /// In no critical section.
    Outside,
    /// In one that goes on at this address when it is preempted.
    Aborts(u64),
    /// In one of a kind that we do not know how to abort.
    Inside,
}

/// A stopped thread, untouched.
#[derive(Debug)]
pub(crate) struct Stopped {
    tid: i32,
    regs: Regs,
    /// When the wait that the stop made fail would have ended.
    end: Option<u64>,
    since: u64,
    held: bool,
    /// A filter of its own stands between it and the rest of the sleep that the stop has interrupted.
    barred: bool,
    /// In a group-stop (SIGSTOP): what that has made of its call is the program's own business, and it goes back
    /// into it when it is let go.
    group: bool,
}

/// `PR_SYS_DISPATCH_OFF`.
const SUD_OFF: u64 = 0;

impl Stopped {
    pub(crate) fn is_32bit(&self) -> bool {
        Native::is_32bit(&self.regs)
    }

    /// Whether Syscall User Dispatch would turn an injected call into SIGSYS. A kernel that
    /// cannot tell (before 6.4) counts as no: [`Borrowed::call`] notices it there.
    pub(crate) fn dispatches_syscalls(&self) -> bool {
        raw::syscall_user_dispatch(self.tid).is_ok_and(|config| config.mode != SUD_OFF)
    }

    /// Whether the thread stands inside an rseq critical section, and where the kernel would have
    /// it go on. Moving it out and back would let the section go on as if nothing had come between.
    pub(crate) fn rseq_section(&self, blocked: Option<&BlockedCall>) -> RseqSection {
        if Native::interrupted_call(&self.regs, blocked).is_some() {
            // No system call may stand in a critical section (rseq(2)).
            return RseqSection::Outside;
        }
        self.section_around(Native::pc(&self.regs))
            .unwrap_or(RseqSection::Outside)
    }

    fn section_around(&self, pc: u64) -> Option<RseqSection> {
        let config = raw::rseq(self.tid).ok()?;
        if config.abi_pointer == 0 {
            return None;
        }
        let peek = |address: u64| may_wait(|| raw::peek(self.tid, address)).ok();
        // struct rseq: cpu_id_start u32, cpu_id u32, rseq_cs u64, flags u32.
        let section = peek(config.abi_pointer.wrapping_add(8))?;
        if section == 0 {
            return None;
        }
        // struct rseq_cs: version u32, flags u32, start_ip, post_commit_offset, abort_ip u64.
        let head = peek(section)?;
        let start = peek(section.wrapping_add(8))?;
        let length = peek(section.wrapping_add(16))?;
        if pc.wrapping_sub(start) >= length {
            return None;
        }
        let abort = peek(section.wrapping_add(24))?;
        let flags = peek(config.abi_pointer.wrapping_add(16))? & 0xffff_ffff;
        // The kernel goes there only past the registered signature.
        let signature = peek(abort.wrapping_sub(4))? & 0xffff_ffff;
        let plain = head == 0 && flags == 0;
        Some(if plain && signature == u64::from(config.signature) {
            RseqSection::Aborts(abort)
        } else {
            RseqSection::Inside
        })
    }

    /// Aborts the critical section, as the kernel itself does on the way to user mode with any
    /// thread that was preempted in one; a thread that was stopped was. (Waiting for the thread to
    /// come out by itself is no way: a new stop comes before the kernel's own abort.)
    pub(crate) fn abort_section(&mut self, abort: u64) -> Result<(), Errno> {
        let regs = Native::with_pc(&self.regs, abort);
        raw::set_regs(self.tid, &regs)?;
        self.regs = regs;
        Ok(())
    }

    /// Whether the bytes at `insn` are the instruction that enters the kernel.
    pub(crate) fn has_syscall_insn(&self, insn: u64) -> bool {
        let wanted = Native::SYSCALL_INSN;
        may_wait(|| raw::peek(self.tid, insn))
            .is_ok_and(|word| word.to_le_bytes().starts_with(wanted))
    }

    /// The instruction by which the thread itself entered the kernel, if it is in a call.
    pub(crate) fn own_syscall_insn(&self, blocked: Option<&BlockedCall>) -> Option<u64> {
        Native::interrupted_call(&self.regs, blocked)?;
        Native::pc(&self.regs).checked_sub(Native::SYSCALL_INSN.len() as u64)
    }

    /// The call that the stop made fail with `EINTR`, with the instruction pointer and the stack pointer.
    pub(crate) fn failed_call(&self) -> Option<(BlockedCall, u64, u64)> {
        Native::failed_call(&self.regs)
    }

    /// The call that failed is a wait on an epoll instance that ends at this moment of CLOCK_MONOTONIC, in nanoseconds:
    /// it is entered again until then when the thread is let go, whichever way that comes about.
    pub(crate) fn ends_at(&mut self, end: u64) {
        self.end = Some(end);
    }

    /// Whether the kernel would pass over the thread's seccomp filters for us. It is asked, and at once told not to:
    /// filters are passed over between a checked entry stop of ours and its exit stop, nowhere else.
    pub(crate) fn may_suspend_seccomp(&self) -> bool {
        raw::can_suspend_seccomp(self.tid)
    }

    /// Takes the thread's registers, with every signal held back that can be. `suspend`: our calls pass over its
    /// seccomp filters.
    pub(crate) fn borrow(
        mut self,
        insn: u64,
        suspend: bool,
        blocked: Option<BlockedCall>,
    ) -> Result<Borrowed, NotStopped> {
        let mask = raw::get_sigmask(self.tid).map_err(os)?;
        let borrowed = Borrowed::new(Loan {
            tid: self.tid,
            insn,
            regs: self.regs,
            back: self.back(blocked.as_ref()),
            end: self.end,
            mask,
            suspend,
            since: self.since,
        });
        self.held = false;
        raw::set_sigmask(borrowed.tid(), held_back(mask)).map_err(os)?;
        Ok(borrowed)
    }

    /// Detaches. A call that the stop made fail is mended even so. Returns how long the thread
    /// was stopped, in nanoseconds.
    pub(crate) fn release(mut self, blocked: Option<&BlockedCall>) -> u64 {
        let back = until(self.tid, self.back(blocked), self.end);
        if back != self.regs {
            let _ = raw::set_regs(self.tid, &back);
        }
        self.held = false;
        let _ = raw::detach(self.tid);
        monotonic_ns().saturating_sub(self.since)
    }
}

impl Stopped {
    /// A thread that was found standing still.
    pub(crate) fn already(tid: i32) -> Result<Stopped, NotStopped> {
        Stopped::since(tid, monotonic_ns())
    }

    fn since(tid: i32, since: u64) -> Result<Stopped, NotStopped> {
        let mut stopped = Stopped {
            tid,
            regs: Regs::default(),
            end: None,
            since,
            held: true,
            barred: false,
            group: false,
        };
        match raw::get_regs::<Regs>(tid) {
            Ok(regs) => {
                stopped.regs = regs;
                stopped.look_at_filters();
                Ok(stopped)
            }
            Err(errno) => {
                // Unknown registers are not written back.
                stopped.held = false;
                if errno == Errno::ESRCH {
                    return Err(NotStopped::Gone);
                }
                let _ = raw::detach(tid);
                Err(NotStopped::Os(errno))
            }
        }
    }

    /// Where the thread would go back to sleep by another call than it went: whether its filters let it.
    fn look_at_filters(&mut self) {
        let Some(call) = Native::continuation(&self.regs) else {
            return;
        };
        self.barred = verdict(self.tid, call, Native::pc(&self.regs)) != Verdict::Passes;
    }

    /// Whether a filter of its own keeps the thread from going back to sleep for what is left of its time, so that it
    /// has to be let past it ([`Borrowed::release_past_filter`]), or sleeps for the whole time once more.
    pub(crate) fn is_barred(&self) -> bool {
        self.barred && !Native::entered_afresh(&self.regs).1
    }

    /// Of a group-stop: the filter meets the call whether we come or not.
    pub(crate) fn in_group_stop(mut self) -> Stopped {
        self.group = true;
        self.barred = false;
        self
    }

    /// Whether it stands in a system call, or just behind one.
    pub(crate) fn is_in_a_call(&self) -> bool {
        Native::interrupted_call(&self.regs, None).is_some()
    }

    /// Lets it go on, still attached, with a signal of its own. A signal that the program ignores would not have
    /// woken it without us: the call that it was in is then entered again.
    pub(crate) fn hand_on(mut self, signal: i32) {
        let back = self.back(None);
        if back != self.regs {
            let _ = raw::set_regs(self.tid, &back);
        }
        self.held = false;
        let _ = raw::cont(self.tid, signal);
    }

    /// Hands the signal on that it stands still for, and stops it on its way from there: in the handler, or in the
    /// call that it was in.
    pub(crate) fn on_its_way(self, signal: i32, deadline: Deadline) -> Result<Stopped, NotStopped> {
        let seized = Seized { tid: self.tid };
        raw::interrupt(self.tid).map_err(os)?;
        self.hand_on(signal);
        seized.stop(deadline)
    }

    /// Lets it go with a signal of its own, as [`Stopped::hand_on`] does, and for good.
    pub(crate) fn release_with(mut self, signal: i32) {
        let back = self.back(None);
        if back != self.regs {
            let _ = raw::set_regs(self.tid, &back);
        }
        self.held = false;
        let _ = raw::detach_with(self.tid, signal);
    }

    /// The registers that it is let go with.
    fn back(&self, blocked: Option<&BlockedCall>) -> Regs {
        if self.group {
            self.regs
        } else if self.barred {
            Native::entered_afresh(&self.regs).0
        } else {
            Native::restored(&self.regs, blocked)
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if self.held {
            let back = until(self.tid, self.back(None), self.end);
            if back != self.regs {
                let _ = raw::set_regs(self.tid, &back);
            }
            let _ = raw::detach(self.tid);
        }
    }
}
