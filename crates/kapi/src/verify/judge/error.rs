//! Whether an error is seen, and only where it should be.

use super::{Judge, Judged};
use crate::consts;
use crate::expr::{self, Expr};
use crate::ir::ErrorSpec;
use crate::verify::Verdict;
use crate::verify::bind::Made;
use crate::verify::scene::Scene;
use crate::verify::tried::Tried;
use crate::verify::typed::typed;

/// What the conditions of one error come to for a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Yes,
    No,
    Unknown,
}

impl Judge<'_> {
    pub(super) fn error(&self, index: usize) -> Judged {
        let Some(error) = self.spec.errors.get(index) else {
            return Judged::new(Verdict::NotAttempted, "no such error");
        };
        if let Some(judged) = self.code_and_name(error) {
            return judged;
        }
        if !consts::is_errno(&error.name) {
            return Judged::new(
                Verdict::NotAttempted,
                format!("`{}` is no error that is known", error.name),
            );
        }
        let producing: Vec<&Tried> = self
            .made()
            .filter(|t| t.error().as_deref() == Some(error.name.as_str()))
            .collect();
        if let Some(condition) = typed(self.spec, &error.condition) {
            return self.with_condition(error, index, &condition, &producing);
        }
        if producing.is_empty() {
            return self.never_came(error);
        }
        let stated = [&error.condition, &error.summary, &error.description]
            .iter()
            .any(|text| !text.is_empty());
        let verdict = if stated {
            Verdict::Observed
        } else {
            Verdict::Confirmed
        };
        let mut judged = self.listed(verdict, &producing);
        if stated {
            judged = judged.and("when it comes is stated in words, which are not judged");
        }
        judged
    }

    /// The number and the name of an error must be those of one error.
    fn code_and_name(&self, error: &ErrorSpec) -> Option<Judged> {
        let stated = error.code.as_ref()?.on(std::env::consts::ARCH)?;
        let number = consts::lookup_on(&error.name, std::env::consts::ARCH)?;
        // `-EINVAL` and `EINVAL` are both written.
        if !consts::is_errno(&error.name) || stated.abs() == number {
            return None;
        }
        let other = consts::errno_name(stated.abs()).unwrap_or("no error");
        Some(Judged::new(
            Verdict::Contradicted,
            format!(
                "the code {stated} is {other}, the name says {} ({number})",
                error.name
            ),
        ))
    }

    fn listed(&self, verdict: Verdict, calls: &[&Tried]) -> Judged {
        let mut judged = Judged {
            verdict,
            evidence: calls
                .iter()
                .take(3)
                .map(|t| t.describe(self.spec))
                .collect(),
            witnesses: Vec::new(),
        };
        if calls.len() > 3 {
            judged = judged.and(format!("and {} more", calls.len() - 3));
        }
        judged.by(calls)
    }

    fn never_came(&self, error: &ErrorSpec) -> Judged {
        let aimed: Vec<&Tried> = self
            .made()
            .filter(|t| t.case.aims.as_deref() == Some(&error.name))
            .collect();
        let calls = self.made().count();
        match aimed.first() {
            Some(first) => Judged::new(
                Verdict::NotObserved,
                format!(
                    "not one of {calls} calls returned it; {} returned {}",
                    first.describe(self.spec),
                    first.result()
                ),
            )
            .by(&aimed),
            None if error.condition.is_empty() => Judged::new(
                Verdict::NotObserved,
                format!("not one of {calls} calls returned it"),
            ),
            None => Judged::new(
                Verdict::NotAttempted,
                format!(
                    "no call was made to bring it about; its condition is in words: {}",
                    error.condition
                ),
            ),
        }
    }

    fn holds(&self, condition: &Expr, t: &Tried) -> Holds {
        match expr::eval(condition, &Made::before(self.spec, t)).truth() {
            Some(true) => Holds::Yes,
            Some(false) => Holds::No,
            None => Holds::Unknown,
        }
    }

    /// An error whose condition can be evaluated: it must come when the condition holds, and only
    /// then. Where another listed error also applies, either may come first; where the same error
    /// is listed twice, the conditions are one.
    fn with_condition(
        &self,
        error: &ErrorSpec,
        index: usize,
        condition: &Expr,
        producing: &[&Tried],
    ) -> Judged {
        let siblings: Vec<Option<Expr>> = self
            .spec
            .errors
            .iter()
            .enumerate()
            .filter(|(n, e)| *n != index && e.name == error.name)
            .map(|(_, e)| typed(self.spec, &e.condition))
            .collect();
        let elsewhere = |t: &Tried| {
            siblings
                .iter()
                .any(|s| s.as_ref().is_none_or(|s| self.holds(s, t) != Holds::No))
        };
        let (mut both, mut wrong, mut lines) = (Vec::new(), Vec::new(), Vec::new());
        // Memory that cannot be had is in no expression.
        for t in self.made().filter(|t| t.case.scene != Scene::BeyondFile) {
            let came = t.error().as_deref() == Some(error.name.as_str());
            match (self.holds(condition, t), came) {
                (Holds::Yes, true) => both.push(t),
                (Holds::Yes, false) if t.succeeded() => {
                    wrong.push(t);
                    lines.push(format!(
                        "{} returned {}, though the condition holds",
                        t.describe(self.spec),
                        t.result()
                    ));
                }
                (Holds::No, true) if !elsewhere(t) => {
                    wrong.push(t);
                    lines.push(format!(
                        "{} returned {}, though the condition does not hold",
                        t.describe(self.spec),
                        error.name
                    ));
                }
                _ => {}
            }
        }
        if !lines.is_empty() {
            let more = lines.len().saturating_sub(4);
            lines.truncate(4);
            if more > 0 {
                lines.push(format!("and {more} more"));
            }
            return Judged {
                verdict: Verdict::Contradicted,
                evidence: lines,
                witnesses: Vec::new(),
            }
            .by(&wrong);
        }
        match both.first() {
            Some(first) => Judged::new(
                Verdict::Confirmed,
                format!(
                    "{}× where the condition holds, never elsewhere; such as {}",
                    both.len(),
                    first.describe(self.spec)
                ),
            )
            .by(&both),
            None if producing.is_empty() => Judged::new(
                Verdict::NotObserved,
                "no call that was made met the condition",
            ),
            // (Otherwise one of them were a contradiction above.)
            None if producing
                .iter()
                .all(|t| self.holds(condition, t) == Holds::No) =>
            {
                Judged::new(
                    Verdict::NotObserved,
                    "it came by the conditions of its other entries only",
                )
            }
            None => self
                .listed(Verdict::Observed, producing)
                .and("the condition could not be evaluated for them"),
        }
    }
}
