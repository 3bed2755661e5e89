//! How late a program is that is stopped all the time, beside an undisturbed twin in the same run.
//!
//! `MCTL_LATENESS` sets for how many seconds each kind is looked at, and holds it to the promise: later than the twin by
//! 0.1 ms for each injection at most. Without it, a short look: how late a busy machine makes the two is no measure of
//! the stops; what is asserted then is that the program does about as much as its twin.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::time::{Duration, Instant};

use common::{rounds, set_within};
use mctl_sys::inject::{InjectError, Limits, Refusal};
use mctl_testkit::{Verdict, start};

/// What a stop may cost, in microseconds.
const PROMISE_US: u64 = 100;

fn beside_a_twin(name: &str, args: &[&str]) {
    let seconds = rounds("MCTL_LATENESS", 0);
    let late = "late=60000";
    let begin = || {
        let builder = mctl_testkit::Fixture::builder(name);
        builder.args(args).arg(late)
    };
    let twin = start!(@ begin());
    let treated = start!(@ begin());
    let span = Duration::from_secs(seconds.max(2));
    let (mut served, mut refused) = (0u64, 0u64);
    let begun = Instant::now();
    while begun.elapsed() < span {
        match set_within(
            treated.pid(),
            treated.pidfd(),
            served.is_multiple_of(2),
            Limits::default(),
        ) {
            Ok(_) => served += 1,
            Err(InjectError::Refused(
                Refusal::NoHarmlessMoment { .. } | Refusal::Unresponsive { .. },
            )) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    let verdict = |fixture: mctl_testkit::Fixture| -> Verdict {
        let verdict = fixture.finish().expect("a verdict");
        verdict.assert_clean(1);
        verdict
    };
    let (treated, twin) = (verdict(treated), verdict(twin));
    let later = treated.late_us.saturating_sub(twin.late_us);
    eprintln!(
        "result: {name} {}: {served} injections, {refused} refused; {} calls, late by {} us; its twin {}, {} us; {} us more an injection",
        args.join(" "),
        treated.iterations,
        treated.late_us,
        twin.iterations,
        twin.late_us,
        later / served.max(1)
    );
    assert!(served > 0, "never served");
    assert!(
        treated.iterations * 2 >= twin.iterations,
        "{treated:?}\n{twin:?}"
    );
    assert!(
        seconds == 0 || later <= PROMISE_US * served,
        "{later} us later, of {served} injections"
    );
}

macro_rules! lateness {
    ($($test:ident: $name:literal $(, $arg:literal)*;)+) => {$(
        #[test]
        fn $test() {
            beside_a_twin($name, &[$($arg),*]);
        }
    )+};
}

lateness! {
    nanosleep: "nanosleep", "every=30";
    clock_nanosleep_absolute: "clock_nanosleep", "abs=1", "every=30";
    poll: "poll", "timeout=30";
    ppoll: "ppoll", "timeout=30";
    select: "select", "timeout=30";
    futex: "futex_wait", "timeout=30";
    pthread_cond: "pthread_cond", "timeout=30";
    mq_timedreceive: "mq_timedreceive", "timeout=30";
}
