//! `kapi verify`

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use kapi::verify::{Refused, Verdict, Verification, verify};

use super::input::Input;
use super::{Status, print};

/// Verify a call's specification on the running kernel, in throw-away processes
///
/// Exit status: 0 nothing is contradicted, 1 something is, 2 it could not be tried, 3 the kernel
/// does not have the call.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kapi verify mlockall
  kapi verify mlockall --clause MLOCKALL-ERR-EPERM
  kapi verify mlock --log mlock.log && kapi replay mlock.log
  kapi verify --all")]
pub(super) struct Args {
    /// The call, with or without sys_
    #[arg(required_unless_present = "all")]
    call: Option<String>,

    #[command(flatten)]
    input: Input,

    /// Verify every specification, and print a table
    #[arg(long, conflicts_with_all = ["call", "clause"])]
    all: bool,

    /// Only this clause, by its identifier; without the words at the end of it, all of the name
    #[arg(long, value_name = "ID")]
    clause: Option<String>,

    /// Write every call that was made to this file, one JSON object a line, for kapi replay
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Verify a call that may harm more than its caller
    #[arg(long)]
    dangerous: bool,
}

pub(super) fn run(args: &Args) -> Result<Status> {
    let Some(call) = &args.call else {
        return all(args);
    };
    let spec = args.input.one(call)?;
    let mut done = verify(&spec, args.dangerous)?;
    if let Some(id) = &args.clause {
        // The whole identifier, or without the words at its end.
        let whole = done.findings.iter().any(|f| f.clause.id == *id);
        done.findings
            .retain(|f| f.clause.id == *id || (!whole && f.clause.base == *id));
        anyhow::ensure!(
            !done.findings.is_empty(),
            "`{}` has no clause {id}",
            done.call
        );
    }
    write_log(args, std::slice::from_ref(&done))?;
    if args.json {
        print(&(serde_json::to_string_pretty(&done)? + "\n"))?;
    } else {
        print(&done.text())?;
    }
    Ok(status(&[done]))
}

fn status(all: &[Verification]) -> Status {
    if all.iter().any(|done| done.count(Verdict::Contradicted) > 0) {
        Status::Found
    } else if !all.is_empty() && all.iter().all(|done| !done.present) {
        Status::Missing
    } else {
        Status::Good
    }
}

fn write_log(args: &Args, all: &[Verification]) -> Result<()> {
    let Some(path) = &args.log else {
        return Ok(());
    };
    let write = || -> Result<()> {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        for entry in all.iter().flat_map(|done| &done.log) {
            serde_json::to_writer(&mut file, entry)?;
            file.write_all(b"\n")?;
        }
        file.flush()?;
        Ok(())
    };
    write().with_context(|| format!("writing {}", path.display()))
}

const COLUMNS: [Verdict; 6] = [
    Verdict::Confirmed,
    Verdict::Contradicted,
    Verdict::Observed,
    Verdict::NotObserved,
    Verdict::NotObservable,
    Verdict::NotAttempted,
];

/// A table of every call, in Markdown, or an array of everything in JSON.
fn all(args: &Args) -> Result<Status> {
    let mut verified = Vec::new();
    let mut refused = Vec::new();
    let mut from = 0;
    for spec in args.input.specs()? {
        match verify(&spec, args.dangerous) {
            Ok(mut done) => {
                done.renumber(from);
                from += done.log.len();
                verified.push(done);
            }
            Err(error @ Refused::Dangerous(_)) => refused.push(error),
        }
    }
    write_log(args, &verified)?;
    if args.json {
        print(&(serde_json::to_string_pretty(&verified)? + "\n"))?;
        return Ok(status(&verified));
    }
    let mut out = String::new();
    if let Some(first) = verified.first() {
        out.push_str(&format!("Linux {}\n\n", first.kernel));
    }
    let words: Vec<String> = COLUMNS.iter().map(|v| v.word().to_lowercase()).collect();
    out.push_str(&format!("| call | calls made | {} |\n", words.join(" | ")));
    out.push_str(&format!("|---|---|{}\n", "---|".repeat(words.len())));
    for done in &verified {
        let counts: Vec<String> = COLUMNS.iter().map(|v| done.count(*v).to_string()).collect();
        let calls = if done.present {
            done.calls.to_string()
        } else {
            "not in this kernel".to_owned()
        };
        out.push_str(&format!(
            "| {} | {calls} | {} |\n",
            done.call,
            counts.join(" | ")
        ));
    }
    let sums: Vec<String> = COLUMNS
        .iter()
        .map(|v| {
            verified
                .iter()
                .map(|d| d.count(*v))
                .sum::<usize>()
                .to_string()
        })
        .collect();
    let calls: usize = verified.iter().map(|d| d.calls).sum();
    out.push_str(&format!("| all | {calls} | {} |\n", sums.join(" | ")));
    for done in &verified {
        for finding in done
            .findings
            .iter()
            .filter(|f| f.verdict == Verdict::Contradicted)
        {
            out.push_str(&format!("\nCONTRADICTED {}\n", finding.clause.id));
            for line in &finding.evidence {
                out.push_str(&format!("    {line}\n"));
            }
        }
    }
    for error in refused {
        out.push_str(&format!("\nleft out: {error}\n"));
    }
    print(&out)?;
    Ok(status(&verified))
}
