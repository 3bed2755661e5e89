//! One call against its specification.

use std::collections::BTreeMap;

use crate::clause::{ClauseKind, clauses};
use crate::consts;
use crate::expr::{self, Bindings};
use crate::ir::Spec;
use crate::verify::as_type;

/// How often each clause had a say, by its identifier.
pub type Coverage = BTreeMap<String, u64>;

/// A call that the specification does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The clause.
    pub clause: String,
    /// The call with its result.
    pub call: String,
    /// What is not allowed.
    pub what: String,
}

struct Call<'a> {
    spec: &'a Spec,
    args: &'a [u64; 6],
    value: i64,
}

impl Bindings for Call<'_> {
    fn name(&self, name: &str) -> Option<i128> {
        if name == "ret" {
            return Some(self.value.into());
        }
        if name == "page_size" {
            return i128::try_from(rustix::param::page_size()).ok();
        }
        let index = self.spec.params.iter().position(|p| p.name == name)?;
        let kind = self.spec.params.get(index)?.type_name.as_str();
        self.args
            .get(index)
            .map(|register| as_type(kind, *register))
    }
    fn arch(&self) -> &str {
        std::env::consts::ARCH
    }
}

/// Whether the specification is of this call: a multiplexer's first argument decides.
pub(super) fn speaks_of(spec: &Spec, args: &[u64; 6]) -> bool {
    let multiplexed = consts::syscall_number(spec.call_name()).is_none();
    let Some(first) = spec.params.first().filter(|_| multiplexed) else {
        return true;
    };
    let Some(register) = args.first() else {
        return true;
    };
    let value = as_type(&first.type_name, *register);
    first
        .limits
        .enum_values
        .iter()
        .any(|v| v.on(std::env::consts::ARCH) == Some(value))
}

/// Looks at arguments, result and rules; counts every clause that had a say.
pub(super) fn check(
    spec: &Spec,
    args: &[u64; 6],
    value: i64,
    error: bool,
    coverage: &mut Coverage,
) -> Vec<Problem> {
    let arch = std::env::consts::ARCH;
    let call = Call { spec, args, value };
    let errno = error.then(|| {
        consts::errno_name(-i128::from(value)).map_or_else(|| (-value).to_string(), str::to_owned)
    });
    let shown: Vec<String> = spec
        .params
        .iter()
        .zip(args)
        .map(|(p, register)| {
            let number = as_type(&p.type_name, *register);
            if number.abs() > 9 {
                format!("{} = {number:#x}", p.name)
            } else {
                format!("{} = {number}", p.name)
            }
        })
        .collect();
    let text = format!(
        "{}({}) = {}",
        spec.call_name(),
        shown.join(", "),
        errno.clone().unwrap_or_else(|| value.to_string())
    );
    let mut problems = Vec::new();
    for clause in clauses(spec) {
        let wrong = match clause.kind {
            ClauseKind::Param => {
                let Some((param, register)) =
                    spec.params.get(clause.index).zip(args.get(clause.index))
                else {
                    continue;
                };
                let number = as_type(&param.type_name, *register);
                let limits = &param.limits;
                let mask = limits
                    .valid_mask
                    .as_ref()
                    .and_then(|m| m.on(arch))
                    .filter(|m| number & !m != 0);
                let listed = limits.enum_values.is_empty()
                    || limits
                        .enum_values
                        .iter()
                        .any(|v| v.on(arch).is_none_or(|n| n == number));
                let range = limits
                    .range
                    .as_ref()
                    .and_then(|r| r.min.on(arch).zip(r.max.on(arch)));
                if let Some(mask) = mask {
                    Some(format!(
                        "{} has bits {:#x} that are not allowed",
                        param.name,
                        number & !mask
                    ))
                } else if !listed {
                    Some(format!("{} = {number} is none of its values", param.name))
                } else {
                    range
                        .filter(|(min, max)| number < *min || number > *max)
                        .map(|(min, max)| {
                            format!("{} = {number} is not in {min} to {max}", param.name)
                        })
                }
            }
            ClauseKind::Return => match (&errno, &spec.returns) {
                (Some(name), _) if !spec.errors.iter().any(|e| e.name == *name) => {
                    Some(format!("{name} is not among its errors"))
                }
                (None, Some(returns)) if returns.is_success(value.into()) == Some(false) => {
                    Some(format!("{value} is not its success"))
                }
                _ => None,
            },
            ClauseKind::Error => {
                let Some(item) = spec
                    .errors
                    .get(clause.index)
                    .filter(|e| Some(&e.name) == errno.as_ref())
                else {
                    continue;
                };
                let condition = expr::parse(&item.condition)
                    .ok()
                    .and_then(|c| expr::eval(&c, &call).truth());
                (condition == Some(false)).then(|| format!("{} without its condition", item.name))
            }
            ClauseKind::Constraint => {
                let rule = spec
                    .constraints
                    .get(clause.index)
                    .and_then(|c| expr::parse(c.expression.as_deref()?).ok());
                let Some(truth) = rule.and_then(|rule| expr::eval(&rule, &call).truth()) else {
                    continue;
                };
                (!truth && !error).then(|| "it succeeded against the rule".to_owned())
            }
            _ => continue,
        };
        *coverage.entry(clause.id.clone()).or_default() += 1;
        if let Some(what) = wrong {
            problems.push(Problem {
                clause: clause.id,
                call: text.clone(),
                what,
            });
        }
    }
    problems
}
