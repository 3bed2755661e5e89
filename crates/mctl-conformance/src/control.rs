//! Controls of the suite itself: faults on purpose, each of which it has to notice.
//!
//! An engine that says yes and does nothing, and the faults of the model ([`Mutant`]). What comes
//! of them is a table, docs/suite-controls.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use mctl_model::Mutant;

use crate::backend::model::ModelBackend;
use crate::call::{Call, Step};
use crate::lang::{Setup, Wanted, print_step};
use crate::report::Case;
use crate::run::{Verdict, run};

/// A fault on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// mctl and the extended process_madvise say yes and do nothing.
    Nothing,
    /// The engine on a stock kernel does what it can and claims that everything is enforced.
    Claims,
    /// A fault of the model.
    Mutant(Mutant),
}

/// The cases that hold under an engine that does nothing, and why they may.
pub const HOLD_UNDER_NOTHING: &str = include_str!("../cases/hold-under-nothing.txt");

/// The steps without which their case holds as well, and why they may stay.
pub const IDLE_STEPS: &str = include_str!("../cases/idle-steps.txt");

/// Why a step may stay without which its case holds as well: `CASE: STEP: WHY`, one a line.
#[must_use]
pub fn idle_reasons() -> BTreeMap<(&'static str, &'static str), &'static str> {
    IDLE_STEPS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (case, rest) = line.split_once(": ")?;
            let (step, why) = rest.split_once(": ")?;
            Some(((case, step), why.trim()))
        })
        .collect()
}

/// What came of every control.
#[derive(Clone, Debug, Default)]
pub struct Controls {
    /// Under each fault of the model, the cases that differ.
    pub mutants: Vec<(Mutant, BTreeSet<String>)>,
    /// The cases that ask the engine for something and hold although it does nothing.
    pub hold_under_nothing: BTreeSet<String>,
    /// The cases that notice an engine that claims that everything is enforced.
    pub notice_claims: BTreeSet<String>,
    /// How many ask it for something.
    pub asking: usize,
    /// Each case's sentences.
    shows: BTreeMap<String, Vec<String>>,
}

/// Whether a case asks the engine for anything.
#[must_use]
pub fn asks_engine(case: &Case) -> bool {
    case.scenario
        .lines
        .iter()
        .any(|line| matches!(line.step, Step::Do(_, Call::Mctl(..) | Call::Pmadvise(..))))
}

fn differing(cases: &[Case], control: Control) -> BTreeSet<String> {
    // Few mappings, so that filling them up is quick.
    let host = Setup {
        max_map_count: 500,
        ..Setup::default()
    };
    let mut backend = ModelBackend::default().on_host(host).with_control(control);
    cases
        .iter()
        .filter(|case| matches!(run(&case.scenario, &mut backend), Verdict::Differs { .. }))
        .map(|case| case.name.clone())
        .collect()
}

impl Controls {
    /// Runs every control on the model.
    #[must_use]
    pub fn run(cases: &[Case]) -> Controls {
        let mutants = Mutant::ALL
            .iter()
            .map(|mutant| (*mutant, differing(cases, Control::Mutant(*mutant))))
            .collect();
        let asking: BTreeSet<String> = cases
            .iter()
            .filter(|case| asks_engine(case))
            .map(|case| case.name.clone())
            .collect();
        let noticed = differing(cases, Control::Nothing);
        let shows = cases
            .iter()
            .map(|case| (case.name.clone(), case.scenario.shows.clone()))
            .collect();
        Controls {
            mutants,
            asking: asking.len(),
            notice_claims: differing(cases, Control::Claims),
            hold_under_nothing: asking.difference(&noticed).cloned().collect(),
            shows,
        }
    }

    /// The cases that notice a mutant at the sentence that it breaks.
    #[must_use]
    pub fn at_its_sentence(&self, mutant: Mutant) -> Vec<&str> {
        let noticing = self.mutants.iter().find(|(known, _)| *known == mutant);
        let Some((_, noticing)) = noticing else {
            return Vec::new();
        };
        noticing
            .iter()
            .filter(|case| {
                let shows = self.shows.get(*case);
                shows.is_some_and(|shows| shows.iter().any(|s| s == mutant.sentence()))
            })
            .map(String::as_str)
            .collect()
    }

    /// The page for docs/.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::from(
            "# The suite's own controls\n\n\
             Written by `cargo run -p mctl-conformance -- controls --write docs/suite-controls.md`; a \
             test holds it to what the suite does.\n\n\
             ## Faults of the model\n\n\
             Each is selected at run time (`Knobs::mutant`) and has to be noticed by a case of the \
             sentence that it breaks.\n\n\
             | fault | sentence | a case that notices it there |\n\
             |---|---|---|\n",
        );
        for (mutant, _) in &self.mutants {
            let there = self.at_its_sentence(*mutant);
            let _ = writeln!(
                out,
                "| {} | [{}](CONTRACT.md#{}) | {} |",
                mutant.words(),
                mutant.sentence(),
                mutant.sentence(),
                there.first().map_or("none", |name| name)
            );
        }
        let _ = writeln!(
            out,
            "\n## An engine that claims that everything is enforced\n\n\
             On a stock kernel it does what it can and says that all four guarantees are enforced. \
             Noticed by, for one: {}.",
            self.notice_claims.first().map_or("none", String::as_str)
        );
        let _ = write!(
            out,
            "\n## An engine that says yes and does nothing\n\n\
             Of the cases that ask the engine for something these hold although it does nothing, each \
             with why it may (`cases/hold-under-nothing.txt`).\n\n\
             | case | why |\n|---|---|\n"
        );
        let why = reasons();
        for case in &self.hold_under_nothing {
            let _ = writeln!(
                out,
                "| {case} | {} |",
                why.get(case.as_str()).unwrap_or(&"")
            );
        }
        out
    }
}

/// Why a case may hold under an engine that does nothing: `CASE WHY`, one a line.
#[must_use]
pub fn reasons() -> BTreeMap<&'static str, &'static str> {
    HOLD_UNDER_NOTHING
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(case, why)| (case, why.trim()))
        .collect()
}

/// A step of a case without which it holds as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idle {
    /// The case.
    pub case: String,
    /// The step's line.
    pub line: usize,
    /// The step.
    pub step: String,
}

/// Takes each step out of each case in turn and tells those without which the case still holds on
/// the model: such a step shows nothing by itself. What is only looked at is left in, and so are
/// the calls that make the tasks, files and mappings that later steps name.
#[must_use]
pub fn idle_steps(cases: &[Case]) -> Vec<Idle> {
    let host = Setup {
        max_map_count: 500,
        ..Setup::default()
    };
    let mut backend = ModelBackend::default().on_host(host);
    let mut found = Vec::new();
    for case in cases {
        for (at, line) in case.scenario.lines.iter().enumerate() {
            let made = matches!(
                line.step,
                Step::Spawn { .. }
                    | Step::File { .. }
                    | Step::Expect(_)
                    | Step::Do(_, Call::Map { .. } | Call::Clone(..) | Call::PidfdOpen(..))
            );
            // A call that must fail, or return something, is looked at itself.
            if made || line.wanted != Wanted::Ok {
                continue;
            }
            let mut without = case.scenario.clone();
            without.lines.remove(at);
            if run(&without, &mut backend) == Verdict::Holds {
                found.push(Idle {
                    case: case.name.clone(),
                    line: line.number,
                    step: print_step(&line.step, &case.scenario.names),
                });
            }
        }
    }
    found
}
