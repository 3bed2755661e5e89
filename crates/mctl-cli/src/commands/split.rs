//! `mctl split`.

use clap::{ArgMatches, Args, FromArgMatches};

use crate::args::Who;
use crate::cli::Entry;
use crate::fail::{Ended, Fail};
use crate::operate::carry_out;
use crate::operate::split::How;

pub(crate) const ENTRY: Entry = Entry {
    name: "split",
    about: "give back what running processes hold as all-zero memory in huge pages",
    long: "Has the kernel split the huge pages of private memory. It looks at each small page of \
           them then, and takes back those that hold nothing but zeroes; what was written stays, \
           whatever the process does meanwhile. Whether this kernel does so is tried on memory of \
           our own first (Linux 6.12 does). Locked memory, memory shared since a fork, and memory \
           watched by userfaultfd are passed over and counted; huge pages of files and shared \
           memory are not split, and pages that KSM merged are not huge. Says afterwards what was \
           resident before and after. Huge pages may be made again later, unless the process is \
           under the policy nohugepage. Without CAP_SYS_NICE a carrier makes the calls, a task of \
           mctl's own that shares the memory; ptrace access is needed for that.",
    define: Line::augment_args,
    run,
    takes_policies: false,
    examples: &[
        (
            "mctl split 1234",
            "give back the zeroes that process 1234 holds in huge pages",
        ),
        (
            "mctl split --dry-run --cgroup /system.slice/redis.service",
            "say how many huge pages a service has that could be split",
        ),
        (
            "mctl split --pace 5ms 1234",
            "gently: a pause after every huge page",
        ),
    ],
};

#[derive(Args, Debug)]
#[command(override_usage = "mctl split [OPTIONS] PID[:INODE]...\n       \
                      mctl split [OPTIONS] --cgroup PATH")]
struct Line {
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    how: How,
}

fn run(matches: &ArgMatches) -> Ended {
    let line = Line::from_arg_matches(matches).map_err(|error| Fail::usage(error.to_string()))?;
    carry_out(&line.how, &line.who)
}
