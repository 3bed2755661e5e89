//! What `mctl split` and `mctl set nohugepage --split` have in common.

mod tell;

use mctl::operation::{Hooks, Progress, dry_run, run};
use mctl::split::{Done, HugePages, Split};
use mctl::{Error, ProcessSpec, Target};
use std::time::Duration;

use crate::advising::bar::Bar;
use crate::interrupt::Interrupt;

pub(crate) use tell::{JsonRow, JsonSplit, lines, notes, plan_line};

/// How it is done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct How {
    pub(crate) pace: Option<Duration>,
    pub(crate) dry_run: bool,
    pub(crate) quiet: bool,
}

/// What became of one process.
#[derive(Debug)]
pub(crate) enum Outcome {
    Split(Box<Done>),
    Planned(HugePages),
}

/// A process and what became of it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) spec: ProcessSpec,
    pub(crate) name: Option<String>,
    pub(crate) result: Result<Outcome, Error>,
}

/// Splits the huge pages of one process, or says what would be split.
pub(crate) fn split(target: &Target, how: How, interrupt: &Interrupt) -> Result<Outcome, Error> {
    let split = Split::new().pace(how.pace.unwrap_or_default());
    if how.dry_run {
        return dry_run(&split, target).map(Outcome::Planned);
    }
    let label = format!("split {} ({})", target.pid(), target.name());
    let mut bar = Bar::new(label, how.quiet);
    let mut step = |progress: &Progress| bar.step(progress);
    let mut hooks = Hooks {
        progress: Some(&mut step),
        cancel: Some(interrupt.flag()),
    };
    run(&split, target, &mut hooks).map(|done| Outcome::Split(Box::new(done)))
}
