//! The two process-wide memory switches of prctl(2), with every state and the kernel's strict
//! argument rules. They act on the calling process only.

use mctl_abi::Errno;
use mctl_abi::thp::ThpDisable;

use super::checked;

/// `PR_SET_THP_DISABLE`.
pub const PR_SET_THP_DISABLE: u64 = 41;
/// `PR_GET_THP_DISABLE`.
pub const PR_GET_THP_DISABLE: u64 = 42;
/// `PR_SET_MEMORY_MERGE` (Linux 6.4).
pub const PR_SET_MEMORY_MERGE: u64 = 67;
/// `PR_GET_MEMORY_MERGE` (Linux 6.4).
pub const PR_GET_MEMORY_MERGE: u64 = 68;
/// `PR_THP_DISABLE_EXCEPT_ADVISED`, the third argument of the setter (Linux 6.18).
pub const PR_THP_DISABLE_EXCEPT_ADVISED: u64 = 2;

/// prctl(2) with all five arguments, as they are.
///
/// # Errors
/// The kernel's errno.
pub fn prctl(option: u64, args: [u64; 4]) -> Result<i64, Errno> {
    match option {
        PR_SET_THP_DISABLE | PR_GET_THP_DISABLE | PR_SET_MEMORY_MERGE | PR_GET_MEMORY_MERGE => {}
        // Others take pointers; this function is for the switches above.
        _ => return Err(Errno::EINVAL),
    }
    let [a, b, c, d] = args;
    // SAFETY: the four options admitted above take integers only and touch no memory of ours.
    checked(unsafe { libc::syscall(libc::SYS_prctl, option, a, b, c, d) })
}

/// The state of `PR_SET_THP_DISABLE` of this process. A value that nobody knows is returned as
/// the error side's number by [`ThpDisable::from_getter`]; use [`prctl`] for the raw one.
///
/// # Errors
/// `EINVAL`: kernel without transparent huge pages, or a value that is not known.
pub fn thp_disable() -> Result<ThpDisable, Errno> {
    ThpDisable::from_getter(prctl(PR_GET_THP_DISABLE, [0; 4])?).ok_or(Errno::EINVAL)
}

/// Sets `PR_SET_THP_DISABLE` of this process.
///
/// # Errors
/// `EINVAL`: `ExceptAdvised` before Linux 6.18.
pub fn set_thp_disable(state: ThpDisable) -> Result<(), Errno> {
    let (disable, flags) = state.setter();
    prctl(PR_SET_THP_DISABLE, [disable, flags, 0, 0]).map(drop)
}

/// Whether every compatible mapping of this process may be merged.
///
/// # Errors
/// `EINVAL`: before Linux 6.4, or without KSM.
pub fn memory_merge() -> Result<bool, Errno> {
    prctl(PR_GET_MEMORY_MERGE, [0; 4]).map(|value| value != 0)
}

/// Sets `PR_SET_MEMORY_MERGE` of this process.
///
/// # Errors
/// `EINVAL`: before Linux 6.4, or without KSM; `ENOMEM`, `EINTR` from the walk.
pub fn set_memory_merge(on: bool) -> Result<(), Errno> {
    prctl(PR_SET_MEMORY_MERGE, [u64::from(on), 0, 0, 0]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The states themselves are set in child processes by the injector's tests: here they would
    // change the test runner.

    #[test]
    fn stray_arguments_are_refused() {
        for args in [
            [0, 2, 0, 0],
            [1, 1, 0, 0],
            [1, 0, 1, 0],
            [1, 0, 0, 1],
            [0, 0, 5, 0],
        ] {
            assert_eq!(
                prctl(PR_SET_THP_DISABLE, args),
                Err(Errno::EINVAL),
                "{args:?}"
            );
        }
        for args in [[0, 0, 0, 1], [1, 1, 0, 0], [0, 0, 1, 0]] {
            assert_eq!(
                prctl(PR_SET_MEMORY_MERGE, args),
                Err(Errno::EINVAL),
                "{args:?}"
            );
        }
        assert_eq!(prctl(PR_GET_THP_DISABLE, [1, 0, 0, 0]), Err(Errno::EINVAL));
    }

    #[test]
    fn only_the_switches() {
        assert_eq!(
            prctl(15, [0; 4]),
            Err(Errno::EINVAL),
            "PR_SET_NAME takes a pointer"
        );
    }

    #[test]
    fn own_state_is_readable() {
        assert!(thp_disable().is_ok());
        match memory_merge() {
            Ok(_) => {}
            Err(errno) => assert_eq!(errno, Errno::EINVAL),
        }
    }
}
