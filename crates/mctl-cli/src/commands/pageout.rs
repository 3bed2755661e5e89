//! `mctl pageout`.

use clap::{ArgMatches, Args, FromArgMatches};
use mctl::advise::Advice;

use crate::args::{Choice, What, Who};
use crate::cli::Entry;
use crate::fail::{Ended, Fail};
use crate::operate::advice::{How, Job, Style};
use crate::operate::carry_out;

pub(crate) const ENTRY: Entry = Entry {
    name: "pageout",
    about: "reclaim the memory of running processes now",
    long: "Anonymous and shared memory goes to swap, pages of files back to their files; nothing is lost, and what is used again comes back. What cannot be reclaimed is passed over. Says afterwards what was resident and on swap before and after, and what came back meanwhile. Without CAP_SYS_NICE a carrier gives the advice, a task of mctl's own that shares the memory; ptrace access is needed for that.",
    define: Line::augment_args,
    run,
    takes_policies: false,
    examples: &[
        (
            "mctl pageout 1234",
            "put everything that process 1234 has in memory out",
        ),
        (
            "mctl pageout --file --cgroup /user.slice",
            "only pages of files, of every process of a cgroup",
        ),
        (
            "mctl pageout --pace 3ms 1234",
            "gently: small steps with pauses between",
        ),
    ],
};

#[derive(Args, Debug)]
#[command(override_usage = "mctl pageout [OPTIONS] PID[:INODE]...\n       \
                      mctl pageout [OPTIONS] --cgroup PATH")]
struct Line {
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    how: How,
}

fn run(matches: &ArgMatches) -> Ended {
    let line = Line::from_arg_matches(matches).map_err(|error| Fail::usage(error.to_string()))?;
    let job = Job {
        advice: Advice::PAGEOUT,
        what: line.choice.what()?.unwrap_or(What::Entire),
        skip_errors: true,
        destructive: false,
        served_too: false,
        style: Style::Friendly,
        min_coverage: None,
        max_stall: None,
        max_growth: None,
        how: &line.how,
    };
    carry_out(&job, &line.who)
}
