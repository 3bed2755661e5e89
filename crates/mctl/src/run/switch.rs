//! The switches of prctl(2): the calls of a step, and what they say.

use mctl_abi::Errno;
use mctl_sys::inject::{ScriptCall, When};
use mctl_sys::raw::prctl::{
    PR_GET_MEMORY_MERGE, PR_GET_THP_DISABLE, PR_SET_MEMORY_MERGE, PR_SET_THP_DISABLE,
};

use super::advise::fail_run;
use crate::error::{Error, Result};
use crate::op::outcome::{Note, Outcome};
use crate::op::policy::plan::Step;
use crate::target::Target;

/// The calls of a step: read the state, then set it if it is another.
pub(super) fn script(step: &Step) -> Vec<ScriptCall> {
    let call = |option: u64, a: u64, b: u64| ScriptCall::new(PRCTL, [option, a, b, 0, 0, 0]);
    match step {
        Step::SetMerge { on } => vec![
            call(PR_GET_MEMORY_MERGE, 0, 0),
            call(PR_SET_MEMORY_MERGE, u64::from(*on), 0)
                .when(When::ReturnedOther(0, i64::from(*on))),
        ],
        Step::SetThpDisable { to, only_from } => {
            let (disable, flags) = to.setter();
            let when = match only_from {
                Some(from) => When::Returned(0, from.getter()),
                None => When::ReturnedOther(0, to.getter()),
            };
            vec![
                call(PR_GET_THP_DISABLE, 0, 0),
                call(PR_SET_THP_DISABLE, disable, flags).when(when),
            ]
        }
        Step::Call { call, .. } => super::native::script(*call),
        Step::Advise { .. } => Vec::new(),
    }
}

/// `__NR_prctl`.
const PRCTL: i64 = mctl_sys::arch::NR_PRCTL;

/// Takes the results of a step's calls into the outcome.
pub(super) fn record(
    pid: i32,
    outcome: &mut Outcome,
    step: &Step,
    calls: &[ScriptCall],
) -> Result<()> {
    let result = |at: usize| calls.get(at).and_then(|call| call.result);
    let (before, set) = (result(0), result(1));
    let failed = |call, ret: i64| refused(pid, call, errno_of(ret));
    match step {
        Step::SetMerge { on } => {
            if let Some(ret) = before.filter(|ret| *ret < 0) {
                return Err(failed("prctl(PR_GET_MEMORY_MERGE)", ret));
            }
            outcome.merge_before = before;
            outcome.merge_after = before;
            if before == Some(0) {
                // Nothing was mergeable, so nothing is walked.
                outcome.notes.retain(|note| *note != Note::UnmergeWalks);
            }
            match set {
                Some(ret) if ret < 0 => return Err(failed("prctl(PR_SET_MEMORY_MERGE)", ret)),
                Some(_) => outcome.merge_after = Some(i64::from(*on)),
                None => {}
            }
        }
        Step::SetThpDisable { to, .. } => {
            if let Some(ret) = before.filter(|ret| *ret < 0) {
                return Err(failed("prctl(PR_GET_THP_DISABLE)", ret));
            }
            if outcome.thp_disable_before.is_none() {
                outcome.thp_disable_before = before;
            }
            outcome.thp_disable_after = before;
            match set {
                Some(ret) if ret < 0 => return Err(failed("prctl(PR_SET_THP_DISABLE)", ret)),
                Some(_) => outcome.thp_disable_after = Some(to.getter()),
                None => {}
            }
        }
        Step::Call { call, .. } => return super::native::record(pid, outcome, *call, calls),
        Step::Advise { .. } => {}
    }
    Ok(())
}

/// A call that failed. Of one that a process makes on itself the kernel refuses nothing with these errnos: where
/// it is our own a filter of ours did.
fn refused(pid: i32, call: &'static str, errno: Errno) -> Error {
    let filtered = matches!(errno, Errno::EPERM | Errno::EACCES | Errno::ENOSYS)
        && u32::try_from(pid) == Ok(std::process::id())
        && crate::host::caller::is_filtered();
    if filtered {
        return Error::Permission {
            pid,
            why: format!("a seccomp filter on this program refuses {call}, with {errno}"),
        };
    }
    Error::TargetCall { pid, call, errno }
}

pub(super) fn errno_of(ret: i64) -> Errno {
    i32::try_from(ret.saturating_neg()).map_or(Errno::EIO, Errno::from_raw)
}

pub(super) fn step_on_ourselves(outcome: &mut Outcome, own: &Target, step: &Step) -> Result<()> {
    match step {
        Step::Call { call, .. } => super::native::call(outcome, own, *call),
        Step::Advise { advice, runs, .. } => {
            for run in runs {
                match own.own_madvise(*run, *advice) {
                    // Unmapped by another of our threads meanwhile.
                    Ok(()) | Err(Errno::ENOMEM) => {}
                    Err(errno) => fail_run(outcome, *run, errno),
                }
            }
            Ok(())
        }
        switch => {
            let mut calls = script(switch);
            for index in 0..calls.len() {
                let Some(call) = calls.get(index).copied() else {
                    break;
                };
                let earlier = |at: usize| calls.get(at).and_then(|call| call.result);
                if !call.when.is_due(earlier) {
                    continue;
                }
                let [option, a, b, c, d, _] = call.call.args;
                let ret = match own.own_prctl(option, [a, b, c, d]) {
                    Ok(ret) => ret,
                    Err(errno) => -i64::from(errno.raw()),
                };
                if let Some(call) = calls.get_mut(index) {
                    call.result = Some(ret);
                }
            }
            record(own.pid(), outcome, switch, &calls)
        }
    }
}
