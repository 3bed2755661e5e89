//! Giving advice to a process, with what a person wants to know before and after.

use std::io;
use std::time::Duration;

use clap::Args;
use mctl::advise::{Advice, Advise, Advised, Effect, Plan};
use mctl::budget::Growth;
use mctl::coverage::Bytes;
use mctl::reclaim::{Change, Look};
use mctl::{Error, Target};
use serde::Serialize;

use super::{bounds, json, tell};
use crate::args::{What, parse};
use crate::fail::Fail;
use crate::operate::{Manner, Operate, Row, Sum, Tell, Turn};
use crate::output::Out;
use crate::report;

/// The arguments about how it is done and told.
#[derive(Args, Debug)]
pub(crate) struct How {
    /// Pause between small calls, so that the processes hardly feel it: 500us, 20ms, 1s
    #[arg(long, value_name = "TIME", value_parser = parse::duration, allow_hyphen_values = true)]
    pace: Option<Duration>,
    /// Print what would be advised, and do nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Say nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Say more: a line for every process and for every mapping that was passed over
    #[arg(short, long, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
}

/// How much is said unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Nothing, where all is well.
    Terse,
    /// What a person wants to know: before and after.
    Friendly,
}

/// An advice to be given.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) advice: Advice,
    pub(crate) what: What,
    pub(crate) skip_errors: bool,
    pub(crate) destructive: bool,
    /// Memory that somebody serves by userfaultfd too.
    pub(crate) served_too: bool,
    pub(crate) style: Style,
    /// Fail where less than this per cent is huge at the end.
    pub(crate) min_coverage: Option<f64>,
    /// How long a thread is stopped at most, where it gives the advice.
    pub(crate) max_stall: Option<Duration>,
    /// How much a process may grow.
    pub(crate) max_growth: Option<Bytes>,
    pub(crate) how: &'a How,
}

#[derive(Debug)]
pub(crate) enum Done {
    Given(Box<Given>),
    /// What would be advised.
    Planned(Box<Plan>),
}

/// What was done and how it looked before and after.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) advised: Advised,
    /// `None`: not asked for, or not ours to see.
    pub(crate) change: Option<Change>,
    /// Pages that the process had to wait for meanwhile.
    pub(crate) major_faults: Option<u64>,
}

impl Tell for Job<'_> {
    type Done = Done;

    fn name(&self) -> String {
        self.advice.to_string()
    }

    fn manner(&self) -> Manner {
        Manner {
            dry_run: self.how.dry_run,
            json: self.how.json,
            quiet: self.how.quiet,
            verbose: self.how.verbose,
        }
    }

    fn say(&self, out: &mut Out, row: &Row<Done>, done: &Done) -> io::Result<bool> {
        tell::say(self, out, row, done)
    }

    fn json<'a>(&'a self, sum: &'a Sum<Done>) -> impl Serialize + 'a {
        json::of(self, sum)
    }
}

impl Operate for Job<'_> {
    /// The library refuses it too; here it is before any process is even looked up. Numbers that
    /// are in no table are left to the library: most are no advice at all.
    fn refuse(&self) -> Result<(), Fail> {
        let destroys = self.advice.effect() == Effect::Destructive && self.advice.info().is_some();
        if !destroys || self.destructive {
            return Ok(());
        }
        Err(Fail::Failed {
            why: format!(
                "{} may lose the contents of a process's memory; nothing was touched (EPERM)",
                self.advice
            ),
            hint: Some("--destructive allows it".to_owned()),
        })
    }

    fn one(&self, target: &Target, turn: &mut Turn<'_>) -> Result<Done, Error> {
        self.refuse_under_never(target)?;
        if self.how.dry_run {
            let plan = turn.plan(&self.advise(), target)?;
            return Ok(Done::Planned(Box::new(plan)));
        }
        self.give(target, turn)
    }
}

impl Job<'_> {
    /// Whether each process is looked at before and after.
    fn looks(&self) -> bool {
        self.style == Style::Friendly || self.min_coverage.is_some()
    }

    fn advise(&self) -> Advise {
        let mut advise = self.what.put_into(Advise::new(self.advice));
        if self.skip_errors {
            advise = advise.skip_errors();
        }
        if self.destructive {
            advise = advise.allow_destructive();
        }
        if self.served_too {
            advise = advise.served_too();
        }
        if let Some(pause) = self.how.pace {
            advise = advise.pace(pause);
        }
        if let Some(most) = self.max_stall {
            advise = advise.max_stall(most);
        }
        advise.growth(self.max_growth.map_or(Growth::Sparing, Growth::AtMost))
    }

    fn give(&self, target: &Target, turn: &mut Turn<'_>) -> Result<Done, Error> {
        // What cannot be looked at is no reason not to do it; giving the advice says why if it is.
        let look = || {
            self.looks()
                .then(|| Look::take(target).ok())
                .flatten()
                .zip(Some(major_faults(target)))
        };
        let tells = turn.is_first && !self.how.quiet && !self.how.json;
        if tells && bounds::is_worth_a_look(self.advice, target) {
            for said in bounds::passed_over(&self.advise().plan(target)?.bounds) {
                report::note(&format!("process {}: {said}", target.pid()));
            }
        }
        let before = look();
        let advised = turn.run(&self.advise(), target)?;
        let looks = before.zip(look());
        let change = looks.map(|((before, _), (after, _))| Change { before, after });
        let major_faults =
            looks.and_then(|((_, before), (_, after))| Some(after?.saturating_sub(before?)));
        Ok(Done::Given(Box::new(Given {
            advised,
            change,
            major_faults,
        })))
    }
}

impl Job<'_> {
    /// Under "never" the kernel refuses every collapse: better one reason than one a mapping.
    fn refuse_under_never(&self, target: &Target) -> Result<(), Error> {
        if self.advice != Advice::COLLAPSE {
            return Ok(());
        }
        let reading = mctl::read_policy(target, mctl::Look::Proc)?;
        if reading.thp() != mctl::Known::Is(mctl::Thp::Never) {
            return Ok(());
        }
        Err(Error::Unsupported {
            what: format!("process {}: collapse", target.pid()),
            why: "it is under the policy nohugepage, or disabled huge pages itself; \
                  'mctl clear nohugepage' takes that off"
                .to_owned(),
        })
    }
}

/// Pages that it has had to wait for so far.
fn major_faults(target: &Target) -> Option<u64> {
    mctl::process::major_faults(target)
}
