//! The policy record, and what the merging policy does to mappings.

use mctl_abi::thp::ThpDisable;
use mctl_abi::{Action, Flags, Policy, PolicyKind, Request, Thp, Verb};

use super::Mm;
use crate::mutant::Mutant;
use crate::pages::PageKind;
use crate::vma::VmFlags;

impl Mm {
    /// Applies a call that has passed its checks. The state machine is `mctl_abi`'s; here is
    /// only what MERGEABLE does beside it: SET flags every compatible mapping unless the policy
    /// stood already (`ksm_enable_merge_any()` returns early, so a later `MADV_UNMERGEABLE`
    /// stands), CLEAR unflags every mapping if it stood (`ksm_disable_merge_any()`).
    pub(crate) fn apply(&mut self, request: Request) {
        let before = self.policy.has(PolicyKind::Mergeable);
        let old = self.policy;
        self.policy = self.policy.apply(request);
        if self.mutant.is_some() {
            self.apply_wrongly(old, request);
        }
        let after = self.policy.has(PolicyKind::Mergeable);
        let again = after && self.mutant == Some(Mutant::SecondSetFlags);
        if before != after || again {
            self.merge_all(after);
        }
    }

    /// What a fault on purpose makes of a call.
    fn apply_wrongly(&mut self, old: Policy, request: Request) {
        let Some((verb, kind)) = request.action().info().effect else {
            return;
        };
        let thp = Thp::of(kind).is_some();
        let (new, exec) = (self.policy, request.flags().default_exec());
        let again = |action, exec| {
            let flags = if exec {
                Flags::DEFAULT_EXEC
            } else {
                Flags::NONE
            };
            Request::new(action, flags).map_or(new, |request| new.apply(request))
        };
        match (self.mutant, verb) {
            (Some(Mutant::SetKeepsExecBit), Verb::Set)
                if old.has(kind) && old.mask() & kind.exec_bit() != 0 && !exec =>
            {
                self.policy = again(request.action(), true);
            }
            (Some(Mutant::SetKeepsOther), Verb::Set)
                if thp && old.thp() != Thp::Inherit && !old.has(kind) =>
            {
                self.policy = old;
            }
            (Some(Mutant::ClearDoesNothing), Verb::Clear) => self.policy = old,
            (Some(Mutant::ClearTakesAny), Verb::Clear) if thp => {
                for action in [
                    Action::ClearHugepage,
                    Action::ClearNohugepage,
                    Action::ClearHugepageAdvised,
                ] {
                    if let Ok(request) = Request::new(action, Flags::NONE) {
                        self.policy = self.policy.apply(request);
                    }
                }
            }
            (Some(Mutant::ThpDropsMergeable), _) if thp => {
                self.policy = again(Action::ClearMergeable, false);
            }
            (Some(Mutant::ThpDropsFade), _) if thp => {
                self.policy = again(Action::ClearFadeOnDeath, false);
            }
            (Some(Mutant::SetRewritesAdvice), Verb::Set) if kind == PolicyKind::Nohugepage => {
                let mut cursor = 0;
                while let Some(vma) = self.vmas.find(cursor).copied() {
                    cursor = vma.end;
                    let flags = vma.flags.without(VmFlags::HUGEPAGE) | VmFlags::NOHUGEPAGE;
                    self.vmas.modify(vma.start, |vma| vma.flags = flags);
                }
            }
            (Some(Mutant::SetSplits), Verb::Set) if kind == PolicyKind::Nohugepage => {
                let huge: Vec<u64> = self
                    .anon
                    .of_kind(PageKind::Huge)
                    .flat_map(|run| (run.start..run.end).step_by(1 << 21))
                    .collect();
                for block in huge {
                    self.anon.break_block(block);
                }
            }
            (Some(Mutant::CallWritesDisable), _) if thp => {
                self.thp_disable = if verb == Verb::Set && kind == PolicyKind::Nohugepage {
                    ThpDisable::Full
                } else {
                    ThpDisable::Off
                };
            }
            _ => {}
        }
    }

    /// The kernel sets the flag mapping by mapping and joins none that then look the same
    /// (`ksm_add_vmas()`, `ksm_del_vmas()`).
    fn merge_all(&mut self, on: bool) {
        let spared = if on {
            Mutant::MergeLaterOnly
        } else {
            Mutant::ClearLeavesFlags
        };
        if self.mutant == Some(spared) {
            return;
        }
        let mut cursor = 0;
        while let Some(vma) = self.vmas.find(cursor).copied() {
            cursor = vma.end;
            let flags = if !on {
                vma.flags.without(VmFlags::MERGEABLE)
            } else if vma.ksm_compatible() {
                vma.flags | VmFlags::MERGEABLE
            } else {
                continue;
            };
            self.vmas.modify(vma.start, |vma| vma.flags = flags);
        }
    }
}
