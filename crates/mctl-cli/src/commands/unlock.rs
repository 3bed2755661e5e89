//! `mctl unlock`.

use clap::{ArgMatches, Args, FromArgMatches};

use crate::args::Who;
use crate::cli::Entry;
use crate::fail::{Ended, Fail};
use crate::operate::carry_out;
use crate::operate::lock::{How, What, Work};

pub(crate) const ENTRY: Entry = Entry {
    name: "unlock",
    about: "let the memory of running processes be reclaimed again",
    long: "As munlockall(2), called in the process: everything is unlocked, whoever locked it, and \
           what is mapped later is not locked either.",
    define: Line::augment_args,
    run,
    takes_policies: false,
    examples: &[
        ("mctl unlock 1234", "undo all locking of process 1234"),
        (
            "mctl unlock --dry-run --tree 1234",
            "say how much a process and its descendants have locked",
        ),
    ],
};

#[derive(Args, Debug)]
#[command(override_usage = "mctl unlock [OPTIONS] PID[:INODE]...\n       \
                      mctl unlock [OPTIONS] --cgroup PATH")]
struct Line {
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    how: How,
}

fn run(matches: &ArgMatches) -> Ended {
    let line = Line::from_arg_matches(matches).map_err(|error| Fail::usage(error.to_string()))?;
    let work = Work {
        what: What::Unlock,
        how: &line.how,
    };
    carry_out(&work, &line.who)
}
