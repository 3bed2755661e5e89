//! The steps of a kernel that has mctl() itself.

use std::os::fd::{AsFd, AsRawFd};

use mctl_abi::{Action, Errno, Flags, PIDFD_SELF_THREAD_GROUP, Policy, PolicyKind, Request};
use mctl_sys::inject::{ScriptCall, When};
use mctl_sys::raw::native::Native;

use crate::error::{Error, Result};
use crate::host::native;
use crate::op::outcome::{Note, Outcome};
use crate::op::policy::plan::unsupported;
use crate::target::Target;

fn announced() -> Result<Native> {
    native().ok_or_else(|| unsupported("mctl()", "this kernel does not announce the call"))
}

/// Reads the record, then makes the call.
pub(super) fn call(outcome: &mut Outcome, target: &Target, call: Request) -> Result<()> {
    let native = announced()?;
    let make = |action: Action, flags: Flags| {
        let answer = if target.is_own() {
            target.own_call(native, action, flags)
        } else {
            native.call(target.as_fd().as_raw_fd(), action, flags)
        };
        answer.map_err(|errno| failed(target.pid(), errno))
    };
    let before = make(Action::GetPolicy, Flags::NONE)?;
    make(call.action(), call.flags())?;
    note(outcome, before, call);
    Ok(())
}

/// The same two calls, to be run in the target. Empty where the kernel has no such call; then
/// [`record`] says so.
pub(super) fn script(call: Request) -> Vec<ScriptCall> {
    let Some(native) = native() else {
        return Vec::new();
    };
    let on_itself = |action: Action, flags: Flags| {
        let number = |value: i32| i64::from(value).cast_unsigned();
        ScriptCall::new(
            i64::from(native.number()),
            [
                number(PIDFD_SELF_THREAD_GROUP),
                number(action.number()),
                u64::from(flags.bits()),
                0,
                0,
                0,
            ],
        )
    };
    vec![
        on_itself(Action::GetPolicy, Flags::NONE),
        // Where reading failed nothing is changed: what stood could not be put back.
        on_itself(call.action(), call.flags()).when(When::Succeeded(0)),
    ]
}

/// Takes the results of [`script`] into the outcome.
pub(super) fn record(
    pid: i32,
    outcome: &mut Outcome,
    call: Request,
    calls: &[ScriptCall],
) -> Result<()> {
    announced()?;
    let result = |at: usize| {
        let ret = calls.get(at).and_then(|call| call.result).unwrap_or(-5);
        u32::try_from(ret).map_err(|_| failed(pid, super::switch::errno_of(ret)))
    };
    let before = result(0)?;
    result(1)?;
    note(outcome, before, call);
    Ok(())
}

fn note(outcome: &mut Outcome, before: u32, call: Request) {
    outcome.policy_before.get_or_insert(before);
    if before & PolicyKind::Mergeable.bit() == 0 {
        // Nothing was mergeable, so nothing is walked.
        outcome.notes.retain(|note| *note != Note::UnmergeWalks);
    }
    // A record with bits that are not known here stays unknown.
    outcome.policy_after = Policy::from_mask(before).map(|policy| policy.apply(call).mask());
}

pub(crate) fn failed(pid: i32, errno: Errno) -> Error {
    match errno {
        Errno::ESRCH => Error::NoProcess { pid },
        Errno::EPERM => Error::Permission {
            pid,
            why: "mctl() asks for CAP_SYS_ADMIN in the user namespace of its memory".to_owned(),
        },
        errno => Error::TargetCall {
            pid,
            call: "mctl()",
            errno,
        },
    }
}
