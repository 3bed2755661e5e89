//! Why a job did not happen: from its state, and a look at the target where that tells more.

use mctl_abi::Errno;

use super::{Job, State};
use crate::inject::blocked::BlockedCall;
use crate::inject::error::{InjectError, Refusal};
use crate::inject::files::is_ending;
use crate::inject::moment::{Harm, Moment, call_words};
use crate::ptrace::tracee::{NoResult, NotStopped};
use crate::raw::pidfd::is_alive;

impl Job<'_> {
    pub(super) fn explain(&self) -> InjectError {
        let os = |step, errno| InjectError::Os { step, errno };
        match self.state {
            State::NotRun | State::Done(_) => os(crate::inject::NO_TASK, Errno::EAGAIN),
            State::Gone
            | State::NoThread(NotStopped::Gone)
            | State::Failed(NoResult::Gone)
            | State::Attach(Errno::ESRCH) => InjectError::Gone,
            State::NoMoment => self.explain_no_moment(),
            State::NoThread(NotStopped::Unresponsive) | State::Failed(NoResult::NotRun) => {
                self.explain_unresponsive()
            }
            // The registers of a 32-bit task: it has executed a 32-bit program meanwhile.
            State::NoThread(NotStopped::Os(Errno::EOPNOTSUPP)) => Refusal::Bits32.into(),
            State::NoThread(NotStopped::Os(errno)) => os("stopping a thread", errno),
            State::Failed(NoResult::Strayed) => Refusal::Hostile.into(),
            State::Failed(NoResult::Os(errno)) => os("running the call", errno),
            State::Failed(NoResult::Signalled(signal)) => InjectError::Signalled(signal),
            State::Dispatches | State::Failed(NoResult::Dispatched) => {
                Refusal::SyscallUserDispatch.into()
            }
            State::Bits32 => Refusal::Bits32.into(),
            State::InRseq => Refusal::InRseqSection.into(),
            // Its memory went because it was ending.
            State::NoInsn | State::Replaced if is_alive(self.prepared.pidfd) != Ok(true) => {
                InjectError::Gone
            }
            State::NoInsn => Refusal::NoSyscallInstruction.into(),
            State::Seccomp => Refusal::Seccomp.into(),
            State::Replaced => Refusal::Replaced.into(),
            // The kernel refuses a thread that has ended in the same words.
            State::Attach(Errno::EPERM) if is_ending(self.prepared.pid) => InjectError::Gone,
            // /proc/PID/task/TID/syscall could be read, so attaching is allowed in principle; it
            // was looked at again for a tracer, and there is none.
            State::Attach(Errno::EPERM) => Refusal::NotPermitted.into(),
            State::NoAnswer => Refusal::NoAnswer.into(),
            State::Interrupted => os("running the call", Errno::EINTR),
            State::Attach(errno) => os("attaching", errno),
        }
    }

    /// No thread could be stopped without harm: which, what it is in, and what a stop would do.
    fn explain_no_moment(&self) -> InjectError {
        if crate::inject::frozen::is_frozen(self.prepared.pid) {
            return Refusal::Frozen.into();
        }
        let candidates = || self.prepared.candidates.iter().flatten();
        let best = candidates()
            .filter(|candidate| candidate.moment != Moment::Unreachable)
            .min_by_key(|candidate| Harm::of(candidate.call.as_ref()));
        let Some(best) = best else {
            let vfork = candidates().any(|candidate| waits_in_vfork(candidate.call.as_ref()));
            return if vfork {
                Refusal::InVfork.into()
            } else {
                Refusal::Unresponsive {
                    waited_ms: u64::from(self.limits.wait_ms),
                }
                .into()
            };
        };
        Refusal::NoHarmlessMoment {
            tid: best.tid,
            call: call_words(best.call.map(|call| call.number)),
            harm: Harm::of(best.call.as_ref()),
            waited_ms: u64::from(self.limits.wait_ms),
            no_clock: self.no_clock,
        }
        .into()
    }

    pub(super) fn explain_unresponsive(&self) -> InjectError {
        if crate::inject::frozen::is_frozen(self.prepared.pid) {
            return Refusal::Frozen.into();
        }
        if self.waits_in_vfork() {
            return Refusal::InVfork.into();
        }
        Refusal::Unresponsive {
            waited_ms: u64::from(self.limits.stop_ms),
        }
        .into()
    }

    /// Whether the thread tried last was seen in a call by which it may wait for its vfork child.
    fn waits_in_vfork(&self) -> bool {
        let tried = self.prepared.candidates.get(self.tried);
        let candidate = tried.and_then(Option::as_ref);
        waits_in_vfork(candidate.and_then(|candidate| candidate.call.as_ref()))
    }
}

fn waits_in_vfork(call: Option<&BlockedCall>) -> bool {
    const CLONE3: u64 = 435;
    let Some(call) = call else {
        return false;
    };
    #[cfg(target_arch = "x86_64")]
    if call.number == libc::SYS_vfork.cast_unsigned() {
        return true;
    }
    call.number == libc::SYS_clone.cast_unsigned() || call.number == CLONE3
}
