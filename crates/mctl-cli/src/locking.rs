//! What `mctl lock` and `mctl unlock` have in common.

use std::io::Write;

use clap::Args;
use mctl::memlock::{Allowance, Hooks, Lock, Locked, lock_with, rehearse, unlock};
use mctl::{Errno, Error, ProcessSpec, Target};
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
    Lock(Lock),
    Unlock,
}

#[derive(Debug)]
enum Done {
    Locked(Locked),
    Planned(Allowance),
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

    fn carry_out(self, target: &Target, how: &How, interrupt: &Interrupt) -> Result<Done, Error> {
        match self {
            _ if how.dry_run => {
                rehearse(target)?;
                Allowance::of(target).map(Done::Planned)
            }
            Work::Lock(what) => {
                let label = format!("lock {} ({})", target.pid(), target.name());
                let mut bar = Bar::new(label, how.quiet);
                let mut step = |progress: &mctl::advise::Progress| bar.step(progress);
                let hooks = Hooks {
                    progress: Some(&mut step),
                    cancel: Some(interrupt.flag()),
                };
                lock_with(target, what, hooks).map(Done::Locked)
            }
            Work::Unlock => unlock(target).map(Done::Locked),
        }
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
    for target in &opened.targets {
        if interrupt.pressed() {
            not_begun += 1;
            continue;
        }
        let result = work.carry_out(target, how, &interrupt);
        let gone = |error: &Error| opened.group && error.errno() == Errno::ESRCH;
        if result.as_ref().is_err_and(gone) {
            continue;
        }
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
            Ok(Done::Planned(allowance)) => {
                writeln!(out, "{who}: {}", planned(work, allowance))?;
            }
            Ok(Done::Locked(_)) if how.quiet => {}
            Ok(Done::Locked(locked)) => {
                writeln!(
                    out,
                    "{who}: locked {} → {}; longest stop {}",
                    locked.before,
                    locked.after,
                    time(locked.longest_stop)
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
        Work::Lock(what) => match allowance.refusal(what) {
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
    error: Option<JsonError>,
}

impl<'a> Json<'a> {
    fn of(work: Work, rows: &'a [Row]) -> Json<'a> {
        Json {
            request: work.word(),
            what: match work {
                Work::Lock(what) => Some(what),
                Work::Unlock => None,
            },
            processes: rows.iter().map(JsonProcess::of).collect(),
        }
    }
}

impl<'a> JsonProcess<'a> {
    fn of(row: &'a Row) -> JsonProcess<'a> {
        let (locked, allowance, error) = match &row.result {
            Ok(Done::Locked(locked)) => (Some(locked), None, None),
            Ok(Done::Planned(allowance)) => (None, Some(allowance), None),
            Err(error) => (None, None, Some(JsonError::of(error))),
        };
        JsonProcess {
            pid: row.spec.pid,
            inode: row.spec.inode,
            name: row.name.as_deref(),
            locked,
            allowance,
            error,
        }
    }
}
