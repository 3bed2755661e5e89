//! `--wait` and `--disturb`, of every command that changes running processes.

use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use mctl::{Patience, patience, set_patience};

use crate::args::parse;

/// The commands that make calls in other processes.
const COMMANDS: &[&str] = &[
    "set", "clear", "restore", "advise", "pageout", "cold", "collapse", "split", "lock", "unlock",
];

const WAIT: &str = "wait";
const DISTURB: &str = "disturb";

/// Adds the two where they belong.
pub(crate) fn define(command: Command) -> Command {
    if !COMMANDS.contains(&command.get_name()) {
        return command;
    }
    command
        .arg(
            Arg::new(WAIT)
                .long(WAIT)
                .value_name("TIME")
                .value_parser(parse::duration)
                .allow_hyphen_values(true)
                .help(
                    "Wait so long for a moment at which the processes notice nothing; 1s unless given",
                ),
        )
        .arg(Arg::new(DISTURB).long(DISTURB).action(ArgAction::SetTrue).help(
            "Where there was no such moment, interrupt a thread all the same, and say in what call",
        ))
}

/// Has them hold for all that this command does.
pub(crate) fn heed(name: &str, matches: &ArgMatches) {
    if !COMMANDS.contains(&name) {
        return;
    }
    let given = matches.value_source(WAIT) == Some(ValueSource::CommandLine);
    let wait = matches
        .get_one::<Duration>(WAIT)
        .copied()
        .filter(|_| given)
        .unwrap_or(patience().wait);
    let disturb = matches.get_flag(DISTURB);
    set_patience(Patience { wait, disturb });
}
