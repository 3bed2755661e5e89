//! `kapi trace`

use std::io::Write as _;

use anyhow::Result;
use kapi::clause::clauses;
use kapi::trace;

use super::Status;
use super::input::Input;

/// Run a program, or watch one that runs, and report each call that its specification does not allow
///
/// Nothing is changed: arguments, results and error numbers stay as they are. With --pid every
/// system call of the process stops it twice for some microseconds; Ctrl-C ends that and the
/// process goes on alone. A program that is started here by root stops at the specified calls only.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    input: Input,

    /// Show every clause with its count at the end, those never reached too
    #[arg(long)]
    coverage: bool,

    /// Watch this running process, all its threads, and what these start from now on
    #[arg(
        long,
        short,
        value_name = "PID[:INODE]",
        required_unless_present = "command",
        conflicts_with = "command"
    )]
    pid: Option<String>,

    /// This process traces for the one with this number
    #[arg(long, hide = true, requires = "pid")]
    keeper: Option<u32>,

    /// The program and its arguments
    #[arg(last = true)]
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
    match args.keeper {
        Some(parent) => trace::keeper::enter(parent)?,
        None if args.pid.is_some() => {
            let own = std::env::args_os().skip(1);
            let keeper = format!("--keeper={}", std::process::id());
            return match trace::keeper::start(own.chain([keeper.into()]))? {
                0 => Ok(Status::Good),
                1 => Ok(Status::Found),
                // It has said why.
                _ => Ok(Status::Failed),
            };
        }
        None => {}
    }
    let specs = args.input.specs()?;
    let mut problems = 0u64;
    let mut report = |tid: i32, problem: &trace::Problem| {
        problems += 1;
        let _ = writeln!(
            std::io::stderr(),
            "kapi: [{tid}] {}: {} ({})",
            problem.call,
            problem.what,
            problem.clause
        );
    };
    let traced = match &args.pid {
        None => trace::run(&specs, &args.command, &mut report)?,
        Some(text) => {
            let target = trace::Target::open(text)?;
            let mut begin = |threads: usize| {
                let (pid, name) = (target.pid(), target.name());
                let many = if threads == 1 { "" } else { "s" };
                let _ = writeln!(
                    std::io::stderr(),
                    "kapi: watching process {pid} ({name}), {threads} thread{many}; Ctrl-C ends it"
                );
            };
            trace::attach(&specs, &target, &mut begin, &mut report)?
        }
    };
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
    let end = match traced.status {
        Some(status) => format!("exit status {status}"),
        None => "let go, it runs on".to_owned(),
    };
    writeln!(
        err,
        "kapi: {} specified calls ({how}), {problems} not allowed, {reached} of {} clauses reached, {end}",
        traced.calls,
        all.len(),
    )?;
    if traced.interrupted > 0 {
        writeln!(
            err,
            "kapi: {} calls were interrupted by signals and are not counted",
            traced.interrupted
        )?;
    }
    if traced.held > 0 {
        writeln!(
            err,
            "kapi: {} threads could not be stopped to be let go (uninterruptible sleep); they are when kapi ends",
            traced.held
        )?;
    }
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
