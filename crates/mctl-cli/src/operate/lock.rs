//! What `mctl lock` and `mctl unlock` have in common.

use std::io::{self, Write};

use clap::Args;
use mctl::budget::Cost;
use mctl::coverage::Bytes;
use mctl::memlock::{Allowance, Lock, LockPlan, Locked, Locking, Unlocking};
use mctl::{Error, Target};
use serde::Serialize;

use super::{Either, Json, Manner, Operate, Row, Sum, Tell, Turn, time};
use crate::output::Out;
use crate::report;

/// The arguments about how it is done and told.
#[derive(Args, Debug)]
pub(crate) struct How {
    /// Print what is locked and what may be, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
    /// Say nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Lock(Locking),
    Unlock,
}

/// What to do, and how.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub(crate) what: What,
    pub(crate) how: &'a How,
}

type Done = Either<LockPlan, Locked>;

impl Tell for Work<'_> {
    type Done = Done;

    fn name(&self) -> String {
        match self.what {
            What::Lock(_) => "lock".to_owned(),
            What::Unlock => "unlock".to_owned(),
        }
    }

    fn manner(&self) -> Manner {
        Manner {
            dry_run: self.how.dry_run,
            json: self.how.json,
            quiet: self.how.quiet,
            verbose: false,
        }
    }

    fn say(&self, out: &mut Out, row: &Row<Done>, done: &Done) -> io::Result<bool> {
        let (pid, who) = (row.spec.pid, row.who());
        match done {
            _ if self.how.json => {}
            Either::Planned(plan) => {
                writeln!(out, "{who}: {}", self.planned(&plan.allowance))?;
                if let Some(cost) = &plan.cost {
                    writeln!(
                        out,
                        "  it would bring in up to {}, and there is room for {}",
                        cost.bytes,
                        cost.room.left()
                    )?;
                }
                if plan.left_to_server > Bytes::ZERO {
                    report::note(&format!(
                        "process {pid}: {} are served by userfaultfd and would be passed over \
                         (--userfaultfd)",
                        plan.left_to_server
                    ));
                }
            }
            Either::Done(_) if self.how.quiet => {}
            Either::Done(locked) => {
                writeln!(
                    out,
                    "{who}: locked {} → {}, by a carrier; its own threads stopped for {}",
                    locked.before,
                    locked.after,
                    time(locked.stopped)
                )?;
                for note in &locked.notes {
                    report::note(&format!("process {pid}: {note}"));
                }
            }
        }
        Ok(true)
    }

    fn json<'a>(&'a self, sum: &'a Sum<Done>) -> impl Serialize + 'a {
        let head = Head {
            request: self.name(),
            what: match self.what {
                What::Lock(locking) => Some(locking.what),
                What::Unlock => None,
            },
        };
        Json::of(self, head, sum, InJson::of)
    }
}

impl Operate for Work<'_> {
    fn one(&self, target: &Target, turn: &mut Turn<'_>) -> Result<Done, Error> {
        match self.what {
            What::Lock(locking) => turn.take(&locking, target),
            What::Unlock => turn.take(&Unlocking, target),
        }
    }
}

impl Work<'_> {
    fn planned(&self, allowance: &Allowance) -> String {
        let Allowance { locked, size, .. } = allowance;
        match self.what {
            What::Unlock => format!("would unlock {locked}"),
            What::Lock(locking) => match allowance.refusal(locking.what) {
                Some((errno, why)) => format!("cannot be locked: {why} ({errno})"),
                None => format!("may be locked: {locked} of {size} is locked now"),
            },
        }
    }
}

#[derive(Serialize)]
struct Head {
    request: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<Lock>,
}

#[derive(Serialize)]
struct InJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    locked: Option<&'a Locked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowance: Option<&'a Allowance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_to_server: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<&'a Cost>,
}

impl<'a> InJson<'a> {
    fn of(done: &'a Done) -> InJson<'a> {
        let (locked, plan) = match done {
            Either::Done(locked) => (Some(locked), None),
            Either::Planned(plan) => (None, Some(plan)),
        };
        InJson {
            locked,
            allowance: plan.map(|plan| &plan.allowance),
            left_to_server: plan.map(|plan| plan.left_to_server),
            cost: plan.and_then(|plan| plan.cost.as_ref()),
        }
    }
}
