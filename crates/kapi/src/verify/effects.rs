//! Effects over time: what is there after the call, in a child, after exec, and after the
//! opposite call.

use std::collections::BTreeMap;

use crate::consts;
use crate::ir::Spec;

use super::claims::{Claim, Domain, claims, holds};
use super::run::{Log, run_all};
use super::script::{Arg, Step};
use super::tried::Tried;

/// Calls that undo others, with the arguments that they take over.
const OPPOSITES: [(&str, &str, usize); 3] = [
    ("mlockall", "munlockall", 0),
    ("mlock", "munlock", 2),
    ("mlock2", "munlock", 2),
];

/// What was seen of the successful calls.
pub(super) struct Observed<'a> {
    spec: &'a Spec,
    tried: &'a [Tried],
    domain: Option<Domain>,
    /// By the arguments of the call: fork, exec, undo.
    more: BTreeMap<String, [Log; 3]>,
}

/// What a claim came to, for one call.
pub(super) struct Seen {
    pub(super) good: bool,
    pub(super) text: String,
}

impl<'a> Observed<'a> {
    pub(super) fn new(spec: &'a Spec, number: u32, tried: &'a [Tried]) -> Self {
        let whole = serde_json::to_string(spec).unwrap_or_default();
        let domain = Domain::of(&whole);
        let undo = OPPOSITES
            .iter()
            .find(|(call, ..)| *call == spec.call_name())
            .and_then(|(_, undo, take)| Some((consts::syscall_number(undo)?, *take)));
        let mut keys = Vec::new();
        let mut scripts = Vec::new();
        if domain.is_some() {
            for t in tried.iter().filter(|t| t.is_plain_success()) {
                let start = |more: Vec<Step>| {
                    let mut steps = vec![
                        Step::Map("before".to_owned()),
                        Step::Call {
                            number,
                            args: t.case.args.clone(),
                            name: "call".to_owned(),
                        },
                    ];
                    steps.extend(more);
                    steps
                };
                let look =
                    |name: &str| vec![Step::Map("after".to_owned()), Step::Look(name.to_owned())];
                keys.push(key(&t.case.args));
                scripts.push(start(vec![Step::Fork(look("fork"))]));
                scripts.push(start(vec![Step::Exec(look("exec"))]));
                let undo = undo.map_or_else(Vec::new, |(number, take)| {
                    let args = t.case.args.iter().take(take).cloned().collect();
                    vec![Step::Call {
                        number,
                        args,
                        name: "undo".to_owned(),
                    }]
                });
                scripts.push(start(undo.into_iter().chain(look("undone")).collect()));
            }
        }
        let logs = run_all(&scripts);
        let mut more = BTreeMap::new();
        for (key, three) in keys.into_iter().zip(logs.chunks_exact(3)) {
            if let [fork, exec, undo] = three {
                more.insert(key, [fork.clone(), exec.clone(), undo.clone()]);
            }
        }
        Self {
            spec,
            tried,
            domain,
            more,
        }
    }

    /// How many calls were made for it.
    pub(super) fn calls(&self) -> usize {
        self.more.len() * 3
    }

    /// The plainest successful call for a clause with this condition and text.
    pub(super) fn trigger(&self, condition: &str, text: &str) -> Option<&'a Tried> {
        let (wanted, refused) = self.constants(condition);
        let (wanted, refused) = if wanted == 0 && refused == 0 {
            self.constants(text)
        } else {
            (wanted, refused)
        };
        let score = |t: &Tried| {
            let bits = t.flags(self.spec);
            (bits & wanted == wanted && bits & refused == 0).then(|| bits.count_ones())
        };
        let mut all: Vec<(u32, &Tried)> = self
            .tried
            .iter()
            .filter(|t| t.is_plain_success())
            .filter_map(|t| Some((score(t)?, t)))
            .collect();
        all.sort_by_key(|(n, _)| *n);
        all.first().map(|(_, t)| *t)
    }

    /// The flags that a condition asks for, and those it excludes (`A without B`, `not B`).
    fn constants(&self, text: &str) -> (i128, i128) {
        let mask = self
            .spec
            .params
            .iter()
            .find_map(|p| p.limits.valid_mask.as_ref()?.number)
            .unwrap_or(0);
        let (mut wanted, mut refused, mut out) = (0, 0, false);
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            match word {
                "without" | "not" | "no" | "unless" => out = true,
                _ => {
                    if let Some(bit) =
                        consts::lookup(word).filter(|n| mask & n != 0 && word.contains('_'))
                    {
                        if out { refused |= bit } else { wanted |= bit }
                    }
                }
            }
        }
        (wanted, refused)
    }

    /// Checks every claim of a text after the call that triggers it.
    pub(super) fn check(&self, condition: &str, text: &str) -> Vec<Seen> {
        let found = claims(text);
        let Some(trigger) = self.trigger(condition, text).filter(|_| !found.is_empty()) else {
            return Vec::new();
        };
        found
            .iter()
            .filter_map(|claim| self.one(claim, trigger))
            .collect()
    }

    fn one(&self, claim: &Claim, t: &Tried) -> Option<Seen> {
        let call = t.describe(self.spec);
        match claim {
            Claim::Exec(wanted) | Claim::Fork(wanted) => {
                let domain = self.domain?;
                let [fork, exec, _] = self.more.get(&key(&t.case.args))?;
                let (view, when) = match claim {
                    Claim::Exec(_) => (exec.views.get("exec")?, "execve"),
                    _ => (fork.views.get("fork")?, "fork, in the child"),
                };
                let (in_force, shown) = domain.in_force(view);
                Some(Seen {
                    good: in_force == *wanted,
                    text: format!("{call}, then {when}: {shown}"),
                })
            }
            _ => {
                let (before, after) = (t.log.views.get("a")?, t.log.views.get("b")?);
                let (good, shown) = holds(claim, before, after)?;
                Some(Seen {
                    good,
                    text: format!("{call}: {shown}"),
                })
            }
        }
    }

    /// Whether the opposite call takes the state away again.
    pub(super) fn undone(&self, condition: &str, text: &str) -> Option<Seen> {
        let t = self.trigger(condition, text)?;
        let [_, _, log] = self.more.get(&key(&t.case.args))?;
        let undo = log.calls.get("undo")?;
        let (in_force, shown) = self.domain?.in_force(log.views.get("undone")?);
        let good = undo.errno.is_none() && !in_force;
        Some(Seen {
            good,
            text: format!("{}, then the opposite call: {shown}", t.describe(self.spec)),
        })
    }
}

fn key(args: &[Arg]) -> String {
    format!("{args:?}")
}
