//! Whether the limits of a parameter are those of the kernel.

use std::collections::BTreeSet;

use super::{Judge, Judged};
use crate::ir::Limits;
use crate::ir::vocab::ConstraintKind;
use crate::verify::scene::Scene;
use crate::verify::tried::{Tried, tally};
use crate::verify::{HARMLESS, Verdict, syscall_of};

const ARCH: &str = std::env::consts::ARCH;

/// Whether the limits allow a value; none where they do not say, or not in numbers.
fn allows(limits: &Limits, value: i128) -> Option<bool> {
    if let Some(mask) = &limits.valid_mask {
        // Bits of this architecture only are in `arch_masks`.
        if !limits.arch_masks.is_empty() {
            return None;
        }
        return mask.on(ARCH).map(|mask| value & !mask == 0);
    }
    if !limits.enum_values.is_empty() {
        let numbers: Vec<Option<i128>> = limits.enum_values.iter().map(|v| v.on(ARCH)).collect();
        if numbers.contains(&Some(value)) {
            return Some(true);
        }
        return (!numbers.contains(&None)).then_some(false);
    }
    if let Some(range) = &limits.range {
        let (min, max) = (range.min.on(ARCH), range.max.on(ARCH));
        if min.is_some_and(|min| value < min) || max.is_some_and(|max| value > max) {
            return Some(false);
        }
        return min.and(max).map(|_| true);
    }
    let aligned = |to: i128| (to > 0).then(|| value.rem_euclid(to) == 0);
    match limits.kind {
        Some(ConstraintKind::PageAligned) => aligned(4096),
        Some(ConstraintKind::Alignment) => aligned(limits.alignment.as_ref()?.on(ARCH)?),
        Some(ConstraintKind::Nonzero) => Some(value != 0),
        Some(ConstraintKind::PowerOfTwo) => Some(value.count_ones() == 1),
        _ => None,
    }
}

/// What must be seen for the limits to be right: each bit, each value, both ends.
fn members(limits: &Limits) -> Vec<(String, Member)> {
    if let Some(mask) = limits.valid_mask.as_ref().and_then(|m| m.on(ARCH)) {
        return (0..64)
            .map(|b| 1i128 << b)
            .filter(|b| mask & b != 0)
            .map(|bit| (format!("bit {bit:#x}"), Member::Bit(bit)))
            .collect();
    }
    if !limits.enum_values.is_empty() {
        return limits
            .enum_values
            .iter()
            .map(|v| {
                (
                    v.text.clone(),
                    v.on(ARCH).map_or(Member::Unknown, Member::Value),
                )
            })
            .collect();
    }
    let mut all = Vec::new();
    if let Some(range) = &limits.range {
        for end in [&range.min, &range.max] {
            all.push((
                end.text.clone(),
                end.on(ARCH).map_or(Member::Unknown, Member::Value),
            ));
        }
    }
    all
}

#[derive(Clone, Copy)]
enum Member {
    Bit(i128),
    Value(i128),
    Unknown,
}

impl Member {
    fn is_in(self, value: i128) -> bool {
        match self {
            Self::Bit(bit) => value & bit != 0,
            Self::Value(n) => value == n,
            Self::Unknown => false,
        }
    }
}

impl Judge<'_> {
    pub(super) fn param(&self, index: usize) -> Judged {
        let Some(param) = self.spec.params.get(index) else {
            return Judged::new(Verdict::NotAttempted, "no such parameter");
        };
        let limits = &param.limits;
        let ordinary = |t: &&Tried| t.case.scene == Scene::Plain && t.case.odd.len() <= 1;
        let calls: Vec<(&Tried, i128)> = self
            .made()
            .filter(ordinary)
            .filter_map(|t| Some((t, t.value(self.spec, index)?)))
            .collect();
        let judged: Vec<(&Tried, i128, Option<bool>)> = calls
            .iter()
            .map(|(t, value)| (*t, *value, allows(limits, *value)))
            .collect();
        let outside: Vec<&Tried> = judged
            .iter()
            .filter(|(t, _, allowed)| {
                *allowed == Some(false) && t.case.odd.iter().all(|n| *n == index)
            })
            .map(|(t, ..)| *t)
            .collect();
        if let Some(first) = outside.iter().find(|t| t.succeeded()) {
            return Judged::new(
                Verdict::Contradicted,
                format!(
                    "{} succeeded, though the limits exclude the value",
                    first.describe(self.spec)
                ),
            )
            .by(&[first]);
        }
        let good: Vec<&Tried> = judged
            .iter()
            .filter(|(t, _, allowed)| {
                t.succeeded() && *allowed != Some(false) && t.case.odd.is_empty()
            })
            .map(|(t, ..)| *t)
            .collect();
        let seen = format!("{} calls with allowed values succeeded", good.len());
        let typed = judged.iter().any(|(.., allowed)| allowed.is_some());
        if !typed {
            let why = if good.is_empty() {
                Judged::new(Verdict::NotObserved, "no call succeeded")
            } else {
                Judged::new(Verdict::Observed, seen)
            };
            return why.by(&good).and("no limit that can be checked is stated");
        }
        // What lies outside must have been refused, and what lies inside must not be refused so.
        let refusals: BTreeSet<String> = outside.iter().filter_map(|t| t.error()).collect();
        let mut missing = Vec::new();
        for (name, member) in members(limits) {
            let with: Vec<&Tried> = calls
                .iter()
                .filter(|(_, value)| member.is_in(*value))
                .map(|(t, _)| *t)
                .collect();
            let borne_out = with.iter().any(|t| {
                t.succeeded()
                    || !refusals.is_empty() && t.error().is_some_and(|e| !refusals.contains(&e))
            });
            if borne_out {
                continue;
            }
            if let Member::Bit(bit) = member
                && let Some(why) = self.refused_bit(index, bit, &with)
            {
                return why;
            }
            missing.push(format!("{name} ({})", tally(&with)));
        }
        if !missing.is_empty() {
            return Judged::new(
                Verdict::NotObserved,
                format!("never accepted: {}", missing.join(", ")),
            )
            .and(seen)
            .by(&good);
        }
        if good.is_empty() {
            return Judged::new(
                Verdict::NotObserved,
                "no call with an allowed value succeeded",
            );
        }
        if outside.is_empty() {
            return Judged::new(Verdict::Observed, seen)
                .by(&good)
                .and("no value outside the limits could be passed");
        }
        let witnesses: Vec<&Tried> = outside
            .iter()
            .take(4)
            .chain(good.iter().take(4))
            .copied()
            .collect();
        Judged::new(
            Verdict::Confirmed,
            format!(
                "{} values outside the limits: {}",
                outside.len(),
                tally(&outside)
            ),
        )
        .and(seen)
        .by(&witnesses)
    }

    /// A bit that the mask allows and every call with it is refused for: where the same call
    /// without the bit succeeds, the mask is too wide. Only for calls whose arguments are known
    /// well enough; elsewhere the bit may need something that nobody passed.
    fn refused_bit(&self, index: usize, bit: i128, with: &[&Tried]) -> Option<Judged> {
        let known = syscall_of(self.spec).is_some_and(|(name, _)| HARMLESS.contains(&name));
        let refused = with.iter().all(|t| t.error().as_deref() == Some("EINVAL"));
        if !known || with.is_empty() || !refused || self.may_lack(index, bit) {
            return None;
        }
        let twin = |t: &Tried| {
            self.made().find(|o| {
                o.succeeded()
                    && o.case.setting == t.case.setting
                    && o.case.scene == t.case.scene
                    && o.value(self.spec, index) == t.value(self.spec, index).map(|v| v & !bit)
                    && self.same_but(o, t, index)
            })
        };
        let (t, other) = with.iter().find_map(|t| Some((*t, twin(t)?)))?;
        Some(
            Judged::new(
                Verdict::Contradicted,
                format!(
                    "the mask allows bit {bit:#x}, but each of {} calls with it failed with EINVAL, such as {}; {} succeeded",
                    with.len(),
                    t.describe(self.spec),
                    other.describe(self.spec)
                ),
            )
            .by(&[t, other]),
        )
    }

    /// Whether the specification says that some kernels do not have the bit.
    fn may_lack(&self, index: usize, bit: i128) -> bool {
        let names: Vec<&str> = self
            .spec
            .params
            .get(index)
            .and_then(|p| p.limits.valid_mask.as_ref())
            .map_or_else(Vec::new, |mask| mask.alternatives());
        let named = names
            .iter()
            .filter(|name| crate::consts::lookup(name) == Some(bit))
            .map(|name| format!("kernel_has({name})"));
        let texts = self.spec.errors.iter().map(|e| e.condition.as_str());
        let rules = self
            .spec
            .constraints
            .iter()
            .filter_map(|c| c.expression.as_deref());
        let all: Vec<&str> = texts.chain(rules).collect();
        named
            .into_iter()
            .any(|call| all.iter().any(|text| text.contains(&call)))
    }

    /// Whether two calls differ in this argument only.
    pub(super) fn same_but(&self, a: &Tried, b: &Tried, index: usize) -> bool {
        a.case.args.len() == b.case.args.len()
            && a.case
                .args
                .iter()
                .zip(&b.case.args)
                .enumerate()
                .all(|(n, (x, y))| n == index || x == y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Range, Value};

    #[test]
    fn what_is_not_known_excludes_nothing() {
        let range = |min: &str, max: &str| Limits {
            range: Some(Range {
                min: Value::new(min),
                max: Value::new(max),
            }),
            ..Limits::default()
        };
        assert_eq!(allows(&range("0", "LIMIT_OF_SOMETHING"), 1 << 40), None);
        assert_eq!(allows(&range("0", "LIMIT_OF_SOMETHING"), -1), Some(false));
        assert_eq!(allows(&range("0", "SIZE_MAX"), 1 << 40), Some(true));
        let named = Limits {
            enum_values: vec![Value::new("1"), Value::new("named_array")],
            ..Limits::default()
        };
        assert_eq!(allows(&named, 1), Some(true));
        assert_eq!(allows(&named, 2), None);
        let mask = Limits {
            valid_mask: Some(Value::new("O_SOMETHING_NEW | 1")),
            ..Limits::default()
        };
        assert_eq!(allows(&mask, 8), None);
    }
}
