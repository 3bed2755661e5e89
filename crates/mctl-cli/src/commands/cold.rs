//! `mctl cold`.

use clap::{ArgMatches, Args, FromArgMatches};
use mctl::advise::Advice;

use crate::args::{Choice, What, Who};
use crate::cli::Entry;
use crate::fail::{Ended, Fail};
use crate::operate::advice::{How, Job, Style};
use crate::operate::carry_out;

pub(crate) const ENTRY: Entry = Entry {
    name: "cold",
    about: "let the memory of running processes be reclaimed first",
    long: "The pages stay where they are, but the kernel takes them before others once memory gets short. What cannot be reclaimed is passed over. Without CAP_SYS_NICE a carrier gives the advice, a task of mctl's own that shares the memory; ptrace access is needed for that.",
    define: Line::augment_args,
    run,
    takes_policies: false,
    examples: &[
        (
            "mctl cold 1234",
            "when memory gets short, take it from process 1234 first",
        ),
        (
            "mctl cold --tree --anon 1234",
            "only anonymous memory, of a process and its descendants",
        ),
    ],
};

#[derive(Args, Debug)]
#[command(override_usage = "mctl cold [OPTIONS] PID[:INODE]...\n       \
                      mctl cold [OPTIONS] --cgroup PATH")]
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
        advice: Advice::COLD,
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
