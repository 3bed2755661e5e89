//! `kapi trace`

use std::io::Write as _;

use anyhow::Result;
use kapi::clause::clauses;
use kapi::trace;

use super::Status;
use super::input::Input;

/// Run a program and report each call that its specification does not allow
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    input: Input,

    /// Show every clause with its count at the end, those never reached too
    #[arg(long)]
    coverage: bool,

    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// The launcher behind trace.
#[derive(Debug, clap::Args)]
pub(super) struct Launch {
    numbers: String,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<Status> {
    let specs = args.input.specs()?;
    let mut problems = 0u64;
    let traced = trace::run(&specs, &args.command, &mut |tid, problem| {
        problems += 1;
        let _ = writeln!(
            std::io::stderr(),
            "kapi: [{tid}] {}: {} ({})",
            problem.call,
            problem.what,
            problem.clause
        );
    })?;
    let mut err = std::io::stderr().lock();
    let all: Vec<String> = specs
        .iter()
        .flat_map(|s| clauses(s).into_iter().map(|c| c.id))
        .collect();
    let reached = all
        .iter()
        .filter(|id| traced.coverage.contains_key(*id))
        .count();
    let how = if traced.filtered {
        "filtered"
    } else {
        "every call stopped"
    };
    writeln!(
        err,
        "kapi: {} specified calls ({how}), {problems} not allowed, {reached} of {} clauses reached, exit status {}",
        traced.calls,
        all.len(),
        traced.status
    )?;
    if args.coverage {
        for id in &all {
            writeln!(
                err,
                "{:8}  {id}",
                traced.coverage.get(id).copied().unwrap_or(0)
            )?;
        }
    }
    Ok(if problems > 0 {
        Status::Found
    } else {
        Status::Good
    })
}

pub(super) fn launch(args: &Launch) -> Result<Status> {
    trace::launch(&args.numbers, &args.command)?;
    Ok(Status::Good)
}
