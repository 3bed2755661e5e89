//! One process after the other.

use std::cell::RefCell;
use std::collections::HashSet;

use mctl::budget::Ahead;
use mctl::operation::{Hooks, Operation, Progress, dry_run_after, run};
use mctl::{Errno, Error, Target, in_turn};

use super::bar::Bar;
use super::{Either, Manner, Operate, Row, Sum};
use crate::args::Opened;
use crate::fail::Fail;
use crate::interrupt::Interrupt;

/// What the work on one process is given.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    interrupt: &'a Interrupt,
    ahead: &'a mut Ahead,
    dry_run: bool,
    bar: bool,
    /// Whether it is the first turn of this process: what is to be said of it is said once.
    pub(crate) is_first: bool,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(interrupt: &'a Interrupt, ahead: &'a mut Ahead, manner: Manner) -> Turn<'a> {
        Turn {
            interrupt,
            ahead,
            dry_run: manner.dry_run,
            bar: !manner.quiet,
            is_first: true,
        }
    }

    /// Plans an operation where a dry run was asked for, and else does it.
    pub(crate) fn take<O: Operation>(
        &mut self,
        operation: &O,
        target: &Target,
    ) -> Result<Either<O::Plan, O::Outcome>, Error> {
        match self.dry_run {
            true => self.plan(operation, target).map(Either::Planned),
            false => self.run(operation, target).map(Either::Done),
        }
    }

    /// Plans an operation. It finds the room that the processes before this one leave.
    pub(crate) fn plan<O: Operation>(
        &mut self,
        operation: &O,
        target: &Target,
    ) -> Result<O::Plan, Error> {
        dry_run_after(operation, target, self.ahead)
    }

    /// Does it, with a bar where it is long. Ctrl-C ends it.
    pub(crate) fn run<O: Operation>(
        &mut self,
        operation: &O,
        target: &Target,
    ) -> Result<O::Outcome, Error> {
        let label = format!("{} {} ({})", operation.name(), target.pid(), target.name());
        let mut bar = Bar::new(label, !self.bar);
        let mut step = |progress: &Progress| bar.step(progress);
        let mut hooks = Hooks {
            progress: Some(&mut step),
            cancel: Some(self.interrupt.flag()),
        };
        run(operation, target, &mut hooks)
    }
}

pub(super) fn each<O: Operate>(
    operation: &O,
    opened: Opened,
    interrupt: &Interrupt,
) -> Result<Sum<O::Done>, Fail> {
    let mut sum = Sum::default();
    let mut ahead = Ahead::default();
    sum.rows.extend(opened.failed.into_iter().map(Row::failed));
    let begun = RefCell::new(HashSet::new());
    let results = in_turn(&opened.targets, |target| {
        if interrupt.pressed() {
            return Ok(None);
        }
        let mut turn = Turn::new(interrupt, &mut ahead, operation.manner());
        turn.is_first = begun.borrow_mut().insert(target.pid());
        operation.one(target, &mut turn).map(Some)
    });
    for (target, result) in opened.targets.iter().zip(results) {
        let result = match result {
            Ok(None) => {
                sum.not_begun += 1;
                continue;
            }
            Err(error) if opened.group && error.errno() == Errno::ESRCH => {
                sum.ended += 1;
                continue;
            }
            // Of the words, not of this process.
            Err(error @ Error::Invalid { .. }) => return Err(error.into()),
            Ok(Some(done)) => Ok(done),
            Err(error) => Err(error),
        };
        sum.rows.push(Row {
            spec: target.spec(),
            name: Some(target.name()),
            result,
        });
    }
    sum.interrupted = interrupt.pressed();
    Ok(sum)
}
