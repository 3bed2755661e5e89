// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only

//! The policy record of an address space and how it moves.

use crate::action::{PolicyKind, Verb};
use crate::check::Request;

/// Which pages the kernel may make huge by itself, as one address space has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Thp {
    /// As the host says.
    #[default]
    Inherit,
    /// Wherever neither the host nor the program forbids it.
    Always,
    /// Nowhere.
    Never,
    /// Only where the program asked by madvise(2).
    Advised,
}

impl Thp {
    /// Every value.
    pub const ALL: [Thp; 4] = [Thp::Inherit, Thp::Always, Thp::Never, Thp::Advised];

    /// The policy that puts this value in force; `None` for `Inherit`.
    #[must_use]
    pub const fn kind(self) -> Option<PolicyKind> {
        match self {
            Thp::Inherit => None,
            Thp::Always => Some(PolicyKind::Hugepage),
            Thp::Never => Some(PolicyKind::Nohugepage),
            Thp::Advised => Some(PolicyKind::HugepageAdvised),
        }
    }

    /// The value that a policy puts in force; `None` for the two that are not about huge pages.
    #[must_use]
    pub const fn of(kind: PolicyKind) -> Option<Thp> {
        match kind {
            PolicyKind::Hugepage => Some(Thp::Always),
            PolicyKind::Nohugepage => Some(Thp::Never),
            PolicyKind::HugepageAdvised => Some(Thp::Advised),
            PolicyKind::FadeOnDeath | PolicyKind::Mergeable => None,
        }
    }
}

/// The policy record of one address space.
///
/// It is held as the mask that `MCTL_GET_POLICY` returns, so that the kernel can keep it in one
/// atomic word. No value of this type breaks the contract's invariants: at most one THP policy,
/// an exec bit only beside its policy, and none for fade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Policy(u32);

/// The bits of the three policies that exclude one another.
const THP_BITS: u32 =
    PolicyKind::Hugepage.bit() | PolicyKind::Nohugepage.bit() | PolicyKind::HugepageAdvised.bit();
const KNOWN_BITS: u32 = THP_BITS | PolicyKind::FadeOnDeath.bit() | PolicyKind::Mergeable.bit();
const EXEC_CAPABLE: u32 = KNOWN_BITS & !PolicyKind::FadeOnDeath.bit();

impl Policy {
    /// Nothing set: the host decides.
    pub const INHERIT: Policy = Policy(0);

    /// The record that a mask describes, or `None` where it breaks an invariant or has an
    /// unknown bit.
    #[must_use]
    pub const fn from_mask(mask: u32) -> Option<Policy> {
        let now = mask & 0xff;
        let exec = mask >> 8;
        if now & !KNOWN_BITS != 0 || exec & !EXEC_CAPABLE != 0 {
            return None;
        }
        if (now & THP_BITS).count_ones() > 1 || exec & !now != 0 {
            return None;
        }
        Some(Policy(mask))
    }

    /// The mask of `MCTL_GET_POLICY`: bit k, policy k is in force; bit 8+k, also across exec.
    #[must_use]
    pub const fn mask(self) -> u32 {
        self.0
    }

    /// The value for transparent huge pages.
    #[must_use]
    pub const fn thp(self) -> Thp {
        if self.has(PolicyKind::Hugepage) {
            Thp::Always
        } else if self.has(PolicyKind::Nohugepage) {
            Thp::Never
        } else if self.has(PolicyKind::HugepageAdvised) {
            Thp::Advised
        } else {
            Thp::Inherit
        }
    }

    /// Whether a policy is in force.
    #[must_use]
    pub const fn has(self, kind: PolicyKind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Whether a policy is in force and also the default across exec.
    #[must_use]
    pub const fn survives_exec(self, kind: PolicyKind) -> bool {
        self.0 & kind.exec_bit() != 0
    }

    /// The record after a call.
    ///
    /// SET puts a policy in force, replaces the THP policy that stood, and sets the exec bit to
    /// what the call says, so the last call wins both ways. CLEAR takes a policy back with its
    /// exec bit, and changes nothing where the policy does not stand. GET changes nothing.
    #[must_use]
    pub const fn apply(self, request: Request) -> Policy {
        let Some((verb, kind)) = request.action().effect() else {
            return self;
        };
        match verb {
            Verb::Set => {
                let replaced = if kind.is_thp() { THP_BITS } else { kind.bit() };
                let kept = self.0 & !(replaced | replaced << 8);
                let exec = if request.flags().default_exec() {
                    kind.exec_bit()
                } else {
                    0
                };
                Policy(kept | kind.bit() | exec)
            }
            Verb::Clear => Policy(self.0 & !(kind.bit() | kind.exec_bit())),
        }
    }

    /// What a fork's child starts with: everything but fade.
    #[must_use]
    pub const fn on_fork(self) -> Policy {
        Policy(self.0 & !PolicyKind::FadeOnDeath.bit())
    }

    /// What a new image starts with: the policies whose exec bit is set, with it.
    #[must_use]
    pub const fn on_exec(self) -> Policy {
        let exec = self.0 >> 8;
        Policy(exec | exec << 8)
    }
}
