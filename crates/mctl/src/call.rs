//! The call itself: `mctl(pidfd, action, flags)` on a stock kernel, with the C ABI's strictness.

use mctl_abi::{Action, Errno, PolicyKind};

use crate::apply::apply;
use crate::error::{Error, Result};
use crate::host::HostCaps;
use crate::reading::{Look, read_policy};
use crate::request::{Request, Rule};
use crate::target::Target;

/// `int mctl(int pidfd, int action, unsigned int flags)`: the contract's checks in the contract's
/// order, by the admin rule, exactly or not at all.
///
/// Returns 0, or the mask of policies for `MCTL_GET_POLICY`.
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
    if let Some(native) = crate::host::native() {
        // The kernel's own call has the contract's checks in the contract's order.
        return native
            .call_raw(pidfd, action, flags)
            .map_err(|errno| from_kernel(pidfd, action, flags, errno));
    }
    let call = decode(action, flags)?;
    let target = Target::from_raw(pidfd)?;
    if call.action() == Action::GetPolicy {
        return policy_mask(&target, Rule::Admin);
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
        errno => crate::apply::native_error(pid(), errno),
    }
}

/// `MCTL_GET_POLICY`: the mask of the policies in force.
///
/// # Errors
/// `ESRCH`, `EPERM` by the rule, `EOPNOTSUPP` a state that the kernel shows and mctl does not know,
/// `EBUSY` where it can be read only in the target and the target cannot be reached.
pub fn policy_mask(target: &Target, rule: Rule) -> Result<u32> {
    // ESRCH comes before EPERM.
    read_policy(target, Look::DoNotStop)?;
    if rule == Rule::Admin {
        let call = decode(Action::GetPolicy.number(), 0)?;
        crate::permission::check_call(call, target)?;
    }
    let reading = read_policy(target, Look::MayStop)?;
    reading
        .policy()
        .map(mctl_abi::Policy::mask)
        .ok_or_else(|| Error::Unsupported {
            what: "reading the policy".to_owned(),
            why: "the kernel returned a state that mctl does not know".to_owned(),
        })
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
