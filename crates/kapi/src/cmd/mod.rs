//! One file a subcommand.
//!
//! Exit status: 0 all is well, 1 something was found (lint, diff, verify, trace), 2 the command
//! could not do its work, 3 the kernel does not have the call.

mod completions;
mod convert;
mod diff;
mod input;
mod lint;
mod list;
mod man;
mod mutate;
mod replay;
mod schema;
mod show;
mod trace;
mod verify;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Read, check, publish and verify kernel API specifications
#[derive(Debug, Parser)]
#[command(name = "kapi", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::Args),
    Show(show::Args),
    Convert(convert::Args),
    Lint(lint::Args),
    Diff(diff::Args),
    Schema(schema::Args),
    Verify(verify::Args),
    Replay(replay::Args),
    Mutate(mutate::Args),
    Trace(trace::Args),
    Man(man::Args),
    Completions(completions::Args),
    /// Waits until it is watched, then becomes the program
    #[command(name = "__launch", hide = true)]
    Launch(trace::Launch),
    /// The throw-away process of verify; reads its steps from standard input
    #[command(name = "__agent", hide = true)]
    Agent,
}

/// What a subcommand came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// All is well.
    Good,
    /// Something was found.
    Found,
    /// The kernel does not have the call.
    Missing,
    /// The work could not be done, and the reason was told.
    Failed,
}

/// Runs the command line.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::List(args) => list::run(args),
        Command::Show(args) => show::run(args),
        Command::Convert(args) => convert::run(args),
        Command::Lint(args) => lint::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Mutate(args) => mutate::run(args),
        Command::Trace(args) => trace::run(args),
        Command::Man(args) => man::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Launch(args) => trace::launch(args),
        Command::Agent => kapi::verify::agent::run().map(|()| Status::Good),
    };
    match done {
        Ok(Status::Good) => ExitCode::SUCCESS,
        Ok(Status::Found) => ExitCode::from(1),
        Ok(Status::Missing) => ExitCode::from(3),
        Ok(Status::Failed) => ExitCode::from(2),
        Err(error) => {
            // A reader that went away (`kapi list | head`) is no failure.
            if error
                .downcast_ref::<std::io::Error>()
                .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
            {
                return ExitCode::SUCCESS;
            }
            let _ = writeln!(std::io::stderr(), "kapi: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Writes to standard output.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}
