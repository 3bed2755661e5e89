//! `mctl restore`: put processes back to a saved state.

mod file;

use std::ffi::OsString;
use std::io::Write;

use clap::{ArgMatches, Args, FromArgMatches};
use mctl::{Error, Outcome, Saved};
use serde::Serialize;

use crate::cli::Entry;
use crate::exit;
use crate::fail::{Ended, Fail};
use crate::output::Out;
use crate::report::{self, JsonError, Notes};
use file::Row;

pub(crate) const ENTRY: Entry = Entry {
    name: "restore",
    about: "put processes back to a state saved by mctl get --json",
    long: "Every process of the file gets the switches that it had then. A process that has ended \
           since is an error, also where its number was used again; the others are restored. The \
           whole file is read and understood before the first process is touched. What was not \
           known is left alone: a process that was inherit-or-advised keeps which of the two it \
           is. Where it is nohugepage now, it becomes inherit, if the host still makes no \
           difference between the two; else that is an error and nothing of it is changed. Save \
           with --exact to have which it was.",
    define: Restore::augment_args,
    run,
    takes_policies: false,
    examples: &[
        (
            "mctl restore before.json",
            "put back what 'mctl get --exact --json 1234 > before.json' saved",
        ),
        ("mctl restore -", "the same, from standard input"),
    ],
};

#[derive(Args, Debug)]
struct Restore {
    /// The file; - is standard input
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: OsString,
    /// Say nothing about what holds less than was asked
    #[arg(short, long)]
    quiet: bool,
    /// Print a line for every process
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    /// Print what would be put back, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    request: &'static str,
    processes: Vec<JsonProcess<'a>>,
}

#[derive(Serialize)]
struct JsonProcess<'a> {
    pid: i32,
    inode: Option<u64>,
    name: Option<&'a str>,
    /// The state that was to be put back; `null` where none was saved.
    state: Option<&'a Saved>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<JsonError>,
}

impl<'a> JsonProcess<'a> {
    fn of(row: &'a Row, result: &'a Result<Option<Outcome>, Error>) -> JsonProcess<'a> {
        let (pid, state) = match row {
            Row::State(saved) => (saved.pid, Some(saved)),
            Row::NotSaved { pid } => (*pid, None),
        };
        let outcome = result.as_ref().ok().and_then(Option::as_ref);
        JsonProcess {
            pid,
            inode: state.and_then(|state| state.inode),
            name: state.map(|state| state.name.as_str()),
            state,
            changed: outcome.map(Outcome::changed),
            outcome,
            error: result.as_ref().err().map(JsonError::of),
        }
    }
}

fn run(matches: &ArgMatches) -> Ended {
    let args =
        Restore::from_arg_matches(matches).map_err(|error| Fail::usage(error.to_string()))?;
    let rows = file::read(&args.file)?;
    let mut out = Out::new();
    let mut notes = Notes::default();
    let mut code = exit::DONE;
    let results = mctl::in_turn(&rows, |row| match row {
        Row::NotSaved { .. } => Ok(None),
        Row::State(saved) if args.dry_run => saved.dry_run().map(|_| None),
        Row::State(saved) => saved.restore().map(Some),
    });
    for (row, result) in rows.iter().zip(&results) {
        let saved = match row {
            Row::State(saved) => saved,
            Row::NotSaved { pid } => {
                report::note(&format!("process {pid}: its state was not saved"));
                continue;
            }
        };
        match result {
            Ok(None) if args.json => {}
            Ok(None) => writeln!(out, "would put back {}", state(saved))?,
            Ok(Some(outcome)) => {
                if args.verbose && !args.json {
                    let done = if outcome.changed() {
                        "put back"
                    } else {
                        "already so"
                    };
                    writeln!(out, "{done}: {}", state(saved))?;
                }
                notes.take(&saved.pid.to_string(), outcome);
            }
            Err(error) => {
                let sentence = report::sentence(error, &saved.pid.to_string(), "restore");
                report::error(&sentence, error.hint().as_deref());
                code = exit::FAILED;
            }
        }
    }
    if !args.quiet {
        notes.print();
    }
    if args.json {
        let processes = rows.iter().zip(&results);
        out.json(&Json {
            request: "restore",
            processes: processes
                .map(|(row, result)| JsonProcess::of(row, result))
                .collect(),
        })?;
    }
    out.finish()?;
    Ok(code)
}

fn state(saved: &Saved) -> String {
    let thp = match saved.thp_disable {
        Some(0) => "huge pages as the host says".to_owned(),
        Some(1) => "nohugepage".to_owned(),
        Some(3) => "hugepage-advised".to_owned(),
        Some(other) => format!("PR_SET_THP_DISABLE {other}"),
        None => match saved.thp.as_deref() {
            Some("inherit-or-advised") => {
                "huge pages inherit-or-advised, left alone unless nohugepage was set since"
                    .to_owned()
            }
            _ => "huge pages unknown, left alone".to_owned(),
        },
    };
    let merge = match saved.mergeable {
        Some(true) => "mergeable",
        Some(false) => "not mergeable",
        None => "merging unknown, left alone",
    };
    let record = match saved.record {
        Some(mask) => format!(", policy record {mask:#06x}"),
        None => String::new(),
    };
    format!(
        "process {} ({}): {thp}, {merge}{record}",
        saved.pid,
        mctl::printable(saved.name.as_bytes())
    )
}
