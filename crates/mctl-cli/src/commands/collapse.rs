//! `mctl collapse`.

use clap::{ArgMatches, Args, FromArgMatches};
use mctl::advise::{Advice, Selection};
use mctl::coverage::Bytes;

use crate::args::{Choice, What, Who, parse};
use crate::cli::Entry;
use crate::fail::{Ended, Fail};
use crate::operate::advice::{How, Job, Style};
use crate::operate::carry_out;

pub(crate) const ENTRY: Entry = Entry {
    name: "collapse",
    about: "make huge pages of the small pages that processes have now",
    long: "Works on anonymous and shared memory unless something else is chosen, whatever the host says about huge pages, but not against NOHUGEPAGE advice and not under the policy nohugepage. What cannot be made huge is passed over. Says afterwards how much is huge: of all anonymous and shared memory that is present, in per cent. Without CAP_SYS_NICE a carrier gives the advice, a task of mctl's own that shares the memory; ptrace access is needed for that.",
    define: Line::augment_args,
    run,
    takes_policies: false,
    examples: &[
        (
            "mctl collapse 1234",
            "make huge what can be made huge, and say how much that is",
        ),
        (
            "mctl collapse --min-coverage 95 1234",
            "fail where less than 95 per cent is huge at the end",
        ),
        ("mctl collapse --heap 1234", "only the heap"),
    ],
};

#[derive(Args, Debug)]
#[command(override_usage = "mctl collapse [OPTIONS] PID[:INODE]...\n       \
                      mctl collapse [OPTIONS] --cgroup PATH")]
struct Line {
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    choice: Choice,
    /// Fail where less than this per cent of anonymous and shared memory is huge at the end
    #[arg(long, value_name = "PERCENT", value_parser = parse::percent, allow_hyphen_values = true)]
    min_coverage: Option<f64>,
    /// Let a process grow by no more than this, and end there: 64M, 2G; the fullest blocks come first. Unless given, as far as there is room, but blocks less than half full are passed over
    #[arg(long, value_name = "SIZE", value_parser = parse::bytes, allow_hyphen_values = true)]
    max_growth: Option<Bytes>,
    #[command(flatten)]
    how: How,
}

fn run(matches: &ArgMatches) -> Ended {
    let line = Line::from_arg_matches(matches).map_err(|error| Fail::usage(error.to_string()))?;
    let all = || What::Selected(Selection::all().anonymous().shmem());
    let job = Job {
        advice: Advice::COLLAPSE,
        what: line.choice.what()?.unwrap_or_else(all),
        skip_errors: true,
        destructive: false,
        served_too: false,
        style: Style::Friendly,
        min_coverage: line.min_coverage,
        max_stall: None,
        max_growth: line.max_growth,
        how: &line.how,
    };
    carry_out(&job, &line.who)
}
