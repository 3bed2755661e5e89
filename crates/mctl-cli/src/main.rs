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
mod patience;
mod report;
mod splitting;
mod table;
mod words;

use std::process::ExitCode;

use mctl_conformance::backend::engine::DEPUTY;

fn main() -> ExitCode {
    // `mctl model` on real processes starts this program again to act for them.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == DEPUTY)
    {
        return ExitCode::from(commands::model::act());
    }
    // `ulimit -s` may leave less than the parser of words takes.
    ExitCode::from(mctl::with_room(|| cli::main(std::env::args_os().collect())))
}
