//! `mctl clear`: take policies back.

use clap::{ArgMatches, Args, FromArgMatches};
use mctl::Request;

use crate::cli::Entry;
use crate::fail::{Ended, Fail};
use crate::operate::policy::{After, Change, change};

pub(crate) const ENTRY: Entry = Entry {
    name: "clear",
    about: "take policies back from running processes",
    long: "A policy that does not stand is left alone, and that is no error. Where setting had to \
           advise mappings (hugepage on a host whose knob says madvise), the advice cannot be \
           taken off again; a note says how many mappings keep it.",
    define: Clear::augment_args,
    run,
    takes_policies: true,
    examples: &[
        ("mctl clear nohugepage 1234", "back to what the host says"),
        (
            "mctl clear nohugepage,hugepage-advised,mergeable --tree 1234",
            "take everything back, from the descendants too",
        ),
    ],
};

#[derive(Args, Debug)]
#[command(
    override_usage = "mctl clear [OPTIONS] POLICY[,POLICY]... PID[:INODE]...\n       \
                      mctl clear [OPTIONS] --cgroup PATH POLICY[,POLICY]..."
)]
struct Clear {
    #[command(flatten)]
    change: Change,
}

fn run(matches: &ArgMatches) -> Ended {
    let args = Clear::from_arg_matches(matches).map_err(|error| Fail::usage(error.to_string()))?;
    change(&args.change, After::default(), |kinds| {
        Ok(Request::clear(kinds)?)
    })
}
