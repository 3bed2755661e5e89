//! A case with its outcome, and how it is shown.

use std::collections::BTreeMap;

use super::bind::as_type;
use super::plan::Case;
use super::run::Log;
use super::script::{Arg, Outcome};
use crate::consts;
use crate::ir::Spec;

/// A case and what came of it.
pub(super) struct Tried {
    /// Its number in the log of the run.
    pub(super) number: usize,
    pub(super) case: Case,
    pub(super) log: Log,
}

impl Tried {
    pub(super) fn outcome(&self) -> Option<&Outcome> {
        self.log.calls.get("call")
    }

    /// The error's name; `None` for success.
    pub(super) fn error(&self) -> Option<String> {
        let errno = self.outcome()?.errno?;
        Some(consts::errno_name(errno.into()).map_or_else(|| errno.to_string(), str::to_owned))
    }

    pub(super) fn succeeded(&self) -> bool {
        self.outcome().is_some_and(|o| o.errno.is_none())
    }

    /// A success without any restriction or trick.
    pub(super) fn is_plain_success(&self) -> bool {
        self.succeeded() && self.case.odd.is_empty() && self.case.is_whole()
    }

    /// What a parameter was, as its C type reads it.
    pub(super) fn value(&self, spec: &Spec, param: usize) -> Option<i128> {
        let register = self.outcome()?.args.get(param).copied()?;
        let kind = spec.params.get(param).map_or("", |p| &p.type_name);
        super::bind::value(kind, register)
    }

    /// `mlockall(flags = 0x2)`.
    pub(super) fn describe(&self, spec: &Spec) -> String {
        let args: Vec<String> = spec
            .params
            .iter()
            .zip(&self.case.args)
            .enumerate()
            .map(|(n, (p, arg))| {
                let text = match arg {
                    Arg::Number(_) => {
                        let register = self
                            .outcome()
                            .and_then(|o| o.args.get(n))
                            .copied()
                            .unwrap_or(0);
                        named(spec, n, as_type(&p.type_name, register))
                    }
                    other => {
                        let debug = format!("{other:?}");
                        let mut words = String::new();
                        for c in debug.chars() {
                            if c.is_ascii_uppercase() && !words.is_empty() {
                                words.push(' ');
                            }
                            words.push(c.to_ascii_lowercase());
                        }
                        words.replace("(0)", "")
                    }
                };
                format!("{} = {text}", p.name)
            })
            .collect();
        let setting = match self.case.setting.words().as_str() {
            "" => String::new(),
            words => format!(" [{words}]"),
        };
        let scene: String = [
            self.case.scene.words(),
            self.case.first.as_ref().map_or("", |(words, _)| words),
        ]
        .iter()
        .filter(|words| !words.is_empty())
        .map(|words| format!(" {words}"))
        .collect();
        format!("{}({}){setting}{scene}", spec.call_name(), args.join(", "))
    }

    pub(super) fn result(&self) -> String {
        match (self.error(), self.outcome()) {
            (Some(error), _) => error,
            (None, Some(outcome)) => outcome
                .value
                .map_or_else(|| "no value".to_owned(), |v| v.to_string()),
            (None, None) => self
                .log
                .failed
                .clone()
                .unwrap_or_else(|| "no outcome".to_owned()),
        }
    }
}

/// A number with the names that the parameter gives it.
fn named(spec: &Spec, param: usize, number: i128) -> String {
    let limits = spec.params.get(param).map(|p| &p.limits);
    if let Some(value) =
        limits.and_then(|l| l.enum_values.iter().find(|v| v.number == Some(number)))
    {
        return value.text.clone();
    }
    let names: Vec<&str> = limits
        .and_then(|l| l.valid_mask.as_ref())
        .map(|m| {
            m.alternatives()
                .into_iter()
                .filter(|n| consts::lookup(n).is_some_and(|b| b & number == b && b != 0))
                .collect()
        })
        .unwrap_or_default();
    let sum = names
        .iter()
        .filter_map(|n| consts::lookup(n))
        .fold(0, |a, b| a | b);
    if !names.is_empty() && sum == number {
        names.join("|")
    } else if number.abs() > 9 {
        format!("{number:#x}")
    } else {
        number.to_string()
    }
}

/// `EINVAL 29×, success 2×`.
pub(super) fn tally(tried: &[&Tried]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for t in tried {
        *counts
            .entry(t.error().unwrap_or_else(|| "success".to_owned()))
            .or_default() += 1;
    }
    counts
        .iter()
        .map(|(name, n)| format!("{name} {n}×"))
        .collect::<Vec<_>>()
        .join(", ")
}
