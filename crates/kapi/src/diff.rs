//! What changed between two versions of specifications, and whether programs can notice.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::clause::{Clause, ClauseKind, clauses};
use crate::ir::{Limits, Spec, Value};

/// How far a change reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Impact {
    /// Words only.
    Text,
    /// Correct programs go on as before.
    Compatible,
    /// Some correct program may fail.
    Breaking,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The call.
    pub call: String,
    /// The clause, or the call itself.
    pub clause: String,
    /// How far it reaches.
    pub impact: Impact,
    /// What changed.
    pub what: String,
}

/// Every change from `old` to `new`, in order of calls.
#[must_use]
pub fn diff(old: &[Spec], new: &[Spec]) -> Vec<Change> {
    let mut changes = Vec::new();
    let names: BTreeSet<&str> = old.iter().chain(new).map(Spec::call_name).collect();
    for name in names {
        let find = |specs: &'_ [Spec]| specs.iter().position(|s| s.call_name() == name);
        let call = |impact, what: &str| Change {
            call: name.to_owned(),
            clause: name.to_owned(),
            impact,
            what: what.to_owned(),
        };
        match (
            find(old).and_then(|n| old.get(n)),
            find(new).and_then(|n| new.get(n)),
        ) {
            (Some(_), None) => changes.push(call(Impact::Breaking, "the call is gone")),
            (None, Some(_)) => changes.push(call(Impact::Compatible, "the call is new")),
            (Some(a), Some(b)) => Pair {
                call: name,
                changes: &mut changes,
            }
            .compare(a, b),
            (None, None) => {}
        }
    }
    changes
}

struct Pair<'a> {
    call: &'a str,
    changes: &'a mut Vec<Change>,
}

impl Pair<'_> {
    fn add(&mut self, clause: &str, impact: Impact, what: impl Into<String>) {
        self.changes.push(Change {
            call: self.call.to_owned(),
            clause: clause.to_owned(),
            impact,
            what: what.into(),
        });
    }

    fn compare(&mut self, old: &Spec, new: &Spec) {
        self.params(old, new);
        let (before, after) = (clauses(old), clauses(new));
        for clause in &before {
            match after.iter().find(|c| c.id == clause.id) {
                None if clause.kind != ClauseKind::Param => {
                    let impact = removed(clause.kind);
                    self.add(&clause.id, impact, format!("{} is gone", clause.title));
                }
                Some(other) if other.hash != clause.hash => self.changed(old, new, clause, other),
                _ => {}
            }
        }
        for clause in after
            .iter()
            .filter(|c| c.kind != ClauseKind::Param && !before.iter().any(|b| b.id == c.id))
        {
            self.add(
                &clause.id,
                added(clause.kind),
                format!("{} is new", clause.title),
            );
        }
        if new.deprecated && !old.deprecated {
            self.add(self.call, Impact::Compatible, "is deprecated now");
        }
        let texts = [
            (&old.description, &new.description),
            (&old.long_description, &new.long_description),
            (&old.notes, &new.notes),
            (&old.examples, &new.examples),
        ];
        if texts.iter().any(|(a, b)| a != b) {
            self.add(
                self.call,
                Impact::Text,
                "descriptions, notes or examples differ",
            );
        }
    }

    fn params(&mut self, old: &Spec, new: &Spec) {
        if old.params.len() != new.params.len() {
            self.add(
                self.call,
                Impact::Breaking,
                format!(
                    "{} parameters instead of {}",
                    new.params.len(),
                    old.params.len()
                ),
            );
        }
        for (n, (a, b)) in old.params.iter().zip(&new.params).enumerate() {
            let id = format!("parameter {n} ({})", b.name);
            if a.name != b.name {
                self.add(&id, Impact::Compatible, format!("was called {}", a.name));
            }
            if a.type_name != b.type_name {
                self.add(
                    &id,
                    Impact::Breaking,
                    format!("type `{}` instead of `{}`", b.type_name, a.type_name),
                );
            }
            if a.kind != b.kind || a.flags != b.flags {
                self.add(&id, Impact::Breaking, "kind or direction differs");
            }
            self.limits(&id, &a.limits, &b.limits);
            if a.description != b.description || a.limits.text != b.limits.text {
                self.add(&id, Impact::Text, "description differs");
            }
        }
    }

    fn limits(&mut self, id: &str, old: &Limits, new: &Limits) {
        match (bits(&old.valid_mask), bits(&new.valid_mask)) {
            (Some(a), Some(b)) => {
                if a & !b != 0 {
                    self.add(
                        id,
                        Impact::Breaking,
                        format!("bits {:#x} are no longer allowed", a & !b),
                    );
                }
                if b & !a != 0 {
                    self.add(
                        id,
                        Impact::Compatible,
                        format!("bits {:#x} are allowed now", b & !a),
                    );
                }
            }
            _ if old.valid_mask.as_ref().map(|m| &m.text)
                != new.valid_mask.as_ref().map(|m| &m.text) =>
            {
                let impact = if new.valid_mask.is_none() {
                    Impact::Compatible
                } else {
                    Impact::Breaking
                };
                self.add(id, impact, "the mask differs");
            }
            _ => {}
        }
        match (&old.range, &new.range) {
            (Some(a), Some(b)) => {
                let narrower = b.min.number > a.min.number || b.max.number < a.max.number;
                let wider = b.min.number < a.min.number || b.max.number > a.max.number;
                let text = format!(
                    "range {} to {} instead of {} to {}",
                    b.min, b.max, a.min, a.max
                );
                if narrower {
                    self.add(id, Impact::Breaking, text);
                } else if wider {
                    self.add(id, Impact::Compatible, text);
                }
            }
            (None, Some(_)) => self.add(id, Impact::Breaking, "has a range now"),
            (Some(_), None) => self.add(id, Impact::Compatible, "has no range any more"),
            (None, None) => {}
        }
        let gone: Vec<&str> = missing(&old.enum_values, &new.enum_values);
        let fresh: Vec<&str> = missing(&new.enum_values, &old.enum_values);
        if !gone.is_empty() && !new.enum_values.is_empty()
            || old.enum_values.is_empty() && !fresh.is_empty()
        {
            let what = if gone.is_empty() {
                "only some values are allowed now".to_owned()
            } else {
                format!("{} no longer allowed", gone.join(", "))
            };
            self.add(id, Impact::Breaking, what);
        } else if !fresh.is_empty() {
            self.add(
                id,
                Impact::Compatible,
                format!("{} allowed now", fresh.join(", ")),
            );
        }
    }

    fn changed(&mut self, old: &Spec, new: &Spec, before: &Clause, after: &Clause) {
        let at = (before.index, after.index);
        let (impact, what) = match before.kind {
            ClauseKind::Param => return,
            ClauseKind::Return => {
                let same = |f: &dyn Fn(&crate::ir::Return) -> String| {
                    old.returns.as_ref().map(f) == new.returns.as_ref().map(f)
                };
                let values = same(&|r| {
                    format!(
                        "{:?} {:?} {:?} {:?}",
                        r.check, r.success, r.success_range, r.error_values
                    )
                });
                if values {
                    (Impact::Text, "description differs")
                } else {
                    (Impact::Breaking, "success is told otherwise")
                }
            }
            ClauseKind::Error => {
                let pair = old.errors.get(at.0).zip(new.errors.get(at.1));
                let same = pair.is_none_or(|(a, b)| a.condition == b.condition && a.code == b.code);
                if same {
                    (Impact::Text, "description differs")
                } else {
                    (Impact::Breaking, "returned under another condition")
                }
            }
            ClauseKind::Constraint => {
                let same = old
                    .constraints
                    .get(at.0)
                    .zip(new.constraints.get(at.1))
                    .is_none_or(|(a, b)| a.expression == b.expression);
                if same {
                    (Impact::Text, "description differs")
                } else {
                    (Impact::Breaking, "the rule differs")
                }
            }
            ClauseKind::Context => {
                let lost = old.contexts.0.iter().any(|c| !new.contexts.has(c));
                if lost {
                    (Impact::Breaking, "fewer contexts")
                } else {
                    (Impact::Compatible, "more contexts")
                }
            }
            ClauseKind::Struct => (Impact::Breaking, "the structure differs"),
            ClauseKind::Capability
            | ClauseKind::SideEffect
            | ClauseKind::StateTrans
            | ClauseKind::Signal
            | ClauseKind::Lock => {
                if before.text != after.text && before.title == after.title {
                    (Impact::Text, "description differs")
                } else {
                    (Impact::Compatible, "details differ")
                }
            }
        };
        self.add(&after.id, impact, what);
    }
}

fn bits(mask: &Option<Value>) -> Option<i128> {
    mask.as_ref().and_then(|m| m.number)
}

fn missing<'a>(from: &'a [Value], other: &[Value]) -> Vec<&'a str> {
    let same =
        |a: &Value, b: &Value| a.text == b.text || a.number.is_some() && a.number == b.number;
    from.iter()
        .filter(|v| !other.iter().any(|o| same(v, o)))
        .map(|v| v.text.as_str())
        .collect()
}

/// A program may have relied on what is gone, unless it was a restriction.
fn removed(kind: ClauseKind) -> Impact {
    match kind {
        ClauseKind::Error | ClauseKind::Constraint | ClauseKind::Lock => Impact::Compatible,
        _ => Impact::Breaking,
    }
}

/// A new restriction can make a correct program fail.
fn added(kind: ClauseKind) -> Impact {
    match kind {
        ClauseKind::Constraint | ClauseKind::Error | ClauseKind::Lock => Impact::Breaking,
        _ => Impact::Compatible,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{ErrorSpec, Param};

    fn spec(mask: &str) -> Spec {
        let limits = Limits {
            valid_mask: Some(Value::new(mask)),
            ..Limits::default()
        };
        Spec {
            name: "x".into(),
            params: vec![Param {
                name: "flags".into(),
                limits,
                ..Param::default()
            }],
            ..Spec::default()
        }
    }

    #[test]
    fn a_wider_mask_is_compatible_a_narrower_one_is_not() {
        let (small, large) = (spec("MCL_CURRENT"), spec("MCL_CURRENT | MCL_FUTURE"));
        let impacts = |a: &Spec, b: &Spec| {
            diff(std::slice::from_ref(a), std::slice::from_ref(b))
                .into_iter()
                .map(|c| c.impact)
                .collect::<Vec<_>>()
        };
        assert_eq!(impacts(&small, &large), [Impact::Compatible]);
        assert_eq!(impacts(&large, &small), [Impact::Breaking]);
        assert!(impacts(&large, &large).is_empty());
    }

    #[test]
    fn a_new_error_breaks_a_new_call_does_not() {
        let mut more = spec("1");
        more.errors.push(ErrorSpec {
            name: "EAGAIN".into(),
            ..ErrorSpec::default()
        });
        let changes = diff(&[spec("1")], &[more.clone()]);
        assert_eq!(
            (changes.len(), changes[0].impact, changes[0].clause.as_str()),
            (1, Impact::Breaking, "X-ERR-EAGAIN")
        );
        assert_eq!(diff(&[], &[more])[0].impact, Impact::Compatible);
    }
}
