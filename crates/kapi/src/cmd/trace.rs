//! `kapi trace`

use std::io::Write as _;

use anyhow::Result;
use kapi::clause::clauses;
use kapi::ir::Spec;
use kapi::trace;
use kapi::trace::keeper::Ended;

use super::Status;
use super::input::Input;

/// Run a program, or watch one that runs, and report each call that its specification does not allow
///
/// Nothing is changed: arguments, results and error numbers stay as they are. With --pid every
/// system call of the process stops it twice for some microseconds; Ctrl-C ends that and the
/// process goes on alone. A program that is started here by root stops at the specified calls only.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kapi trace -- ./program
  kapi trace --coverage --pid 4711")]
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
    #[arg(long, hide = true)]
    keeper: Option<u32>,

    /// Where that one finds whom to take over
    #[arg(long, hide = true, requires = "keeper")]
    roster: Option<String>,

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
    let Some(parent) = args.keeper else {
        return guard(args);
    };
    let mut report = Report::default();
    let specs = args.input.specs()?;
    let traced = match &args.pid {
        None => {
            let mut roster = args
                .roster
                .as_deref()
                .map(trace::Roster::open)
                .transpose()?;
            trace::run(
                &specs,
                &args.command,
                roster.as_mut(),
                &mut |tid, problem| {
                    report.tell(tid, problem);
                },
            )?
        }
        Some(text) => {
            trace::keeper::enter(parent)?;
            let target = trace::Target::open(text)?;
            let mut begin = |threads: usize| {
                let (pid, name) = (target.pid(), target.name());
                let many = if threads == 1 { "" } else { "s" };
                let _ = writeln!(
                    std::io::stderr(),
                    "kapi: watching process {pid} ({name}), {threads} thread{many}; Ctrl-C ends it"
                );
            };
            trace::attach(&specs, &target, &mut begin, &mut |tid, problem| {
                report.tell(tid, problem);
            })?
        }
    };
    report.end(&specs, &traced, args.coverage)
}

/// Starts the process that watches, and takes its place where it is killed.
fn guard(args: &Args) -> Result<Status> {
    let roster = trace::Roster::new()?;
    // In front of the command, which may be any words.
    let own: Vec<_> = std::env::args_os().skip(1).collect();
    let at = own
        .iter()
        .position(|word| word == "--")
        .unwrap_or(own.len());
    let (before, after) = own.split_at(at);
    let mut words = before.to_vec();
    words.push(format!("--keeper={}", std::process::id()).into());
    if args.pid.is_none() {
        words.push(format!("--roster={}", roster.name()).into());
    }
    words.extend_from_slice(after);
    match trace::keeper::start(words)? {
        Ended::Exited(0) => Ok(Status::Good),
        Ended::Exited(1) => Ok(Status::Found),
        // It has said why.
        Ended::Exited(_) => Ok(Status::Failed),
        Ended::Killed(signal) => {
            let mut report = Report::default();
            let specs = args.input.specs()?;
            let traced = trace::take_over(&specs, &roster, &mut |tid, problem| {
                report.tell(tid, problem);
            })?;
            let _ = writeln!(
                std::io::stderr(),
                "kapi: the process that watched was killed (signal {signal}); what it had counted is lost"
            );
            match traced {
                // Without a filter everything runs on alone.
                None => Ok(Status::Failed),
                Some(traced) => {
                    report.end(&specs, &traced, args.coverage)?;
                    Ok(Status::Failed)
                }
            }
        }
    }
}

/// What is said while a program is watched, and at the end.
#[derive(Default)]
struct Report {
    problems: u64,
}

impl Report {
    fn tell(&mut self, tid: i32, problem: &trace::Problem) {
        self.problems += 1;
        let _ = writeln!(
            std::io::stderr(),
            "kapi: [{tid}] {}: {} ({})",
            problem.call,
            problem.what,
            problem.clause
        );
    }

    fn end(&self, specs: &[Spec], traced: &trace::Traced, coverage: bool) -> Result<Status> {
        let problems = self.problems;
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
        if coverage {
            for id in &all {
                let count = traced.coverage.get(id).copied().unwrap_or(0);
                writeln!(err, "{count:8}  {id}")?;
            }
        }
        Ok(if problems > 0 {
            Status::Found
        } else {
            Status::Good
        })
    }
}

pub(super) fn launch(args: &Launch) -> Result<Status> {
    trace::launch(&args.numbers, &args.command)?;
    Ok(Status::Good)
}
