//! What changed between two versions of specifications, and whether programs can notice.

use std::collections::{BTreeSet, HashSet};

use serde::Serialize;

use crate::clause::{Clause, ClauseKind, clauses};
use crate::ir::{Limits, SideEffect, Spec, StateTransition, Value};

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

/// Which clause became which: the same identifier, then, since its words may have changed, the
/// same name in the order of the source.
fn paired(before: &[Clause], after: &[Clause]) -> Vec<(usize, usize)> {
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    let same: [fn(&Clause, &Clause) -> bool; 3] = [
        |a, b| a.id == b.id && a.hash == b.hash,
        |a, b| a.id == b.id,
        |a, b| a.base == b.base,
    ];
    for same in same {
        for (n, old) in before.iter().enumerate() {
            if pairs.iter().any(|(b, _)| *b == n) {
                continue;
            }
            let free = |m: &usize| !pairs.iter().any(|(_, a)| a == m);
            if let Some(m) = (0..after.len())
                .filter(free)
                .find(|m| same(old, &after[*m]))
            {
                pairs.push((n, m));
            }
        }
    }
    pairs
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
        let pairs = paired(&before, &after);
        for (n, clause) in before.iter().enumerate() {
            match pairs
                .iter()
                .find(|(b, _)| *b == n)
                .and_then(|(_, a)| after.get(*a))
            {
                None if clause.kind != ClauseKind::Param => {
                    let impact = removed(clause.kind);
                    self.add(&clause.id, impact, format!("{} is gone", clause.title));
                }
                Some(other) if other.hash != clause.hash => self.changed(old, new, clause, other),
                _ => {}
            }
        }
        for (n, clause) in after.iter().enumerate() {
            if clause.kind != ClauseKind::Param && !pairs.iter().any(|(_, a)| *a == n) {
                self.add(
                    &clause.id,
                    added(clause.kind),
                    format!("{} is new", clause.title),
                );
            }
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
            let set = |p: &crate::ir::Param| p.flags.0.iter().cloned().collect::<HashSet<_>>();
            if a.kind != b.kind || set(a) != set(b) {
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
            ClauseKind::SideEffect => {
                let pair = old.side_effects.get(at.0).zip(new.side_effects.get(at.1));
                match pair.and_then(|(a, b)| effect(a, b)) {
                    Some(change) => change,
                    None => return,
                }
            }
            ClauseKind::StateTrans => {
                let (from, to) = (&old.state_transitions, &new.state_transitions);
                let pair = from.get(at.0).zip(to.get(at.1));
                match pair.and_then(|(a, b)| transition(a, b)) {
                    Some(change) => change,
                    None => return,
                }
            }
            ClauseKind::Capability | ClauseKind::Signal | ClauseKind::Lock => {
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

/// What a program can rely on is that the effect comes, when, and that it can be taken back. None
/// where only the order of words differs.
fn effect(old: &SideEffect, new: &SideEffect) -> Option<(Impact, &'static str)> {
    let set = |e: &SideEffect| e.effects.0.iter().cloned().collect::<HashSet<_>>();
    Some(if set(old) != set(new) {
        (Impact::Breaking, "it is of another kind")
    } else if old.expression != new.expression {
        (Impact::Breaking, "what holds afterwards differs")
    } else if old.condition != new.condition {
        (Impact::Breaking, "it comes under another condition")
    } else if old.reversible && !new.reversible {
        (Impact::Breaking, "it can no longer be undone")
    } else if new.reversible && !old.reversible {
        (Impact::Compatible, "it can be undone now")
    } else if (&old.description, &old.target) != (&new.description, &new.target) {
        (Impact::Text, "description differs")
    } else {
        return None;
    })
}

fn transition(old: &StateTransition, new: &StateTransition) -> Option<(Impact, &'static str)> {
    Some(
        if old.from == new.to && old.to == new.from && old.from != old.to {
            (Impact::Breaking, "it goes the other way")
        } else if old.from != new.from || old.to != new.to {
            (Impact::Breaking, "its states differ")
        } else if old.condition != new.condition {
            (Impact::Breaking, "it happens under another condition")
        } else if old.description != new.description {
            (Impact::Text, "description differs")
        } else {
            return None;
        },
    )
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
    use crate::ir::{ErrorSpec, Flags, Param};

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

    /// The impacts of changing the first effect, or the first transition.
    fn impacts(change: impl Fn(&mut Spec)) -> Vec<(Impact, String)> {
        let mut old = spec("1");
        old.side_effects.push(SideEffect {
            effects: Flags::parse("modify_state | alloc_memory"),
            target: "memory".into(),
            condition: "flags & 1".into(),
            expression: Some("vma->vm_flags |= VM_LOCKED".into()),
            reversible: true,
            ..SideEffect::default()
        });
        old.state_transitions.push(StateTransition {
            object: "memory".into(),
            from: "free".into(),
            to: "locked".into(),
            ..StateTransition::default()
        });
        let mut new = old.clone();
        change(&mut new);
        diff(&[old], &[new])
            .into_iter()
            .map(|c| (c.impact, c.what))
            .collect()
    }

    #[test]
    fn what_no_longer_happens_so_is_breaking() {
        type Edit = fn(&mut Spec);
        let edits: [(Edit, &str); 6] = [
            (
                |s| s.side_effects[0].effects = Flags::parse("free_memory"),
                "another kind",
            ),
            (
                |s| s.side_effects[0].expression = Some("vma->vm_flags &= ~VM_LOCKED".into()),
                "afterwards",
            ),
            (
                |s| s.side_effects[0].condition = "flags & 2".into(),
                "another condition",
            ),
            (
                |s| s.side_effects[0].reversible = false,
                "no longer be undone",
            ),
            (
                |s| {
                    let t = &mut s.state_transitions[0];
                    std::mem::swap(&mut t.from, &mut t.to);
                },
                "the other way",
            ),
            (
                |s| s.state_transitions[0].to = "gone".into(),
                "its states differ",
            ),
        ];
        for (edit, what) in edits {
            let found = impacts(edit);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].0, Impact::Breaking);
            assert!(found[0].1.contains(what), "{found:?}");
        }
    }

    #[test]
    fn what_did_not_change_is_not_told() {
        // The order of flags says nothing.
        let order = "alloc_memory | modify_state";
        assert!(impacts(|s| s.side_effects[0].effects = Flags::parse(order)).is_empty());
        assert_eq!(
            impacts(|s| s.side_effects[0].description = "Other words.".into())[0].0,
            Impact::Text
        );
        assert!(impacts(|s| s.span.line = 900).is_empty());
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
