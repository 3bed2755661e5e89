//! The policy record, and what the merging policy does to mappings.

use mctl_abi::{PolicyKind, Request};

use super::{Cx, Mm};
use crate::vma::VmFlags;

impl Mm {
    /// Applies a call that has passed its checks. The state machine is `mctl_abi`'s; here is
    /// only what MERGEABLE does beside it: SET flags every compatible mapping unless the policy
    /// stood already (`ksm_enable_merge_any()` returns early, so a later `MADV_UNMERGEABLE`
    /// stands), CLEAR unflags every mapping if it stood (`ksm_disable_merge_any()`).
    pub(crate) fn apply(&mut self, cx: &mut Cx<'_>, request: Request) {
        let before = self.policy.has(PolicyKind::Mergeable);
        self.policy = self.policy.apply(request);
        let after = self.policy.has(PolicyKind::Mergeable);
        if before != after {
            self.merge_all(cx, after);
        }
    }

    fn merge_all(&mut self, cx: &mut Cx<'_>, on: bool) {
        let walked = self.walk(0, crate::TASK_SIZE, |mm, part| {
            let flags = if on && part.ksm_compatible() {
                part.flags | VmFlags::MERGEABLE
            } else if on {
                part.flags
            } else {
                part.flags.without(VmFlags::MERGEABLE)
            };
            mm.set_flags(cx, part.start, part.end, flags)
        });
        walked.ok();
    }
}
