//! The `mctl` command: a thin skin over the `mctl` library. One file a subcommand, in
//! [`commands`]; the tree of all of them is in [`cli`].

#![forbid(unsafe_code)]

mod advising;
mod change;
mod cli;
mod commands;
mod exit;
mod fail;
mod interrupt;
mod limits;
mod locking;
mod output;
mod report;
mod table;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(cli::main(std::env::args_os().collect()))
}
