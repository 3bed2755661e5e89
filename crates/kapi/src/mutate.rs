//! Specifications that are wrong in one place: a bit too many, an error under another name, a
//! state the wrong way round. They show what a verification is worth: one that confirms a mutant
//! as readily as the original has seen nothing.
//!
//! Only what a machine can read is changed. A change that another reading of the same words would
//! make no change (a reworded description) is left out, and so is one that only says less.

use crate::clause::{Clause, ClauseKind, clauses};
use crate::consts;
use crate::expr::{self, Use};
use crate::ir::vocab::{CapAction, CheckKind, Effect};
use crate::ir::{Spec, Value};
use crate::verify::typed;

/// A specification with one mistake.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The identifier of the clause that the mistake is in, as the original has it.
    pub clause: String,
    /// What that clause speaks of.
    pub kind: ClauseKind,
    /// Its position in its list.
    pub index: usize,
    /// What was changed, in words.
    pub what: String,
    /// The whole specification with the mistake.
    pub spec: Spec,
}

/// Every mutant of a specification, clause by clause.
#[must_use]
pub fn mutants(spec: &Spec) -> Vec<Mutant> {
    clauses(spec)
        .iter()
        .flat_map(|clause| of_clause(spec, clause))
        .collect()
}

/// The mutants of one clause.
pub(crate) fn of(spec: &Spec, kind: ClauseKind, index: usize) -> Vec<Mutant> {
    clauses(spec)
        .iter()
        .filter(|c| c.kind == kind && c.index == index)
        .flat_map(|clause| of_clause(spec, clause))
        .collect()
}

fn of_clause(spec: &Spec, clause: &Clause) -> Vec<Mutant> {
    let mut maker = Maker {
        spec,
        clause,
        made: Vec::new(),
    };
    match clause.kind {
        ClauseKind::Param => maker.param(),
        ClauseKind::Return => maker.returns(),
        ClauseKind::Error => maker.error(),
        ClauseKind::Constraint => maker.constraint(),
        ClauseKind::Capability => maker.capability(),
        ClauseKind::SideEffect => maker.effect(),
        ClauseKind::StateTrans => maker.transition(),
        ClauseKind::Signal | ClauseKind::Lock | ClauseKind::Struct | ClauseKind::Context => {}
    }
    maker.made
}

struct Maker<'a> {
    spec: &'a Spec,
    clause: &'a Clause,
    made: Vec<Mutant>,
}

impl Maker<'_> {
    fn add(&mut self, what: impl Into<String>, change: impl FnOnce(&mut Spec)) {
        let mut spec = self.spec.clone();
        change(&mut spec);
        if spec == *self.spec {
            return;
        }
        self.made.push(Mutant {
            clause: self.clause.id.clone(),
            kind: self.clause.kind,
            index: self.clause.index,
            what: what.into(),
            spec,
        });
    }

    /// The mutants of a text that is an expression.
    fn expressions(&self, text: &str, used: Use) -> Vec<String> {
        typed(self.spec, text).map_or_else(Vec::new, |parsed| {
            expr::mutants(&parsed, used)
                .iter()
                .map(ToString::to_string)
                .collect()
        })
    }

    fn param(&mut self) {
        let n = self.clause.index;
        let Some(limits) = self.spec.params.get(n).map(|p| p.limits.clone()) else {
            return;
        };
        let set = |spec: &mut Spec, change: &dyn Fn(&mut crate::ir::Limits)| {
            if let Some(param) = spec.params.get_mut(n) {
                change(&mut param.limits);
            }
        };
        if let Some(mask) = limits.valid_mask.as_ref().and_then(|m| m.number) {
            let bits = (0..32).map(|b| 1i128 << b);
            for bit in bits.clone().filter(|b| mask & b != 0) {
                self.add(format!("the mask without {bit:#x}"), |spec| {
                    set(spec, &|l| {
                        l.valid_mask = Some(Value::from_number(mask & !bit))
                    });
                });
            }
            for bit in bits.filter(|b| mask & b == 0).take(1) {
                self.add(format!("the mask with {bit:#x}"), |spec| {
                    set(spec, &|l| {
                        l.valid_mask = Some(Value::from_number(mask | bit))
                    });
                });
            }
        }
        if limits.enum_values.len() > 1 {
            for (i, value) in limits.enum_values.iter().enumerate() {
                self.add(format!("the values without {value}"), |spec| {
                    set(spec, &|l| {
                        l.enum_values.remove(i);
                    });
                });
            }
        }
        if !limits.enum_values.is_empty() {
            let more = 0x7fff_0000;
            self.add(format!("the values with {more:#x}"), |spec| {
                set(spec, &|l| l.enum_values.push(Value::from_number(more)));
            });
        }
        if let Some(range) = &limits.range {
            let (min, max) = (range.min.number, range.max.number);
            for (least, by) in [(true, -1), (true, 1), (false, -1), (false, 1)] {
                let Some(end) = (if least { min } else { max }) else {
                    continue;
                };
                let empty = min == max && (least == (by > 0));
                let name = if least { "least" } else { "greatest" };
                let moved = end + by;
                if empty || u64::try_from(moved).is_err() && i64::try_from(moved).is_err() {
                    continue;
                }
                self.add(format!("{moved} as the {name} value"), |spec| {
                    set(spec, &|l| {
                        if let Some(range) = &mut l.range {
                            let end = if least {
                                &mut range.min
                            } else {
                                &mut range.max
                            };
                            *end = Value::from_number(moved);
                        }
                    });
                });
            }
        }
    }

    fn returns(&mut self) {
        let Some(returns) = self.spec.returns.clone() else {
            return;
        };
        let set = |spec: &mut Spec, change: &dyn Fn(&mut crate::ir::Return)| {
            if let Some(returns) = &mut spec.returns {
                change(returns);
            }
        };
        if let Some(n) = returns.success.as_ref().and_then(|s| s.number) {
            for other in [n + 1, n - 1] {
                self.add(format!("{other} as success"), |spec| {
                    set(spec, &|r| r.success = Some(Value::from_number(other)));
                });
            }
            self.add("success as a descriptor", |spec| {
                set(spec, &|r| {
                    r.check = Some(CheckKind::Fd);
                    r.success = None;
                });
            });
        }
        if returns.check == Some(CheckKind::Fd) {
            self.add("0 as success", |spec| {
                set(spec, &|r| {
                    r.check = Some(CheckKind::Exact);
                    r.success = Some(Value::from_number(0));
                });
            });
        }
        if let Some(range) = &returns.success_range {
            for (least, by) in [(true, -1), (true, 1), (false, -1), (false, 1)] {
                let end = if least { &range.min } else { &range.max };
                let Some(moved) = end.number.map(|n| n + by) else {
                    continue;
                };
                self.add(
                    format!("{moved} as an end of the range of success"),
                    |spec| {
                        set(spec, &|r| {
                            if let Some(range) = &mut r.success_range {
                                let end = if least {
                                    &mut range.min
                                } else {
                                    &mut range.max
                                };
                                *end = Value::from_number(moved);
                            }
                        });
                    },
                );
            }
        }
    }

    fn error(&mut self) {
        let n = self.clause.index;
        let Some(error) = self.spec.errors.get(n).cloned() else {
            return;
        };
        let unused = ["EXDEV", "ENOTTY", "EPROTO"]
            .into_iter()
            .find(|name| self.spec.errors.iter().all(|e| e.name != *name));
        if let Some(other) = unused {
            self.add(format!("{other} in place of {}", error.name), |spec| {
                if let Some(error) = spec.errors.get_mut(n) {
                    error.name = other.to_owned();
                    error.code = Some(Value::new(&format!("-{other}")));
                }
            });
            if error.code.is_some() && consts::is_errno(&error.name) {
                self.add(
                    format!("the code of {other} under the name {}", error.name),
                    |spec| {
                        if let Some(error) = spec.errors.get_mut(n) {
                            error.code = Some(Value::new(&format!("-{other}")));
                        }
                    },
                );
            }
        }
        for text in self.expressions(&error.condition, Use::Exactly) {
            self.add(format!("the condition `{text}`"), |spec| {
                if let Some(error) = spec.errors.get_mut(n) {
                    error.condition.clone_from(&text);
                }
            });
        }
    }

    fn constraint(&mut self) {
        let n = self.clause.index;
        let rule = self
            .spec
            .constraints
            .get(n)
            .and_then(|c| c.expression.clone());
        for text in self.expressions(rule.as_deref().unwrap_or_default(), Use::Always) {
            self.add(format!("the rule `{text}`"), |spec| {
                if let Some(constraint) = spec.constraints.get_mut(n) {
                    constraint.expression = Some(text.clone());
                }
            });
        }
    }

    fn capability(&mut self) {
        let n = self.clause.index;
        let Some(cap) = self.spec.capabilities.get(n).cloned() else {
            return;
        };
        for other in ["CAP_SYS_TIME", "CAP_SYS_BOOT"] {
            self.add(format!("{other} in place of {}", cap.name), |spec| {
                if let Some(cap) = spec.capabilities.get_mut(n) {
                    cap.name = other.to_owned();
                    cap.capability = Some(Value::new(other));
                }
            });
        }
        self.add("the number of CAP_SYS_TIME under the same name", |spec| {
            if let Some(cap) = spec.capabilities.get_mut(n) {
                cap.capability = Some(Value::new("CAP_SYS_TIME"));
            }
        });
        let action = match cap.action {
            Some(CapAction::PerformOperation) => Some(CapAction::IncreaseLimit),
            Some(CapAction::ModifyBehavior) | None => None,
            Some(_) => Some(CapAction::ModifyBehavior),
        };
        if let Some(action) = action {
            self.add(format!("{action} as what it does"), |spec| {
                if let Some(cap) = spec.capabilities.get_mut(n) {
                    cap.action = Some(action.clone());
                }
            });
        }
    }

    fn effect(&mut self) {
        let n = self.clause.index;
        let Some(effect) = self.spec.side_effects.get(n).cloned() else {
            return;
        };
        let set = |spec: &mut Spec, change: &dyn Fn(&mut crate::ir::SideEffect)| {
            if let Some(effect) = spec.side_effects.get_mut(n) {
                change(effect);
            }
        };
        for other in [
            Effect::AllocMemory,
            Effect::FreeMemory,
            Effect::ResourceCreate,
            Effect::ResourceDestroy,
            Effect::ModifyState,
            Effect::Network,
        ] {
            if !effect.effects.has(&other) {
                self.add(format!("{other} as its kind"), |spec| {
                    set(spec, &|e| e.effects = crate::ir::Flags(vec![other.clone()]));
                });
            }
        }
        for text in self.expressions(
            effect.expression.as_deref().unwrap_or_default(),
            Use::Always,
        ) {
            self.add(format!("the effect `{text}`"), |spec| {
                set(spec, &|e| e.expression = Some(text.clone()));
            });
        }
        for text in self.expressions(&effect.condition, Use::Exactly) {
            self.add(format!("the condition `{text}`"), |spec| {
                set(spec, &|e| e.condition.clone_from(&text));
            });
        }
        let word = if effect.reversible {
            "irreversible"
        } else {
            "reversible"
        };
        self.add(word, |spec| set(spec, &|e| e.reversible = !e.reversible));
    }

    fn transition(&mut self) {
        let n = self.clause.index;
        let Some(trans) = self.spec.state_transitions.get(n).cloned() else {
            return;
        };
        let set = |spec: &mut Spec, change: &dyn Fn(&mut crate::ir::StateTransition)| {
            if let Some(trans) = spec.state_transitions.get_mut(n) {
                change(trans);
            }
        };
        self.add("the transition the other way", |spec| {
            set(spec, &|t| std::mem::swap(&mut t.from, &mut t.to));
        });
        for text in self.expressions(&trans.from, Use::Always) {
            self.add(format!("the old state `{text}`"), |spec| {
                set(spec, &|t| t.from.clone_from(&text));
            });
        }
        for text in self.expressions(&trans.to, Use::Always) {
            self.add(format!("the new state `{text}`"), |spec| {
                set(spec, &|t| t.to.clone_from(&text));
            });
        }
        for text in self.expressions(&trans.condition, Use::Exactly) {
            self.add(format!("the condition `{text}`"), |spec| {
                set(spec, &|t| t.condition.clone_from(&text));
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_specification_of_ours_has_mutants_of_every_kind_it_has() {
        use std::collections::BTreeMap;
        let mut kinds: BTreeMap<ClauseKind, usize> = BTreeMap::new();
        let mut found = crate::front::tree::Found::default();
        for (name, text) in crate::specs::ALL {
            crate::front::tree::read_bytes(name, text.as_bytes(), false, &mut found);
        }
        for spec in &found.parsed.specs {
            let all = mutants(spec);
            assert!(
                all.iter().all(|m| m.spec != *spec),
                "{}: a mutant is the original",
                spec.name
            );
            for mutant in all {
                *kinds.entry(mutant.kind).or_default() += 1;
            }
        }
        for kind in [
            ClauseKind::Param,
            ClauseKind::Return,
            ClauseKind::Error,
            ClauseKind::Constraint,
            ClauseKind::Capability,
            ClauseKind::SideEffect,
            ClauseKind::StateTrans,
        ] {
            assert!(
                kinds.get(&kind).copied().unwrap_or(0) >= 2,
                "{kind:?}: {kinds:?}"
            );
        }
    }
}
