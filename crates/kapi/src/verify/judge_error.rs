//! Whether an error is seen, and only where it should be.

use super::Verdict;
use super::bind::Made;
use super::judge::{Judge, Judged, not};
use super::scene;
use super::tried::Tried;
use crate::consts;
use crate::expr::{self, Expr};

impl Judge<'_> {
    pub(super) fn error(&self, index: usize) -> Judged {
        let Some(error) = self.spec.errors.get(index) else {
            return not(Verdict::NotAttempted, "no such error");
        };
        let calls = self.tried.iter().filter(|t| t.outcome().is_some()).count();
        let producing: Vec<&Tried> = self
            .tried
            .iter()
            .filter(|t| t.error().as_deref() == Some(error.name.as_str()))
            .collect();
        if let Some(condition) = Some(&error.condition)
            .filter(|c| !c.is_empty())
            .and_then(|c| expr::parse(c).ok())
        {
            return self.checked_error(&error.name, &condition, &producing);
        }
        if !producing.is_empty() {
            let mut evidence: Vec<String> = producing
                .iter()
                .take(3)
                .map(|t| t.describe(self.spec))
                .collect();
            if producing.len() > 3 {
                evidence.push(format!("and {} more", producing.len() - 3));
            }
            return (Verdict::Confirmed, evidence);
        }
        let words = format!("{} {}", error.summary, error.description).to_lowercase();
        if error.name == "EINTR"
            || words.contains("interrupted")
            || words.contains("signal pending")
        {
            let fatal = self.spec.signals.iter().any(|s| {
                format!("{} {} {}", s.name, s.condition, s.description)
                    .to_lowercase()
                    .contains("fatal")
            });
            if fatal {
                return not(
                    Verdict::NotObservable,
                    "only a fatal signal interrupts the call, and its caller does not live to see the error",
                );
            }
            return not(
                Verdict::NotAttempted,
                "no signal is sent while the call runs",
            );
        }
        let settings: std::collections::BTreeSet<&str> = self
            .tried
            .iter()
            .map(|t| t.case.setting.name.as_str())
            .collect();
        let mut evidence = vec![format!(
            "not one of {calls} calls under {} settings returned it",
            settings.len()
        )];
        let broken: Vec<&Tried> = self
            .tried
            .iter()
            .filter(|t| t.case.broken && t.outcome().is_some())
            .collect();
        if let Some(example) = broken.iter().find(|t| t.succeeded()).or(broken.first()) {
            evidence.push(format!(
                "with a mapping whose memory cannot be had: {} returned {}",
                example.describe(self.spec),
                example.result()
            ));
        }
        let aimed: Vec<&Tried> = self
            .tried
            .iter()
            .filter(|t| t.case.aims.as_deref() == Some(&error.name))
            .collect();
        if let Some(first) = aimed.first() {
            evidence.push(format!(
                "it should have come from {}, which returned {}",
                first.describe(self.spec),
                first.result()
            ));
        }
        // The same error from something that came after the call is worth knowing.
        let brought = error.condition.is_empty() || !aimed.is_empty();
        if !brought {
            evidence.push(format!(
                "no call was made to bring this about ({}): {}",
                error.condition,
                scene::why_not(&error.condition)
            ));
        }
        let number = consts::lookup(&error.name).unwrap_or(0);
        if let Some(later) = self.tried.iter().find(|t| {
            t.succeeded()
                && t.log
                    .failed
                    .as_ref()
                    .is_some_and(|f| f.contains(&format!("(os error {number})")))
        }) {
            let what = later.log.failed.clone().unwrap_or_default();
            evidence.push(format!(
                "it came from a later call, not from this one: {} succeeded, then {what}",
                later.describe(self.spec)
            ));
        }
        (
            if brought {
                Verdict::NotObserved
            } else {
                Verdict::NotAttempted
            },
            evidence,
        )
    }

    /// An error whose condition can be evaluated: it must come when the condition holds, and only
    /// then. Where another listed error also applies, either may come first.
    fn checked_error(&self, name: &str, condition: &Expr, producing: &[&Tried]) -> Judged {
        let (mut both, mut wrong) = (Vec::new(), Vec::new());
        for t in self.tried.iter().filter(|t| t.outcome().is_some()) {
            let holds = expr::eval(
                condition,
                &Made {
                    spec: self.spec,
                    tried: t,
                },
            )
            .truth();
            let came = t.error().as_deref() == Some(name);
            match (holds, came) {
                (Some(true), true) => both.push(t),
                (Some(true), false) if t.succeeded() => wrong.push(format!(
                    "{} returned {}, though the condition holds",
                    t.describe(self.spec),
                    t.result()
                )),
                (Some(false), true) => wrong.push(format!(
                    "{} returned {name}, though the condition does not hold",
                    t.describe(self.spec)
                )),
                _ => {}
            }
        }
        if !wrong.is_empty() {
            let more = wrong.len().saturating_sub(4);
            wrong.truncate(4);
            if more > 0 {
                wrong.push(format!("and {more} more"));
            }
            return (Verdict::Contradicted, wrong);
        }
        match both.first() {
            Some(first) => (
                Verdict::Confirmed,
                vec![format!(
                    "{}× where the condition holds, never elsewhere; such as {}",
                    both.len(),
                    first.describe(self.spec)
                )],
            ),
            None if producing.is_empty() => not(
                Verdict::NotAttempted,
                "no generated call meets the condition",
            ),
            None => (
                Verdict::Confirmed,
                vec![format!(
                    "{} (the condition could not be evaluated)",
                    producing
                        .first()
                        .map(|t| t.describe(self.spec))
                        .unwrap_or_default()
                )],
            ),
        }
    }
}
