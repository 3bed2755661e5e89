//! What a specification allows, worked out once so that looking at a call costs little: a traced
//! program stands still meanwhile.

use std::collections::BTreeMap;

use crate::clause::{ClauseKind, clauses};
use crate::consts;
use crate::expr::{self, Bindings, Expr};
use crate::ir::vocab::ConstraintKind;
use crate::ir::{Param, Return, Spec};
use crate::verify::{CType, c_type};

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

/// A parameter as calls pass it.
struct Arg<'s> {
    name: &'s str,
    kind: CType,
}

/// What values a parameter may have, as numbers of this architecture. What has no number here
/// limits nothing.
struct ParamRule<'s> {
    index: usize,
    name: &'s str,
    mask: Option<i128>,
    /// Every value allowed; empty where the specification lists none, or one without a number.
    listed: Vec<i128>,
    range: Option<(i128, i128)>,
    alignment: Option<i128>,
    nonzero: bool,
    power_of_two: bool,
}

enum Rule<'s> {
    Param(ParamRule<'s>),
    Return(&'s Return),
    /// All conditions of one error name: the call may fail for any of them.
    Error {
        name: &'s str,
        conditions: Vec<Condition<'s>>,
    },
    Constraint(Formula),
}

/// An expression with its constants as numbers, and as it is written.
struct Formula {
    expr: Expr,
    text: String,
}

struct Condition<'s> {
    /// The position of its clause.
    at: usize,
    summary: &'s str,
    /// `None` where it is written in words.
    expr: Option<Formula>,
    /// It speaks of the arguments alone: a call that meets it could never have succeeded.
    of_arguments: bool,
}

/// The rules of one specification, and how often each of its clauses had a say.
pub(super) struct Rules<'s> {
    spec: &'s Spec,
    args: Vec<Arg<'s>>,
    /// Of a multiplexer (`prctl`): the values of the first argument that this specification is of.
    selects: Option<Vec<i128>>,
    errors: Vec<&'s str>,
    /// Each with the position of its clause.
    rules: Vec<(usize, Rule<'s>)>,
    ids: Vec<String>,
    counts: Vec<u64>,
    page_size: i128,
}

/// A call that was made, as expressions see it.
struct Call<'a> {
    args: &'a [Arg<'a>],
    values: [i128; 6],
    value: i64,
    page_size: i128,
}

impl Bindings for Call<'_> {
    fn name(&self, name: &str) -> Option<i128> {
        match name {
            "ret" => Some(self.value.into()),
            "page_size" => Some(self.page_size),
            _ => {
                let index = self.args.iter().position(|arg| arg.name == name)?;
                self.values.get(index).copied()
            }
        }
    }
    fn arch(&self) -> &str {
        std::env::consts::ARCH
    }
}

impl<'s> Rules<'s> {
    pub(super) fn new(spec: &'s Spec) -> Self {
        let arch = std::env::consts::ARCH;
        let page_size = i128::try_from(rustix::param::page_size()).unwrap_or(4096);
        let args: Vec<Arg<'_>> = spec
            .params
            .iter()
            .map(|p| Arg {
                name: &p.name,
                kind: c_type(&p.type_name),
            })
            .collect();
        let multiplexed = consts::syscall_number(spec.call_name()).is_none();
        let selects = spec.params.first().filter(|_| multiplexed).map(|first| {
            let values = first.limits.enum_values.iter();
            values.filter_map(|v| v.on(arch)).collect()
        });
        let all = clauses(spec);
        let mut rules: Vec<(usize, Rule<'s>)> = Vec::new();
        for (at, clause) in all.iter().enumerate() {
            let rule = match clause.kind {
                ClauseKind::Param => spec
                    .params
                    .get(clause.index)
                    .map(|p| Rule::Param(param_rule(clause.index, p, page_size))),
                ClauseKind::Return => spec.returns.as_ref().map(Rule::Return),
                ClauseKind::Error => spec.errors.get(clause.index).and_then(|error| {
                    let expr = formula(&error.condition, &args);
                    let condition = Condition {
                        at,
                        summary: &error.summary,
                        of_arguments: expr.as_ref().is_some_and(|e| of_arguments(&e.expr, &args)),
                        expr,
                    };
                    for (_, rule) in &mut rules {
                        if let Rule::Error { name, conditions } = rule
                            && *name == error.name
                        {
                            conditions.push(condition);
                            return None;
                        }
                    }
                    Some(Rule::Error {
                        name: &error.name,
                        conditions: vec![condition],
                    })
                }),
                ClauseKind::Constraint => spec
                    .constraints
                    .get(clause.index)
                    .and_then(|c| formula(c.expression.as_deref()?, &args))
                    .map(Rule::Constraint),
                _ => None,
            };
            rules.extend(rule.map(|rule| (at, rule)));
        }
        Self {
            spec,
            args,
            selects,
            errors: spec.errors.iter().map(|e| e.name.as_str()).collect(),
            rules,
            counts: vec![0; all.len()],
            ids: all.into_iter().map(|clause| clause.id).collect(),
            page_size,
        }
    }

    /// Whether the specification is of this call: a multiplexer's first argument decides.
    pub(super) fn speaks_of(&self, args: &[u64; 6]) -> bool {
        match (&self.selects, self.args.first()) {
            (Some(values), Some(first)) => values.contains(&first.kind.value(args[0])),
            _ => true,
        }
    }

    /// How often each clause had a say.
    pub(super) fn add_to(&self, coverage: &mut Coverage) {
        for (id, count) in self.ids.iter().zip(&self.counts) {
            if *count > 0 {
                *coverage.entry(id.clone()).or_default() += count;
            }
        }
    }

    /// Looks at arguments, result and rules; counts every clause that had a say.
    pub(super) fn check(&mut self, args: &[u64; 6], value: i64, error: bool) -> Vec<Problem> {
        let mut values = [0i128; 6];
        for ((slot, register), arg) in values.iter_mut().zip(args).zip(&self.args) {
            *slot = arg.kind.value(*register);
        }
        let call = Call {
            args: &self.args,
            values,
            value,
            page_size: self.page_size,
        };
        let errno = error.then(|| -i128::from(value));
        let name = errno.map(|errno| consts::errno_name(errno).unwrap_or("?"));
        // Nearly always empty: only a problem costs an allocation.
        let mut wrong: Vec<(usize, String)> = Vec::new();
        for (at, rule) in &self.rules {
            let mut had_a_say = true;
            match rule {
                Rule::Param(rule) => {
                    if let Some(number) = values.get(rule.index) {
                        wrong.extend(rule.breaks(*number).map(|what| (*at, what)));
                    }
                }
                Rule::Return(returns) => match (name, errno) {
                    (Some(name), Some(errno)) if !self.errors.contains(&name) => {
                        let what = if name == "?" {
                            format!("error {errno} is not among its errors")
                        } else {
                            format!("{name} is not among its errors")
                        };
                        wrong.push((*at, what));
                    }
                    (None, _) if returns.is_success(value.into()) == Some(false) => {
                        wrong.push((*at, format!("{value} is not its success")));
                    }
                    _ => {}
                },
                Rule::Error {
                    name: own,
                    conditions,
                } => {
                    had_a_say = false;
                    if name == Some(*own) {
                        judge_error(own, conditions, &call, &mut self.counts, &mut wrong);
                    }
                }
                Rule::Constraint(rule) => match expr::eval(&rule.expr, &call).truth() {
                    None => had_a_say = false,
                    Some(true) => {}
                    Some(false) => {
                        let verb = if error { "breaks" } else { "succeeded against" };
                        wrong.push((*at, format!("it {verb} the rule {}", rule.text)));
                    }
                },
            }
            if had_a_say && let Some(count) = self.counts.get_mut(*at) {
                *count += 1;
            }
        }
        if wrong.is_empty() {
            return Vec::new();
        }
        let result = match (name, errno) {
            (Some("?"), Some(errno)) => errno.to_string(),
            (Some(name), _) => name.to_owned(),
            _ => value.to_string(),
        };
        let text = self.text(&values, &result);
        wrong
            .into_iter()
            .filter_map(|(at, what)| {
                Some(Problem {
                    clause: self.ids.get(at)?.clone(),
                    call: text.clone(),
                    what,
                })
            })
            .collect()
    }

    fn text(&self, values: &[i128; 6], result: &str) -> String {
        let shown: Vec<String> = self
            .args
            .iter()
            .zip(values)
            .map(|(arg, number)| {
                if number.abs() > 9 {
                    format!("{} = {number:#x}", arg.name)
                } else {
                    format!("{} = {number}", arg.name)
                }
            })
            .collect();
        let call = self.spec.call_name();
        format!("{call}({}) = {result}", shown.join(", "))
    }
}

/// A failed call against every condition of its error. One that holds for its arguments alone says
/// that the program asked for what is never allowed; none that can hold, that the specification is
/// wrong.
fn judge_error(
    name: &str,
    conditions: &[Condition<'_>],
    call: &Call<'_>,
    counts: &mut [u64],
    wrong: &mut Vec<(usize, String)>,
) {
    let mut refuted = true;
    let mut asked_for_it = None;
    for condition in conditions {
        if let Some(count) = counts.get_mut(condition.at) {
            *count += 1;
        }
        let truth = condition
            .expr
            .as_ref()
            .and_then(|formula| expr::eval(&formula.expr, call).truth());
        refuted &= truth == Some(false);
        // What is wrong with one argument has been said by then.
        let news = wrong.is_empty() && asked_for_it.is_none();
        if news && truth == Some(true) && condition.of_arguments {
            asked_for_it = Some(condition);
        }
    }
    let first = conditions.first().map_or(0, |condition| condition.at);
    if refuted {
        wrong.push((first, format!("{name} without its condition")));
    } else if let Some(condition) = asked_for_it
        && let Some(formula) = &condition.expr
    {
        let (summary, text) = (condition.summary.trim(), &formula.text);
        let what = if summary.is_empty() {
            format!("no call with {text} is allowed")
        } else {
            format!("{summary}: no call with {text} is allowed")
        };
        wrong.push((condition.at, what));
    }
}

/// An expression that is written in the language of rules; `None` for prose.
fn formula(text: &str, args: &[Arg<'_>]) -> Option<Formula> {
    let expr = expr::parse(text).ok()?;
    let number = |name: &str| {
        let bound = matches!(name, "ret" | "page_size") || args.iter().any(|arg| arg.name == name);
        // These mean what the caller has.
        let limit = name.starts_with("CAP_") || name.starts_with("RLIMIT_");
        if bound || limit {
            return None;
        }
        consts::lookup_on(name, std::env::consts::ARCH)
    };
    Some(Formula {
        text: expr.to_string(),
        expr: expr.with_numbers(&number),
    })
}

/// Whether an expression speaks of nothing but arguments, constants and the page size.
fn of_arguments(expr: &Expr, args: &[Arg<'_>]) -> bool {
    let mut only = true;
    expr.walk(&mut |part| match part {
        // Constants are numbers by now.
        Expr::Name(name) => only &= name == "page_size" || args.iter().any(|a| a.name == name),
        Expr::Establish(..) => only = false,
        // BIT(3) is one; mapped(addr, len) speaks of the caller's memory.
        Expr::Call(name, _) => only &= name == "BIT",
        Expr::Number(_) | Expr::Unary(..) | Expr::Binary(..) => {}
    });
    only
}

fn param_rule(index: usize, param: &Param, page_size: i128) -> ParamRule<'_> {
    let arch = std::env::consts::ARCH;
    let limits = &param.limits;
    let listed: Option<Vec<i128>> = limits.enum_values.iter().map(|v| v.on(arch)).collect();
    let is = |kind: ConstraintKind| limits.kind == Some(kind);
    ParamRule {
        index,
        name: &param.name,
        mask: limits.valid_mask.as_ref().and_then(|m| m.on(arch)),
        listed: listed.unwrap_or_default(),
        range: limits
            .range
            .as_ref()
            .and_then(|r| r.min.on(arch).zip(r.max.on(arch))),
        alignment: if is(ConstraintKind::PageAligned) {
            Some(page_size)
        } else {
            let alignment = limits.alignment.as_ref().and_then(|a| a.on(arch));
            alignment.filter(|a| *a > 0)
        },
        nonzero: is(ConstraintKind::Nonzero),
        power_of_two: is(ConstraintKind::PowerOfTwo),
    }
}

impl ParamRule<'_> {
    /// What is wrong with this value, if anything is.
    fn breaks(&self, number: i128) -> Option<String> {
        let name = self.name;
        if let Some(mask) = self.mask.filter(|mask| number & !mask != 0) {
            let bits = number & !mask;
            return Some(format!("{name} has bits {bits:#x} that are not allowed"));
        }
        if !self.listed.is_empty() && !self.listed.contains(&number) {
            return Some(format!("{name} = {number} is none of its values"));
        }
        if let Some((min, max)) = self
            .range
            .filter(|(min, max)| number < *min || number > *max)
        {
            return Some(format!("{name} = {number} is not in {min} to {max}"));
        }
        if let Some(unit) = self.alignment.filter(|unit| number % unit != 0) {
            return Some(format!("{name} = {number:#x} is no multiple of {unit}"));
        }
        if self.nonzero && number == 0 {
            return Some(format!("{name} is 0"));
        }
        if self.power_of_two && (number <= 0 || number & (number - 1) != 0) {
            return Some(format!("{name} = {number} is no power of two"));
        }
        None
    }
}
