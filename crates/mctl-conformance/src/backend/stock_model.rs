//! The model as a kernel without mctl(), and what an engine can do there: the table of
//! docs/CONTRACT.md#2-honest-outcomes, said a second time and independently of the library.

use mctl::Guarantee::{Enforced, Exceeds, NotCovered};
use mctl_abi::thp::{Host, ThpDisable};
use mctl_abi::{Errno, PolicyKind, Verb};
use mctl_model::{
    Feature, HUGE, HugeZeroWrite, Madvise, PageKind, Rule, Target, TaskId, TaskState, VmFlags,
};

use super::Trouble;
use super::engine::Told;
use super::model::ModelBackend;
use crate::call::How;
use crate::control::Control;

impl ModelBackend {
    /// What a stock kernel shows: the switches that prctl(2) keeps survive exec.
    pub(super) fn stock_policy(&self, task: TaskId) -> Result<u32, Trouble> {
        let mm = self.model.mm(task);
        let mm = mm.ok_or_else(|| Trouble::broken("the task has no address space"))?;
        let both = |kind: PolicyKind| kind.bit() | kind.exec_bit();
        let thp = match mm.thp_disable() {
            ThpDisable::Off => 0,
            ThpDisable::Full => both(PolicyKind::Nohugepage),
            ThpDisable::ExceptAdvised => both(PolicyKind::HugepageAdvised),
        };
        let merge = if mm.policy().has(PolicyKind::Mergeable) {
            both(PolicyKind::Mergeable)
        } else {
            0
        };
        Ok(thp | merge)
    }

    /// One call as an engine carries it out there.
    pub(super) fn stock_mctl(
        &mut self,
        caller: TaskId,
        target: Target,
        action: i32,
        flags: u32,
        how: How,
    ) -> Result<u32, Errno> {
        let rule = if how.owner_rule {
            Rule::Owner
        } else {
            Rule::Admin
        };
        let (reached, request) = self
            .model
            .mctl_checked(caller, target, action, flags, rule)?;
        self.told = None;
        let Some((verb, kind)) = request.action().info().effect else {
            return self.stock_policy(reached).map_err(|_| Errno::ESRCH);
        };
        let told = self.promise(reached, verb, kind, request.flags().default_exec())?;
        let claims = self.control == Some(Control::Claims);
        if !told.exact && !how.best_effort && !claims {
            return Err(Errno::EOPNOTSUPP);
        }
        let own = self.model.same_process(caller, reached);
        if !own && self.model.state(reached) == Some(TaskState::InVfork) && !idle(verb, kind) {
            return Err(Errno::EBUSY);
        }
        self.carry(reached, verb, kind)?;
        self.told = Some(if claims { Told::ENFORCED } else { told });
        Ok(0)
    }

    /// The row of the table.
    fn promise(
        &self,
        task: TaskId,
        verb: Verb,
        kind: PolicyKind,
        exec: bool,
    ) -> Result<Told, Errno> {
        let knobs = self.model.knobs();
        let told = |guarantees| Told {
            guarantees,
            exact: guarantees == [Enforced; 4],
        };
        let after_exec = if exec { Enforced } else { Exceeds };
        let all = [Enforced, Enforced, Enforced, after_exec];
        Ok(match (verb, kind) {
            (Verb::Clear, PolicyKind::Hugepage) if self.advised(task) => {
                told([NotCovered, Enforced, NotCovered, Enforced])
            }
            (Verb::Clear, _) => Told::ENFORCED,
            (Verb::Set, PolicyKind::FadeOnDeath) => return Err(Errno::EOPNOTSUPP),
            (Verb::Set, PolicyKind::Mergeable) if !knobs.features.has(Feature::MemoryMerge) => {
                return Err(Errno::EOPNOTSUPP);
            }
            (Verb::Set, PolicyKind::Mergeable) => told(all),
            (Verb::Set, PolicyKind::HugepageAdvised)
                if !knobs.features.has(Feature::ExceptAdvised) =>
            {
                return Err(Errno::EOPNOTSUPP);
            }
            (Verb::Set, PolicyKind::Nohugepage | PolicyKind::HugepageAdvised) => {
                let mut row = told(all);
                if self.may_turn_huge(task, kind) {
                    row.guarantees[0] = NotCovered;
                    row.exact = false;
                }
                row
            }
            (Verb::Set, PolicyKind::Hugepage) => match knobs.thp {
                Host::Never => return Err(Errno::EOPNOTSUPP),
                // It holds while the knob does.
                Host::Always => Told {
                    guarantees: all,
                    exact: false,
                },
                Host::Madvise => told([Enforced, NotCovered, Enforced, NotCovered]),
            },
        })
    }

    /// Whether a mapping has HUGEPAGE advice, which cannot be taken off again.
    fn advised(&self, task: TaskId) -> bool {
        self.model
            .observe_all(task, 0, u64::MAX)
            .iter()
            .any(|seen| seen.flags.has(VmFlags::HUGEPAGE))
    }

    /// Whether memory that was only read may turn huge against the policy, on such a kernel.
    fn may_turn_huge(&self, task: TaskId, kind: PolicyKind) -> bool {
        if self.model.knobs().huge_zero_write != HugeZeroWrite::Huge {
            return false;
        }
        let Some(mm) = self.model.mm(task) else {
            return false;
        };
        self.model
            .observe_all(task, 0, u64::MAX)
            .iter()
            .filter(|seen| kind == PolicyKind::Nohugepage || !seen.flags.has(VmFlags::HUGEPAGE))
            .any(|seen| {
                mm.runs(seen.start, seen.end)
                    .any(|run| run.kind == PageKind::HugeZero && run.end - run.start >= HUGE)
            })
    }

    fn carry(&mut self, task: TaskId, verb: Verb, kind: PolicyKind) -> Result<(), Errno> {
        const EXCEPT_ADVISED: u64 = 2;
        let now = self.model.mm(task).map(mctl_model::Mm::thp_disable);
        match (verb, kind) {
            (Verb::Set, PolicyKind::Nohugepage) => self.model.set_thp_disable(task, [1, 0, 0, 0]),
            (Verb::Set, PolicyKind::HugepageAdvised) => {
                self.model.set_thp_disable(task, [1, EXCEPT_ADVISED, 0, 0])
            }
            (Verb::Set, PolicyKind::Hugepage) => {
                self.model.set_thp_disable(task, [0; 4])?;
                if self.model.knobs().thp == Host::Madvise {
                    self.advise_all(task);
                }
                Ok(())
            }
            (Verb::Clear, PolicyKind::Nohugepage) if now == Some(ThpDisable::Full) => {
                self.model.set_thp_disable(task, [0; 4])
            }
            (Verb::Clear, PolicyKind::HugepageAdvised)
                if now == Some(ThpDisable::ExceptAdvised) =>
            {
                self.model.set_thp_disable(task, [0; 4])
            }
            (_, PolicyKind::Mergeable) => {
                let on = u64::from(verb == Verb::Set);
                self.model.set_memory_merge(task, [on, 0, 0, 0])
            }
            _ => Ok(()),
        }
    }

    /// HUGEPAGE on everything that is not NOHUGEPAGE, and on no file.
    fn advise_all(&mut self, task: TaskId) {
        for seen in self.model.observe_all(task, 0, u64::MAX) {
            let willing = !seen.flags.any(VmFlags::NOHUGEPAGE | VmFlags::HUGETLB);
            if (seen.anon || seen.flags.has(VmFlags::SHARED)) && willing {
                let len = seen.end - seen.start;
                self.model
                    .madvise(task, seen.start, len, Madvise::HUGEPAGE)
                    .ok();
            }
        }
    }
}

/// Nothing is run in the target.
fn idle(verb: Verb, kind: PolicyKind) -> bool {
    verb == Verb::Clear && matches!(kind, PolicyKind::FadeOnDeath | PolicyKind::Hugepage)
}
