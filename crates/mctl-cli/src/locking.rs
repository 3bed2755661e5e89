//! What `mctl lock` and `mctl unlock` have in common.

use std::io::Write;

use clap::Args;
use mctl::budget::{Ahead, Cost};
use mctl::coverage::Bytes;
use mctl::memlock::{Allowance, Lock, LockPlan, Locked, Locking, Unlocking};
use mctl::operation::{Hooks, Progress, dry_run_after, run};
use mctl::{Errno, Error, ProcessSpec, Target, in_turn};
use serde::Serialize;

use crate::advising::bar::Bar;
use crate::advising::{Who, time};
use crate::exit;
use crate::fail::Ended;
use crate::interrupt::Interrupt;
use crate::output::Out;
use crate::report::{self, JsonError};

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
pub(crate) enum Work {
    Lock(Locking),
    Unlock,
}

#[derive(Debug)]
enum Done {
    Locked(Locked),
    Planned(LockPlan),
}

struct Row {
    spec: ProcessSpec,
    name: Option<String>,
    result: Result<Done, Error>,
}

impl Work {
    fn word(self) -> &'static str {
        match self {
            Work::Lock(_) => "lock",
            Work::Unlock => "unlock",
        }
    }

    fn carry_out(
        self,
        target: &Target,
        how: &How,
        interrupt: &Interrupt,
        ahead: &mut Ahead,
    ) -> Result<Done, Error> {
        if how.dry_run {
            let plan = match self {
                Work::Lock(locking) => dry_run_after(&locking, target, ahead),
                Work::Unlock => dry_run_after(&Unlocking, target, ahead),
            };
            return plan.map(Done::Planned);
        }
        let label = format!("{} {} ({})", self.word(), target.pid(), target.name());
        let mut bar = Bar::new(label, how.quiet);
        let mut step = |progress: &Progress| bar.step(progress);
        let mut hooks = Hooks {
            progress: Some(&mut step),
            cancel: Some(interrupt.flag()),
        };
        let locked = match self {
            Work::Lock(locking) => run(&locking, target, &mut hooks),
            Work::Unlock => run(&Unlocking, target, &mut hooks),
        };
        locked.map(Done::Locked)
    }
}

/// Does it for one process after the other and says what was done.
pub(crate) fn carry_out(work: Work, who: &Who, how: &How) -> Ended {
    let interrupt = Interrupt::install();
    let opened = who.open()?;
    let failed = |(spec, error)| Row {
        spec,
        name: None,
        result: Err(error),
    };
    let mut rows: Vec<Row> = opened.failed.into_iter().map(failed).collect();
    let mut not_begun = 0;
    let mut ahead = Ahead::default();
    let results = in_turn(&opened.targets, |target| match interrupt.pressed() {
        true => Ok(None),
        false => work
            .carry_out(target, how, &interrupt, &mut ahead)
            .map(Some),
    });
    for (target, result) in opened.targets.iter().zip(results) {
        let result = match result {
            Ok(None) => {
                not_begun += 1;
                continue;
            }
            Err(error) if opened.group && error.errno() == Errno::ESRCH => continue,
            Ok(Some(done)) => Ok(done),
            Err(error) => Err(error),
        };
        rows.push(Row {
            spec: target.spec(),
            name: Some(target.name()),
            result,
        });
    }
    let mut code = tell(work, how, &rows)?;
    if opened.incomplete {
        code = code.max(exit::FAILED);
    }
    if !interrupt.pressed() {
        return Ok(code);
    }
    let why = format!("interrupted; not begun with: {not_begun}; what was done stays done");
    report::error(&why, None);
    Ok(exit::INTERRUPTED)
}

fn tell(work: Work, how: &How, rows: &[Row]) -> Ended {
    let mut out = Out::new();
    let mut code = exit::DONE;
    for row in rows {
        let pid = row.spec.pid;
        let who = match &row.name {
            Some(name) => format!("{pid} ({name})"),
            None => pid.to_string(),
        };
        match &row.result {
            Err(error) => {
                code = exit::FAILED;
                let sentence = report::sentence(error, &pid.to_string(), work.word());
                report::error(&sentence, error.hint().as_deref());
            }
            Ok(_) if how.json => {}
            Ok(Done::Planned(plan)) => {
                writeln!(out, "{who}: {}", planned(work, &plan.allowance))?;
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
            Ok(Done::Locked(_)) if how.quiet => {}
            Ok(Done::Locked(locked)) => {
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
    }
    if how.json {
        out.json(&Json::of(work, rows))?;
    }
    out.finish()?;
    Ok(code)
}

fn planned(work: Work, allowance: &Allowance) -> String {
    let Allowance { locked, size, .. } = allowance;
    match work {
        Work::Unlock => format!("would unlock {locked}"),
        Work::Lock(locking) => match allowance.refusal(locking.what) {
            Some((errno, why)) => format!("cannot be locked: {why} ({errno})"),
            None => format!("may be locked: {locked} of {size} is locked now"),
        },
    }
}

#[derive(Serialize)]
struct Json<'a> {
    request: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<Lock>,
    processes: Vec<JsonProcess<'a>>,
}

#[derive(Serialize)]
struct JsonProcess<'a> {
    pid: i32,
    inode: Option<u64>,
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked: Option<&'a Locked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowance: Option<&'a Allowance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_to_server: Option<Bytes>,
    cost: Option<&'a Cost>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<JsonError>,
}

impl<'a> Json<'a> {
    fn of(work: Work, rows: &'a [Row]) -> Json<'a> {
        Json {
            request: work.word(),
            what: match work {
                Work::Lock(locking) => Some(locking.what),
                Work::Unlock => None,
            },
            processes: rows.iter().map(JsonProcess::of).collect(),
        }
    }
}

impl<'a> JsonProcess<'a> {
    fn of(row: &'a Row) -> JsonProcess<'a> {
        let (locked, planned, error) = match &row.result {
            Ok(Done::Locked(locked)) => (Some(locked), None, None),
            Ok(Done::Planned(plan)) => (None, Some(plan), None),
            Err(error) => (None, None, Some(JsonError::of(error))),
        };
        JsonProcess {
            pid: row.spec.pid,
            inode: row.spec.inode,
            name: row.name.as_deref(),
            locked,
            allowance: planned.map(|plan| &plan.allowance),
            cost: planned.and_then(|plan| plan.cost.as_ref()),
            left_to_server: planned.map(|plan| plan.left_to_server),
            error,
        }
    }
}
