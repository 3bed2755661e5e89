//! `mctl get`: show policy and coverage of processes.

mod columns;
mod maps;
mod row;
mod select;

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{ArgMatches, Args, FromArgMatches};
use mctl::{Errno, Look, Members, Reading, Saved, Target};
use serde_json::{Map, Value};

use crate::cli::Entry;
use crate::exit;
use crate::fail::{Ended, Fail};
use crate::limits;
use crate::output::Out;
use crate::report::{self, JsonError};
use crate::table::Table;
use crate::words;

use columns::{Column, DEFAULT, Shown, Style};
use row::{Reader, Row};

pub(super) use columns::percent_text;

/// A size for people: `1.5G`.
pub(super) fn size_text(bytes: mctl::coverage::Bytes) -> String {
    columns::size(bytes, Style { bytes: false })
}

/// Every column and what it shows, for the manual page.
pub(super) fn columns_with_meanings() -> impl Iterator<Item = (&'static str, &'static str)> {
    columns::ALL
        .iter()
        .map(|column| (column.name, column.about))
}

pub(crate) const ENTRY: Entry = Entry {
    name: "get",
    about: "show policy and huge-page coverage of processes",
    long: "One line a process: the policy in force, how much of its anonymous and shared memory is in huge \
           pages, and what keeps most of the rest small. Only what the chosen columns need is \
           read, and the process is left alone: nothing is stopped, nothing is run in it. /proc \
           tells nohugepage; hugepage-advised and inherit can be told apart where the host gives \
           huge pages to memory that did not ask, by a mapping that gets them or not. Where the \
           host gives none, the two come to the same: inherit-or-advised. Where no mapping shows \
           which it is: unknown. --exact asks the process itself. With --json and without --maps \
           the output holds what 'mctl restore' takes. There null is what is not known, thp is the \
           word for huge pages, and missing says what is not known, and why.",
    define: Get::augment_args,
    run,
    takes_policies: false,
    examples: &[
        ("mctl get", "policy and coverage of all your processes"),
        ("mctl get 1234", "policy, coverage, and why not more"),
        (
            "mctl get --all --sort rss",
            "every process of the host, the largest first",
        ),
        (
            "mctl get --name postgres* --user postgres",
            "those of that name and user",
        ),
        ("mctl get --tree 1234", "the same for all descendants"),
        ("mctl get --maps 1234", "one line a mapping"),
        (
            "mctl get --exact --json 1234 > before.json",
            "save the state for mctl restore",
        ),
        (
            "mctl get -o PID,POLICY,COVERAGE --noheadings 1234",
            "choose the columns",
        ),
    ],
};

#[derive(Args, Debug)]
#[command(override_usage = "mctl get [OPTIONS] [PID[:INODE]]...\n       \
                      mctl get [OPTIONS] --cgroup PATH\n       \
                      mctl get -o help")]
struct Get {
    /// The processes
    #[arg(value_name = "PID", allow_negative_numbers = true)]
    words: Vec<OsString>,
    /// Name a process; may be repeated
    #[arg(short, long, value_name = "PID", allow_hyphen_values = true)]
    pid: Vec<OsString>,
    /// Include all descendants of the processes
    #[arg(long, conflicts_with = "cgroup")]
    tree: bool,
    /// Take every process of this cgroup and of those below it
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::DirPath)]
    cgroup: Option<PathBuf>,
    #[command(flatten)]
    select: select::Select,
    /// Sort by this column, largest first; +COLUMN smallest first
    #[arg(long, value_name = "COLUMN", conflicts_with = "maps")]
    sort: Option<String>,
    /// Print one line a mapping
    #[arg(long, conflicts_with_all = ["columns", "raw"])]
    maps: bool,
    /// Choose the columns, +COLUMN adds one to the default; 'help' lists them
    #[arg(short = 'o', long = "output", value_name = "COLUMNS")]
    columns: Option<String>,
    /// Print JSON, sizes in bytes
    #[arg(short = 'J', long)]
    json: bool,
    /// Print no line of headings
    #[arg(short = 'n', long)]
    noheadings: bool,
    /// Print columns separated by one space, blanks inside as \x20
    #[arg(short = 'r', long, conflicts_with = "json")]
    raw: bool,
    /// Print sizes in bytes
    #[arg(short, long)]
    bytes: bool,
    /// Ask the process itself where /proc does not tell its policy: one thread is stopped for it
    #[arg(long)]
    exact: bool,
}

fn run(matches: &ArgMatches) -> Ended {
    let args = Get::from_arg_matches(matches).map_err(|error| Fail::usage(error.to_string()))?;
    if args.columns.as_deref().is_some_and(|list| list == "help") {
        return help();
    }
    let columns = columns::choose(args.columns.as_deref())?;
    let sort = args.sort.as_deref().map(columns::sort).transpose()?;
    let mut code = exit::DONE;
    let (targets, failed, incomplete) = targets(&args)?;
    if incomplete {
        code = exit::FAILED;
    }
    if !failed.is_empty() {
        code = exit::FAILED;
    }
    let look = if args.exact { Look::Exact } else { Look::Proc };
    if args.maps {
        for (pid, error) in &failed {
            not_read(*pid, error);
        }
        return maps::print(&targets, &failed, look, &args).map(|done| code.max(done));
    }
    let mut rows = Vec::with_capacity(failed.len() + targets.len());
    rows.extend(
        failed
            .into_iter()
            .map(|(pid, error)| Found::Failed(pid, error)),
    );
    let group = args.tree || args.cgroup.is_some() || names_none(&args);
    let needed: Vec<&Column> = columns.iter().copied().chain(sort.map(|it| it.0)).collect();
    let mut reader = Reader::new(&needed, look, args.json);
    for (at, target) in targets.iter().enumerate() {
        match mctl::in_share(targets.len() - at, || reader.read(target)) {
            // It ended meanwhile, or is a kernel thread among the members of a group.
            Err(error) if group && error.errno() == Errno::ESRCH => {}
            Err(error) => {
                code = exit::FAILED;
                rows.push(Found::Failed(target.pid(), error));
            }
            Ok(row) => {
                if !row.missing.is_empty() {
                    code = exit::FAILED;
                }
                rows.push(Found::Row(Box::new(row)));
            }
        }
    }
    for row in &rows {
        row.tell();
    }
    if let Some((column, order)) = sort {
        rows.sort_by(|a, b| order.of(a.cell(column).as_ref(), b.cell(column).as_ref()));
    }
    let mut out = Out::new();
    if args.json {
        let list: Vec<Value> = rows.iter().map(|row| row.json(&columns)).collect();
        let document = Value::Object(Map::from_iter([("processes".to_owned(), list.into())]));
        out.json(&document)?;
    } else {
        print(&args, &columns, &rows, &mut out)?;
    }
    out.finish()?;
    Ok(code)
}

/// Says on standard error that nothing of a process was read.
fn not_read(pid: i32, error: &mctl::Error) {
    let sentence = report::sentence(error, &pid.to_string(), "get");
    report::error(&sentence, error.hint().as_deref());
}

/// A process that was asked for: what was read of it, or why nothing was.
enum Found {
    Row(Box<Row>),
    Failed(i32, mctl::Error),
}

impl Found {
    fn cell(&self, column: &Column) -> Option<columns::Cell> {
        match self {
            Found::Failed(..) => None,
            Found::Row(row) => Some((column.cell)(row)),
        }
    }

    /// Says on standard error what could not be read.
    fn tell(&self) {
        match self {
            Found::Failed(pid, error) => not_read(*pid, error),
            Found::Row(row) => {
                for (what, error) in &row.missing {
                    let asked = format!("read its {what}");
                    let sentence = report::sentence(error, &row.spec.pid.to_string(), &asked);
                    report::error(&sentence, error.hint().as_deref());
                    if *what == "policy" && row.reading.is_some() {
                        row::from_proc(row.spec.pid);
                    }
                }
            }
        }
    }

    fn json(&self, columns: &[&Column]) -> Value {
        let row = match self {
            Found::Failed(pid, error) => {
                return serde_json::json!({ "pid": pid, "error": JsonError::of(error) });
            }
            Found::Row(row) => row,
        };
        let mut object = match &row.saved {
            Some(saved) => object(saved),
            None => Map::new(),
        };
        for column in columns {
            object.insert(column.key(), (column.cell)(row).json());
        }
        let missing: Vec<Value> = missing(row).collect();
        if !missing.is_empty() {
            object.insert("missing".to_owned(), missing.into());
        }
        if let Some(found) = &row.report {
            object.insert(
                "report".to_owned(),
                serde_json::to_value(found).unwrap_or(Value::Null),
            );
        }
        Value::Object(object)
    }
}

/// What could not be read, with the error; and what the kernel does not show, with the reason.
fn missing(row: &Row) -> impl Iterator<Item = Value> {
    let failed = row.missing.iter().map(|(what, error)| {
        let mut missing = serde_json::json!({ "what": what, "error": JsonError::of(error) });
        if *what == "policy"
            && row.reading.is_some()
            && let Some(object) = missing.as_object_mut()
        {
            object.insert("shown".to_owned(), "what /proc tells".into());
        }
        missing
    });
    let doubts = row.reading.as_ref().map_or_else(Vec::new, Reading::doubts);
    failed.chain(
        doubts
            .into_iter()
            .map(|why| serde_json::json!({ "what": "policy", "why": why })),
    )
}

fn object(saved: &Saved) -> Map<String, Value> {
    match serde_json::to_value(saved) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

/// Whether processes are chosen among all.
fn names_none(args: &Get) -> bool {
    args.words.is_empty() && args.pid.is_empty() && args.cgroup.is_none()
}

type Failures = Vec<(i32, mctl::Error)>;

/// The processes that were asked for, each once, and those that could not be opened.
/// What of a group is not reached is said; `true` where that is a failure.
fn targets(args: &Get) -> Result<(Vec<Target>, Failures, bool), Fail> {
    let filter = args.select.filter()?;
    if names_none(args) {
        if args.tree {
            return Err(Fail::usage(
                "--tree takes the processes of which it takes the descendants",
            ));
        }
        limits::open_files_for(0, true);
        let listed = args.select.list(&filter)?;
        return Ok((listed.targets, listed.failed, false));
    }
    named(args).map(|(mut targets, failed, incomplete)| {
        filter.retain(&mut targets);
        (targets, failed, incomplete)
    })
}

fn named(args: &Get) -> Result<(Vec<Target>, Failures, bool), Fail> {
    let specs = words::processes(&args.words, &args.pid)?;
    let mut failed = Vec::new();
    limits::open_files_for(specs.len(), args.tree || args.cgroup.is_some());
    if let Some(path) = &args.cgroup {
        if !specs.is_empty() {
            return Err(Fail::usage("name processes or a cgroup, not both at once"));
        }
        let members = mctl::tree::members_of_cgroup(path)?;
        let incomplete = report::left_out(&members.left_out);
        return Ok((members.processes, failed, incomplete));
    }
    let mut targets = Vec::with_capacity(specs.len());
    let mut seen = HashSet::new();
    for spec in specs {
        let members = Target::open(spec).and_then(|root| {
            if args.tree {
                mctl::tree::members_of_tree(&root)
            } else {
                Ok(Members {
                    processes: vec![root],
                    ..Members::default()
                })
            }
        });
        match members {
            Ok(members) => {
                report::left_out(&members.left_out);
                targets.extend(
                    members
                        .processes
                        .into_iter()
                        .filter(|target| seen.insert(target.pid())),
                );
            }
            Err(error) => failed.push((spec.pid, error)),
        }
    }
    Ok((targets, failed, false))
}

fn print(args: &Get, columns: &[&Column], found: &[Found], out: &mut Out) -> std::io::Result<()> {
    let style = Style { bytes: args.bytes };
    let rows = || {
        found.iter().filter_map(|found| match found {
            Found::Row(row) => Some(row),
            Found::Failed(..) => None,
        })
    };
    let columns: Vec<&Column> = columns
        .iter()
        .copied()
        .filter(|column| match column.shown {
            Shown::Always => true,
            Shown::WhereAny => {
                columns::is_named(args.columns.as_deref(), column)
                    || rows().any(|row| (column.cell)(row).is_something())
            }
        })
        .collect();
    let rows = rows();
    let cells = rows.map(|row| -> Vec<String> {
        columns
            .iter()
            .map(|column| (column.cell)(row).text(style))
            .collect()
    });
    if args.raw {
        if !args.noheadings {
            let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
            writeln!(out, "{}", names.join(" "))?;
        }
        for row in cells {
            let row: Vec<String> = row.iter().map(|cell| cell.replace(' ', "\\x20")).collect();
            writeln!(out, "{}", row.join(" "))?;
        }
        return Ok(());
    }
    let headings: Vec<_> = columns
        .iter()
        .map(|column| (column.name, column.align))
        .collect();
    let mut table = Table::new(&headings);
    cells.for_each(|row| table.row(row));
    table.print(out, !args.noheadings)
}

fn help() -> Ended {
    let mut out = Out::new();
    for column in columns::ALL {
        let mark = if DEFAULT.contains(&column.name) {
            '*'
        } else {
            ' '
        };
        writeln!(out, "{mark} {:<10} {}", column.name, column.about)?;
    }
    writeln!(
        out,
        "\n* shown unless -o says otherwise; ADVISED where a process has some"
    )?;
    out.finish()?;
    Ok(exit::DONE)
}
