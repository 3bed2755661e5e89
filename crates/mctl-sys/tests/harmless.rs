//! A harmless moment, or none: what is asleep where a stop would be seen is left alone, and refused with its thread and
//! call; what is asleep where it would not is served at once; what runs is served in its own code.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use common::{PATIENCE, PATIENT, Random, prctl, rounds};
use mctl_sys::inject::{InjectError, Job, Limits, Prepared, Refusal, Report, run};
use mctl_sys::raw::prctl::{PR_GET_THP_DISABLE, PR_SET_THP_DISABLE};
use mctl_testkit::{Fixture, start};

fn set(pid: i32, pidfd: BorrowedFd<'_>, n: u64, limits: Limits) -> Result<Report, InjectError> {
    let mut calls = [
        prctl(PR_SET_THP_DISABLE, n % 2),
        prctl(PR_GET_THP_DISABLE, 0),
    ];
    let prepared = Prepared::look(pid, pidfd)?;
    let mut jobs = [Job::script(prepared, &mut calls, limits)];
    run(&mut jobs);
    let outcome = jobs[0].outcome();
    drop(jobs);
    if outcome.is_ok() {
        assert_eq!(
            calls.map(|call| call.result),
            [Some(0), Some(i64::from(n % 2 == 1))]
        );
    }
    outcome
}

/// Of a thread that sleeps for ever: refused, and nothing has happened to it.
fn untouched(fixture: Fixture) {
    fixture.wait_blocked(PATIENCE).expect("blocks");
    let limits = Limits {
        wait_ms: 5,
        ..Limits::default()
    };
    for n in 0..rounds("MCTL_REFUSALS", 40) {
        let outcome = set(fixture.pid(), fixture.pidfd(), n, limits);
        let Err(InjectError::Refused(Refusal::NoHarmlessMoment { tid, call, .. })) = &outcome
        else {
            panic!("not refused: {outcome:?}");
        };
        assert_eq!(*tid, fixture.pid());
        assert!(!call.is_empty());
    }
    fixture.finish().expect("a verdict").assert_clean(1);
}

macro_rules! untouched {
    ($($test:ident: $name:literal $(, $arg:literal)*;)+) => {$(
        #[test]
        fn $test() {
            untouched(start!($name $(, $arg)*));
        }
    )+};
}

untouched! {
    write_to_a_full_socket: "blocked", "kind=write-stream";
    write_with_a_timeout: "blocked", "kind=write-stream", "timeout=60000";
    writev_with_a_timeout: "blocked", "kind=writev-stream", "timeout=60000";
    send_over_tcp: "blocked", "kind=send-tcp", "timeout=60000";
    sendmsg: "blocked", "kind=sendmsg-stream", "timeout=60000";
    read_with_a_timeout: "blocked", "kind=read-stream", "timeout=60000";
    readv_with_a_timeout: "blocked", "kind=readv-stream", "timeout=60000";
    half_of_a_whole: "blocked", "kind=recv-waitall";
    less_than_the_low_water_mark: "blocked", "kind=recv-lowat";
    one_of_two_messages: "blocked", "kind=recvmmsg";
    accept_with_a_timeout: "blocked", "kind=accept4", "timeout=60000";
    connect_with_a_timeout: "blocked", "kind=connect", "timeout=60000";
    a_close_that_lingers: "blocked", "kind=close-linger";
    splice_from_a_socket: "blocked", "kind=splice-stream", "timeout=60000";
    half_a_write: "blocked", "kind=write-pipe-large";
    vmsplice_to_a_full_pipe: "blocked", "kind=vmsplice";
    vmsplice_from_an_empty_pipe: "blocked", "kind=vmsplice-read";
    one_of_two_completions: "blocked", "kind=ring-of-two";
    pread_of_a_file_server: "fuse_calls", "kind=pread", "every=0";
    preadv_of_a_file_server: "fuse_calls", "kind=preadv", "every=0";
    write_to_a_file_server: "fuse_calls", "kind=write", "every=0";
    open_at_a_file_server: "fuse_calls", "kind=open", "every=0";
    stat_at_a_file_server: "fuse_calls", "kind=stat", "every=0";
    unlink_at_a_file_server: "fuse_calls", "kind=unlink", "every=0";
    mkdir_at_a_file_server: "fuse_calls", "kind=mkdir", "every=0";
    fsync_of_a_file_server: "fuse_calls", "kind=fsync", "every=0";
    a_terminal: "read_pty", "every=0";
    an_i386_call: "int80";
}

/// Of a thread that sleeps where it may be interrupted: served each time, at once.
fn unnoticed(fixture: Fixture) {
    fixture.wait_blocked(PATIENCE).expect("blocks");
    let limits = Limits {
        wait_ms: 0,
        ..Limits::default()
    };
    let mut random = Random::new(5);
    for n in 0..rounds("MCTL_INJECTIONS", 300) {
        let report = set(fixture.pid(), fixture.pidfd(), n, limits);
        // It may be on its way back into the call.
        if report.is_err() {
            fixture.wait_blocked(PATIENCE).expect("blocks");
            set(fixture.pid(), fixture.pidfd(), n, PATIENT).expect("injected");
        }
        std::thread::sleep(Duration::from_micros(random.below(300)));
    }
    fixture.finish().expect("a verdict").assert_clean(1);
}

macro_rules! unnoticed {
    ($($test:ident: $name:literal $(, $arg:literal)*;)+) => {$(
        #[test]
        fn $test() {
            unnoticed(start!($name $(, $arg)*));
        }
    )+};
}

unnoticed! {
    splice_between_pipes: "blocked", "kind=splice-pipe";
    tee: "blocked", "kind=tee";
    read_from_a_fifo: "blocked", "kind=read-fifo";
    open_of_a_fifo: "blocked", "kind=open-fifo";
    readv_from_a_pipe: "blocked", "kind=readv-pipe";
    write_to_a_pipe: "write_pipe", "every=0";
    write_to_an_eventfd: "blocked", "kind=write-eventfd";
    flock: "blocked", "kind=flock";
    lock_of_an_open_file: "blocked", "kind=ofd";
    futex_with_priority_inheritance: "blocked", "kind=futex-pi";
    futex_waitv: "blocked", "kind=futex-waitv";
    poll_of_a_pidfd: "blocked", "kind=pidfd-poll";
    wait_for_a_tracee: "blocked", "kind=ptrace-wait";
    sigwaitinfo: "blocked", "kind=sigwaitinfo";
    the_read_of_a_file_server: "fuse_calls", "kind=dev";
}

/// A thread that is long in a call without sleeping: none is cut short. How often it is met in its own code depends on
/// the program and the machine; what is asserted is that it was met, and that nothing was seen. `MCTL_WHOLE`: until it
/// has made so many calls.
fn whole(kind: &str, size: &str) {
    let limits = Limits {
        wait_ms: 100,
        ..PATIENT
    };
    let (mut served, mut tried, mut calls) = (0, 0, 0);
    let (least, injections) = (rounds("MCTL_WHOLE", 1), rounds("MCTL_INJECTIONS", 300) / 3);
    while calls < least {
        let fixture = start!("blocked", format!("kind={kind}"), format!("size={size}"));
        for n in 0..injections {
            tried += 1;
            match set(fixture.pid(), fixture.pidfd(), n, limits) {
                Ok(report) => {
                    assert_eq!(report.disturbed, None);
                    served += 1;
                }
                Err(InjectError::Refused(Refusal::NoHarmlessMoment { .. })) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        let verdict = fixture.finish().expect("a verdict");
        verdict.assert_clean(1);
        calls += verdict.iterations;
    }
    eprintln!("result: {kind}: {tried} injections, {served} served, 0 of {calls} calls short");
    assert!(served > 0, "never met in its own code");
}

#[test]
fn getrandom_is_whole() {
    whole("getrandom", "200000");
}

#[test]
fn reads_of_devices_are_whole() {
    whole("dev-zero", "4000000");
    whole("dev-urandom", "200000");
}

#[test]
fn a_run_of_bpf_is_whole() {
    whole("bpf-run", "200000");
}

#[test]
fn sendfile_is_whole() {
    whole("sendfile", "1000000");
}

/// A call that somebody else is to answer, and a fault that somebody else is to serve: not meanwhile.
fn answered_elsewhere(fixture: Fixture) {
    let limits = Limits {
        wait_ms: 30,
        ..Limits::default()
    };
    for n in 0..rounds("MCTL_REFUSALS", 40) {
        // Between two of them it may be met.
        match set(fixture.pid(), fixture.pidfd(), n, limits) {
            Ok(_) | Err(InjectError::Refused(Refusal::NoHarmlessMoment { .. })) => {}
            // Where the wait cannot be interrupted at all.
            Err(InjectError::Refused(Refusal::Unresponsive { .. })) => {}
            // A supervisor's client has a filter, which only root suspends.
            Err(InjectError::Refused(Refusal::Seccomp)) if !mctl_testkit::is_root() => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    fixture.finish().expect("a verdict").assert_clean(1);
}

#[test]
fn a_call_that_a_supervisor_answers() {
    answered_elsewhere(start!("notify", "every=50"));
}

#[test]
fn a_fault_that_another_process_serves() {
    answered_elsewhere(start!("served", "every=50"));
}

/// Its calls return now and then: between two it is served, in them it is not; and a refusal has done nothing either.
#[test]
fn calls_that_a_file_server_answers() {
    for kind in [
        "pread", "preadv", "write", "open", "stat", "unlink", "mkdir", "fsync",
    ] {
        answered_elsewhere(start!("fuse_calls", format!("kind={kind}"), "every=20"));
    }
}

/// Who accepts a disturbance gets it, and is told which.
#[test]
fn a_disturbance_that_is_accepted_is_named() {
    let fixture = start!("blocked", "kind=read-stream");
    fixture.wait_blocked(PATIENCE).expect("blocks");
    let limits = Limits {
        wait_ms: 10,
        disturb: true,
        ..PATIENT
    };
    let report = set(fixture.pid(), fixture.pidfd(), 1, limits).expect("injected");
    let disturbed = report.disturbed.expect("named");
    assert_eq!(disturbed.call_words(), "read(2)");
    fixture.finish().expect("a verdict").assert_clean(1);
}

/// Several that have no harmless moment wait no longer than one of them. (A ratio within one run: the machine may be as
/// slow as it likes.)
#[test]
fn all_wait_together() {
    let fixtures: Vec<Fixture> = (0..6)
        .map(|_| Fixture::start("blocked", &["kind=read-stream"]).expect("starts"))
        .collect();
    for fixture in &fixtures {
        fixture.wait_blocked(PATIENCE).expect("blocks");
    }
    let limits = Limits {
        wait_ms: 400,
        ..Limits::default()
    };
    // What one after the other takes, on this machine at this load.
    let begun = Instant::now();
    for fixture in &fixtures {
        let mut calls = [prctl(PR_GET_THP_DISABLE, 0)];
        let prepared = Prepared::look(fixture.pid(), fixture.pidfd()).expect("looked at");
        run(&mut [Job::script(prepared, &mut calls, limits)]);
    }
    let singly = begun.elapsed();
    let mut calls = [(); 6].map(|()| [prctl(PR_GET_THP_DISABLE, 0)]);
    let mut jobs: Vec<Job<'_>> = fixtures
        .iter()
        .zip(&mut calls)
        .map(|(fixture, calls)| {
            let prepared = Prepared::look(fixture.pid(), fixture.pidfd()).expect("looked at");
            Job::script(prepared, calls, limits)
        })
        .collect();
    let waited = run(&mut jobs);
    assert!(waited >= Duration::from_millis(400));
    assert!(
        waited < singly / 2,
        "one after the other: {waited:?}, and singly {singly:?}"
    );
    assert!(jobs.iter().all(|job| job.outcome().is_err()));
    drop(jobs);
    for fixture in fixtures {
        fixture.finish().expect("a verdict").assert_clean(1);
    }
}
