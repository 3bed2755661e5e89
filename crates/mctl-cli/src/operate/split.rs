//! What `mctl split` and `mctl set nohugepage --split` have in common.

mod tell;

use std::io;
use std::time::Duration;

use clap::Args;
use mctl::split::{Done as Split, HugePages, Split as Operation};
use mctl::{Error, Target};
use serde::Serialize;

use super::{Either, Json, Manner, Operate, Row, Sum, Tell, Turn};
use crate::args::parse;
use crate::fail::Fail;
use crate::output::Out;
use crate::report;

pub(crate) use tell::{lines, plan_line};

/// The arguments about how it is done and told.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct How {
    /// Pause after every huge page, so that the processes hardly feel it: 500us, 20ms, 1s
    #[arg(long, value_name = "TIME", value_parser = parse::duration, allow_hyphen_values = true)]
    pub(crate) pace: Option<Duration>,
    /// Print how many huge pages would be split, and do nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Say nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What became of one process.
pub(crate) type Done = Either<HugePages, Split>;

impl Tell for How {
    type Done = Done;

    fn name(&self) -> String {
        "split".to_owned()
    }

    fn manner(&self) -> Manner {
        Manner {
            dry_run: self.dry_run,
            json: self.json,
            quiet: self.quiet,
            verbose: false,
        }
    }

    fn say(&self, out: &mut Out, row: &Row<Done>, done: &Done) -> io::Result<bool> {
        match done {
            _ if self.json => {}
            Either::Planned(huge) => plan_line(out, &row.who(), huge)?,
            Either::Done(_) if self.quiet => {}
            Either::Done(done) => {
                lines(out, &row.who(), done)?;
                if let Some(note) = tell::note(row.spec.pid, done) {
                    report::note(&note);
                }
            }
        }
        Ok(true)
    }

    fn what_stays(&self) -> &'static str {
        "what was split stays split"
    }

    fn json<'a>(&'a self, sum: &'a Sum<Done>) -> impl Serialize + 'a {
        let head = Head { request: "split" };
        Json::of(self, head, sum, InJson::of)
    }
}

impl Operate for How {
    /// One reason for all.
    fn begin(&self) -> Result<(), Fail> {
        Ok(mctl::split::probe()?)
    }

    fn one(&self, target: &Target, turn: &mut Turn<'_>) -> Result<Done, Error> {
        let split = Operation::new().pace(self.pace.unwrap_or_default());
        turn.take(&split, target)
    }
}

#[derive(Serialize)]
struct Head {
    request: &'static str,
}

/// What became of it in JSON.
#[derive(Serialize)]
pub(crate) struct InJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    split: Option<&'a Split>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a HugePages>,
}

impl<'a> InJson<'a> {
    pub(crate) fn of(done: &'a Done) -> InJson<'a> {
        let (split, plan) = match done {
            Either::Done(done) => (Some(done), None),
            Either::Planned(huge) => (None, Some(huge)),
        };
        InJson { split, plan }
    }
}
