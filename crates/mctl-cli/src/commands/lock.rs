//! `mctl lock`.

use clap::{ArgMatches, Args, FromArgMatches};
use mctl::budget::Growth;
use mctl::coverage::Bytes;
use mctl::memlock::{Lock, Locking};

use crate::args::{Who, parse};
use crate::cli::Entry;
use crate::fail::{Ended, Fail};
use crate::operate::carry_out;
use crate::operate::lock::{How, What, Work};

pub(crate) const ENTRY: Entry = Entry {
    name: "lock",
    about: "keep the memory of running processes from being reclaimed",
    long: "As mlockall(2), called in the process: what it has mapped now (unless --future alone \
           is given), what it maps later, or both. Its own RLIMIT_MEMLOCK and CAP_IPC_LOCK are \
           what counts; they are looked at first, and said where they do not suffice. What has to come \
           in is compared with what the host and the memory cgroups of the process have left, and \
           refused where that is too little. A carrier does \
           it, a task of mctl's own that shares the memory, in small pieces; the process's threads go on. Memory that somebody \
           serves by userfaultfd(2) is passed over unless it is asked for. Children and the next \
           program that it executes start unlocked.",
    define: Line::augment_args,
    run,
    takes_policies: false,
    examples: &[
        ("mctl lock 1234", "lock what process 1234 has mapped now"),
        (
            "mctl lock --current --future --onfault 1234",
            "also what it maps later, but bring nothing in for it",
        ),
        (
            "mctl lock --dry-run 1234",
            "say whether its limit allows it",
        ),
    ],
};

#[derive(Args, Debug)]
#[command(override_usage = "mctl lock [OPTIONS] PID[:INODE]...\n       \
                      mctl lock [OPTIONS] --cgroup PATH")]
struct Line {
    #[command(flatten)]
    who: Who,
    /// Lock what is mapped now; the default
    #[arg(long)]
    current: bool,
    /// Lock what is mapped later
    #[arg(long)]
    future: bool,
    /// Lock pages when they come in; do not bring them in
    #[arg(long)]
    onfault: bool,
    /// Lock memory that somebody serves by userfaultfd(2) too: all its pages are then asked for
    #[arg(long)]
    userfaultfd: bool,
    /// Let a process grow by no more than this: 64M, 2G; what is there then is locked, the rest as it comes in
    #[arg(long, value_name = "SIZE", value_parser = parse::bytes, allow_hyphen_values = true, conflicts_with = "onfault")]
    max_growth: Option<Bytes>,
    #[command(flatten)]
    how: How,
}

fn run(matches: &ArgMatches) -> Ended {
    let line = Line::from_arg_matches(matches).map_err(|error| Fail::usage(error.to_string()))?;
    let what = Lock {
        current: line.current || !line.future,
        future: line.future,
        on_fault: line.onfault,
    };
    let locking = Locking {
        what,
        served_too: line.userfaultfd,
        growth: line.max_growth.map_or(Growth::Sparing, Growth::AtMost),
    };
    let work = Work {
        what: What::Lock(locking),
        how: &line.how,
    };
    carry_out(&work, &line.who)
}
