//! Whether the rules over a call hold whenever it succeeds.

use super::{Judge, Judged};
use crate::expr::{self, Expr};
use crate::verify::Verdict;
use crate::verify::bind::{Made, Moment};
use crate::verify::scene::Scene;
use crate::verify::tried::Tried;
use crate::verify::typed::{speaks_of_effects, typed};

impl Judge<'_> {
    pub(super) fn constraint(&self, index: usize) -> Judged {
        let Some(constraint) = self.spec.constraints.get(index) else {
            return Judged::new(Verdict::NotAttempted, "no such rule");
        };
        let Some(text) = constraint.expression.as_deref() else {
            return Judged::new(
                Verdict::NotAttempted,
                "the rule is in words, which are not judged",
            );
        };
        let Some(rule) = typed(self.spec, text) else {
            return Judged::new(
                Verdict::NotAttempted,
                format!("`{text}` speaks of what is not known here"),
            );
        };
        let judged = if speaks_of_effects(&rule) {
            self.established(&rule)
        } else {
            self.restriction(&rule)
        };
        if constraint.description.is_empty() {
            judged
        } else {
            judged.and("the expression was judged, the description was not")
        }
    }

    /// A rule must hold whenever the call succeeds, and must have been able to fail.
    fn restriction(&self, rule: &Expr) -> Judged {
        let (mut held, mut against, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for t in self.made().filter(|t| t.case.scene == Scene::Plain) {
            let truth = expr::eval(rule, &Made::before(self.spec, t)).truth();
            match (truth, t.succeeded()) {
                (Some(true), true) => held.push(t),
                (Some(false), true) => against.push(t),
                (Some(false), false) => refused.push(t),
                _ => {}
            }
        }
        if let Some(first) = against.first() {
            return Judged::new(
                Verdict::Contradicted,
                format!("{} succeeded against the rule", first.describe(self.spec)),
            )
            .by(&against);
        }
        match (held.first(), refused.first()) {
            (Some(success), Some(first)) => Judged::new(
                Verdict::Confirmed,
                format!(
                    "held in {} successful calls; {} calls against it failed, such as {} with {}",
                    held.len(),
                    refused.len(),
                    first.describe(self.spec),
                    first.result()
                ),
            )
            .by(&[success, first]),
            (Some(success), None) => Judged::new(
                Verdict::Observed,
                format!(
                    "held in {} successful calls; no call went against it",
                    held.len()
                ),
            )
            .by(&[success]),
            (None, _) => Judged::new(
                Verdict::NotObserved,
                "its names had no value in any successful call",
            ),
        }
    }

    /// A rule about what holds afterwards: after every success, and it must not be idle: there
    /// must be a success after which its opposite does not hold either by accident.
    fn established(&self, rule: &Expr) -> Judged {
        let (mut held, mut against) = (Vec::new(), Vec::new());
        for t in self
            .made()
            .filter(|t| t.succeeded() && t.case.scene == Scene::Plain)
        {
            match expr::eval(rule, &self.after(t)).truth() {
                Some(true) => held.push(t),
                Some(false) => against.push(t),
                None => {}
            }
        }
        if let Some(first) = against.first() {
            return Judged::new(
                Verdict::Contradicted,
                format!(
                    "{}: afterwards the rule does not hold",
                    first.describe(self.spec)
                ),
            )
            .and(self.values(rule, first))
            .by(&against);
        }
        // A call that changed something shows more.
        let telling = held.iter().find(|t| self.moved(rule, t)).or(held.first());
        match telling {
            Some(first) => Judged::new(
                Verdict::Confirmed,
                format!("held after {} successful calls", held.len()),
            )
            .and(format!(
                "{}: {}",
                first.describe(self.spec),
                self.values(rule, first)
            ))
            .by(&held),
            None => Judged::new(
                Verdict::NotObserved,
                "its names had no value after any successful call",
            ),
        }
    }

    /// The call as it looks afterwards.
    pub(super) fn after<'t>(&'t self, t: &'t Tried) -> Made<'t> {
        Made {
            spec: self.spec,
            tried: t,
            tails: self.followed.get(&t.number),
            moment: Moment::After,
        }
    }

    /// Whether anything that a rule speaks of changed.
    fn moved(&self, rule: &Expr, t: &Tried) -> bool {
        use crate::expr::Bindings as _;
        let after = self.after(t);
        crate::verify::typed::paths(rule)
            .into_iter()
            .any(|path| after.at("old", path) != after.name(path))
    }

    /// The state that a rule speaks of, before and after.
    pub(super) fn values(&self, rule: &Expr, t: &Tried) -> String {
        use crate::expr::Bindings as _;
        use crate::verify::{state, typed};
        let after = self.after(t);
        let shown = |path: &str, value: Option<i128>| {
            value.map_or_else(|| "not seen".to_owned(), |v| state::shown(path, v))
        };
        let mut all: Vec<String> = Vec::new();
        for path in typed::paths(rule) {
            all.push(format!(
                "{path} {} → {}",
                shown(path, after.at("old", path)),
                shown(path, after.name(path))
            ));
            for moment in ["fork", "exec"] {
                if let Some(value) = after.at(moment, path) {
                    all.push(format!("{moment}({path}) is {}", state::shown(path, value)));
                }
            }
        }
        all.join(", ")
    }
}
