//! `mctl set`: put policies in force on running processes.

use clap::{ArgMatches, Args, FromArgMatches};
use mctl::{AcrossExec, Override, PolicyKind, Request};

use crate::cli::Entry;
use crate::fail::{Ended, Fail};
use crate::operate::policy::{After, Change, change};

pub(crate) const ENTRY: Entry = Entry {
    name: "set",
    about: "put policies in force on running processes",
    long: "The policies come first, then the processes. A policy concerns the whole address space: \
           every mapping that the process has now and every mapping that it gets later, as far as \
           the kernel can do that; where it cannot, a note says so. The process notices nothing: \
           one thread of it is stopped for some microseconds while the kernel's own call is made \
           in its name. PID:INODE names a process for ever; a number that was used again is \
           refused.",
    define: Set::augment_args,
    run,
    takes_policies: true,
    examples: &[
        (
            "mctl set nohugepage 1234",
            "no huge pages for process 1234 from now on",
        ),
        (
            "mctl set hugepage-advised,mergeable --tree --inherit 1234",
            "two policies for a process, its descendants, and what they execute",
        ),
        (
            "mctl set nohugepage --cgroup /system.slice/redis.service",
            "every process of a service",
        ),
        (
            "mctl set nohugepage --split 1234",
            "also give back what its huge pages hold as zeroes",
        ),
        (
            "mctl set hugepage --dry-run 1234",
            "show the steps and what they are worth; do nothing",
        ),
    ],
};

#[derive(Args, Debug)]
#[command(
    override_usage = "mctl set [OPTIONS] POLICY[,POLICY]... PID[:INODE]...\n       \
                      mctl set [OPTIONS] --cgroup PATH POLICY[,POLICY]..."
)]
struct Set {
    #[command(flatten)]
    change: Change,
    /// Ask for the policies also in programs that the processes execute
    #[arg(long)]
    inherit: bool,
    /// Advise also mappings that the program or the kernel excluded from huge pages; this can break users of userfaultfd
    #[arg(long)]
    override_advice: bool,
    /// With nohugepage: also split the huge pages that are there, and give back what is all zero; see mctl split
    #[arg(long)]
    split: bool,
}

fn run(matches: &ArgMatches) -> Ended {
    let args = Set::from_arg_matches(matches).map_err(|error| Fail::usage(error.to_string()))?;
    let across = if args.inherit {
        AcrossExec::Inherit
    } else {
        AcrossExec::Ends
    };
    if args.override_advice && args.change.strict {
        return Err(Fail::usage(
            "--override-advice goes beyond the contract; it cannot be --strict",
        ));
    }
    let after = After { split: args.split };
    change(&args.change, after, |kinds| {
        if args.split && !kinds.contains(&PolicyKind::Nohugepage) {
            return Err(Fail::usage(
                "--split goes with nohugepage only: under any other policy the pages may become \
                 huge again at once",
            ));
        }
        let mut request = Request::set(kinds, across)?;
        if args.override_advice {
            request.override_advice = Override::Advice;
        }
        Ok(request)
    })
}
