//! One thread of a target, by what may be done with it: [`Seized`] (running, attached) →
//! [`Stopped`] → [`Borrowed`] (its registers are ours) → released.
//!
//! Each step consumes the value before it, so a stopped tracee can be neither resumed twice nor
//! forgotten: dropping a [`Stopped`] detaches it, dropping a [`Borrowed`] first puts everything
//! back.

use mctl_abi::Errno;

use super::raw;
use super::wait::{Event, wait};
use crate::arch::{Arch, Native, SyscallArgs};
use crate::inject::blocked::BlockedCall;
use crate::inject::runnable::state_of;
use crate::time::{Deadline, monotonic_ns};

type Regs = <Native as Arch>::Regs;

/// Why a thread was not stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotStopped {
    /// It ended.
    Gone,
    /// It is stopped by a signal already (SIGSTOP, Ctrl-Z).
    GroupStopped,
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
                Event::Stop { .. } => {
                    // Back into its group-stop, as if we had not looked.
                    let _ = raw::detach(self.tid);
                    return Err(NotStopped::GroupStopped);
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
                        _ => 0,
                    };
                    if waited >= patience {
                        return Err(NotStopped::Unresponsive);
                    }
                    deadline = Deadline::after(RUNNABLE_SLICE_NS);
                }
            }
        }
        let mut stopped = Stopped {
            tid: self.tid,
            regs: Regs::default(),
            since,
            held: true,
        };
        match raw::get_regs::<Regs>(self.tid) {
            Ok(regs) => {
                stopped.regs = regs;
                Ok(stopped)
            }
            Err(Errno::ESRCH) => Err(NotStopped::Gone),
            // Dropping `stopped` detaches.
            Err(errno) => Err(NotStopped::Os(errno)),
        }
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
    since: u64,
    held: bool,
}

/// `PR_SYS_DISPATCH_OFF`.
const SUD_OFF: u64 = 0;
const SIGSYS_BIT: u64 = 1 << (libc::SIGSYS - 1);

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
        let peek = |address: u64| raw::peek(self.tid, address).ok();
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
        raw::peek(self.tid, insn).is_ok_and(|word| word.to_le_bytes().starts_with(wanted))
    }

    /// The instruction by which the thread itself entered the kernel, if it is in a call.
    pub(crate) fn own_syscall_insn(&self, blocked: Option<&BlockedCall>) -> Option<u64> {
        Native::interrupted_call(&self.regs, blocked)?;
        let insn = Native::pc(&self.regs).checked_sub(Native::SYSCALL_INSN.len() as u64)?;
        self.has_syscall_insn(insn).then_some(insn)
    }

    /// Has the kernel pass over the thread's seccomp filters until it is detached. Only now that
    /// it stands still: asked for at the attachment, it would run some calls of its own
    /// unfiltered.
    pub(crate) fn suspend_seccomp(&self) -> Result<(), Errno> {
        raw::set_options(self.tid, raw::O_TRACESYSGOOD | raw::O_SUSPEND_SECCOMP)
    }

    /// Takes the thread's registers, with every signal held back that can be.
    pub(crate) fn borrow(
        mut self,
        insn: u64,
        blocked: Option<BlockedCall>,
    ) -> Result<Borrowed, NotStopped> {
        let mask = raw::get_sigmask(self.tid).map_err(os)?;
        let mut held_back = u64::MAX;
        if raw::syscall_user_dispatch(self.tid).is_err() {
            // It might dispatch its calls (before Linux 6.4 nobody can ask). The SIGSYS that comes of
            // it is forced: were it held back here, the kernel would take the program's handler away.
            held_back &= mask | !SIGSYS_BIT;
        }
        let borrowed = Borrowed {
            tid: self.tid,
            insn,
            regs: self.regs,
            back: Native::restored(&self.regs, blocked.as_ref()),
            mask,
            owed: 0,
            since: self.since,
            held: true,
        };
        self.held = false;
        raw::set_sigmask(borrowed.tid, held_back).map_err(os)?;
        Ok(borrowed)
    }

    /// Detaches. A call that the stop made fail is mended even so. Returns how long the thread
    /// was stopped, in nanoseconds.
    pub(crate) fn release(mut self, blocked: Option<&BlockedCall>) -> u64 {
        let back = Native::restored(&self.regs, blocked);
        if back != self.regs {
            let _ = raw::set_regs(self.tid, &back);
        }
        self.held = false;
        let _ = raw::detach(self.tid);
        monotonic_ns().saturating_sub(self.since)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if self.held {
            let back = Native::restored(&self.regs, None);
            if back != self.regs {
                let _ = raw::set_regs(self.tid, &back);
            }
            let _ = raw::detach(self.tid);
        }
    }
}

/// Why an injected call has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoResult {
    /// The target ended.
    Gone,
    /// The thread did not get to run (frozen cgroup); the call was not entered.
    NotRun,
    /// The call was turned into a signal (a seccomp filter that could not be suspended).
    Signalled(i32),
    /// Syscall User Dispatch took the call, which was not entered.
    Dispatched,
    /// The kernel refused a step.
    Os(Errno),
}

/// A stopped thread whose registers are borrowed: calls can be run on it.
///
/// While one of these exists the thread must not be abandoned: it would run on with the wrong
/// registers. That is why it lives in the shield task only.
#[derive(Debug)]
pub(crate) struct Borrowed {
    tid: i32,
    insn: u64,
    regs: Regs,
    back: Regs,
    mask: u64,
    /// A signal that came for the thread itself, to be had when it is let go.
    owed: i32,
    since: u64,
    held: bool,
}

/// The kernel's internal "run the call again" marks (include/linux/errno.h).
const RESTARTS: std::ops::RangeInclusive<i64> = -516..=-512;
/// How often a call that asks to be restarted is.
const MAX_RESTARTS: u32 = 1000;

impl Borrowed {
    /// The thread.
    pub(crate) fn tid(&self) -> i32 {
        self.tid
    }

    /// Runs one system call in the target. `patience`, in nanoseconds, bounds the wait for it to
    /// begin; once it runs it is waited for to the end, since a thread inside a call cannot be
    /// given back.
    pub(crate) fn call(&mut self, call: SyscallArgs, patience: u64) -> Result<i64, NoResult> {
        for _ in 0..MAX_RESTARTS {
            let result = self.call_once(call, patience)?;
            if !RESTARTS.contains(&result) {
                return Ok(result);
            }
        }
        Err(NoResult::Os(Errno::EINTR))
    }

    fn call_once(&mut self, call: SyscallArgs, patience: u64) -> Result<i64, NoResult> {
        let regs = Native::enter(&self.regs, self.insn, call);
        self.step(raw::set_regs(self.tid, &regs))?;
        self.step(raw::run_to_syscall(self.tid, 0))?;
        self.syscall_stop(Deadline::after(patience))?;
        self.step(raw::run_to_syscall(self.tid, 0))?;
        self.syscall_stop(Deadline::NEVER)?;
        let regs = self.step(raw::get_regs::<Regs>(self.tid))?;
        Ok(Native::result(&regs))
    }

    /// Runs a clone(2) whose child begins at `pc` and not behind our instruction. The child is stopped
    /// before it runs anything: it is born a tracee of ours (CLONE_PTRACE).
    pub(crate) fn clone_to(
        &mut self,
        call: SyscallArgs,
        pc: u64,
        patience: u64,
    ) -> Result<i64, NoResult> {
        for _ in 0..MAX_RESTARTS {
            let regs = Native::enter(&self.regs, self.insn, call);
            self.step(raw::set_regs(self.tid, &regs))?;
            self.step(raw::run_to_syscall(self.tid, 0))?;
            self.syscall_stop(Deadline::after(patience))?;
            // The child's registers are a copy of these. Ours are put back anyway.
            let at_entry = self.step(raw::get_regs::<Regs>(self.tid))?;
            self.step(raw::set_regs(self.tid, &Native::with_pc(&at_entry, pc)))?;
            self.step(raw::run_to_syscall(self.tid, 0))?;
            self.syscall_stop(Deadline::NEVER)?;
            let regs = self.step(raw::get_regs::<Regs>(self.tid))?;
            let result = Native::result(&regs);
            if !RESTARTS.contains(&result) {
                return Ok(result);
            }
        }
        Err(NoResult::Os(Errno::EAGAIN))
    }

    fn step<T>(&mut self, result: Result<T, Errno>) -> Result<T, NoResult> {
        result.map_err(|errno| {
            if errno == Errno::ESRCH {
                self.held = false;
                NoResult::Gone
            } else {
                NoResult::Os(errno)
            }
        })
    }

    /// Waits for the next system-call stop.
    fn syscall_stop(&mut self, patience: Deadline) -> Result<(), NoResult> {
        let mut patience = patience;
        let mut gave_up = false;
        loop {
            match wait(self.tid, patience) {
                Event::Syscall => return Ok(()),
                Event::Stop { .. } if gave_up => return Err(NoResult::NotRun),
                // A group-stop or its end: the call comes first, the group-stop after us.
                Event::Stop { .. } => self.step(raw::run_to_syscall(self.tid, 0))?,
                // It cannot be held back by a mask. Delivered, it stops the other threads; this
                // one may go on while it is traced, and the kernel stops it when it is let go,
                // unless a SIGCONT has come by then.
                Event::Signal(signal @ libc::SIGSTOP) => {
                    self.step(raw::run_to_syscall(self.tid, signal))?;
                }
                Event::Signal(libc::SIGSYS)
                    if raw::signal_code(self.tid) == Ok(raw::SYS_USER_DISPATCH) =>
                {
                    return Err(NoResult::Dispatched);
                }
                // Somebody has sent it; nothing of ours makes one.
                Event::Signal(signal @ libc::SIGSYS) if self.owed == 0 => {
                    self.owed = signal;
                    self.step(raw::run_to_syscall(self.tid, 0))?;
                }
                Event::Signal(signal) => return Err(NoResult::Signalled(signal)),
                Event::Gone => {
                    self.held = false;
                    return Err(NoResult::Gone);
                }
                Event::Timeout => {
                    // Not running at all (frozen): stop it where it is and give it back. The stop
                    // must be waited for, however long.
                    self.step(raw::interrupt(self.tid))?;
                    gave_up = true;
                    patience = Deadline::NEVER;
                }
            }
        }
    }

    /// Puts everything back and detaches. Returns how long the thread was stopped, in
    /// nanoseconds.
    pub(crate) fn release(mut self) -> u64 {
        self.put_back();
        monotonic_ns().saturating_sub(self.since)
    }

    fn put_back(&mut self) {
        if !self.held {
            return;
        }
        self.held = false;
        let _ = raw::set_regs(self.tid, &self.back);
        let _ = raw::set_sigmask(self.tid, self.mask);
        let _ = raw::detach_with(self.tid, self.owed);
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.put_back();
    }
}
