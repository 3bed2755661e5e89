//! A stopped thread that runs calls of ours, each checked at its entry.

use mctl_abi::Errno;

use super::entry::Entry;
use super::raw;
use super::rest::until;
use super::wait::{Event, wait};
use crate::arch::{Arch, Native, SyscallArgs};
use crate::inject::runnable::{run_time_ns, state_of};
use crate::time::{Deadline, monotonic_ns};

type Regs = <Native as Arch>::Regs;

/// Why an injected call has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoResult {
    /// The target ended.
    Gone,
    /// The thread did not get to run (frozen cgroup); the call was not entered.
    NotRun,
    /// The thread ran something else than our call: its code was changed under it. What it was about
    /// to do was cancelled.
    Strayed,
    /// The call was turned into a signal (a seccomp filter that could not be suspended).
    Signalled(i32),
    /// Syscall User Dispatch took the call, which was not entered.
    Dispatched,
    /// The kernel refused a step.
    Os(Errno),
}

/// The signals that the processor raises. The kernel forces them: where one is blocked or ignored, it
/// takes the program's handler away (`force_sig_info_to_task()`, kernel/signal.c).
const RAISED: [i32; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGFPE,
    libc::SIGSYS,
];

/// The signals of a mask that may be held back: every one, but those that the processor raises only where the
/// program holds them back itself.
pub(crate) fn held_back(mask: u64) -> u64 {
    let raised = RAISED.iter().fold(0, |set, signal| set | 1 << (signal - 1));
    mask | !raised
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
    /// When the wait that the stop made fail would have ended.
    end: Option<u64>,
    mask: u64,
    /// Whether seccomp is to be suspended for our calls.
    suspend: bool,
    /// Signals that others sent to the thread itself meanwhile, as a set: it gets them when it is let go. (One
    /// that is pending is not queued again, so a set holds all that the kernel would.)
    owed: u64,
    since: u64,
    held: bool,
}

/// What [`Borrowed`] needs to know of the stopped thread that becomes one.
#[derive(Debug)]
pub(super) struct Loan {
    pub(super) tid: i32,
    pub(super) insn: u64,
    pub(super) regs: Regs,
    pub(super) back: Regs,
    pub(super) end: Option<u64>,
    pub(super) mask: u64,
    pub(super) suspend: bool,
    pub(super) since: u64,
}

/// The kernel's internal "run the call again" marks (include/linux/errno.h).
const RESTARTS: std::ops::RangeInclusive<i64> = -516..=-512;
/// How often a call that asks to be restarted is.
const MAX_RESTARTS: u32 = 1000;
/// For so long a thread is waited for that is to go back to sleep, before it is looked at closely.
const CONTINUE_NS: u64 = 1_000_000_000;
/// For so long a thread that is late is watched.
const WATCH_NS: u64 = 5_000_000;
/// One that had a processor for so long of it was not kept from its one instruction.
const RAN_NS: u64 = 500_000;
/// So often it must be seen to have run on.
const RAN_TIMES: u32 = 3;

/// How late a thread is.
#[derive(Clone, Copy, Debug)]
enum Late {
    No,
    /// It is watched. `ran`: for how long it had run before, in nanoseconds; `times`: how often it was seen to have
    /// run on.
    Watched {
        ran: Option<u64>,
        times: u32,
    },
    /// `runs`: it has run in the time that it was watched.
    AskedToStop {
        runs: bool,
    },
}

impl Late {
    fn is_asked_to_stop(self) -> bool {
        matches!(self, Late::AskedToStop { .. })
    }
}

impl Borrowed {
    pub(super) fn new(loan: Loan) -> Borrowed {
        Borrowed {
            tid: loan.tid,
            insn: loan.insn,
            regs: loan.regs,
            back: loan.back,
            end: loan.end,
            mask: loan.mask,
            suspend: loan.suspend,
            owed: 0,
            since: loan.since,
            held: true,
        }
    }

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

    /// Runs a clone(2) whose child begins at `pc` and not behind our instruction. The child is stopped
    /// before it runs anything: it is born a tracee of ours (CLONE_PTRACE).
    pub(crate) fn clone_to(
        &mut self,
        call: SyscallArgs,
        pc: u64,
        patience: u64,
    ) -> Result<i64, NoResult> {
        for _ in 0..MAX_RESTARTS {
            self.enter(call, patience)?;
            // The child's registers are a copy of these. Ours are put back anyway.
            let at_entry = self.step(raw::get_regs::<Regs>(self.tid))?;
            self.step(raw::set_regs(self.tid, &Native::with_pc(&at_entry, pc)))?;
            let result = self.finish()?;
            if !RESTARTS.contains(&result) {
                return Ok(result);
            }
        }
        Err(NoResult::Os(Errno::EAGAIN))
    }

    fn call_once(&mut self, call: SyscallArgs, patience: u64) -> Result<i64, NoResult> {
        self.enter(call, patience)?;
        self.finish()
    }

    /// To the entry stop of a call, which is the call that was asked for or is cancelled.
    fn enter(&mut self, call: SyscallArgs, patience: u64) -> Result<(), NoResult> {
        let regs = Native::enter(&self.regs, self.insn, call);
        let wanted = Entry {
            number: call.number,
            args: call.args,
            ip: self.insn.wrapping_add(Native::SYSCALL_INSN.len() as u64),
            sp: Native::sp(&regs),
        };
        self.step(raw::set_regs(self.tid, &regs))?;
        self.step(raw::run_to_syscall(self.tid, 0))?;
        self.syscall_stop(Deadline::after(patience))?;
        match self.step(Entry::of(self.tid)) {
            Ok(Some(entry)) if entry == wanted => Ok(()),
            Ok(_) => Err(self.cancel(NoResult::Strayed)),
            Err(NoResult::Gone) => Err(NoResult::Gone),
            Err(error) => Err(self.cancel(error)),
        }
    }

    /// To the entry stop of the call by which the kernel goes on with the interrupted one. Signals are still held back.
    pub(super) fn enter_continuation(&mut self) -> Result<(), NoResult> {
        let regs = self.regs;
        let call = Native::continuation(&regs).ok_or(NoResult::NotRun)?;
        let wanted = Entry {
            number: call.number,
            args: call.args,
            ip: Native::pc(&regs),
            sp: Native::sp(&regs),
        };
        self.step(raw::set_regs(self.tid, &regs))?;
        // Only on its way from a signal, or a stop like one, does the kernel look for a call to go on with.
        self.step(raw::interrupt(self.tid))?;
        self.step(raw::run_to_syscall(self.tid, 0))?;
        self.syscall_stop(Deadline::after(CONTINUE_NS))?;
        match self.step(Entry::of(self.tid)) {
            Ok(Some(entry)) if entry == wanted => Ok(()),
            Ok(_) => Err(self.cancel(NoResult::Strayed)),
            Err(NoResult::Gone) => Err(NoResult::Gone),
            Err(error) => Err(self.cancel(error)),
        }
    }

    /// From that entry stop into the call, past its filters, and with the signals that it lets through.
    pub(super) fn pass_over_filters(&mut self) -> Result<(), NoResult> {
        self.step(raw::set_options(
            self.tid,
            raw::O_TRACESYSGOOD | raw::O_SUSPEND_SECCOMP,
        ))?;
        self.step(raw::set_sigmask(self.tid, self.mask))?;
        self.step(raw::run_to_syscall(self.tid, 0))?;
        self.send_owed();
        Ok(())
    }

    /// At the exit stop of that call.
    pub(super) fn filters_stand(&mut self) -> Result<(), NoResult> {
        self.step(raw::set_options(self.tid, raw::O_TRACESYSGOOD))
    }

    /// It is let go already, or only to be left to the end of the shield. Returns since when it had stood.
    pub(super) fn forget(&mut self) -> u64 {
        self.held = false;
        self.since
    }

    /// Detaches it as it is.
    pub(super) fn detach(mut self) -> u64 {
        self.held = false;
        let _ = raw::detach(self.tid);
        monotonic_ns().saturating_sub(self.since)
    }

    fn send_owed(&mut self) {
        for signal in RAISED {
            if self.owed & 1 << (signal - 1) != 0 {
                let _ = raw::send(self.tid, signal);
            }
        }
        self.owed = 0;
    }

    /// From the checked entry to the result.
    fn finish(&mut self) -> Result<i64, NoResult> {
        if let Err(error) = self.filters(false) {
            return Err(self.cancel(error));
        }
        self.finish_call()?;
        let regs = self.step(raw::get_regs::<Regs>(self.tid))?;
        Ok(Native::result(&regs))
    }

    /// From the entry stop to the exit stop, where filters stand again: between the two runs no instruction of the
    /// target's.
    fn finish_call(&mut self) -> Result<(), NoResult> {
        self.step(raw::run_to_syscall(self.tid, 0))?;
        self.syscall_stop(Deadline::NEVER)?;
        self.filters(true)
    }

    /// Whether our calls pass over its seccomp filters.
    pub(crate) fn suspends(&self) -> bool {
        self.suspend
    }

    /// Lets seccomp filters stand, or passes over them. Of a thread at its entry or exit stop.
    fn filters(&mut self, stand: bool) -> Result<(), NoResult> {
        if !self.suspend {
            return Ok(());
        }
        let options = match stand {
            true => raw::O_TRACESYSGOOD,
            false => raw::O_TRACESYSGOOD | raw::O_SUSPEND_SECCOMP,
        };
        self.step(raw::set_options(self.tid, options))
    }

    /// Has the kernel skip the call that the thread stands at the entry of, for this reason.
    ///
    /// A filter would see the number that skips, and might kill for it; so it is passed over here too.
    fn cancel(&mut self, why: NoResult) -> NoResult {
        let skipped =
            self.step(raw::skip_call(self.tid))
                .and_then(|()| match self.filters(false) {
                    Err(NoResult::Gone) => Err(NoResult::Gone),
                    _ => self.finish_call(),
                });
        match skipped {
            Ok(()) => why,
            Err(error) => error,
        }
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
        let mut late = Late::No;
        loop {
            let again = match wait(self.tid, patience) {
                // Ours perhaps, but too late.
                Event::Syscall if late.is_asked_to_stop() => {
                    return Err(self.cancel(NoResult::NotRun));
                }
                Event::Syscall => return Ok(()),
                Event::Stop { .. } if late.is_asked_to_stop() => return Err(self.why_no_call(late)),
                // A group-stop or its end: the call comes first, the group-stop after us.
                Event::Stop { .. } => 0,
                // It cannot be held back by a mask. Delivered, it stops the other threads; this
                // one may go on while it is traced, and the kernel stops it when it is let go,
                // unless a SIGCONT has come by then.
                Event::Signal(signal @ libc::SIGSTOP) => signal,
                Event::Signal(signal) if RAISED.contains(&signal) => {
                    let code = self.step(raw::signal_code(self.tid))?;
                    if let Some(why) = raised(signal, code) {
                        return Err(why);
                    }
                    // Somebody has sent it; nothing of ours makes one.
                    self.owed |= 1 << (signal - 1);
                    0
                }
                Event::Signal(signal) => return Err(NoResult::Signalled(signal)),
                Event::Gone => {
                    self.held = false;
                    return Err(NoResult::Gone);
                }
                Event::Timeout => {
                    (late, patience) = self.next_patience(late)?;
                    continue;
                }
            };
            if late.is_asked_to_stop() {
                // Any stop uses the request up.
                self.step(raw::interrupt(self.tid))?;
            }
            self.step(raw::run_to_syscall(self.tid, again))?;
        }
    }

    /// What to do about a thread that comes to no call: see whether it runs, then stop it where it is. That stop
    /// must be waited for, however long: it cannot be given back before.
    fn next_patience(&mut self, late: Late) -> Result<(Late, Deadline), NoResult> {
        match late {
            Late::No => {
                let ran = run_time_ns(self.tid);
                Ok((Late::Watched { ran, times: 0 }, Deadline::after(WATCH_NS)))
            }
            Late::Watched { ran, times } => {
                let now = run_time_ns(self.tid);
                let runs = ran
                    .zip(now)
                    .is_some_and(|(ran, now)| now.saturating_sub(ran) >= RAN_NS);
                let times = times + u32::from(runs);
                // Where a virtual machine's processor is taken away, time passes for the thread without an instruction.
                let watched = match runs {
                    true if times < RAN_TIMES => Some(now),
                    // It waits for a processor (a busy machine, a throttled cgroup), which it needs to stop as well.
                    false if state_of(self.tid) == Some(b'R') => Some(ran),
                    _ => None,
                };
                if let Some(ran) = watched {
                    let late = Late::Watched { ran, times };
                    return Ok((late, Deadline::after(WATCH_NS)));
                }
                self.step(raw::interrupt(self.tid))?;
                Ok((Late::AskedToStop { runs: times > 0 }, Deadline::NEVER))
            }
            Late::AskedToStop { .. } => Ok((late, Deadline::NEVER)),
        }
    }

    /// Why the thread, stopped again, has not come to a call: it was not let run, or it ran something else.
    fn why_no_call(&mut self, late: Late) -> NoResult {
        let pc = match self.step(raw::get_regs::<Regs>(self.tid)) {
            Ok(regs) => Native::pc(&regs),
            Err(error) => return error,
        };
        if pc != self.insn || matches!(late, Late::AskedToStop { runs: true }) {
            NoResult::Strayed
        } else {
            NoResult::NotRun
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
        let back = until(self.tid, self.back, self.end);
        let _ = raw::set_regs(self.tid, &back);
        let _ = raw::set_sigmask(self.tid, self.mask);
        let mut owed = RAISED
            .into_iter()
            .filter(|signal| self.owed & 1 << (signal - 1) != 0);
        // One goes with it; should there be more, they are sent again.
        let first = owed.next().unwrap_or(0);
        for signal in owed {
            let _ = raw::send(self.tid, signal);
        }
        let _ = raw::detach_with(self.tid, first);
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.put_back();
    }
}

/// What a signal of the processor's kinds says of our call. `None`: somebody sent it.
fn raised(signal: i32, code: i32) -> Option<NoResult> {
    match (signal, code) {
        (libc::SIGSYS, raw::SYS_USER_DISPATCH) => Some(NoResult::Dispatched),
        (libc::SIGSYS, raw::SYS_SECCOMP) => Some(NoResult::Signalled(signal)),
        // These come for what happened elsewhere: to memory that nobody touches, in a counter.
        (libc::SIGBUS, raw::BUS_MCEERR_AO) | (libc::SIGTRAP, raw::TRAP_PERF) => None,
        (_, code) if code > 0 => Some(NoResult::Strayed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_processor_raises_is_never_newly_held_back() {
        let bit = |signal: i32| 1u64 << (signal - 1);
        for signal in RAISED {
            assert_eq!(held_back(0) & bit(signal), 0, "{signal}");
            assert_ne!(held_back(bit(signal)) & bit(signal), 0, "{signal}");
        }
        for signal in (1..=64).filter(|signal| !RAISED.contains(signal)) {
            assert_ne!(held_back(0) & bit(signal), 0, "{signal}");
        }
    }

    #[test]
    fn what_was_raised_is_told_from_what_was_sent() {
        assert_eq!(raised(libc::SIGSEGV, 1), Some(NoResult::Strayed));
        assert_eq!(
            raised(libc::SIGSEGV, 0x80),
            Some(NoResult::Strayed),
            "SI_KERNEL"
        );
        assert_eq!(raised(libc::SIGSYS, 2), Some(NoResult::Dispatched));
        assert_eq!(
            raised(libc::SIGSYS, 1),
            Some(NoResult::Signalled(libc::SIGSYS))
        );
        for code in [0, -1, -6] {
            assert_eq!(raised(libc::SIGSEGV, code), None, "kill, sigqueue, tgkill");
        }
        assert_eq!(raised(libc::SIGBUS, 5), None);
        assert_eq!(raised(libc::SIGBUS, 4), Some(NoResult::Strayed));
        assert_eq!(raised(libc::SIGTRAP, 6), None);
    }
}
