//! What all commands have in common that do something to processes: one loop over them, one way to say what became
//! of each, one form of JSON. A command says what is special about its operation by [`Tell`] and [`Operate`].

pub(crate) mod advice;
mod bar;
mod each;
mod json;
pub(crate) mod lock;
pub(crate) mod policy;
pub(crate) mod split;
mod tell;

use std::io;

use mctl::{Error, ProcessSpec, Target};
use serde::Serialize;

use crate::args::Who;
use crate::exit;
use crate::fail::{Ended, Fail};
use crate::interrupt::Interrupt;
use crate::output::Out;

pub(crate) use each::Turn;
pub(crate) use json::{Json, Process};
pub(crate) use tell::{tell, time};

/// How a command was asked to go about it, and how much to say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    pub(crate) dry_run: bool,
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
}

/// What a dry run found, or what was done.
#[derive(Debug)]
pub(crate) enum Either<P, D> {
    Planned(P),
    Done(D),
}

/// What became of one process.
#[derive(Debug)]
pub(crate) struct Row<D> {
    pub(crate) spec: ProcessSpec,
    /// Asked for only where it is shown.
    pub(crate) name: Option<String>,
    pub(crate) result: Result<D, Error>,
}

impl<D> Row<D> {
    pub(crate) fn failed((spec, error): (ProcessSpec, Error)) -> Row<D> {
        Row {
            spec,
            name: None,
            result: Err(error),
        }
    }

    /// `12 (name)`.
    pub(crate) fn who(&self) -> String {
        match &self.name {
            Some(name) => format!("{} ({name})", self.spec.pid),
            None => self.spec.pid.to_string(),
        }
    }
}

/// What became of all.
#[derive(Debug)]
pub(crate) struct Sum<D> {
    pub(crate) rows: Vec<Row<D>>,
    /// Members of a group that ended before their turn.
    pub(crate) ended: u64,
    /// Processes that Ctrl-C came before.
    pub(crate) not_begun: u64,
    pub(crate) interrupted: bool,
}

impl<D> Default for Sum<D> {
    fn default() -> Sum<D> {
        Sum {
            rows: Vec::new(),
            ended: 0,
            not_begun: 0,
            interrupted: false,
        }
    }
}

/// What is special about saying what an operation did.
pub(crate) trait Tell {
    /// What became of one process where nothing failed.
    type Done;

    /// What it is called in errors: `lock`, `set nohugepage`.
    fn name(&self) -> String;

    fn manner(&self) -> Manner;

    /// Says what became of a process; errors and notes go to standard error. Whether all is well.
    fn say(&self, out: &mut Out, row: &Row<Self::Done>, done: &Self::Done) -> io::Result<bool>;

    /// Says what concerns all of them, after the single ones. Whether all is well.
    fn say_of_all(&self, _: &Sum<Self::Done>) -> bool {
        true
    }

    /// Whether it is worth a note that there is no process.
    fn expects_some(&self) -> bool {
        !self.manner().quiet
    }

    /// What helps against an error.
    fn hint(&self, error: &Error) -> Option<String> {
        error.hint()
    }

    /// What stays where Ctrl-C came.
    fn what_stays(&self) -> &'static str {
        "what was done stays done"
    }

    /// What `--json` prints.
    fn json<'a>(&'a self, sum: &'a Sum<Self::Done>) -> impl Serialize + 'a;
}

/// An operation that is done to one process after the other.
pub(crate) trait Operate: Tell {
    /// What is refused before any process is looked up.
    fn refuse(&self) -> Result<(), Fail> {
        Ok(())
    }

    /// What is refused before any process is touched.
    fn begin(&self) -> Result<(), Fail> {
        Ok(())
    }

    /// Does it to one process, or plans it.
    fn one(&self, target: &Target, turn: &mut Turn<'_>) -> Result<Self::Done, Error>;
}

/// Does it to one process after the other and says what was done.
pub(crate) fn carry_out<O: Operate>(operation: &O, who: &Who) -> Ended {
    operation.refuse()?;
    let interrupt = Interrupt::install();
    let opened = who.open()?;
    operation.begin()?;
    let incomplete = opened.incomplete;
    let sum = each::each(operation, opened, &interrupt)?;
    let code = tell(operation, &sum)?;
    Ok(if incomplete {
        code.max(exit::FAILED)
    } else {
        code
    })
}
