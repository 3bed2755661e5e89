//! An injector that gets a hundredth of a processor does not hold its targets for the rest of the time.
//!
//! `MCTL_STARVED` sets how many injections are looked at, and holds them to it. Without, a few are made, and the target
//! must not notice: on a machine with more work than processors the target itself waits for one.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use common::{PATIENCE, PATIENT, rounds, set_within};
use mctl_sys::raw::pidfd::pidfd_open;
use mctl_testkit::{CpuCgroup, Fixture, skip, start};

/// A period of the quota is 100 ms: who is caught without a processor waits for most of one, or for several.
const LONG_NS: u64 = 50_000_000;

/// No test of its own: the injector, which says for how long each target stood still.
#[test]
fn inject_for_ever() {
    let Ok(pid) = std::env::var("MCTL_STARVED_TARGET") else {
        return;
    };
    let pid: i32 = pid.parse().expect("a PID");
    let pidfd = pidfd_open(pid).expect("a pidfd");
    println!("\ninjecting");
    for on in [true, false].into_iter().cycle() {
        let report = set_within(pid, pidfd.as_fd(), on, PATIENT).expect("injected");
        println!("stopped {}", report.stopped_ns);
    }
}

/// For how long the target stood still in each of the injections by an injector in this cgroup.
fn stops(fixture: &Fixture, cgroup: Option<&CpuCgroup>) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "inject_for_ever", "--nocapture"])
        .env("MCTL_STARVED_TARGET", fixture.pid().to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("an injector");
    let mut lines = BufReader::new(child.stdout.take().expect("its output"))
        .lines()
        .map_while(Result::ok);
    assert!(lines.any(|line| line == "injecting"));
    if let Some(cgroup) = cgroup {
        let pid = i32::try_from(child.id()).expect("a PID");
        cgroup.take(pid).expect("taken");
        // What was begun before, and until its share is used up.
        lines.by_ref().take(20).for_each(drop);
        let begun = Instant::now();
        while cgroup.times_throttled() == 0 {
            assert!(begun.elapsed() < PATIENCE, "never throttled");
            assert!(lines.next().is_some(), "the injector ended");
        }
    }
    let count = usize::try_from(rounds("MCTL_STARVED", 30)).expect("small");
    let mut stops: Vec<u64> = lines
        .filter_map(|line| line.strip_prefix("stopped ")?.parse().ok())
        .take(count)
        .collect();
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert_eq!(stops.len(), count);
    stops.sort_unstable();
    stops
}

fn say(words: &str, stops: &[u64], times_throttled: u64) {
    let ms = |at: usize| stops.get(at).map_or(0.0, |ns| *ns as f64 / 1e6);
    eprintln!(
        "result: {words}: of {} stops {} longer than 50 ms; p50 {:.3}, p90 {:.3}, p99 {:.3}, longest {:.3} ms; throttled {times_throttled} times",
        stops.len(),
        stops.iter().filter(|ns| **ns > LONG_NS).count(),
        ms(stops.len() / 2),
        ms(stops.len() * 9 / 10),
        ms(stops.len() * 99 / 100),
        ms(stops.len() - 1),
    );
}

/// With a real-time share and without: by its priority, or by leaving the cgroup.
#[test]
fn a_hundredth_of_a_processor() {
    mctl_testkit::require_root!();
    let fixture = start!("poll", "every=0");
    say("all of it", &stops(&fixture, None), 0);
    for real_time in [0, 20_000] {
        let cgroup = match CpuCgroup::with_quota(&format!("starved-{real_time}"), 1000) {
            Ok(cgroup) => cgroup,
            Err(why) => skip!("{why}"),
        };
        let priority = real_time != 0;
        if priority && !cgroup.allow_real_time(real_time) {
            mctl_testkit::note_skip("no real-time share can be given");
            continue;
        }
        let stops = stops(&fixture, Some(&cgroup));
        let throttled = cgroup.times_throttled();
        let words = ["a hundredth", "a hundredth, and priority"][usize::from(priority)];
        say(words, &stops, throttled);
        assert!(throttled > 0, "never throttled: the test shows nothing");
        let long = stops.iter().filter(|ns| **ns > LONG_NS).count();
        assert!(
            long * 6 <= stops.len() || std::env::var_os("MCTL_STARVED").is_none(),
            "{words}: {long} of {}: the quota holds the target",
            stops.len()
        );
    }
    fixture.finish().expect("a verdict").assert_clean(1);
}
