//! `mctl advise`: any advice of madvise(2), for running processes.

use std::time::Duration;

use clap::{ArgMatches, Args, FromArgMatches};
use mctl::advise::Advice;
use mctl::coverage::Bytes;

use crate::args::{Choice, What, Who, parse};
use crate::cli::Entry;
use crate::fail::{Ended, Fail};
use crate::operate::advice::{How, Job, Style};
use crate::operate::carry_out;

pub(crate) const ENTRY: Entry = Entry {
    name: "advise",
    about: "give madvise(2) advice to running processes",
    long: "The advice comes first, by its word, its C name or its number, then the processes. It \
           is for the entire address space unless less is chosen; kinds of memory add up, and \
           --range, --maps and a kind together choose what fits all three. What the kernel does not take for other \
           processes is run in them: what only sets flags by a thread of theirs, the rest by a \
           carrier, a task of mctl's own that shares the memory, while their threads go on. Advice that may lose contents \
           needs --destructive. Without --skip-errors it stops at the first mapping that fails; an \
           entire address space nearly always has one ([vvar]). Ctrl-C ends it between two batches.",
    define: Line::augment_args,
    run,
    takes_policies: false,
    examples: &[
        (
            "mctl advise willneed --maps /srv/data/* 1234",
            "read ahead what process 1234 has mapped of some files",
        ),
        (
            "mctl advise MADV_COLD --skip-errors --tree 1234",
            "let the pages of a process and its descendants be reclaimed first",
        ),
        (
            "mctl advise mergeable --anon --dry-run 1234",
            "show how much would be advised; do nothing",
        ),
        (
            "mctl advise dontneed --destructive --range 7f1200000000+2M 1234",
            "throw the contents of a range away",
        ),
    ],
};

#[derive(Args, Debug)]
#[command(
    override_usage = "mctl advise [OPTIONS] ADVICE PID[:INODE]...\n       \
                      mctl advise [OPTIONS] --cgroup PATH ADVICE"
)]
struct Line {
    /// The advice: pageout, MADV_PAGEOUT or 21
    #[arg(value_name = "ADVICE", value_parser = parse::advice, allow_hyphen_values = true)]
    advice: Advice,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    choice: Choice,
    /// Pass over mappings that fail, and go on
    #[arg(long)]
    skip_errors: bool,
    /// Allow advice that may lose the contents of memory
    #[arg(long)]
    destructive: bool,
    /// Advise memory that somebody serves by userfaultfd(2) too, where that asks for its pages or tells them gone
    #[arg(long)]
    userfaultfd: bool,
    /// Stop a thread no longer than this at a time, where a thread of the process gives the advice; 20ms unless given
    #[arg(long, value_name = "TIME", value_parser = parse::some_duration, allow_hyphen_values = true)]
    max_stall: Option<Duration>,
    /// Let a process grow by no more than this, and end there: 64M, 2G. Unless given, as far as there is room; collapse then passes over blocks that are less than half full
    #[arg(long, value_name = "SIZE", value_parser = parse::bytes, allow_hyphen_values = true)]
    max_growth: Option<Bytes>,
    #[command(flatten)]
    how: How,
}

fn run(matches: &ArgMatches) -> Ended {
    let line = Line::from_arg_matches(matches).map_err(|error| Fail::usage(error.to_string()))?;
    let job = Job {
        advice: line.advice,
        what: line.choice.what()?.unwrap_or(What::Entire),
        skip_errors: line.skip_errors,
        destructive: line.destructive,
        served_too: line.userfaultfd,
        style: Style::Terse,
        min_coverage: None,
        max_stall: line.max_stall,
        max_growth: line.max_growth,
        how: &line.how,
    };
    carry_out(&job, &line.who)
}
