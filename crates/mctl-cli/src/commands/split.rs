//! `mctl split`.

use std::time::Duration;

use clap::{ArgMatches, Args, FromArgMatches};
use mctl::{Error, in_turn};
use serde::Serialize;

use crate::advising::{Who, parse};
use crate::cli::Entry;
use crate::exit;
use crate::fail::{Ended, Fail};
use crate::interrupt::Interrupt;
use crate::output::Out;
use crate::report;
use crate::splitting::{How, JsonRow, Outcome, Row, lines, notes, plan_line, split};

pub(crate) const ENTRY: Entry = Entry {
    name: "split",
    about: "give back what running processes hold as all-zero memory in huge pages",
    long: "Has the kernel split the huge pages of private memory. It looks at each small page of \
           them then, and takes back those that hold nothing but zeroes; what was written stays, \
           whatever the process does meanwhile. Whether this kernel does so is tried on memory of \
           our own first (Linux 6.12 does). Locked memory, memory shared since a fork, and memory \
           watched by userfaultfd are passed over and counted; huge pages of files and shared \
           memory are not split, and pages that KSM merged are not huge. Says afterwards what was \
           resident before and after. Huge pages may be made again later, unless the process is \
           under the policy nohugepage. Without CAP_SYS_NICE a carrier makes the calls, a task of \
           mctl's own that shares the memory; ptrace access is needed for that.",
    define: Line::augment_args,
    run,
    takes_policies: false,
    examples: &[
        (
            "mctl split 1234",
            "give back the zeroes that process 1234 holds in huge pages",
        ),
        (
            "mctl split --dry-run --cgroup /system.slice/redis.service",
            "say how many huge pages a service has that could be split",
        ),
        (
            "mctl split --pace 5ms 1234",
            "gently: a pause after every huge page",
        ),
    ],
};

#[derive(Args, Debug)]
#[command(override_usage = "mctl split [OPTIONS] PID[:INODE]...\n       \
                      mctl split [OPTIONS] --cgroup PATH")]
struct Line {
    #[command(flatten)]
    who: Who,
    /// Pause after every huge page, so that the processes hardly feel it: 500us, 20ms, 1s
    #[arg(long, value_name = "TIME", value_parser = parse::duration, allow_hyphen_values = true)]
    pace: Option<Duration>,
    /// Print how many huge pages would be split, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
    /// Say nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    request: &'static str,
    processes: Vec<JsonRow<'a>>,
    ended: u64,
    not_begun: u64,
    interrupted: bool,
}

fn run(matches: &ArgMatches) -> Ended {
    let line = Line::from_arg_matches(matches).map_err(|error| Fail::usage(error.to_string()))?;
    let interrupt = Interrupt::install();
    let opened = line.who.open()?;
    // One reason for all, before any process is touched.
    mctl::split::probe()?;
    let how = How {
        pace: line.pace,
        dry_run: line.dry_run,
        quiet: line.quiet || line.json,
    };
    let mut rows: Vec<Row> = Vec::new();
    rows.extend(opened.failed.into_iter().map(|(spec, error)| Row {
        spec,
        name: None,
        result: Err(error),
    }));
    let (mut ended, mut not_begun) = (0, 0);
    let results = in_turn(&opened.targets, |target| match interrupt.pressed() {
        true => Ok(None),
        false => split(target, how, &interrupt).map(Some),
    });
    for (target, result) in opened.targets.iter().zip(results) {
        let result = match result {
            Ok(None) => {
                not_begun += 1;
                continue;
            }
            Err(Error::NoProcess { .. }) if opened.group => {
                ended += 1;
                continue;
            }
            Ok(Some(done)) => Ok(done),
            Err(error) => Err(error),
        };
        rows.push(Row {
            spec: target.spec(),
            name: Some(target.name()),
            result,
        });
    }
    let code = tell(&line, &rows)?;
    if line.json {
        let mut out = Out::new();
        out.json(&Json {
            request: "split",
            processes: rows.iter().map(JsonRow::of).collect(),
            ended,
            not_begun,
            interrupted: interrupt.pressed(),
        })?;
        out.finish()?;
    }
    if !interrupt.pressed() {
        return Ok(code);
    }
    let why = format!("interrupted; not begun with: {not_begun}; what was split stays split");
    report::error(&why, None);
    Ok(exit::INTERRUPTED)
}

fn tell(line: &Line, rows: &[Row]) -> Ended {
    let mut out = Out::new();
    let mut code = exit::DONE;
    if rows.is_empty() && !line.quiet {
        report::note("there is no process there");
    }
    for row in rows {
        let pid = row.spec.pid.to_string();
        let who = match &row.name {
            Some(name) => format!("{pid} ({name})"),
            None => pid.clone(),
        };
        match &row.result {
            Err(error) => {
                code = exit::FAILED;
                let sentence = report::sentence(error, &pid, "split");
                report::error(&sentence, error.hint().as_deref());
            }
            Ok(_) if line.json => {}
            Ok(Outcome::Planned(huge)) => plan_line(&mut out, &who, huge)?,
            Ok(Outcome::Split(_)) if line.quiet => {}
            Ok(Outcome::Split(done)) => {
                lines(&mut out, &who, done)?;
                if let Some(note) = notes(row.spec.pid, done) {
                    report::note(&note);
                }
            }
        }
    }
    out.finish()?;
    Ok(code)
}
