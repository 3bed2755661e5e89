//! The policy record, and what the merging policy does to mappings.

use mctl_abi::{PolicyKind, Request};

use super::Mm;
use crate::vma::VmFlags;

impl Mm {
    /// Applies a call that has passed its checks. The state machine is `mctl_abi`'s; here is
    /// only what MERGEABLE does beside it: SET flags every compatible mapping unless the policy
    /// stood already (`ksm_enable_merge_any()` returns early, so a later `MADV_UNMERGEABLE`
    /// stands), CLEAR unflags every mapping if it stood (`ksm_disable_merge_any()`).
    pub(crate) fn apply(&mut self, request: Request) {
        let before = self.policy.has(PolicyKind::Mergeable);
        self.policy = self.policy.apply(request);
        let after = self.policy.has(PolicyKind::Mergeable);
        if before != after {
            self.merge_all(after);
        }
    }

    /// The kernel sets the flag mapping by mapping and joins none that then look the same
    /// (`ksm_add_vmas()`, `ksm_del_vmas()`).
    fn merge_all(&mut self, on: bool) {
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
