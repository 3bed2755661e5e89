//! A scenario on two backends side by side: what each step comes to on both, and where the address
//! spaces differ after it.

use std::fmt::Write as _;

use crate::backend::{Backend, Trouble};
use crate::call::{Call, Life, Step, TaskIx};
use crate::fuzz::compare_task;
use crate::lang::{Line, Scenario, Wanted, WantedOutcome, print_step};
use crate::run::{answer_text, run_line};

/// One step on both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The step.
    pub step: String,
    /// What it came to on each.
    pub results: [String; 2],
    /// Tasks that differ after it: what, and each side's.
    pub differences: Vec<(String, [String; 2])>,
}

impl Pair {
    /// Whether both sides are the same.
    #[must_use]
    pub fn same(&self) -> bool {
        let [left, right] = &self.results;
        left == right && self.differences.is_empty()
    }
}

/// Does every step on both, whatever it comes to, and compares.
///
/// # Errors
/// Where a backend cannot begin, or is broken.
pub fn side_by_side(
    scenario: &Scenario,
    left: &mut dyn Backend,
    right: &mut dyn Backend,
) -> Result<Vec<Pair>, Trouble> {
    let begin = |backend: &mut dyn Backend| {
        backend.as_stock(scenario.stock);
        backend.begin(&scenario.needs, &scenario.names)
    };
    begin(&mut *left)?;
    begin(&mut *right)?;
    let mut pairs = Vec::new();
    let mut tasks: Vec<TaskIx> = Vec::new();
    let mut masked = false;
    // A record that is not there once may differ at every step after it: it is told once.
    let mut told: Vec<(String, [String; 2])> = Vec::new();
    for line in &scenario.lines {
        let results = [result(line, &mut *left)?, result(line, &mut *right)?];
        masked |= matches!(line.step, Step::Do(_, Call::Mctl(..) | Call::Pmadvise(..)));
        match &line.step {
            Step::Spawn { task, .. } | Step::Do(_, Call::Clone(_, task)) => tasks.push(*task),
            _ => {}
        }
        let mut differences = Vec::new();
        for task in &tasks {
            // One that was never made, on either side.
            let there = |backend: &mut dyn Backend| backend.life(*task).unwrap_or(Life::Gone);
            if there(&mut *left) == Life::Gone && there(&mut *right) == Life::Gone {
                continue;
            }
            let found = match compare_task(*task, masked, &mut *left, &mut *right) {
                Ok(found) => found,
                Err(Trouble::Broken(what)) => Some((what, String::new(), String::new())),
                Err(trouble) => return Err(trouble),
            };
            if let Some((what, l, r)) = found {
                let name = scenario.names.tasks.get(usize::from(*task));
                let what = format!("{what} of {}", name.map_or("", |name| name));
                differences.push((what, [l, r]));
            }
        }
        let new: Vec<_> = differences
            .iter()
            .filter(|found| !told.contains(found))
            .cloned()
            .collect();
        told = differences;
        pairs.push(Pair {
            step: print_step(&line.step, &scenario.names),
            results,
            differences: new,
        });
    }
    Ok(pairs)
}

/// What a step comes to, in words.
fn result(line: &Line, backend: &mut dyn Backend) -> Result<String, Trouble> {
    let wanted = match line.step {
        // A look says what it wants to see by itself.
        Step::Expect(_) => line.wanted,
        _ => Wanted::Any,
    };
    let line = Line {
        wanted,
        outcome: WantedOutcome::default(),
        ..line.clone()
    };
    Ok(match run_line(&line, backend) {
        Ok(Ok(answer)) => answer_text(answer),
        Ok(Err((_, got))) => got,
        Err(Trouble::NotPossible(why) | Trouble::Unsupported(why)) => {
            format!("not possible: {why}")
        }
        Err(broken) => return Err(broken),
    })
}

/// As text: `=` for what is the same, `!` for what is not, with both sides under their names.
#[must_use]
pub fn text(pairs: &[Pair], names: [&str; 2]) -> String {
    let mut out = String::new();
    for pair in pairs {
        let [left, right] = &pair.results;
        let mark = if pair.same() { '=' } else { '!' };
        if left == right {
            let _ = writeln!(out, "{mark} {:<48} {left}", pair.step);
        } else {
            let _ = writeln!(out, "{mark} {}", pair.step);
            for (name, result) in names.iter().zip(&pair.results) {
                let _ = writeln!(out, "    {name:<8} {result}");
            }
        }
        for (what, sides) in &pair.differences {
            let _ = writeln!(out, "  {what}:");
            for (name, side) in names.iter().zip(sides) {
                for line in side.lines() {
                    let _ = writeln!(out, "    {name:<8} {line}");
                }
            }
        }
    }
    let differ = pairs.iter().filter(|pair| !pair.same()).count();
    let _ = writeln!(out, "{} steps, {differ} differ", pairs.len());
    out
}
