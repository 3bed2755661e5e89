//! Jobs: what to run in which target, carried out in a shield.

use std::os::fd::AsRawFd;

use mctl_abi::Errno;

use super::error::{InjectError, Refusal};
use super::pick::{Candidate, Prepared, command_name, read_small};
use super::runs::Runs;
use super::shield;
use crate::arch::SyscallArgs;
use crate::ptrace::raw;
use crate::ptrace::tracee::{Borrowed, NoResult, NotStopped, Seized, Stopped};
use crate::raw::pidfd::is_alive;
use crate::time::Deadline;

/// When a call of a script is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// If the call with this index was run and returned this.
    Returned(usize, i64),
    /// If the call with this index was run and returned something else, not an error.
    ReturnedOther(usize, i64),
}

impl When {
    /// Whether the call is to be run, given the results of those before it.
    #[must_use]
    pub fn is_due(self, earlier: impl Fn(usize) -> Option<i64>) -> bool {
        match self {
            When::Always => true,
            When::Returned(at, wanted) => earlier(at) == Some(wanted),
            When::ReturnedOther(at, unwanted) => {
                earlier(at).is_some_and(|got| got >= 0 && got != unwanted)
            }
        }
    }
}

/// A call of a script. All calls of a script run in one stop, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptCall {
    /// What to run.
    pub call: SyscallArgs,
    /// When.
    pub when: When,
    /// What it returned: a negative number is an errno. `None`: it was not run.
    pub result: Option<i64>,
}

impl ScriptCall {
    /// A call that is always run.
    #[must_use]
    pub const fn new(number: i64, args: [u64; 6]) -> ScriptCall {
        let call = SyscallArgs {
            number: number.cast_unsigned(),
            args,
        };
        ScriptCall {
            call,
            when: When::Always,
            result: None,
        }
    }

    /// The same call under a condition.
    #[must_use]
    pub const fn when(mut self, when: When) -> ScriptCall {
        self.when = when;
        self
    }
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a thread to stop, and for an injected call to begin, in milliseconds.
    pub stop_ms: u32,
}

impl Default for Limits {
    /// 200 ms: far beyond any scheduling delay of a thread that can be stopped at all.
    fn default() -> Limits {
        Limits { stop_ms: 200 }
    }
}

/// What an injection cost its target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The thread that was borrowed.
    pub tid: i32,
    /// How long it was stopped, in nanoseconds: from the request to stop it to its release.
    pub stopped_ns: u64,
    /// How many system calls were run in it.
    pub calls: u32,
}

/// What a job runs.
#[derive(Debug)]
enum Work<'a> {
    Script(&'a mut [ScriptCall]),
    Runs(&'a mut Runs),
}

/// How far a job came. Plain data: it is written in the shield, where nothing may be allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    NotRun,
    Done(Report),
    Gone,
    NoThread(NotStopped),
    Dispatches,
    Bits32,
    InRseq,
    NoInsn,
    Failed(NoResult),
    Attach(Errno),
}

/// One target and what to run in it.
#[derive(Debug)]
pub struct Job<'a> {
    prepared: Prepared<'a>,
    work: Work<'a>,
    limits: Limits,
    state: State,
}

impl<'a> Job<'a> {
    /// Runs a script in the target.
    #[must_use]
    pub fn script(prepared: Prepared<'a>, calls: &'a mut [ScriptCall], limits: Limits) -> Job<'a> {
        Job {
            prepared,
            work: Work::Script(calls),
            limits,
            state: State::NotRun,
        }
    }

    /// Advises runs of memory in the target.
    #[must_use]
    pub fn runs(prepared: Prepared<'a>, runs: &'a mut Runs, limits: Limits) -> Job<'a> {
        Job {
            prepared,
            work: Work::Runs(runs),
            limits,
            state: State::NotRun,
        }
    }

    /// What became of it.
    ///
    /// # Errors
    /// Why it did not happen. The target is then as it was before; what calls of a script had
    /// already been run is in their results.
    pub fn outcome(&self) -> Result<Report, InjectError> {
        let error = match self.state {
            State::Done(report) => return Ok(report),
            State::NotRun => InjectError::Os {
                step: "starting the shield task",
                errno: Errno::EAGAIN,
            },
            State::Gone => InjectError::Gone,
            State::NoThread(NotStopped::Gone) | State::Failed(NoResult::Gone) => InjectError::Gone,
            State::NoThread(NotStopped::GroupStopped) => Refusal::Stopped.into(),
            State::NoThread(NotStopped::Unresponsive) | State::Failed(NoResult::NotRun) => {
                self.explain_unresponsive()
            }
            State::NoThread(NotStopped::Os(errno)) => InjectError::Os {
                step: "stopping a thread",
                errno,
            },
            State::Failed(NoResult::Os(errno)) => InjectError::Os {
                step: "running the call",
                errno,
            },
            State::Failed(NoResult::Signalled(signal)) => InjectError::Signalled(signal),
            State::Dispatches => Refusal::SyscallUserDispatch.into(),
            State::Bits32 => Refusal::Bits32.into(),
            State::InRseq => Refusal::InRseqSection.into(),
            State::NoInsn => Refusal::NoSyscallInstruction.into(),
            State::Attach(errno) => self.explain_attach(errno),
        };
        Err(error)
    }

    /// The kernel says EPERM for many things; which was it?
    fn explain_attach(&self, errno: Errno) -> InjectError {
        if errno == Errno::ESRCH {
            return InjectError::Gone;
        }
        if errno != Errno::EPERM {
            return InjectError::Os {
                step: "attaching",
                errno,
            };
        }
        // It may have been attached by someone else, or have changed, since we looked.
        if let Err(error) = Prepared::look(self.prepared.pid, self.prepared.pidfd) {
            return error;
        }
        if self.prepared.candidates.iter().flatten().any(|c| c.seccomp) && !may_suspend_seccomp() {
            return Refusal::Seccomp.into();
        }
        let mut buffer = [0u8; 16];
        let scope = read_small("/proc/sys/kernel/yama/ptrace_scope", &mut buffer)
            .ok()
            .and_then(|text| std::str::from_utf8(text).ok()?.trim().parse::<u32>().ok());
        match scope {
            Some(scope) if scope > 0 => Refusal::Yama { scope }.into(),
            _ => Refusal::NotPermitted.into(),
        }
    }

    fn explain_unresponsive(&self) -> InjectError {
        if super::frozen::is_frozen(self.prepared.pid) {
            return Refusal::Frozen.into();
        }
        if self.prepared.waits_in_vfork() {
            return Refusal::InVfork.into();
        }
        Refusal::Unresponsive {
            waited_ms: u64::from(self.limits.stop_ms),
        }
        .into()
    }

    /// Whether the shield must end at once, so that the kernel lets go of a thread that was asked
    /// to stop and did not.
    fn leaves_a_thread_attached(&self) -> bool {
        matches!(self.state, State::NoThread(NotStopped::Unresponsive))
    }
}

/// Runs jobs, one after the other, in a shield task. Each has its own [`Job::outcome`].
pub fn run(jobs: &mut [Job<'_>]) {
    let mut next = 0;
    while next < jobs.len() {
        let begun = next;
        let started = shield::run(|| {
            while let Some(job) = jobs.get_mut(next) {
                job.execute();
                next += 1;
                if job.leaves_a_thread_attached() {
                    return;
                }
            }
        });
        if started.is_err() || next == begun {
            // No shield, no injection: the jobs say so by their state.
            return;
        }
    }
}

/// How often a thread that stands in an rseq section is let run on before giving up.
const RSEQ_TRIES: u32 = 64;

impl Job<'_> {
    /// In the shield: no allocation, no lock, no panic.
    fn execute(&mut self) {
        let mut state = State::Gone;
        for index in 0..self.prepared.candidates.len() {
            let Some(candidate) = self.prepared.candidates.get(index).copied().flatten() else {
                break;
            };
            state = match self.try_thread(&candidate) {
                Ok(report) => State::Done(report),
                Err(state) => state,
            };
            // Another thread may do where this one has ended, or is the wrong kind.
            let again = matches!(
                state,
                State::Gone
                    | State::NoThread(NotStopped::Gone)
                    | State::Dispatches
                    | State::Bits32
                    | State::InRseq
                    | State::NoInsn
            );
            if !again {
                break;
            }
        }
        self.state = state;
    }

    fn try_thread(&mut self, candidate: &Candidate) -> Result<Report, State> {
        let tid = candidate.tid;
        let pid = self.prepared.pid;
        let seized = Seized::seize(tid, candidate.seccomp).map_err(|errno| match errno {
            Errno::ESRCH => State::Gone,
            errno => State::Attach(errno),
        })?;
        // From here the thread's number cannot be reused. Is it still the process that was meant?
        let same = is_alive(self.prepared.pidfd) == Ok(true)
            && !matches!(raw::thread_is_in(pid, tid), Err(Errno::ESRCH));
        let patience = u64::from(self.limits.stop_ms).saturating_mul(1_000_000);
        let deadline = Deadline::after(patience);
        let stopped = stop_outside_rseq(seized, candidate, deadline)?;
        if !same {
            stopped.release(candidate.call.as_ref());
            return Err(State::Gone);
        }
        let insn = self.suitable(&stopped, candidate);
        let insn = match insn {
            Ok(insn) => insn,
            Err(state) => {
                stopped.release(candidate.call.as_ref());
                return Err(state);
            }
        };
        let mut borrowed = stopped
            .borrow(pid, insn, candidate.call)
            .map_err(State::NoThread)?;
        let result = match &mut self.work {
            Work::Script(calls) => script(&mut borrowed, calls, deadline),
            Work::Runs(runs) => runs.advise(&mut borrowed, pid, deadline),
        };
        let stopped_ns = borrowed.release();
        result
            .map(|calls| Report {
                tid,
                stopped_ns,
                calls,
            })
            .map_err(State::Failed)
    }

    /// Whether calls can be run on this stopped thread, and with which instruction.
    fn suitable(&self, stopped: &Stopped, candidate: &Candidate) -> Result<u64, State> {
        if stopped.is_32bit() {
            return Err(State::Bits32);
        }
        if stopped.dispatches_syscalls() {
            return Err(State::Dispatches);
        }
        match self.prepared.insn {
            // Read again now: the mapping might have gone since.
            Some(insn) if stopped.has_syscall_insn(insn) => Ok(insn),
            _ => stopped
                .own_syscall_insn(candidate.call.as_ref())
                .ok_or(State::NoInsn),
        }
    }
}

fn stop_outside_rseq(
    seized: Seized,
    candidate: &Candidate,
    deadline: Deadline,
) -> Result<Stopped, State> {
    let mut seized = seized;
    for _ in 0..RSEQ_TRIES {
        let stopped = seized.stop(deadline).map_err(State::NoThread)?;
        if !stopped.in_rseq_section(candidate.call.as_ref()) {
            return Ok(stopped);
        }
        // The kernel aborts the section, since the thread was preempted in it, and it starts anew.
        seized = stopped.resume().map_err(State::NoThread)?;
    }
    // Dropping the last one stops and detaches nothing: let it be detached in a stop.
    let stopped = seized.stop(deadline).map_err(State::NoThread)?;
    stopped.release(candidate.call.as_ref());
    Err(State::InRseq)
}

fn script(
    borrowed: &mut Borrowed,
    calls: &mut [ScriptCall],
    deadline: Deadline,
) -> Result<u32, NoResult> {
    let mut ran = 0u32;
    for index in 0..calls.len() {
        let Some(call) = calls.get(index).copied() else {
            break;
        };
        let earlier = |at: usize| calls.get(at).and_then(|call| call.result);
        if call.when.is_due(earlier) {
            let result = borrowed.call(call.call, deadline)?;
            ran = ran.saturating_add(1);
            if let Some(slot) = calls.get_mut(index) {
                slot.result = Some(result);
            }
        }
    }
    Ok(ran)
}

/// Whether this process may suspend a target's seccomp filter: CAP_SYS_ADMIN, and no filter of
/// our own (kernel/ptrace.c, `check_ptrace_options()`).
fn may_suspend_seccomp() -> bool {
    let mut buffer = [0u8; 8192];
    let Ok(text) = read_small("/proc/self/status", &mut buffer) else {
        return false;
    };
    let Ok(status) = crate::procfs::status::Status::parse(text) else {
        return false;
    };
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    status.cap_eff.unwrap_or(0) & CAP_SYS_ADMIN != 0 && status.seccomp.unwrap_or(0) == 0
}

impl Prepared<'_> {
    /// The process that was looked at.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its command name, for messages.
    #[must_use]
    pub fn name(&self) -> String {
        command_name(self.pid)
    }

    fn waits_in_vfork(&self) -> bool {
        const CLONE3: u64 = 435;
        self.candidates.iter().flatten().any(|candidate| {
            candidate.call.is_some_and(|call| {
                #[cfg(target_arch = "x86_64")]
                if call.number == libc::SYS_vfork.cast_unsigned() {
                    return true;
                }
                call.number == libc::SYS_clone.cast_unsigned() || call.number == CLONE3
            })
        })
    }
}

impl AsRawFd for Prepared<'_> {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.pidfd.as_raw_fd()
    }
}
