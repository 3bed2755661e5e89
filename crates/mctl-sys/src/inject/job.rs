//! Jobs: what to run in which target, carried out in a shield.

mod explain;

use std::os::fd::AsRawFd;
use std::time::Duration;

use mctl_abi::Errno;

use super::carrier::{Birth, Served};
use super::error::{InjectError, Refusal};
use super::files::command_name;
use super::filtered::may_be_filtered;
use super::idle::Awake;
use super::look::Prepared;
use super::pick::{Candidate, KEEP};
use super::runs::Runs;
use super::script::{ScriptCall, run_script};
use super::shield;
use crate::bounded::End;
use crate::ptrace::raw;
use crate::ptrace::tracee::{NoResult, NotStopped, RseqSection, Seized, Stopped};
use crate::raw::pidfd::is_alive;
use crate::time::Deadline;

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
    Carry(&'a mut Birth),
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
    /// The kernel did not answer in time while attaching, or looking at the stopped thread's memory.
    NoAnswer,
    Interrupted,
    Seccomp,
    Replaced,
}

/// One target and what to run in it.
#[derive(Debug)]
pub struct Job<'a> {
    prepared: Prepared<'a>,
    work: Work<'a>,
    limits: Limits,
    state: State,
    /// A thread was lost on the way. Where it has called exec it lives on, with another number and still attached
    /// to the shield.
    lost: bool,
    /// The candidate to begin with, and the one that was tried last.
    first: usize,
    tried: usize,
    /// Why not, found out when it failed: later the target may be in another state.
    why_not: Option<InjectError>,
}

impl<'a> Job<'a> {
    /// Runs a script in the target.
    #[must_use]
    pub fn script(prepared: Prepared<'a>, calls: &'a mut [ScriptCall], limits: Limits) -> Job<'a> {
        Job::new(prepared, Work::Script(calls), limits)
    }

    /// Advises runs of memory in the target.
    #[must_use]
    pub fn runs(prepared: Prepared<'a>, runs: &'a mut Runs, limits: Limits) -> Job<'a> {
        Job::new(prepared, Work::Runs(runs), limits)
    }

    /// Has the target bear a carrier, and keeps it until it ends.
    pub(super) fn carry(prepared: Prepared<'a>, birth: &'a mut Birth, limits: Limits) -> Job<'a> {
        Job::new(prepared, Work::Carry(birth), limits)
    }

    fn new(prepared: Prepared<'a>, work: Work<'a>, limits: Limits) -> Job<'a> {
        Job {
            prepared,
            work,
            limits,
            state: State::NotRun,
            lost: false,
            first: 0,
            tried: 0,
            why_not: None,
        }
    }

    /// What became of it.
    ///
    /// # Errors
    /// Why it did not happen. The target is then as it was before; what calls of a script had
    /// already been run is in their results.
    pub fn outcome(&self) -> Result<Report, InjectError> {
        match (self.state, &self.why_not) {
            (State::Done(report), _) => Ok(report),
            (_, Some(error)) => Err(error.clone()),
            _ => Err(self.explain()),
        }
    }

    /// Whether the shield must end at once, so that the kernel lets go of a thread that was asked
    /// to stop and did not, or that may have another number now.
    fn leaves_a_thread_attached(&self) -> bool {
        self.lost || self.is_unresponsive()
    }

    fn is_unresponsive(&self) -> bool {
        matches!(self.state, State::NoThread(NotStopped::Unresponsive))
    }
}

/// How often a target is looked at again because it has changed since it was looked at: its thread
/// has ended, it has called exec, or another injector came first.
///
/// An exec on a busy machine takes its time: with the pauses below it is about half a second.
const LOOKS: u32 = 60;
/// So often where attaching was denied although the look allowed it: another injector was there for
/// its few microseconds, or the thread is just ending.
const LOOKS_IF_DENIED: u32 = 30;
const FIRST_PAUSE: Duration = Duration::from_micros(250);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// Runs jobs, one after the other, in a shield task. Each has its own [`Job::outcome`].
pub fn run(jobs: &mut [Job<'_>]) {
    let _awake = Awake::request(jobs.iter().all(Job::is_short));
    let mut pause = FIRST_PAUSE;
    for look in 0..LOOKS {
        run_round(jobs);
        if !jobs.iter().any(|job| job.another_look_may_help(look)) {
            return;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
        let mut again = false;
        for job in &mut *jobs {
            again |= job.another_look_may_help(look) && job.look_again();
        }
        if !again {
            return;
        }
    }
    run_round(jobs);
}

/// Runs what has not been run.
fn run_round(jobs: &mut [Job<'_>]) {
    let mut next = 0;
    while next < jobs.len() {
        let mut attached = false;
        let mut begun = false;
        let ended = shield::run(|| {
            begun = true;
            while let Some(job) = jobs.get_mut(next) {
                if shield::is_orphaned() {
                    return;
                }
                if job.state == State::NotRun {
                    crate::bounded::next_item();
                    job.execute();
                    if job.leaves_a_thread_attached() {
                        attached = true;
                        return;
                    }
                }
                next += 1;
            }
        });
        let Ok(ended) = ended else {
            // No shield, no injection: the jobs say so by their state.
            return;
        };
        match ended {
            End::Done if !begun => return,
            End::Done if !attached => {}
            End::Done if jobs.get_mut(next).is_some_and(Job::next_thread) => {}
            // Cut short at this job, and no other.
            End::NoAnswer | End::Done => next += 1,
            End::Interrupted | End::Died => {
                if let Some(job) = jobs.get_mut(next) {
                    job.state = State::Interrupted;
                }
                return;
            }
        }
    }
}

impl Job<'_> {
    /// In the shield: no allocation, no lock, no panic.
    fn execute(&mut self) {
        let mut state = State::Gone;
        self.lost = false;
        for index in self.first..self.prepared.candidates.len() {
            let Some(candidate) = self.prepared.candidates.get(index).copied().flatten() else {
                break;
            };
            self.tried = index;
            state = match self.try_thread(&candidate) {
                Ok(report) => State::Done(self.carry_on(report, &candidate)),
                Err(state) => state,
            };
            self.lost |= state == State::NoThread(NotStopped::Gone);
            // Another thread may do where this one has ended, or is the wrong kind. A thread that
            // is about to end cannot be attached either (EPERM).
            let again = matches!(
                state,
                State::Gone
                    | State::NoThread(NotStopped::Gone)
                    | State::Attach(Errno::EPERM)
                    | State::Dispatches
                    | State::Failed(NoResult::Dispatched)
                    | State::Bits32
                    // The registers of a thread that runs 32-bit code.
                    | State::NoThread(NotStopped::Os(Errno::EOPNOTSUPP))
                    | State::InRseq
                    | State::NoInsn
                    | State::Seccomp
            );
            if !again {
                break;
            }
        }
        self.state = state;
    }

    /// Where the thread has borne a carrier: keeps it, and then has the thread wait for it.
    fn carry_on(&mut self, report: Report, candidate: &Candidate) -> Report {
        let mut threads = [0; KEEP];
        for (slot, kept) in threads.iter_mut().zip(&self.prepared.candidates) {
            *slot = kept.map_or(0, |candidate| candidate.tid);
        }
        let served = Served {
            pidfd: self.prepared.pidfd,
            pid: self.prepared.pid,
            threads,
        };
        let Work::Carry(birth) = &mut self.work else {
            return report;
        };
        birth.note_stop(report.stopped_ns);
        birth.serve(&served);
        // Only in the very call in which it was chosen. Else its keeper looks for another moment.
        if birth.is_to_be_reaped()
            && candidate.is_still_there()
            && let Ok(again) = self.try_thread(candidate)
            && let Work::Carry(birth) = &mut self.work
        {
            birth.note_stop(again.stopped_ns);
        }
        report
    }

    /// Whether its calls take microseconds, as far as can be told.
    fn is_short(&self) -> bool {
        match &self.work {
            Work::Script(calls) => calls
                .iter()
                .all(|script| script.call.number == libc::SYS_prctl.cast_unsigned()),
            Work::Runs(runs) => runs.is_short(),
            Work::Carry(_) => false,
        }
    }

    /// After a thread did not stop: whether there is another one to try.
    fn next_thread(&mut self) -> bool {
        if !self.is_unresponsive() {
            return false;
        }
        let error = self.explain_unresponsive();
        let others = self.prepared.candidates.get(self.tried + 1..);
        if matches!(error, InjectError::Refused(Refusal::Frozen))
            || others.is_none_or(|others| others.iter().flatten().next().is_none())
        {
            self.why_not = Some(error);
            return false;
        }
        self.first = self.tried + 1;
        self.state = State::NotRun;
        true
    }

    /// Whether the job failed because the target is no longer as it was looked at.
    fn another_look_may_help(&self, looks: u32) -> bool {
        match self.state {
            State::Gone
            | State::NoThread(NotStopped::Gone)
            | State::Failed(NoResult::Gone)
            | State::NoInsn
            | State::Replaced => {
                self.why_not.is_none() && is_alive(self.prepared.pidfd) == Ok(true)
            }
            State::Attach(Errno::EPERM) => self.why_not.is_none() && looks < LOOKS_IF_DENIED,
            _ => false,
        }
    }

    /// Looks again; true if the job is to be run again.
    fn look_again(&mut self) -> bool {
        let new = match Prepared::look(self.prepared.pid, self.prepared.pidfd) {
            Ok(new) => new,
            Err(error) => {
                self.why_not = Some(error);
                return false;
            }
        };
        if self.state == State::NoInsn && new.insn.is_none() {
            return false;
        }
        match &mut self.work {
            Work::Script(calls) => {
                for call in calls.iter_mut() {
                    call.result = None;
                }
            }
            // The vDSO of another program has another address.
            Work::Runs(runs) if runs.are_gone() || new.insn != self.prepared.insn => {
                self.state = State::Replaced;
                return false;
            }
            Work::Runs(_) => {}
            Work::Carry(birth) if birth.is_of_memory_that_is_gone() => {
                self.state = State::Replaced;
                return false;
            }
            Work::Carry(_) => {}
        }
        self.prepared = new;
        self.first = 0;
        self.state = State::NotRun;
        true
    }

    fn try_thread(&mut self, candidate: &Candidate) -> Result<Report, State> {
        let tid = candidate.tid;
        let pid = self.prepared.pid;
        // A recycled number: best not to stop a stranger at all.
        if is_alive(self.prepared.pidfd) != Ok(true) {
            return Err(State::Gone);
        }
        // Should the task end here, or at a look at the stopped thread's memory, that is what it says.
        self.state = State::NoAnswer;
        let seized =
            shield::holding_nobody(|| Seized::seize(tid)).map_err(|errno| match errno {
                Errno::ESRCH => State::Gone,
                errno => State::Attach(errno),
            })?;
        // From here nobody else gets the thread's number, unless it calls exec itself. Is it still
        // the process that was meant?
        let same = is_alive(self.prepared.pidfd) == Ok(true)
            && !matches!(raw::thread_is_in(pid, tid), Err(Errno::ESRCH));
        let patience = u64::from(self.limits.stop_ms).saturating_mul(1_000_000);
        let stopped = stop_outside_rseq(seized, candidate, Deadline::after(patience))?;
        let fit = if same {
            self.suitable(&stopped, candidate)
        } else {
            Err(State::Gone)
        };
        let (insn, suspend) = match fit {
            Ok(fit) => fit,
            Err(state) => {
                stopped.release(candidate.call.as_ref());
                return Err(state);
            }
        };
        let mut borrowed = stopped
            .borrow(insn, suspend, candidate.call)
            .map_err(State::NoThread)?;
        let result = match &mut self.work {
            Work::Script(calls) => run_script(&mut borrowed, calls, patience),
            Work::Runs(runs) => runs.advise(&mut borrowed, patience),
            Work::Carry(birth) => birth.in_thread(&mut borrowed, patience),
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

    /// Whether calls can be run on this stopped thread: with which instruction, and whether past its seccomp filters.
    fn suitable(&self, stopped: &Stopped, candidate: &Candidate) -> Result<(u64, bool), State> {
        if stopped.is_32bit() {
            return Err(State::Bits32);
        }
        if stopped.dispatches_syscalls() {
            return Err(State::Dispatches);
        }
        // Always asked for, and looked at again where it is denied: it may have got a filter since.
        let suspend = stopped.may_suspend_seccomp();
        if !suspend && (candidate.seccomp || may_be_filtered(candidate.tid)) {
            return Err(State::Seccomp);
        }
        // Nor do ranges of one program mean anything in the next.
        let gone = match &self.work {
            Work::Runs(runs) => runs.are_gone(),
            Work::Carry(birth) => birth.is_of_memory_that_is_gone(),
            Work::Script(_) => false,
        };
        if gone {
            return Err(State::Replaced);
        }
        let insn = match self.prepared.insn {
            // Read again now: the mapping might have gone since, most likely by exec.
            Some(insn) if stopped.has_syscall_insn(insn) => Ok(insn),
            Some(_) => Err(State::Replaced),
            None => stopped
                .own_syscall_insn(candidate.call.as_ref())
                .ok_or(State::NoInsn),
        }?;
        Ok((insn, suspend))
    }
}

fn stop_outside_rseq(
    seized: Seized,
    candidate: &Candidate,
    deadline: Deadline,
) -> Result<Stopped, State> {
    let mut stopped = seized.stop(deadline).map_err(State::NoThread)?;
    let left = match stopped.rseq_section(candidate.call.as_ref()) {
        RseqSection::Outside => true,
        RseqSection::Aborts(at) => stopped.abort_section(at).is_ok(),
        RseqSection::Inside => false,
    };
    if left {
        return Ok(stopped);
    }
    stopped.release(candidate.call.as_ref());
    Err(State::InRseq)
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
}

impl AsRawFd for Prepared<'_> {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.pidfd.as_raw_fd()
    }
}
