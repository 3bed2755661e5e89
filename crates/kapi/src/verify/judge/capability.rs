//! Whether a capability makes the difference: alone it must be enough, and without it the others
//! must not be.

use super::{Judge, Judged};
use crate::consts;
use crate::ir::vocab::CapAction;
use crate::verify::Verdict;
use crate::verify::plan::{Memlock, Privileges, Setting};
use crate::verify::tried::Tried;

impl Judge<'_> {
    pub(super) fn capability(&self, index: usize) -> Judged {
        let Some(cap) = self.spec.capabilities.get(index) else {
            return Judged::new(Verdict::NotAttempted, "no such capability");
        };
        let number = |n: i128| u32::try_from(n).ok();
        let Some(bit) = consts::lookup(&cap.name).and_then(number) else {
            return Judged::new(
                Verdict::NotAttempted,
                format!("`{}` is no capability that is known", cap.name),
            );
        };
        if let Some(stated) = cap.capability.as_ref().and_then(|c| c.number)
            && stated != i128::from(bit)
        {
            let other = consts::capability_name(stated).unwrap_or("no capability");
            return Judged::new(
                Verdict::Contradicted,
                format!(
                    "the number {stated} is {other}, the name says {} ({bit})",
                    cap.name
                ),
            );
        }
        let holds = |t: &Tried| {
            t.log
                .views
                .get("a")
                .is_some_and(|v| v.capabilities >> bit & 1 == 1)
        };
        if !self.tried.iter().any(holds) {
            return Judged::new(
                Verdict::NotAttempted,
                "the verifier itself does not have the capability",
            );
        }
        let mut seen: Option<(&Tried, &Tried, (bool, bool))> = None;
        for without in self.made() {
            if without.case.setting.privileges != Privileges::AllBut(bit) {
                continue;
            }
            let with = |privileges| {
                self.made().find(|o| {
                    o.case.setting
                        == Setting {
                            privileges,
                            ..without.case.setting
                        }
                        && o.case.args == without.case.args
                        && o.case.scene == without.case.scene
                })
            };
            let (Some(all), Some(alone)) = (with(Privileges::All), with(Privileges::Only(bit)))
            else {
                continue;
            };
            let same = |a: &Tried, b: &Tried| a.error() == b.error();
            if same(without, all) || !same(alone, all) {
                continue;
            }
            let limited = without.case.setting.memlock != Memlock::AsStarted;
            // A difference where no limit is in play tells most, and then one that lets a call
            // succeed.
            let rank = (!limited, alone.succeeded() && without.error().is_some());
            if seen.is_none_or(|(.., best)| rank > best) {
                seen = Some((without, alone, rank));
            }
        }
        let Some((without, alone, (free, _))) = seen else {
            return Judged::new(
                Verdict::NotObserved,
                "no call came out otherwise for want of it alone",
            );
        };
        let judged = Judged::new(
            Verdict::Confirmed,
            format!(
                "{} came to {}; {} came to {}",
                without.describe(self.spec),
                without.result(),
                alone.describe(self.spec),
                alone.result()
            ),
        )
        .by(&[without, alone]);
        let limited = !free;
        // A limit that is passed over is a check; what fails without any limit is the operation.
        let fits = match cap.action {
            Some(
                CapAction::BypassCheck | CapAction::IncreaseLimit | CapAction::OverrideRestriction,
            ) => limited || cap.action == Some(CapAction::BypassCheck),
            Some(
                CapAction::PerformOperation
                | CapAction::GrantPermission
                | CapAction::AccessResource,
            ) => !limited,
            Some(CapAction::ModifyBehavior) => without.succeeded() && alone.succeeded(),
            _ => true,
        };
        if fits {
            judged
        } else {
            Judged {
                verdict: Verdict::Observed,
                ..judged
            }
            .and(format!(
                "the difference is not of the stated kind ({})",
                cap.action
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default()
            ))
        }
    }
}
