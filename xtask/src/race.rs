//! A kernel with its own checkers on: every selftest, then races for minutes and calls at random by the million.

use anyhow::Result;
use mctl_guest_init::Job;

use crate::guest::{self, Options};
use crate::jobs::{Jobs, Table};
use crate::layout::Layout;
use crate::results::Results;
use crate::{kernel, say};

/// How long, and how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// For the tests of mctl_race together.
    pub(crate) minutes: u64,
    /// Of mctl_fuzz.
    pub(crate) calls: u64,
    /// Only these two.
    pub(crate) only: bool,
}

/// The tests in mctl_race; each is told the same time.
const TESTS: u64 = 6;
/// How much slower a checked kernel's selftests may be.
const SLOWER: u64 = 4;
/// Calls that even a checked kernel on an emulated machine does in a second.
const CALLS: u64 = 2_000;

/// The time after which the kernel speaks of a stall. Under KASAN an emulated machine needs a minute and a half
/// for the loops in its ACPI tables, before anything of ours runs.
const STALL: &str = "rcupdate.rcu_cpu_stall_timeout=200";

/// Builds, boots and runs. Whatever the kernel complains of makes it fail: a stall as well.
pub(crate) fn run(
    layout: &Layout,
    base: &str,
    with: &[String],
    effort: Effort,
    memory: u32,
) -> Result<bool> {
    let mut with = with.to_vec();
    // What the selftests never touch is left out; the name says so.
    with.push("race".to_owned());
    let mut kernel = kernel::build(layout, base, &with, None)?;
    kernel.name = kernel.name.replace("native", "checked");
    say(&format!("{}: Linux {}", kernel.name, kernel.release));
    let jobs = jobs(kernel::selftests(layout, base, &with)?, effort);
    let seconds: u64 = jobs.iter().map(|job| job.seconds).sum();
    let options = Options {
        memory,
        minutes: seconds / 60 + 5,
        append: STALL.to_owned(),
        ..Options::default()
    };
    let jobs = Jobs {
        jobs,
        ..Jobs::default()
    };
    let mut results = guest::go(layout, &kernel, jobs, &Table::read(layout)?, &options)?;
    results.slow_is_broken();
    let dir = layout.results().join(&kernel.name);
    results.write(&dir)?;
    for name in ["selftest.mctl_race", "selftest.mctl_fuzz"] {
        let log = std::fs::read(dir.join(format!("{name}.log"))).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        for line in log.lines().filter(|l| l.contains("ok ")) {
            say(&format!("{}: {name}: {line}", kernel.name));
        }
    }
    say(&format!("{}: {}", kernel.name, verdict(&results)));
    Ok(results.is_clean())
}

fn verdict(results: &Results) -> String {
    match results.broken.first() {
        Some(line) => format!("{} complaints: {line}", results.broken.len()),
        None if results.is_clean() => "no complaint".to_owned(),
        None => "no complaint, and a test fails".to_owned(),
    }
}

/// The selftests, the two long ones last and told how long.
fn jobs(selftests: Vec<Job>, effort: Effort) -> Vec<Job> {
    let race = effort.minutes * 60;
    let mut jobs = Vec::new();
    let mut long = Vec::new();
    for mut job in selftests {
        job.seconds *= SLOWER;
        let told = match job.name.as_str() {
            "selftest.mctl_race" => Some((race.div_ceil(TESTS), race)),
            "selftest.mctl_fuzz" => Some((effort.calls, effort.calls / CALLS)),
            _ => None,
        };
        if let Some((number, seconds)) = told {
            job.argv.push(number.to_string());
            job.seconds += seconds;
            long.push(job);
        } else if !effort.only {
            jobs.push(job);
        }
    }
    // Races come first of the two: a fault of theirs is the likelier one.
    long.sort_by(|a, b| b.name.cmp(&a.name));
    jobs.extend(long);
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_long_ones_come_last_with_their_time() {
        let names = ["mctl_call", "mctl_fuzz", "mctl_race", "mctl_thp"];
        let selftests: Vec<Job> = names
            .iter()
            .map(|name| Job {
                name: format!("selftest.{name}"),
                argv: vec![(*name).to_owned()],
                seconds: 100,
                ..Job::default()
            })
            .collect();
        let mut effort = Effort {
            minutes: 3,
            calls: 1_000_000,
            only: false,
        };
        let all = jobs(selftests.clone(), effort);
        let argv: Vec<String> = all.iter().map(|job| job.argv.join(" ")).collect();
        assert_eq!(
            argv,
            ["mctl_call", "mctl_thp", "mctl_race 30", "mctl_fuzz 1000000"]
        );
        assert_eq!((all[0].seconds, all[2].seconds), (400, 580));
        effort.only = true;
        assert_eq!(jobs(selftests, effort).len(), 2);
    }
}
