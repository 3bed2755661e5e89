//! A program that only ever sleeps in finite waits can be served, and keeps the pace of a twin that is left alone.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::time::{Duration, Instant};

use common::{prctl, rounds};
use mctl_sys::inject::{InjectError, Job, Limits, Prepared, Report, run};
use mctl_sys::raw::prctl::{PR_GET_THP_DISABLE, PR_SET_THP_DISABLE};
use mctl_testkit::{Fixture, slower, start};

/// Sets or clears with no patience at all: there is no other moment than the wait itself.
fn set_at_once(fixture: &Fixture, on: bool) -> Result<Report, InjectError> {
    let mut calls = [
        prctl(PR_SET_THP_DISABLE, u64::from(on)),
        prctl(PR_GET_THP_DISABLE, 0),
    ];
    let limits = Limits {
        wait_ms: 0,
        ..Limits::default()
    };
    let prepared = Prepared::look(fixture.pid(), fixture.pidfd())?;
    let mut jobs = [Job::script(prepared, &mut calls, limits)];
    run(&mut jobs);
    let report = jobs[0].outcome()?;
    assert_eq!(
        calls.map(|call| call.result),
        [Some(0), Some(i64::from(on))]
    );
    assert_eq!(report.disturbed, None);
    Ok(report)
}

fn cannot_be_tried() -> bool {
    !cfg!(target_arch = "x86_64") || std::fs::File::open("/proc/timer_list").is_err()
}

/// Each wait is interrupted dozens of times: it ends neither early nor never. How late the ends are beside the twin's
/// is measured where the run is recorded (`MCTL_SECONDS`): on a machine with more work than processors it depends on
/// who was given one.
#[test]
fn they_keep_the_pace_of_a_twin() {
    if cannot_be_tried() {
        mctl_testkit::skip!("needs /proc/timer_list (root), on x86-64");
    }
    let late = format!("late={}", 500 * slower());
    let twin = start!("epoll_wait_libc", "timeout=900", &late);
    let treated = start!("epoll_wait_libc", "timeout=900", &late);
    let span = Duration::from_secs(rounds("MCTL_SECONDS", 12));
    let begun = Instant::now();
    let (mut served, mut refused) = (0u64, 0u64);
    while begun.elapsed() < span {
        match set_at_once(&treated, served.is_multiple_of(2)) {
            Ok(_) => served += 1,
            // Between two waits, or just before the end of one.
            Err(InjectError::Refused(_)) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let (twin, treated) = (
        twin.finish().expect("a verdict"),
        treated.finish().expect("a verdict"),
    );
    // (Printed for the record: cargo test -- --nocapture.)
    println!(
        "{served} injections, {refused} refused; {} and {} waits, late by {} and {} us",
        twin.iterations, treated.iterations, twin.late_us, treated.late_us
    );
    twin.assert_clean(1);
    treated.assert_clean(1);
    assert!(served > refused, "{served} served, {refused} refused");
    assert!(2 * treated.iterations >= twin.iterations);
    if std::env::var_os("MCTL_SECONDS").is_none() {
        return;
    }
    assert!(served >= 9 * refused, "{served} served, {refused} refused");
    assert!(treated.iterations + 1 >= twin.iterations);
    // A stop costs 0.1 ms at most; the rest is the machine's noise, of which the twin has as much.
    let noise = 20_000 * treated.iterations * slower();
    assert!(
        treated.late_us <= twin.late_us + 100 * served + noise,
        "late by {} us after {served} injections, its twin by {}",
        treated.late_us,
        twin.late_us
    );
}

/// The same wait in the program's own code: the registers that would have to change may be in use there.
#[test]
fn an_inlined_wait_is_refused_and_untouched() {
    let fixture = start!("epoll_wait", "timeout=60000");
    for _ in 0..20 {
        let refused = set_at_once(&fixture, true);
        assert!(
            matches!(refused, Err(InjectError::Refused(_))),
            "{refused:?}"
        );
    }
    fixture.finish().expect("a verdict").assert_clean(0);
}
