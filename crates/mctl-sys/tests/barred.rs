//! A program whose own seccomp filter does not expect restart_syscall(2), the call by which the kernel goes on with
//! some interrupted sleeps: it is neither killed for it, nor does it see an error, nor does it sleep longer.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::time::{Duration, Instant};

use common::{PATIENCE, PATIENT, rounds, set, set_within};
use mctl_sys::inject::{CarriedCall, Carrier, InjectError, Limits, Refusal};
use mctl_testkit::{Fixture, KitError};

/// restart_syscall(2) on x86-64.
const KILLS: &str = "kill=219";
const REFUSES: &str = "refuse=219:1";
/// Of another number: restart_syscall(2) is allowed.
const ALLOWS: &str = "kill=4321";

fn start(name: &str, filter: &str, args: &[&str]) -> Result<Fixture, KitError> {
    Fixture::builder(name)
        .under([filter])
        .args(args)
        .arg("late=60000")
        .start()
}

/// In a container root may lack CAP_SYS_ADMIN, or be under a filter itself; and a kernel may not know how to pass one over.
fn cannot_be_tried() -> bool {
    if !cfg!(target_arch = "x86_64") || !mctl_testkit::is_root() {
        return true;
    }
    let fixture = start("pause", ALLOWS, &["every=0"]).expect("started");
    let changed = set(fixture.pid(), fixture.pidfd(), true);
    matches!(changed, Err(InjectError::Refused(Refusal::Seccomp)))
}

/// Hundreds of stops, most of them in the sleep: it goes on.
fn is_served(name: &str, args: &[&str]) {
    for filter in [KILLS, REFUSES, ALLOWS] {
        let fixture = start(name, filter, args).expect("started");
        for n in 0..rounds("MCTL_INJECTIONS", 60) {
            let report = set(fixture.pid(), fixture.pidfd(), n % 2 == 0);
            let report = report.unwrap_or_else(|error| panic!("{name} {filter}: {error}"));
            assert_eq!(report.disturbed, None, "{name} {filter}");
        }
        fixture.finish().expect("a verdict").assert_clean(1);
    }
}

macro_rules! barred {
    ($($test:ident: $name:literal, $($arg:literal),+;)+) => {$(
        #[test]
        fn $test() {
            if cannot_be_tried() {
                mctl_testkit::skip!("only root changes a filtered program, and the numbers are those of x86-64");
            }
            is_served($name, &[$($arg),+]);
        }
    )+};
}

barred! {
    nanosleep: "nanosleep", "every=30";
    clock_nanosleep: "clock_nanosleep", "every=30";
    clock_nanosleep_absolute: "clock_nanosleep", "abs=1", "every=30";
    poll: "poll", "timeout=30";
    ppoll: "ppoll", "timeout=30";
    futex: "futex_wait", "timeout=30";
    futex_until: "futex_wait", "op=bitset", "timeout=30";
}

/// One that began afresh with every stop would never end.
#[test]
fn a_sleep_ends_however_often_it_is_interrupted() {
    if cannot_be_tried() {
        mctl_testkit::skip!("only root changes a filtered program, on x86-64");
    }
    for (name, args) in [
        ("nanosleep", &["every=1000"][..]),
        ("clock_nanosleep", &["every=1000"]),
        ("poll", &["timeout=1000"]),
        ("futex_wait", &["timeout=1000"]),
        ("futex_wait", &["op=bitset", "timeout=1000"]),
    ] {
        let fixture = start(name, KILLS, args).expect("started");
        let begun = Instant::now();
        let mut stops = 0u64;
        while fixture.progress().expect("its progress").rounds < 2 {
            assert!(begun.elapsed() < PATIENCE, "{name} {args:?}: no end");
            let report = set(fixture.pid(), fixture.pidfd(), stops.is_multiple_of(2));
            let report = report.expect("set");
            assert_eq!(report.disturbed, None);
            stops += 1;
            std::thread::sleep(Duration::from_millis(10));
        }
        println!("{name} {args:?}: {stops} stops");
        fixture.finish().expect("a verdict").assert_clean(1);
    }
}

/// What bears a carrier is let go at once, which a sleeper past its filter cannot be: it is waited for until it runs,
/// and left alone where that does not come.
#[test]
fn a_carrier_is_born_by_a_thread_that_runs() {
    if cannot_be_tried() {
        mctl_testkit::skip!("only root changes a filtered program, on x86-64");
    }
    let carry = |fixture: &Fixture, limits| {
        let (pid, pidfd) = (fixture.pid(), fixture.pidfd());
        let limit = Duration::from_secs(60);
        let carrier = Carrier::start(pid, pidfd, None, limits, limit, &|| false);
        carrier.map(|mut carrier| {
            let mut calls = [CarriedCall::new(libc::SYS_getppid, [0; 6])];
            assert_eq!(carrier.run(&mut calls, &|| false), Ok(()));
            assert_eq!(carrier.end().left, None);
        })
    };
    for filter in [KILLS, ALLOWS] {
        let fixture = start("nanosleep", filter, &["every=5"]).expect("started");
        for _ in 0..5 {
            carry(&fixture, PATIENT).expect("a carrier");
        }
        fixture.finish().expect("a verdict").assert_clean(1);
    }
    let fixture = start("nanosleep", KILLS, &["every=0"]).expect("started");
    fixture.wait_blocked(PATIENCE).expect("asleep");
    let limits = Limits {
        wait_ms: 50,
        ..PATIENT
    };
    for _ in 0..10 {
        let refused = carry(&fixture, limits);
        assert!(
            matches!(
                refused,
                Err(InjectError::Refused(Refusal::NoHarmlessMoment { .. }))
            ),
            "{refused:?}"
        );
        // What needs no carrier can be done.
        set_within(fixture.pid(), fixture.pidfd(), true, limits).expect("set");
    }
    fixture.finish().expect("a verdict").assert_clean(0);
}
