//! Giving an advice to processes, one after the other.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use clap::Args;
use mctl::advise::{Advice, Advise, Advised, Effect, Plan};
use mctl::budget::{Ahead, Growth};
use mctl::coverage::Bytes;
use mctl::operation::{Hooks, Progress, dry_run_after, run};
use mctl::reclaim::{Change, Look};
use mctl::{Errno, Error, ProcessSpec, Target, in_turn};

use crate::advising::bar::Bar;
use crate::advising::bounds;
use crate::advising::what::What;
use crate::advising::{Opened, Who, parse, tell};
use crate::exit;
use crate::fail::{Ended, Fail};
use crate::interrupt::Interrupt;
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

/// What became of one process.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) spec: ProcessSpec,
    pub(crate) name: Option<String>,
    pub(crate) result: Result<Done, Error>,
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

/// What became of all.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    pub(crate) rows: Vec<Row>,
    /// Members of a group that ended before it was their turn.
    pub(crate) ended: u64,
    /// Processes that Ctrl-C came before.
    pub(crate) not_begun: u64,
    pub(crate) interrupted: bool,
}

/// Does it and says what was done.
pub(crate) fn carry_out(job: &Job<'_>, who: &Who) -> Ended {
    job.refuse_destruction()?;
    let interrupt = Interrupt::install();
    let opened = who.open()?;
    let incomplete = opened.incomplete;
    let sum = job.each(opened, &interrupt)?;
    let code = tell::tell(job, sum)?;
    Ok(if incomplete {
        code.max(exit::FAILED)
    } else {
        code
    })
}

impl Job<'_> {
    /// Whether each process is looked at before and after.
    fn looks(&self) -> bool {
        self.style == Style::Friendly || self.min_coverage.is_some()
    }

    /// The library refuses it too; here it is before any process is even looked up. Numbers that
    /// are in no table are left to the library: most are no advice at all.
    fn refuse_destruction(&self) -> Result<(), Fail> {
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

    fn each(&self, opened: Opened, interrupt: &Interrupt) -> Result<Sum, Fail> {
        let mut sum = Sum::default();
        let mut ahead = Ahead::default();
        for (spec, error) in opened.failed {
            sum.rows.push(Row {
                spec,
                name: None,
                result: Err(error),
            });
        }
        // What is to be said of a process is said once, however often it is come back to.
        let told = RefCell::new(HashSet::new());
        let results = in_turn(&opened.targets, |target| {
            if interrupt.pressed() {
                return Ok(None);
            }
            let done = if self.how.dry_run {
                self.plan(target, &mut ahead)
            } else {
                let first = told.borrow_mut().insert(target.pid());
                self.give(target, first, interrupt)
            };
            done.map(Some)
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
        advise.growth(self.growth())
    }

    fn growth(&self) -> Growth {
        self.max_growth.map_or(Growth::Sparing, Growth::AtMost)
    }

    /// `ahead`: what would come in for the processes before this one, which finds only the room that they leave.
    fn plan(&self, target: &Target, ahead: &mut Ahead) -> Result<Done, Error> {
        self.refuse_under_never(target)?;
        let plan = dry_run_after(&self.advise(), target, ahead)?;
        Ok(Done::Planned(Box::new(plan)))
    }

    fn give(&self, target: &Target, first: bool, interrupt: &Interrupt) -> Result<Done, Error> {
        // What cannot be looked at is no reason not to do it; giving the advice says why if it is.
        let look = || {
            self.looks()
                .then(|| Look::take(target).ok())
                .flatten()
                .zip(Some(major_faults(target)))
        };
        self.refuse_under_never(target)?;
        let tells = first && !self.how.quiet && !self.how.json;
        if tells && bounds::is_worth_a_look(self.advice, target) {
            for said in bounds::passed_over(&self.advise().plan(target)?.bounds) {
                report::note(&format!("process {}: {said}", target.pid()));
            }
        }
        let before = look();
        let label = format!("{} {} ({})", self.advice, target.pid(), target.name());
        let mut bar = Bar::new(label, self.how.quiet);
        let mut step = |progress: &Progress| bar.step(progress);
        let mut hooks = Hooks {
            progress: Some(&mut step),
            cancel: Some(interrupt.flag()),
        };
        let mut advise = self.advise();
        if let Some(pause) = self.how.pace {
            advise = advise.pace(pause);
        }
        if let Some(most) = self.max_stall {
            advise = advise.max_stall(most);
        }
        let advised = run(&advise, target, &mut hooks);
        drop(bar);
        let advised = advised?;
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
