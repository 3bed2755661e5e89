//! The language of scenarios: one step a line, words apart by blanks, `#` begins a comment.
//!
//! ```text
//! case "CLEAR_x returns to Inherit where x stands, exec bit included"
//! shows clear-returns
//! spawn p
//! p map a 4M
//! p mctl self set-nohugepage default-exec
//! p mctl self clear-nohugepage
//! expect p policy inherit
//! expect p eligible a no
//! ```
//!
//! The whole grammar is in docs/design/model.md. Errors say line, column and what was expected.

mod calls;
mod host;
mod lex;
mod looks;
mod parse;
mod print;
mod print_call;

use mctl::Guarantee;
use mctl_abi::Errno;
use thiserror::Error;

use crate::call::Step;

pub use host::{Fact, Needs, Setup};
pub use parse::Parser;
pub(crate) use parse::guarantee;
pub use print::{print_scenario, print_step};

/// What is wrong with a scenario, and where.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("line {line}, column {column}: expected {expected}, found {found}")]
pub struct SyntaxError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What would have been right.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// What a step must come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// It succeeds.
    #[default]
    Ok,
    /// It returns this number.
    Value(i64),
    /// It returns a number between these two, both included.
    Between(i64, i64),
    /// It fails with this errno.
    Fails(Errno),
    /// Anything.
    Any,
}

/// What an outcome must say; `None` where it does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WantedOutcome {
    /// Now, future, fork, exec.
    pub guarantees: [Option<Guarantee>; 4],
    /// Whether it matches the contract exactly.
    pub exact: Option<bool>,
}

impl WantedOutcome {
    /// The words of the four parts.
    pub const PARTS: [&'static str; 4] = ["now", "future", "fork", "exec"];

    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == WantedOutcome::default()
    }

    /// In the words of the language.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words: Vec<String> = WantedOutcome::PARTS
            .iter()
            .zip(self.guarantees)
            .filter_map(|(part, wanted)| Some(format!("{part}={}", wanted?)))
            .collect();
        if let Some(exact) = self.exact {
            words.push(format!("exact={}", if exact { "yes" } else { "no" }));
        }
        words.join(" ")
    }
}

/// A step with its place and what it must come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Line in the file, from 1; 0 where it comes from no file.
    pub number: usize,
    /// What is done.
    pub step: Step,
    /// What must come of it.
    pub wanted: Wanted,
    /// What its outcome must say.
    pub outcome: WantedOutcome,
}

/// The names that a scenario gives; steps hold places in these lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Tasks.
    pub tasks: Vec<String>,
    /// Regions.
    pub regions: Vec<String>,
    /// Descriptors.
    pub fds: Vec<String>,
    /// Files.
    pub files: Vec<String>,
}

/// A scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scenario {
    /// What it says, in one sentence.
    pub sentence: String,
    /// The anchors of the contract's sentences that it shows.
    pub shows: Vec<String>,
    /// It is about the engine on kernels that have no mctl() themselves.
    pub stock: bool,
    /// Why it can run on the model only, if so.
    pub model_only: Option<String>,
    /// Backends of real processes that it is no matter for, and why.
    pub not_on: Vec<(String, String)>,
    /// Facts about a kernel under which it is known to differ there, and why.
    pub differs_where: Vec<(Fact, String)>,
    /// What it asks of the host.
    pub needs: Needs,
    /// The names.
    pub names: Names,
    /// The steps.
    pub lines: Vec<Line>,
}

/// Reads a scenario.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse(text: &str) -> Result<Scenario, SyntaxError> {
    let mut parser = Parser::default();
    for line in text.lines() {
        if let Some(line) = parser.line(line)? {
            parser.scenario_mut().lines.push(line);
        }
    }
    Ok(parser.into_scenario())
}

/// A size in the largest unit that fits.
#[must_use]
pub(crate) fn size_text(bytes: u64) -> String {
    print::size(bytes)
}

/// A policy mask in words.
#[must_use]
pub(crate) fn policy_text(mask: u32) -> String {
    print::policy_text(mask)
}
