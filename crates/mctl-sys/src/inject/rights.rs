//! Whether we may attach to a process, and in words why not.

use mctl_abi::Errno;

use super::error::Refusal;
use super::files::{read_small, read_status};
use crate::procfs::status::Status;

const CAP_SYS_PTRACE: u64 = 1 << 19;
const CAP_SYS_ADMIN: u64 = 1 << 21;

fn own_status<T>(what: impl Fn(&Status<'_>) -> T) -> Option<T> {
    let text = read_status("/proc/self/status").ok()?;
    Status::parse(&text).ok().map(|status| what(&status))
}

/// Whether this process may suspend a target's seccomp filter: CAP_SYS_ADMIN, and no filter of
/// our own (kernel/ptrace.c, `check_ptrace_options()`).
pub(super) fn may_suspend_seccomp() -> bool {
    own_status(|own| own.cap_eff.unwrap_or(0) & CAP_SYS_ADMIN != 0 && own.seccomp.unwrap_or(0) == 0)
        .unwrap_or(false)
}

/// Why ptrace access was denied: by Yama, or by the ordinary rules?
pub(super) fn not_permitted(pid: i32) -> Refusal {
    let mut buffer = [0u8; 16];
    let scope = read_small("/proc/sys/kernel/yama/ptrace_scope", &mut buffer)
        .ok()
        .and_then(|text| std::str::from_utf8(text).ok()?.trim().parse::<u32>().ok());
    let own = own_status(|own| (own.uid, own.cap_eff.unwrap_or(0) & CAP_SYS_PTRACE != 0));
    let theirs = read_status(&format!("/proc/{pid}/status"))
        .ok()
        .and_then(|text| Status::parse(&text).ok().and_then(|status| status.uid));
    let (ours, capable) = own.unwrap_or((None, false));
    let same_user = match (ours, theirs) {
        (Some(ours), Some(theirs)) => [theirs.real, theirs.effective, theirs.saved] == [ours.fs; 3],
        _ => false,
    };
    denied_by(scope, same_user, capable)
}

/// The rule behind [`not_permitted`] (security/yama/yama_lsm.c): 1 only descendants, 2 only with
/// CAP_SYS_PTRACE, 3 nobody.
fn denied_by(scope: Option<u32>, same_user: bool, capable: bool) -> Refusal {
    match scope {
        Some(scope) if scope >= 3 => Refusal::Yama { scope },
        Some(scope) if scope >= 1 && same_user && !capable => Refusal::Yama { scope },
        _ => Refusal::NotPermitted,
    }
}

/// Whether the kernel lets us attach to a process, told by a file that asks for the same access
/// (`/proc/PID/syscall`, PTRACE_MODE_ATTACH) and whatever else stands in the way.
#[must_use]
pub fn may_attach(pid: i32) -> bool {
    let mut buffer = [0u8; 256];
    let answer = read_small(&format!("/proc/{pid}/syscall"), &mut buffer);
    !matches!(answer, Err(Errno::EPERM | Errno::EACCES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_explained() {
        let yama = |scope| Refusal::Yama { scope };
        for (scope, same_user, capable, want) in [
            (None, false, false, Refusal::NotPermitted),
            (None, true, false, Refusal::NotPermitted),
            (Some(0), true, false, Refusal::NotPermitted),
            (Some(1), true, false, yama(1)),
            // It would be denied without Yama too.
            (Some(1), false, false, Refusal::NotPermitted),
            (Some(1), true, true, Refusal::NotPermitted),
            (Some(2), true, false, yama(2)),
            (Some(3), false, true, yama(3)),
        ] {
            assert_eq!(denied_by(scope, same_user, capable), want);
        }
        assert!(yama(2).to_string().contains("ptrace_scope is 2"));
    }
}
