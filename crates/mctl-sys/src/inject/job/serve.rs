//! One job in the shield: a thread is stopped, the work is done on it, and it is let go. No allocation, no lock,
//! no panic.

use mctl_abi::Errno;

use super::{Disturbed, Job, Report, State, Work};
use crate::inject::blocked::BlockedCall;
use crate::inject::carrier::Served;
use crate::inject::filtered::may_be_filtered;
use crate::inject::idle::Awake;
use crate::inject::let_go::{Left, let_go};
use crate::inject::moment::{Harm, Moment};
use crate::inject::pick::{Candidate, Candidates, KEEP};
use crate::inject::runnable::run_time_ns;
use crate::inject::script::run_script;
use crate::inject::shield;
use crate::ptrace::tracee::{Borrowed, LetGo, NoResult, NotStopped, RseqSection, Seized, Stopped};
use crate::raw::pidfd::is_alive;
use crate::time::{Deadline, monotonic_ns};

/// Whether a thread may be let go in a way that leaves it attached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Past {
    /// The shield ends at once: past its filter.
    Filter,
    Never,
}

impl Job<'_> {
    /// Serves it by one of the threads that may be stopped now.
    pub(super) fn execute(&mut self) {
        let mut state = State::NoMoment;
        self.lost = false;
        self.attached = false;
        // The candidates are lent out: `self` is changed meanwhile.
        let candidates = std::mem::take(&mut self.prepared.candidates);
        for (index, candidate) in candidates.iter().enumerate().skip(self.first) {
            let Some(candidate) = candidate else { break };
            if !self.may_interrupt(candidate) {
                continue;
            }
            self.tried = index;
            state = match self.try_thread(candidate) {
                Ok(report) => State::Done(self.carry_on(report, &candidates)),
                Err(state) => state,
            };
            self.lost |= state == State::NoThread(NotStopped::Gone);
            // One that is still attached would stand still for a signal of its own while another is waited for: the next
            // one is tried in another shield.
            if !another_thread_may_do(state) || self.lost || self.attached {
                break;
            }
        }
        self.prepared.candidates = candidates;
        self.state = state;
        self.leave_barred_alone();
        self.take_leave();
    }

    /// A thread that only our end can let past its filter bears no carrier: it is waited for until it runs.
    pub(super) fn leave_barred_alone(&mut self) {
        if !self.no_barred {
            return;
        }
        for candidate in self.prepared.candidates.iter_mut().flatten() {
            if candidate.barred && candidate.moment == Moment::Asleep {
                candidate.moment = Moment::Elsewhere;
            }
        }
    }

    /// Where the thread has borne a carrier: keeps it.
    fn carry_on(&mut self, report: Report, candidates: &Candidates) -> Report {
        let mut threads = [0; KEEP];
        for (slot, kept) in threads.iter_mut().zip(candidates) {
            *slot = kept.as_ref().map_or(0, |candidate| candidate.tid);
        }
        let served = Served {
            pidfd: self.prepared.pidfd,
            pid: self.prepared.pid,
            threads,
        };
        if let Work::Carry(birth) = &mut self.work {
            birth.note_stop(report.stopped_ns);
            birth.serve(&served);
        }
        report
    }

    fn may_interrupt(&self, candidate: &Candidate) -> bool {
        match candidate.moment {
            Moment::Asleep | Moment::Stopped => true,
            _ => self.disturbs || candidate.finite.is_some(),
        }
    }

    pub(super) fn try_thread(&mut self, candidate: &Candidate) -> Result<Report, State> {
        let tid = candidate.tid;
        // A recycled number: best not to stop a stranger at all.
        if is_alive(self.prepared.pidfd) != Ok(true) {
            return Err(State::Gone);
        }
        // Of a finite wait: when it ends, and that it stands.
        let known = match candidate.finite {
            Some(finite) if !self.disturbs => Some(finite.know().ok_or(State::NoMoment)?),
            _ => None,
        };
        // For each of a carrier's two stops by itself: its work in between may take minutes.
        let _awake = Awake::request(matches!(self.work, Work::Carry(_)));
        // Should the task end here, or at a look at the stopped thread's memory, that is what it says.
        self.state = State::NoAnswer;
        let seized =
            shield::holding_nobody(self.is_to_reap(), || Seized::seize(tid)).map_err(|errno| {
                match errno {
                    Errno::ESRCH => State::Gone,
                    errno => State::Attach(errno),
                }
            })?;
        // From here nobody else gets the thread's number, unless it calls exec itself. Is it still
        // the process that was meant?
        if !self.still_has(tid) {
            self.lost = true;
            return Err(State::Gone);
        }
        let deadline = Deadline::after(self.patience());
        let stopped = match candidate.moment {
            Moment::Asleep if !self.disturbs => self.stop_asleep(seized, candidate, deadline)?,
            // Continued meanwhile, it runs.
            Moment::Stopped => match seized.standing(deadline).map_err(State::NoThread)? {
                Some(stopped) => stopped,
                None => {
                    self.lost = true;
                    return Err(State::NoMoment);
                }
            },
            _ => {
                let mut stopped = seized.stop(deadline).map_err(State::NoThread)?;
                if let Some(known) = &known {
                    known.mend(&mut stopped);
                }
                stopped
            }
        };
        let past = match self.is_to_reap() {
            true => Past::Never,
            false => Past::Filter,
        };
        let mut report = self.serve(stopped, candidate, past)?;
        if candidate.moment > Moment::Stopped && known.is_none() {
            report.disturbed = Some(Disturbed {
                call: candidate.call.map(|call| call.number),
                harm: Harm::of(candidate.call.as_ref()),
            });
        }
        Ok(report)
    }

    /// Stops a thread that is asleep where it may be interrupted, if it still is.
    fn stop_asleep(
        &mut self,
        seized: Seized,
        candidate: &Candidate,
        deadline: Deadline,
    ) -> Result<Stopped, State> {
        let tid = candidate.tid;
        // The last thing before the request to stop it.
        if candidate.is_still_there() {
            return seized.stop(deadline).map_err(State::NoThread);
        }
        match let_go(tid, || run_time_ns(tid)) {
            Left::Detached => {}
            Left::Running => self.lost = true,
            // It has got no further than here: on its way from the signal it stops as well as any.
            Left::AtSignal(signal) => {
                return Stopped::already(tid)
                    .and_then(|stopped| stopped.on_its_way(signal, deadline))
                    .map_err(State::NoThread);
            }
        }
        Err(State::NoMoment)
    }

    /// A thread of a job that waits, where it is now asleep in a call that may be interrupted.
    pub(in crate::inject) fn asleep_now(&self, index: usize) -> Option<Candidate> {
        self.prepared.candidates.get(index)?.as_ref()?.asleep_now()
    }

    /// Serves a job that waits, by a thread that stands in its own code, in a group-stop, or in a call that may be
    /// interrupted.
    pub(in crate::inject) fn serve_waiting(
        &mut self,
        stopped: Stopped,
        index: usize,
        call: Option<BlockedCall>,
    ) {
        let candidates = std::mem::take(&mut self.prepared.candidates);
        if let Some(Some(candidate)) = candidates.get(index) {
            // What it was seen in is long over.
            let now = Candidate {
                tid: candidate.tid,
                call,
                moment: candidate.moment,
                seccomp: candidate.seccomp,
                barred: false,
                signal: None,
                witness: None,
                finite: None,
            };
            self.tried = index;
            self.state = match self.serve(stopped, &now, Past::Never) {
                Ok(report) => State::Done(self.carry_on(report, &candidates)),
                // Another thread, or another moment, may do.
                Err(state) if another_thread_may_do(state) => State::NoMoment,
                Err(state) => state,
            };
        }
        self.prepared.candidates = candidates;
        self.leave_barred_alone();
        self.take_leave();
    }

    fn patience(&self) -> u64 {
        u64::from(self.limits.stop_ms).saturating_mul(1_000_000)
    }

    /// Does the work on a thread that stands still, and lets it go.
    fn serve(
        &mut self,
        stopped: Stopped,
        candidate: &Candidate,
        past: Past,
    ) -> Result<Report, State> {
        let stopped = outside_rseq(stopped, candidate)?;
        let barred = stopped.is_barred();
        let fit = match self.suitable(&stopped, candidate) {
            // What bears a carrier is let go at once and for good.
            Ok(_) if barred && !self.disturbs && self.is_to_bear() => {
                self.no_barred = true;
                Err(State::NoMoment)
            }
            fit => fit,
        };
        let (insn, suspend) = match fit {
            Ok(fit) => fit,
            Err(state) if barred => {
                let borrowed = stopped.borrow(0, false, candidate.call);
                let _ = self.let_go(borrowed.map_err(State::NoThread)?, past, true);
                return Err(state);
            }
            Err(state) => {
                stopped.release(candidate.call.as_ref());
                return Err(state);
            }
        };
        let mut borrowed = stopped
            .borrow(insn, suspend, candidate.call)
            .map_err(State::NoThread)?;
        let patience = self.patience();
        let since = self.waits_since;
        let waited_ns = since.map_or(0, |since| monotonic_ns().saturating_sub(since));
        let result = match &mut self.work {
            Work::Script(calls) => run_script(&mut borrowed, calls, patience),
            Work::Runs(runs) => runs.advise(&mut borrowed, patience),
            Work::Carry(birth) => {
                birth.note_waited(waited_ns);
                birth.in_thread(&mut borrowed, patience)
            }
        };
        let past = match self.is_to_reap() {
            true => Past::Never,
            false => past,
        };
        let (stopped_ns, afresh) = self.let_go(borrowed, past, barred);
        result
            .map(|calls| Report {
                tid: candidate.tid,
                stopped_ns,
                calls,
                disturbed: afresh.then_some(Disturbed {
                    call: candidate.call.map(|call| call.number),
                    harm: Harm::of(candidate.call.as_ref()),
                }),
            })
            .map_err(State::Failed)
    }

    /// Lets a thread go; whether its sleep begins afresh for it.
    fn let_go(&mut self, borrowed: Borrowed, past: Past, barred: bool) -> (u64, bool) {
        if !barred || past == Past::Never {
            return (borrowed.release(), barred);
        }
        let (stopped_ns, how) = borrowed.release_past_filter();
        self.attached = how == LetGo::Attached;
        (stopped_ns, how == LetGo::Afresh)
    }

    /// Whether a carrier is to be born.
    fn is_to_bear(&self) -> bool {
        matches!(&self.work, Work::Carry(birth) if birth.child().is_none())
    }

    /// Whether a carrier was born that its parent has still to wait for.
    fn is_to_reap(&self) -> bool {
        matches!(&self.work, Work::Carry(birth) if birth.child().is_some())
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
        if !suspend
            && !self.prepared.through_filter
            && (candidate.seccomp || may_be_filtered(candidate.tid))
        {
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
                // Only where it was looked at: other memory is not read.
                .filter(|insn| Some(*insn) == self.prepared.own)
                .filter(|insn| stopped.has_syscall_insn(*insn))
                .ok_or(State::NoInsn),
        }?;
        Ok((insn, suspend))
    }
}

/// Whether another thread may do where this one has ended, or is the wrong kind. A thread that is about to end cannot
/// be attached either (EPERM).
pub(super) fn another_thread_may_do(state: State) -> bool {
    matches!(
        state,
        State::Gone
            | State::NoMoment
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
    )
}

fn outside_rseq(mut stopped: Stopped, candidate: &Candidate) -> Result<Stopped, State> {
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
