//! From outcomes to verdicts, clause by clause.

use std::collections::BTreeMap;

use crate::clause::{Clause, ClauseKind, clauses};
use crate::expr::{self, Expr};
use crate::ir::Spec;
use crate::ir::vocab::SignalDirection;

use super::bind::Made;
use super::effects::Observed;
use super::tried::{Tried, tally};
use super::{Finding, Verdict};

/// Every clause, not attempted for one reason.
pub(super) fn absent(spec: &Spec, why: &str) -> Vec<Finding> {
    clauses(spec)
        .into_iter()
        .map(|clause| Finding {
            clause,
            verdict: Verdict::NotAttempted,
            evidence: vec![why.to_owned()],
        })
        .collect()
}

/// Judges every clause.
pub(super) fn judge(spec: &Spec, tried: &[Tried], seen: &Observed<'_>) -> Vec<Finding> {
    let judge = Judge { spec, tried, seen };
    let mut findings: Vec<Finding> = clauses(spec)
        .into_iter()
        .map(|clause| {
            let (verdict, evidence) = judge.clause(&clause);
            Finding {
                clause,
                verdict,
                evidence,
            }
        })
        .collect();
    findings.extend(judge.notes());
    findings
}

pub(super) type Judged = (Verdict, Vec<String>);

pub(super) fn not(verdict: Verdict, why: &str) -> Judged {
    (verdict, vec![why.to_owned()])
}

pub(super) struct Judge<'a> {
    pub(super) spec: &'a Spec,
    pub(super) tried: &'a [Tried],
    pub(super) seen: &'a Observed<'a>,
}

impl Judge<'_> {
    fn clause(&self, clause: &Clause) -> Judged {
        let spec = self.spec;
        match clause.kind {
            ClauseKind::Param => self.param(clause.index),
            ClauseKind::Return => self.returns(),
            ClauseKind::Error => self.error(clause.index),
            ClauseKind::Constraint => self.constraint(clause.index),
            ClauseKind::Capability => self.capability(clause.index),
            ClauseKind::SideEffect => spec.side_effects.get(clause.index).map_or_else(
                || not(Verdict::NotAttempted, "no such item"),
                |e| {
                    self.effect(
                        &e.condition,
                        &format!("{} {}", e.description, e.target),
                        e.reversible,
                    )
                },
            ),
            ClauseKind::StateTrans => spec.state_transitions.get(clause.index).map_or_else(
                || not(Verdict::NotAttempted, "no such item"),
                |t| {
                    self.effect(
                        &t.condition,
                        &format!("{} {} to {}", t.description, t.object, t.to),
                        false,
                    )
                },
            ),
            ClauseKind::Signal => {
                let sent = spec
                    .signals
                    .get(clause.index)
                    .is_some_and(|s| s.direction.has(&SignalDirection::Send));
                if sent {
                    not(
                        Verdict::NotAttempted,
                        "the signal comes at a later access, not from the call",
                    )
                } else {
                    not(
                        Verdict::NotObservable,
                        "a fatal signal ends the caller before it could see what the call returned",
                    )
                }
            }
            ClauseKind::Lock => not(
                Verdict::NotObservable,
                "which lock the kernel takes cannot be seen from user space",
            ),
            ClauseKind::Context => not(
                Verdict::NotObservable,
                "user space calls from process context only",
            ),
            ClauseKind::Struct => not(Verdict::NotAttempted, "structures are not generated"),
        }
    }

    fn param(&self, index: usize) -> Judged {
        let Some(param) = self.spec.params.get(index) else {
            return not(Verdict::NotAttempted, "no such parameter");
        };
        let violating: Vec<&Tried> = self
            .tried
            .iter()
            .filter(|t| t.case.violates == Some(index) && t.outcome().is_some())
            .collect();
        let limited = param.limits.valid_mask.is_some()
            || !param.limits.enum_values.is_empty()
            || param.limits.range.is_some();
        let mut evidence = Vec::new();
        if limited {
            // Whatever lies outside the stated values must be refused.
            let through: Vec<&&Tried> = violating.iter().filter(|t| t.succeeded()).collect();
            if let Some(first) = through.first() {
                evidence.push(format!(
                    "{} succeeded, though the value is not allowed",
                    first.describe(self.spec)
                ));
                return (Verdict::Contradicted, evidence);
            }
            if !violating.is_empty() {
                evidence.push(format!(
                    "{} values outside the limits: {}",
                    violating.len(),
                    tally(&violating)
                ));
            }
        } else if !violating.is_empty() {
            evidence.push(format!(
                "{} odd values: {}",
                violating.len(),
                tally(&violating)
            ));
        }
        let allowed: Vec<&Tried> = self
            .tried
            .iter()
            .filter(|t| {
                t.case.violates.is_none() && t.case.setting.drop.is_empty() && t.outcome().is_some()
            })
            .collect();
        let good = allowed.iter().filter(|t| t.succeeded()).count();
        evidence.push(format!(
            "{good} of {} calls with allowed values succeeded",
            allowed.len()
        ));
        if let Some(mask) = param.limits.valid_mask.as_ref().and_then(|m| m.number) {
            let reached = allowed
                .iter()
                .filter(|t| t.succeeded())
                .fold(0, |bits, t| bits | t.flags(self.spec));
            if mask & !reached != 0 {
                evidence.push(format!(
                    "bits {:#x} never took part in a success",
                    mask & !reached
                ));
                return (Verdict::NotObserved, evidence);
            }
        }
        if good == 0 {
            return (Verdict::NotObserved, evidence);
        }
        if limited && violating.is_empty() {
            return (
                Verdict::NotAttempted,
                vec!["no value outside the limits could be made".to_owned()],
            );
        }
        (Verdict::Confirmed, evidence)
    }

    fn returns(&self) -> Judged {
        let Some(returns) = &self.spec.returns else {
            return not(Verdict::NotAttempted, "nothing is stated");
        };
        let mut undocumented: BTreeMap<String, &Tried> = BTreeMap::new();
        for t in self.tried {
            if let Some(name) = t.error()
                && !self.spec.errors.iter().any(|e| e.name == name)
            {
                undocumented.entry(name).or_insert(t);
            }
        }
        if !undocumented.is_empty() {
            let lines = undocumented
                .iter()
                .map(|(name, t)| {
                    format!(
                        "{name} is returned, but not listed: {}",
                        t.describe(self.spec)
                    )
                })
                .collect();
            return (Verdict::Contradicted, lines);
        }
        let mut values: BTreeMap<i64, usize> = BTreeMap::new();
        for t in self.tried {
            let Some(value) = t.outcome().and_then(|o| o.value) else {
                continue;
            };
            if returns.is_success(value.into()) == Some(false) {
                return (
                    Verdict::Contradicted,
                    vec![format!(
                        "{} returned {value}, which is not the stated success",
                        t.describe(self.spec)
                    )],
                );
            }
            *values.entry(value).or_default() += 1;
        }
        let total: usize = values.values().sum();
        if total == 0 {
            return not(Verdict::NotObserved, "no call succeeded");
        }
        let shown: Vec<String> = values
            .iter()
            .take(6)
            .map(|(v, n)| format!("{v} ({n}×)"))
            .collect();
        let failed: Vec<&Tried> = self.tried.iter().filter(|t| t.error().is_some()).collect();
        (
            Verdict::Confirmed,
            vec![format!(
                "success values: {}; failures, all listed: {}",
                shown.join(", "),
                tally(&failed)
            )],
        )
    }

    fn constraint(&self, index: usize) -> Judged {
        let Some(constraint) = self.spec.constraints.get(index) else {
            return not(Verdict::NotAttempted, "no such rule");
        };
        let rule = constraint
            .expression
            .as_deref()
            .and_then(|text| expr::parse(text).ok());
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        if let Some(rule) = &rule {
            self.rule(rule, &mut good, &mut bad);
        }
        let condition = constraint.expression.as_deref().unwrap_or_default();
        for seen in self
            .seen
            .check("", &format!("{} {condition}", constraint.description))
        {
            if seen.good {
                good.push(seen.text)
            } else {
                bad.push(seen.text)
            }
        }
        if !bad.is_empty() {
            bad.extend(good.into_iter().map(|g| format!("(this much holds: {g})")));
            return (Verdict::Contradicted, bad);
        }
        if !good.is_empty() {
            return (Verdict::Confirmed, good);
        }
        if rule.is_none() {
            return not(
                Verdict::NotAttempted,
                "the rule is in words only, and claims nothing that is looked at",
            );
        }
        not(
            Verdict::NotObserved,
            "the names of the rule had no value in any call",
        )
    }

    /// A rule must hold whenever the call succeeds, and must have been able to fail.
    fn rule(&self, rule: &Expr, good: &mut Vec<String>, bad: &mut Vec<String>) {
        let mut effect = false;
        rule.walk(&mut |e| effect |= matches!(e, Expr::Establish(..)));
        if effect {
            return;
        }
        let (mut held, mut refused) = (0usize, Vec::new());
        for t in self
            .tried
            .iter()
            .filter(|t| t.outcome().is_some() && !t.case.broken)
        {
            match (
                expr::eval(
                    rule,
                    &Made {
                        spec: self.spec,
                        tried: t,
                    },
                )
                .truth(),
                t.succeeded(),
            ) {
                (Some(true), true) => held += 1,
                (Some(false), true) => bad.push(format!(
                    "{} succeeded against the rule",
                    t.describe(self.spec)
                )),
                (Some(false), false) => refused.push(t),
                _ => {}
            }
        }
        if let (Some(first), true) = (refused.first(), bad.is_empty()) {
            good.push(format!(
                "held in {held} successful calls; {} calls against it failed, such as {} with {}",
                refused.len(),
                first.describe(self.spec),
                first.result()
            ));
        }
    }
}
