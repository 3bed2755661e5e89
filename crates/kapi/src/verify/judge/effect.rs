//! Whether effects show: their kind, their direction, when they come, and whether they go again.

use super::{Judge, Judged};
use crate::expr::{self, Bindings as _, Expr};
use crate::ir::vocab::Effect;
use crate::ir::{Flags, SideEffect};
use crate::verify::Verdict;
use crate::verify::bind::{Made, Moment};
use crate::verify::scene::Scene;
use crate::verify::state::{self, Kind};
use crate::verify::tried::Tried;
use crate::verify::typed::{paths, typed};

/// Whether there is a way to look at effects of a kind.
fn can_be_seen(kind: &Effect) -> bool {
    matches!(
        kind,
        Effect::AllocMemory
            | Effect::FreeMemory
            | Effect::ModifyState
            | Effect::ProcessState
            | Effect::ResourceCreate
            | Effect::ResourceDestroy
            | Effect::SignalSend
    )
}

/// When an effect is stated to come.
enum When {
    Always,
    If(Expr),
    Words,
}

/// The successful calls, by what they show of an effect.
#[derive(Default)]
struct Shown<'a> {
    /// It came, and was not there before.
    came: Vec<&'a Tried>,
    /// It should have come, and did not.
    missing: Vec<&'a Tried>,
    /// It came where it should not.
    elsewhere: Vec<&'a Tried>,
}

impl Judge<'_> {
    fn when(&self, condition: &str) -> When {
        match typed(self.spec, condition) {
            _ if condition.trim().is_empty() => When::Always,
            Some(condition) => When::If(condition),
            None => When::Words,
        }
    }

    fn successes(&self) -> impl Iterator<Item = &Tried> {
        self.made()
            .filter(|t| t.succeeded() && t.case.scene == Scene::Plain)
    }

    pub(super) fn effect(&self, index: usize) -> Judged {
        let Some(effect) = self.spec.side_effects.get(index) else {
            return Judged::new(Verdict::NotAttempted, "no such item");
        };
        let rule = effect
            .expression
            .as_deref()
            .and_then(|text| typed(self.spec, text));
        let Some(rule) = rule else {
            let unseen = effect.effects.0.iter().find(|kind| !can_be_seen(kind));
            if let Some(kind) = unseen {
                return Judged::new(
                    Verdict::NotObservable,
                    format!("effects of the kind `{kind}` cannot be seen from user space"),
                );
            }
            return self.in_words(
                &effect.condition,
                &effect.target,
                "no expression says what the effect is; words are not judged",
            );
        };
        let when = self.when(&effect.condition);
        let shown = self.shown(&when, None, &rule);
        if let (Some(first), false) = (shown.missing.first(), matches!(when, When::Words)) {
            return Judged::new(
                Verdict::Contradicted,
                format!("{}: the effect did not come", first.describe(self.spec)),
            )
            .and(self.values(&rule, first))
            .by(&shown.missing);
        }
        let Some(first) = shown.came.first() else {
            return Judged::new(Verdict::NotObserved, "no successful call showed the effect");
        };
        let mut judged = Judged::new(
            Verdict::Confirmed,
            format!(
                "{}: {}",
                first.describe(self.spec),
                self.values(&rule, first)
            ),
        )
        .by(&shown.came);
        let mut doubts = Vec::new();
        if matches!(when, When::Words) {
            doubts.push("when it comes is stated in words, which are not judged".to_owned());
        } else if let Some(other) = shown.elsewhere.first() {
            doubts.push(format!(
                "it also came where the condition does not hold: {}",
                other.describe(self.spec)
            ));
        }
        doubts.extend(self.kinds(&effect.effects, &rule, &shown.came));
        if let Some(doubt) = self.going(effect, &rule, &shown.came, &mut judged) {
            doubts.push(doubt);
        }
        if doubts.is_empty() {
            return judged;
        }
        judged.verdict = Verdict::Observed;
        doubts.into_iter().fold(judged, Judged::and)
    }

    /// What is only told in words: what could be seen to change, for the reader to compare. Of the
    /// calls those are shown that pass a constant which the condition names; where the target is
    /// state that is known, only that is looked at.
    fn in_words(&self, condition: &str, target: &str, why: &str) -> Judged {
        let plain: Vec<&Tried> = self.tried.iter().filter(|t| t.is_plain_success()).collect();
        let named = self.named_values(condition);
        let passes = |t: &Tried, (param, number): &(usize, i128)| {
            t.value(self.spec, *param)
                .is_some_and(|v| v & number == *number)
        };
        let mut shown: Vec<&Tried> = named
            .iter()
            .filter_map(|value| plain.iter().find(|t| passes(t, value)).copied())
            .collect();
        if named.is_empty() {
            shown.extend(plain.first());
        }
        shown.dedup_by_key(|t| t.number);
        let differences = |t: &Tried| -> Option<Vec<String>> {
            let view = |name: &str| t.log.views.get(name);
            let (before, after, later) = (view("a")?, view("b")?, view("later")?);
            let all = state::differences(before, after, later);
            Some(match state::words(target) {
                Some(words) => all.into_iter().filter(|d| d.starts_with(words)).collect(),
                None => all,
            })
        };
        let mut lines = Vec::new();
        let mut changed = false;
        for t in &shown {
            let seen = differences(t).unwrap_or_default();
            changed |= !seen.is_empty();
            let seen = if seen.is_empty() {
                "nothing that can be looked at changed".to_owned()
            } else {
                seen.join(", ")
            };
            lines.push(format!("{}: {seen}", t.describe(self.spec)));
        }
        if shown.is_empty() {
            return Judged::new(
                Verdict::NotAttempted,
                "no successful call passes what the condition names",
            );
        }
        let verdict = if changed {
            Verdict::Observed
        } else {
            Verdict::NotObserved
        };
        let judged = Judged {
            verdict,
            evidence: lines,
            witnesses: Vec::new(),
        };
        judged.and(why).by(&shown)
    }

    /// The constants in a text that some parameter may have, with the parameter.
    fn named_values(&self, text: &str) -> Vec<(usize, i128)> {
        let mut found = Vec::new();
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let Some(number) = crate::consts::lookup(word).filter(|n| *n != 0) else {
                continue;
            };
            for (n, param) in self.spec.params.iter().enumerate() {
                let mask = param.limits.valid_mask.as_ref().and_then(|m| m.number);
                let may = mask.is_some_and(|mask| mask & number == number)
                    || param.limits.enum_values.iter().any(|v| v.text == word);
                if may && word.contains('_') && !found.contains(&(n, number)) {
                    found.push((n, number));
                }
            }
        }
        found
    }

    /// Sorts the successful calls by what they show.
    fn shown(&self, when: &When, from: Option<&Expr>, to: &Expr) -> Shown<'_> {
        let mut shown = Shown::default();
        for t in self.successes() {
            let before = Made::before(self.spec, t);
            let due = match when {
                When::Always | When::Words => Some(true),
                When::If(condition) => expr::eval(condition, &before).truth(),
            };
            let start = from.map_or(Some(true), |from| expr::eval(from, &before).truth());
            let was = expr::eval(to, &self.unmoved(t)).truth();
            let is = expr::eval(to, &self.after(t)).truth();
            match (due, start, was, is) {
                (Some(true), Some(true), Some(false), Some(true)) => shown.came.push(t),
                (Some(true), Some(true), _, Some(false)) => shown.missing.push(t),
                (Some(false), Some(true), Some(false), Some(true)) => shown.elsewhere.push(t),
                _ => {}
            }
        }
        shown
    }

    /// The call as if nothing had happened.
    fn unmoved<'t>(&'t self, t: &'t Tried) -> Made<'t> {
        Made {
            moment: Moment::Before,
            ..self.after(t)
        }
    }

    /// Each kind must be seen for itself, or it is not known.
    fn kinds(&self, kinds: &Flags<Effect>, rule: &Expr, came: &[&Tried]) -> Vec<String> {
        let moved = |t: &Tried, path: &str| {
            let after = self.after(t);
            Some((after.at("old", path)?, after.name(path)?))
        };
        // Only what the expression names: something else may change beside it.
        let named = paths(rule);
        let any = |wanted: Kind, test: &dyn Fn(i128, i128) -> bool| {
            named.iter().any(|path| {
                state::kind(path) == Some(wanted)
                    && came
                        .iter()
                        .any(|t| moved(t, path).is_some_and(|(a, b)| test(a, b)))
            })
        };
        kinds
            .0
            .iter()
            .filter_map(|kind| {
                let seen = match kind {
                    Effect::AllocMemory => any(Kind::Memory, &|a, b| b > a),
                    Effect::FreeMemory => any(Kind::Memory, &|a, b| b < a),
                    Effect::ModifyState | Effect::ProcessState => any(Kind::State, &|a, b| a != b),
                    Effect::ResourceCreate => any(Kind::Resource, &|a, b| b > a),
                    Effect::ResourceDestroy => any(Kind::Resource, &|a, b| b < a),
                    Effect::SignalSend => any(Kind::Signals, &|a, b| b & !a != 0),
                    other => return Some(format!("the kind `{other}` cannot be seen")),
                };
                (!seen).then(|| format!("the kind `{kind}` was not seen"))
            })
            .collect()
    }

    /// Whether it goes again as stated; what is in doubt otherwise.
    fn going(
        &self,
        effect: &SideEffect,
        rule: &Expr,
        came: &[&Tried],
        judged: &mut Judged,
    ) -> Option<String> {
        let undone: Vec<(&Tried, bool)> = came
            .iter()
            .filter_map(|t| Some((*t, self.undone(rule, t)?)))
            .collect();
        let back = undone.iter().filter(|(_, back)| *back).count();
        if effect.reversible {
            if undone.is_empty() {
                return Some("that it can be undone was not looked at".to_owned());
            }
            if back < undone.len() {
                return Some("the opposite call did not undo it".to_owned());
            }
            judged
                .evidence
                .push(format!("the opposite call undid it, {back} times"));
            return None;
        }
        (back > 0 && back == undone.len())
            .then(|| "the opposite call undid it, which is not stated".to_owned())
    }

    /// Whether everything that the rule speaks of is after the opposite call what it was before.
    fn undone(&self, rule: &Expr, t: &Tried) -> Option<bool> {
        let log = self.followed.get(&t.number)?.undo.as_ref()?;
        if log.calls.get("undo")?.errno.is_some() {
            return None;
        }
        let (before, after) = (log.views.get("a")?, log.views.get("undone")?);
        let paths = paths(rule);
        let mut all = paths.iter().map(|path| {
            Some(state::read(path, before, "def")? == state::read(path, after, "after")?)
        });
        all.try_fold(true, |so_far, same| Some(so_far && same?))
    }

    pub(super) fn transition(&self, index: usize) -> Judged {
        let Some(trans) = self.spec.state_transitions.get(index) else {
            return Judged::new(Verdict::NotAttempted, "no such item");
        };
        let both = typed(self.spec, &trans.from).zip(typed(self.spec, &trans.to));
        let Some((from, to)) = both else {
            return self.in_words(
                &trans.condition,
                &trans.object,
                "the states are in words, which are not judged",
            );
        };
        let when = self.when(&trans.condition);
        let shown = self.shown(&when, Some(&from), &to);
        if let (Some(first), false) = (shown.missing.first(), matches!(when, When::Words)) {
            return Judged::new(
                Verdict::Contradicted,
                format!(
                    "{}: the new state was not reached",
                    first.describe(self.spec)
                ),
            )
            .and(self.values(&to, first))
            .by(&shown.missing);
        }
        let Some(first) = shown.came.first() else {
            return Judged::new(
                Verdict::NotObserved,
                "no successful call went from the one state to the other",
            );
        };
        let judged = Judged::new(
            Verdict::Confirmed,
            format!("{}: {}", first.describe(self.spec), self.values(&to, first)),
        )
        .by(&shown.came);
        let doubt = match (&when, shown.elsewhere.first()) {
            (When::Words, _) => {
                "when it happens is stated in words, which are not judged".to_owned()
            }
            (_, Some(other)) => format!(
                "it also happened where the condition does not hold: {}",
                other.describe(self.spec)
            ),
            _ => return judged,
        };
        Judged {
            verdict: Verdict::Observed,
            ..judged
        }
        .and(doubt)
    }
}
