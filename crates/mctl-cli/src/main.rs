//! The `mctl` command: a thin skin over the `mctl` library. One file a subcommand, in
//! [`commands`]; the tree of all of them is in [`cli`].

#![forbid(unsafe_code)]

mod args;
mod cli;
mod commands;
mod exit;
mod fail;
mod interrupt;
mod limits;
mod operate;
mod output;
mod patience;
mod report;
mod table;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    // `ulimit -s` may leave less than the parser of words takes.
    ExitCode::from(mctl::with_room(|| cli::main(std::env::args_os().collect())))
}
