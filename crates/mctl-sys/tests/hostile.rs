//! A program that changes its own code under us gets nothing by it: no call that its filter forbids, no signal
//! handler run or lost. It is named as hostile and left as it was.
//!
//! `MCTL_HOSTILE` sets how many injections each kind gets; 100,000 are for long runs.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use common::{inject, prctl, rounds};
use mctl_sys::inject::{InjectError, Job, Limits, Prepared, Refusal, run};
use mctl_sys::raw::prctl::{PR_GET_THP_DISABLE, PR_SET_THP_DISABLE};
use mctl_testkit::{Fixture, is_root, start};

/// An ordinary user cannot have seccomp filters passed over, and is refused; then the program goes without one.
fn filter() -> &'static str {
    match is_root() {
        true => "filter=1",
        false => "filter=0",
    }
}

#[derive(Debug, Default)]
struct Seen {
    done: u64,
    hostile: u64,
}

/// Set, get and clear in turn, one or two calls a stop.
fn inject_many(fixture: &Fixture, times: u64, limits: Limits) -> Seen {
    let mut seen = Seen::default();
    for n in 0..times {
        let get = prctl(PR_GET_THP_DISABLE, 0);
        let mut calls = [get, get];
        calls[0] = prctl(PR_SET_THP_DISABLE, n % 2);
        let calls = match n % 3 {
            0 => &mut calls[1..],
            _ => &mut calls[..],
        };
        let prepared = Prepared::look(fixture.pid(), fixture.pidfd());
        let outcome = prepared.and_then(|prepared| {
            let mut jobs = [Job::script(prepared, calls, limits)];
            run(&mut jobs);
            jobs[0].outcome()
        });
        match outcome {
            Ok(_) => {
                seen.done += 1;
                assert!(calls.iter().all(|call| call.result.is_some_and(|r| r >= 0)));
            }
            Err(InjectError::Refused(Refusal::Hostile)) => {
                seen.hostile += 1;
                if limits == SHORT && seen.hostile == 20 {
                    break;
                }
            }
            // Busy flipping, the program may not get the processor in so short a time.
            Err(InjectError::Refused(Refusal::Unresponsive { .. })) => {}
            // The bytes were not the instruction's when they were looked at.
            Err(InjectError::Refused(Refusal::NoSyscallInstruction | Refusal::Replaced)) => {}
            Err(error) => panic!("{n}: {error:?}"),
        }
    }
    seen
}

/// So often the injections are repeated while nothing was caught.
const MORE_TIMES: u32 = 5;

macro_rules! flips {
    ($($test:ident: $how:literal, $rounds:literal, $($limits:expr)?, $($more:literal)?;)+) => {$(
        #[test]
        fn $test() {
            let fixture = start!("vdso_flips", concat!("how=", $how), filter() $(, $more)?);
            #[allow(unused_mut, unused_assignments, reason = "not every kind names its own")]
            let mut limits = Limits::default();
            $(limits = $limits;)?
            let times = rounds("MCTL_HOSTILE", $rounds);
            let mut seen = inject_many(&fixture, times, limits);
            // Whether the bytes change in just those microseconds is chance.
            for _ in 0..MORE_TIMES {
                if seen.hostile > 0 {
                    break;
                }
                let more = inject_many(&fixture, times, limits);
                seen.done += more.done;
                seen.hostile += more.hostile;
            }
            eprintln!("{}: {seen:?}", $how);
            assert!(seen.hostile > 0, "never caught: the test shows nothing");
            fixture.finish().expect("a verdict").assert_clean(1);
        }
    )+};
}

/// What never comes to a call costs its whole patience.
const SHORT: Limits = Limits {
    stop_ms: 5,
    wait_ms: 1000,
    disturb: false,
};

flips! {
    a_jump_to_a_forbidden_call: "jump", 3000,,;
    the_right_call_with_other_arguments: "mov", 3000,,;
    an_endless_loop_elsewhere: "spin", 3000, SHORT,;
    an_endless_loop_right_there: "loop", 60000, SHORT, "dwell=60000";
    a_fault_with_a_handler: "hlt", 3000,,;
    an_unknown_instruction_with_a_handler: "ud2", 3000,,;
    a_breakpoint_with_a_handler: "int3", 3000,,;
    a_call_of_another_table: "int80", 3000,,;
}

/// Where nothing is flipped nothing is called hostile.
#[test]
fn an_honest_program_is_not_named() {
    let fixture = start!("poll", "every=3");
    for n in 0..300 {
        inject(
            fixture.pid(),
            fixture.pidfd(),
            &mut [prctl(PR_SET_THP_DISABLE, n % 2)],
        )
        .expect("injected");
    }
    fixture.finish().expect("a verdict").assert_clean(1);
}
