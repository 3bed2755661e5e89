//! Whether success looks as stated, and every error is a listed one.

use std::collections::BTreeMap;

use super::{Judge, Judged};
use crate::consts;
use crate::ir::vocab::CheckKind;
use crate::verify::Verdict;
use crate::verify::state;
use crate::verify::tried::{Tried, tally};

impl Judge<'_> {
    pub(super) fn returns(&self) -> Judged {
        let Some(returns) = &self.spec.returns else {
            return Judged::new(Verdict::NotAttempted, "nothing is stated");
        };
        if let Some(unlisted) = self.unlisted() {
            return unlisted;
        }
        let successes: Vec<(&Tried, i64)> = self
            .made()
            .filter_map(|t| Some((t, t.outcome()?.value?)))
            .collect();
        let mut values: BTreeMap<i64, Vec<&Tried>> = BTreeMap::new();
        for (t, value) in &successes {
            let is_fd = returns.check == Some(CheckKind::Fd);
            let wrong = returns.is_success((*value).into()) == Some(false)
                || is_fd && t.case.is_whole() && self.is_new_descriptor(t) == Some(false);
            if wrong {
                return Judged::new(
                    Verdict::Contradicted,
                    format!(
                        "{} returned {value}, which is not the stated success",
                        t.describe(self.spec)
                    ),
                )
                .by(&[t]);
            }
            values.entry(*value).or_default().push(t);
        }
        if successes.is_empty() {
            return Judged::new(Verdict::NotObserved, "no call succeeded");
        }
        let shown: Vec<String> = values
            .iter()
            .take(6)
            .map(|(v, calls)| format!("{v} ({}×)", calls.len()))
            .collect();
        let failed: Vec<&Tried> = self.made().filter(|t| t.error().is_some()).collect();
        let line = format!(
            "success values: {}; failures: {}",
            shown.join(", "),
            tally(&failed)
        );
        let witnesses: Vec<&Tried> = values.values().filter_map(|v| v.first().copied()).collect();
        let verdict = |verdict| Judged::new(verdict, line.clone()).by(&witnesses);
        if let Some(range) = &returns.success_range {
            let ends = [&range.min, &range.max].map(|end| end.on(std::env::consts::ARCH));
            let seen = |end: &Option<i128>| {
                end.is_some_and(|n| values.keys().any(|v| i128::from(*v) == n))
            };
            return if ends.iter().all(seen) {
                verdict(Verdict::Confirmed)
            } else {
                verdict(Verdict::Observed).and("both ends of the range were not returned")
            };
        }
        match returns.check {
            Some(CheckKind::Fd) => {
                let new = successes
                    .iter()
                    .filter(|(t, _)| self.is_new_descriptor(t) == Some(true))
                    .count();
                if new == 0 {
                    verdict(Verdict::Observed).and("no new descriptor was seen")
                } else {
                    verdict(Verdict::Confirmed).and(format!(
                        "{new} of them made the caller's descriptors one more"
                    ))
                }
            }
            Some(CheckKind::Exact | CheckKind::ErrorCheck | CheckKind::Range) | None
                if returns.success.is_some() =>
            {
                verdict(Verdict::Confirmed)
            }
            Some(CheckKind::ErrorCheck) => verdict(Verdict::Confirmed),
            _ => verdict(Verdict::Observed).and("how success is told is not stated"),
        }
    }

    /// An error that came, but is not listed. Without a list nothing is claimed.
    fn unlisted(&self) -> Option<Judged> {
        let listed = |name: &str| {
            self.spec.errors.iter().any(|e| {
                e.name == name
                    || e.code.as_ref().and_then(|c| c.number) == consts::lookup(name).map(|n| -n)
            })
        };
        if self.spec.errors.is_empty() {
            return None;
        }
        let mut found: BTreeMap<String, &Tried> = BTreeMap::new();
        for t in self.made() {
            if let Some(name) = t.error().filter(|name| name != "ENOSYS" && !listed(name)) {
                found.entry(name).or_insert(t);
            }
        }
        let witnesses: Vec<&Tried> = found.values().copied().collect();
        let mut lines = found.iter().map(|(name, t)| {
            format!(
                "{name} is returned, but not listed: {}",
                t.describe(self.spec)
            )
        });
        let judged = Judged::new(Verdict::Contradicted, lines.next()?);
        Some(lines.fold(judged, Judged::and).by(&witnesses))
    }

    /// Whether the caller has one descriptor more after the call.
    fn is_new_descriptor(&self, t: &Tried) -> Option<bool> {
        let count =
            |view: &str, later: &str| state::read("files->count", t.log.views.get(view)?, later);
        Some(count("b", "after")? == count("a", "def")? + 1)
    }
}
