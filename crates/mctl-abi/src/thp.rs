// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only

//! Which memory may become huge: one pure function of host, policy and advice.
//!
//! It holds for private anonymous memory, per page size, at fault and in khugepaged. Shared
//! memory follows the same table with `shmem_enabled` (or the mount's option) as the host.

use crate::errno::Errno;
use crate::policy::Thp;

/// The host's effective knob for one page size
/// (`/sys/kernel/mm/transparent_hugepage/hugepages-<size>kB/enabled`, with `inherit` resolved).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// Huge pages for everyone.
    Always,
    /// Huge pages where a program asked.
    Madvise,
    /// No huge pages.
    Never,
}

impl Host {
    /// Every value.
    pub const ALL: [Host; 3] = [Host::Always, Host::Madvise, Host::Never];
}

/// What the program said about a mapping by madvise(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Advice {
    /// Nothing.
    None,
    /// `MADV_HUGEPAGE`.
    Hugepage,
    /// `MADV_NOHUGEPAGE`, or a thread stack, which the kernel maps so.
    Nohugepage,
}

impl Advice {
    /// Every value.
    pub const ALL: [Advice; 3] = [Advice::None, Advice::Hugepage, Advice::Nohugepage];
}

/// The program's own `PR_SET_THP_DISABLE`, a stricter input beside the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ThpDisable {
    /// Not set: `PR_GET_THP_DISABLE` returns 0.
    #[default]
    Off,
    /// Set fully: 1.
    Full,
    /// Set with `PR_THP_DISABLE_EXCEPT_ADVISED` (Linux 6.18): 3.
    ExceptAdvised,
}

impl ThpDisable {
    /// Every value.
    pub const ALL: [ThpDisable; 3] = [ThpDisable::Off, ThpDisable::Full, ThpDisable::ExceptAdvised];

    /// The value that `PR_GET_THP_DISABLE` returned, if it is a known one.
    #[must_use]
    pub const fn from_getter(value: i64) -> Option<ThpDisable> {
        match value {
            0 => Some(ThpDisable::Off),
            1 => Some(ThpDisable::Full),
            3 => Some(ThpDisable::ExceptAdvised),
            _ => None,
        }
    }

    /// What `PR_GET_THP_DISABLE` returns for it.
    #[must_use]
    pub const fn getter(self) -> i64 {
        match self {
            ThpDisable::Off => 0,
            ThpDisable::Full => 1,
            ThpDisable::ExceptAdvised => 3,
        }
    }

    /// The second and third argument of `PR_SET_THP_DISABLE` that set it.
    #[must_use]
    pub const fn setter(self) -> (u64, u64) {
        match self {
            ThpDisable::Off => (0, 0),
            ThpDisable::Full => (1, 0),
            ThpDisable::ExceptAdvised => (1, 2),
        }
    }
}

/// The policy that really holds once the program's own `PR_SET_THP_DISABLE` is taken in: set
/// fully it acts as Never; `EXCEPT_ADVISED` turns Inherit into Advised and does not hold back
/// Always.
#[must_use]
pub const fn effective(policy: Thp, disable: ThpDisable) -> Thp {
    match (disable, policy) {
        (ThpDisable::Full, _) => Thp::Never,
        (ThpDisable::ExceptAdvised, Thp::Inherit) => Thp::Advised,
        (ThpDisable::ExceptAdvised | ThpDisable::Off, policy) => policy,
    }
}

/// Whether the kernel may put a huge page there by itself.
#[must_use]
pub const fn may_be_huge(host: Host, policy: Thp, disable: ThpDisable, advice: Advice) -> bool {
    match (effective(policy, disable), advice) {
        (Thp::Never, _) | (_, Advice::Nohugepage) | (Thp::Advised, Advice::None) => false,
        (Thp::Inherit, Advice::None) => matches!(host, Host::Always),
        (Thp::Inherit | Thp::Advised, Advice::Hugepage) | (Thp::Always, _) => {
            !matches!(host, Host::Never)
        }
    }
}

/// Whether `MADV_COLLAPSE`, itself an ask, is allowed. It overrides Advised without advice and a
/// host that says never.
///
/// # Errors
/// `EINVAL` under Never and on NOHUGEPAGE memory, and only there.
pub const fn may_collapse(policy: Thp, disable: ThpDisable, advice: Advice) -> Result<(), Errno> {
    match (effective(policy, disable), advice) {
        (Thp::Never, _) | (_, Advice::Nohugepage) => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}

/// The program's advice as seen through the policy: what a kernel whose own code already knows
/// host and advice has to put in the advice's place, for the policy to hold.
///
/// `asked` is true where a huge page was asked for there and then (`MADV_COLLAPSE`), which only
/// Never and NOHUGEPAGE refuse. `PR_SET_THP_DISABLE` is not taken in: the kernel looks at it
/// beside the advice, and full disable wins over both.
#[must_use]
pub const fn seen(policy: Thp, advice: Advice, asked: bool) -> Advice {
    match (policy, advice) {
        (_, Advice::Nohugepage) | (Thp::Never, _) => Advice::Nohugepage,
        (Thp::Always, _) => Advice::Hugepage,
        (Thp::Advised, Advice::None) if !asked => Advice::Nohugepage,
        (Thp::Inherit | Thp::Advised, advice) => advice,
    }
}
