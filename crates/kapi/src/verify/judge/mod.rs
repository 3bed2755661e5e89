//! From outcomes to verdicts, clause by clause.
//!
//! A verdict rests on what a machine can read: codes, masks, ranges, enumerations, expressions,
//! kinds of effects, capabilities. A clause is confirmed only by calls that would have come out
//! otherwise had it been wrong: each of its mutants ([`crate::mutate`]) is judged by the same
//! calls, and one that would be confirmed as well takes the verdict away.

mod capability;
mod effect;
mod error;
mod param;
mod returns;
mod rule;

use crate::clause::{Clause, ClauseKind, clauses};
use crate::ir::Spec;
use crate::mutate;

use super::effects::Followed;
use super::tried::Tried;
use super::{Finding, Verdict};

/// Every clause, not attempted for one reason.
pub(super) fn absent(spec: &Spec, why: &str) -> Vec<Finding> {
    clauses(spec)
        .into_iter()
        .map(|clause| Finding {
            clause,
            verdict: Verdict::NotAttempted,
            evidence: vec![why.to_owned()],
            witnesses: Vec::new(),
        })
        .collect()
}

/// Judges every clause.
pub(super) fn judge(spec: &Spec, tried: &[Tried], followed: &Followed) -> Vec<Finding> {
    let judge = Judge {
        spec,
        tried,
        followed,
    };
    clauses(spec)
        .into_iter()
        .map(|clause| {
            let mut judged = judge.clause(clause.kind, clause.index);
            if judged.verdict == Verdict::Confirmed {
                judge.doubt(&clause, &mut judged);
            }
            Finding {
                clause,
                verdict: judged.verdict,
                evidence: judged.evidence,
                witnesses: judged.witnesses,
            }
        })
        .collect()
}

/// A verdict with what it rests on.
pub(super) struct Judged {
    verdict: Verdict,
    evidence: Vec<String>,
    witnesses: Vec<usize>,
}

impl Judged {
    fn new(verdict: Verdict, why: impl Into<String>) -> Self {
        Self {
            verdict,
            evidence: vec![why.into()],
            witnesses: Vec::new(),
        }
    }

    fn by(mut self, witnesses: &[&Tried]) -> Self {
        for t in witnesses.iter().take(8) {
            if !self.witnesses.contains(&t.number) {
                self.witnesses.push(t.number);
            }
        }
        self
    }

    fn and(mut self, line: impl Into<String>) -> Self {
        self.evidence.push(line.into());
        self
    }
}

pub(super) struct Judge<'a> {
    spec: &'a Spec,
    tried: &'a [Tried],
    followed: &'a Followed,
}

impl Judge<'_> {
    fn clause(&self, kind: ClauseKind, index: usize) -> Judged {
        match kind {
            ClauseKind::Param => self.param(index),
            ClauseKind::Return => self.returns(),
            ClauseKind::Error => self.error(index),
            ClauseKind::Constraint => self.constraint(index),
            ClauseKind::Capability => self.capability(index),
            ClauseKind::SideEffect => self.effect(index),
            ClauseKind::StateTrans => self.transition(index),
            ClauseKind::Signal => Judged::new(
                Verdict::NotAttempted,
                "no signal is sent while the call runs",
            ),
            ClauseKind::Lock => Judged::new(
                Verdict::NotObservable,
                "which lock the kernel takes cannot be seen from user space",
            ),
            ClauseKind::Context => Judged::new(
                Verdict::NotObservable,
                "user space calls from process context only",
            ),
            ClauseKind::Struct => {
                Judged::new(Verdict::NotAttempted, "structures are not generated")
            }
        }
    }

    /// Takes the verdict away where the same calls would confirm a wrong clause.
    fn doubt(&self, clause: &Clause, judged: &mut Judged) {
        let survivors: Vec<String> = mutate::of(self.spec, clause.kind, clause.index)
            .into_iter()
            .filter(|mutant| {
                let other = Judge {
                    spec: &mutant.spec,
                    ..*self
                };
                other.clause(clause.kind, clause.index).verdict == Verdict::Confirmed
            })
            .map(|mutant| mutant.what)
            .collect();
        if let Some(first) = survivors.first() {
            judged.verdict = Verdict::Observed;
            judged.evidence.push(format!(
                "not confirmed: these calls would bear out as well: {first}{}",
                match survivors.len() {
                    1 => String::new(),
                    n => format!(" (and {} more)", n - 1),
                }
            ));
        }
    }

    /// Calls with an outcome.
    fn made(&self) -> impl Iterator<Item = &Tried> {
        self.tried.iter().filter(|t| t.outcome().is_some())
    }
}
