//! Programs that wait with a timeout keep their pace while they are read without a pause. The kernel
//! does not restart such calls, so one stop is an early end, or a timeout that starts afresh.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::mctl;
use mctl::coverage::Coverage;
use mctl::why::Setting;
use mctl::{Look, Target, ThpHost, read_policy};
use mctl_testkit::{Fixture, slower, start};

/// How long a program waits at a time, in milliseconds, and how many waits it is read for.
const WAIT: u64 = 50;
const WAITS: u64 = 30;

/// Reads a process in every way of the library, without a pause: a wait that began afresh with
/// each look would not come to its end.
fn read_on(fixture: &Fixture) {
    let target = Target::open(fixture.target().to_string().parse().unwrap()).unwrap();
    let host = ThpHost::read().unwrap();
    let begun = Instant::now();
    let mut reads = 0;
    while reads < 200 / slower() || begun.elapsed() < Duration::from_millis(WAIT * WAITS) {
        let reading = read_policy(&target, LOOK).unwrap();
        Coverage::total(&target).unwrap();
        let setting = Setting::new(host.as_ref(), reading.thp());
        setting.report(&target).unwrap();
        reads += 1;
    }
}

/// To see this test fail: with `Look::Exact` it does.
const LOOK: Look = Look::Proc;

/// And in every way of the command.
fn read_by_command(fixture: &Fixture) {
    let pid = fixture.target().to_string();
    for words in [
        &["get"][..],
        &["get", "--json"],
        &["get", "--maps"],
        &["get", "--tree"],
        &["set", "-n", "nohugepage"],
        &["clear", "-n", "hugepage"],
        &["lock", "-n"],
        &["cold", "-n"],
    ] {
        let words = [words, &[pid.as_str()]].concat();
        mctl(&words);
    }
}

/// The program is read, its twin is not; neither notices anything, and both come as far.
fn keeps_the_pace_of(read: Fixture, twin: Fixture) {
    read_on(&read);
    read_by_command(&read);
    let read = read.finish().unwrap();
    let twin = twin.finish().unwrap();
    read.assert_clean(1);
    // The two are on one machine, under one load: half is far from none.
    assert!(
        read.iterations * 2 + 2 >= twin.iterations,
        "{} waits came to their end, {} of the twin's: {read:?}",
        read.iterations,
        twin.iterations
    );
}

macro_rules! does_not_notice {
    ($($test:ident: $name:literal $how:literal;)+) => {$(
        #[test]
        fn $test() {
            let late = || format!("late={}", 8000 * slower());
            let wait = || format!(concat!($how, "={}"), WAIT);
            let read = start!($name, wait(), late());
            let twin = start!($name, wait(), late());
            keeps_the_pace_of(read, twin);
        }
    )+};
}

does_not_notice! {
    epoll_wait: "epoll_wait" "timeout";
    epoll_pwait: "epoll_pwait" "timeout";
    epoll_pwait2: "epoll_pwait2" "timeout";
    poll: "poll" "timeout";
    select: "select" "timeout";
    nanosleep: "nanosleep" "every";
    futex_wait: "futex_wait" "timeout";
    semtimedop: "semop" "timeout";
    sigtimedwait: "sigtimedwait" "timeout";
    io_getevents: "io_getevents" "timeout";
    recv: "recv" "timeout";
}
