//! The call itself: `mctl(pidfd, action, flags)` on a stock kernel, with the C ABI's strictness.

use mctl_abi::{Action, Errno, PolicyKind};

use crate::error::{Error, Result};
use crate::host::HostCaps;
use crate::op::policy::request::{Request, Rule};
use crate::run::apply;
use crate::see::policy::{Look, Reading, read_policy};
use crate::target::Target;

/// `int mctl(int pidfd, int action, unsigned int flags)`: the contract's checks in the contract's
/// order, by the admin rule, exactly or not at all.
///
/// Returns 0, or the mask of policies for `MCTL_GET_POLICY`, which leaves the target alone: what
/// `/proc` does not tell is `EOPNOTSUPP` (see [`policy_mask`]).
///
/// ```
/// use mctl::{Action, Errno, mctl};
///
/// // Our own policy; PIDFD_SELF works on every kernel.
/// let mask = mctl(-10_000, Action::GetPolicy.number(), 0)?;
/// assert_eq!(mask & !0x1f1f, 0);
/// // A zeroed argument fails.
/// assert_eq!(mctl(-10_000, 0, 0).unwrap_err().errno(), Errno::EINVAL);
/// # Ok::<(), mctl::Error>(())
/// ```
///
/// # Errors
/// `EINVAL`, `EBADF`, `ESRCH`, `EPERM`, `EOPNOTSUPP`, `EBUSY`, in the order of docs/CONTRACT.md#check-order.
pub fn mctl(pidfd: i32, action: i32, flags: u32) -> Result<u32> {
    crate::with_room(|| make(pidfd, action, flags))
}

fn make(pidfd: i32, action: i32, flags: u32) -> Result<u32> {
    if let Some(native) = crate::host::native() {
        // The kernel's own call has the contract's checks in the contract's order.
        return native
            .call_raw(pidfd, action, flags)
            .map_err(|errno| from_kernel(pidfd, action, flags, errno));
    }
    let call = decode(action, flags)?;
    let target = Target::from_raw(pidfd)?;
    if call.action() == Action::GetPolicy {
        return policy_mask(&target, Rule::Admin, Look::Proc);
    }
    let request = Request::from_call(call)?;
    let kinds: Vec<PolicyKind> = request.kinds();
    let caps = HostCaps::probe_for(&kinds)?;
    let outcome = apply(&request, &target, &caps)?;
    debug_assert!(outcome.is_exact(), "strict means exact");
    Ok(0)
}

/// The kernel's errno, with what can be said of it.
fn from_kernel(pidfd: i32, action: i32, flags: u32, errno: Errno) -> Error {
    let pid = || Target::from_raw(pidfd).map_or(-1, |target| target.pid());
    match errno {
        Errno::EINVAL => decode(action, flags).err().unwrap_or(Error::Invalid {
            why: format!("the kernel takes neither action {action} nor flags {flags:#x}"),
        }),
        Errno::EBADF => Error::NotPidfd { fd: pidfd },
        errno => crate::run::native_error(pid(), errno),
    }
}

/// `MCTL_GET_POLICY`: the mask of the policies in force.
///
/// With [`Look::Proc`] the target is left alone, and what `/proc` does not tell is not known. On a
/// stock kernel since 6.18 that is the case for a process that is either as the host says or has
/// huge pages only where advised, unless one of its mappings shows which.
///
/// # Errors
/// `ESRCH`, `EPERM` by the rule, `EOPNOTSUPP` a part of the policy is not known; with
/// [`Look::Exact`] `EBUSY` where it can be read only in the target and the target cannot be
/// reached.
pub fn policy_mask(target: &Target, rule: Rule, look: Look) -> Result<u32> {
    read_mask(target, rule, look).map(|(mask, _)| mask)
}

/// As [`policy_mask`], with all that was read.
///
/// # Errors
/// As [`policy_mask`].
pub fn read_mask(target: &Target, rule: Rule, look: Look) -> Result<(u32, Reading)> {
    // ESRCH comes before EPERM.
    let shown = read_policy(target, Look::Proc)?;
    if rule == Rule::Admin {
        let call = decode(Action::GetPolicy.number(), 0)?;
        crate::op::permission::check_call(call, target)?;
    }
    let reading = match look {
        Look::Exact if shown.policy().is_none() => read_policy(target, look)?,
        _ => shown,
    };
    match reading.policy() {
        Some(policy) => Ok((policy.mask(), reading)),
        None => Err(Error::Unsupported {
            what: format!("process {}: reading its policy", target.pid()),
            why: match look {
                Look::Exact => reading.doubts().join("; "),
                Look::Proc => format!(
                    "{}; it could be read in the process itself, which was not asked for",
                    reading.doubts().join("; ")
                ),
            },
        }),
    }
}

/// The first two checks: the action is known and takes these flags.
///
/// # Errors
/// `EINVAL`.
pub fn decode(action: i32, flags: u32) -> Result<mctl_abi::Request> {
    mctl_abi::Request::decode(action, flags).map_err(|_| Error::Invalid {
        why: match Action::from_number(action) {
            None => format!("{action} is no action"),
            Some(action) => format!("{action} does not take the flags {flags:#x}"),
        },
    })
}

/// As [`mctl()`], with only the errno.
///
/// # Errors
/// The errno of the contract.
pub fn mctl_errno(pidfd: i32, action: i32, flags: u32) -> Result<u32, Errno> {
    mctl(pidfd, action, flags).map_err(|error| error.errno())
}
