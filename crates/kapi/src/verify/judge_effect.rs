//! Whether capabilities make a difference, and effects show.

use crate::clause::{Clause, ClauseKind};
use crate::consts;

use super::judge::{Judge, Judged, not};
use super::tried::Tried;
use super::{Finding, Verdict};

impl Judge<'_> {
    /// A capability must make a difference that can be seen.
    pub(super) fn capability(&self, index: usize) -> Judged {
        let Some(cap) = self.spec.capabilities.get(index) else {
            return not(Verdict::NotAttempted, "no such capability");
        };
        let Some(bit) = consts::lookup(&cap.name).and_then(|n| u32::try_from(n).ok()) else {
            return not(Verdict::NotAttempted, "the capability has no known number");
        };
        let has = |t: &Tried| t.log.views.get("a").map(|v| v.capabilities >> bit & 1 == 1);
        if !self.tried.iter().any(|t| has(t) == Some(true)) {
            return not(
                Verdict::NotAttempted,
                "the verifier itself does not have the capability",
            );
        }
        let without = self
            .tried
            .iter()
            .filter(|t| has(t) == Some(false) && t.error().is_some());
        for t in without {
            let twin = self.tried.iter().find(|o| {
                has(o) == Some(true)
                    && o.outcome().is_some()
                    && o.error() != t.error()
                    && o.case.args == t.case.args
                    && o.case.scene == t.case.scene
                    && o.case.broken == t.case.broken
                    && (o.case.setting.memlock == t.case.setting.memlock
                        || t.case.setting.memlock == Some(None) && o.case.setting.memlock.is_none())
            });
            if let Some(twin) = twin {
                let line = format!(
                    "{} failed with {}; {} with the capability returned {}",
                    t.describe(self.spec),
                    t.result(),
                    twin.describe(self.spec),
                    twin.result()
                );
                return (Verdict::Confirmed, vec![line]);
            }
        }
        not(
            Verdict::NotObserved,
            "no call came out otherwise without the capability",
        )
    }

    pub(super) fn effect(&self, condition: &str, text: &str, reversible: bool) -> Judged {
        let mut seen = self.seen.check(condition, text);
        if seen.is_empty() {
            let why = if self.seen.trigger(condition, text).is_none() {
                "no successful call meets the condition"
            } else {
                "the effect is in words that no observation is known for"
            };
            return not(Verdict::NotAttempted, why);
        }
        if reversible {
            seen.extend(self.seen.undone(condition, text));
        }
        let good = seen.iter().all(|s| s.good);
        let lines = seen
            .into_iter()
            .filter(|s| good || !s.good)
            .map(|s| s.text)
            .collect();
        (
            if good {
                Verdict::Confirmed
            } else {
                Verdict::Contradicted
            },
            lines,
        )
    }

    /// What the notes claim about fork and exec is judged, too.
    pub(super) fn notes(&self) -> Option<Finding> {
        let seen = self.seen.check("", &self.spec.notes);
        if seen.is_empty() {
            return None;
        }
        let good = seen.iter().all(|s| s.good);
        let clause = Clause {
            id: format!("{}-NOTES", self.spec.call_name().to_ascii_uppercase()),
            kind: ClauseKind::Constraint,
            index: 0,
            title: "what the notes claim".to_owned(),
            text: self.spec.notes.clone(),
            hash: crate::clause::content_hash(&self.spec.notes),
            span: self.spec.span.clone(),
        };
        let verdict = if good {
            Verdict::Confirmed
        } else {
            Verdict::Contradicted
        };
        Some(Finding {
            clause,
            verdict,
            evidence: seen
                .into_iter()
                .filter(|s| good || !s.good)
                .map(|s| s.text)
                .collect(),
        })
    }
}
