//! The target cannot tell: each blocking call goes through hundreds of injections, and the program
//! has seen nothing. Half of the time the call blocks on, half of the time its event arrives.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::time::Duration;

use common::{PATIENT, Random, rounds, set_within, thp_enabled};
use mctl_sys::inject::{InjectError, Limits, Refusal};
use mctl_testkit::{Fixture, start};

/// Injections into each program.
fn times() -> u64 {
    rounds("MCTL_INJECTIONS", 300)
}

/// A stop always comes. A harmless moment may not: it is not awaited for long.
const LIMITS: Limits = Limits {
    wait_ms: 1000,
    ..PATIENT
};

/// How often a change must succeed.
#[derive(Clone, Copy, PartialEq)]
enum Served {
    /// It sleeps where it may be interrupted, or runs its own code: nine times in ten at least, on any machine.
    Mostly,
    /// It is in its own code for microseconds now and then: how often it is met there depends on the machine.
    Sometimes,
}

fn hundreds(fixture: &Fixture, name: &str, wanted: Served) -> u64 {
    let pid = fixture.target();
    let mut random = Random::new(u64::from(pid.unsigned_abs()));
    let (mut served, mut refused) = (0, 0);
    for n in 0..times() {
        let report = match set_within(pid, fixture.pidfd(), n % 2 == 0, LIMITS) {
            Ok(report) => report,
            Err(InjectError::Refused(Refusal::NoHarmlessMoment { .. })) => {
                refused += 1;
                continue;
            }
            Err(error) => panic!("{error:?}"),
        };
        served += 1;
        assert!(report.stopped_ns > 0);
        assert_eq!(report.disturbed, None);
        let seen = thp_enabled(report.tid);
        assert!(seen.is_none() || seen == Some(n % 2 == 1), "{seen:?}");
        // Now at once, now after the program has gone on.
        if random.below(3) == 0 {
            std::thread::sleep(Duration::from_micros(random.below(2000)));
        }
    }
    eprintln!("result: {name}: {served} injections, {refused} refused");
    assert!(served > 0, "never served");
    assert!(
        wanted == Served::Sometimes || refused * 10 <= times(),
        "{refused} of {} refused",
        times()
    );
    served
}

macro_rules! cannot_tell {
    ($wanted:ident: $($test:ident: $name:literal $(, $arg:expr)*;)+) => {$(
        #[test]
        fn $test() {
            // What is lost never comes; how late it is is the machine's doing (lateness.rs has twins beside).
            let fixture = start!($name $(, $arg)*, "late=60000");
            hundreds(&fixture, stringify!($test), Served::$wanted);
            fixture.finish().expect("a verdict").assert_clean(1);
        }
    )+};
}

cannot_tell! { Mostly:
    poll: "poll", "every=3";
    poll_timeout: "poll", "timeout=30";
    ppoll: "ppoll", "every=3";
    ppoll_timeout: "ppoll", "timeout=30";
    select: "select", "every=3";
    select_timeout: "select", "timeout=30";
    pselect6: "pselect6", "every=3";
    pselect6_timeout: "pselect6", "timeout=30";
    nanosleep: "nanosleep", "every=30";
    clock_nanosleep: "clock_nanosleep", "every=30";
    clock_nanosleep_absolute: "clock_nanosleep", "abs=1", "every=30";
    futex_wait: "futex_wait", "every=3";
    futex_wait_timeout: "futex_wait", "timeout=30";
    futex_wait_bitset: "futex_wait", "op=bitset", "timeout=30";
    pthread_cond: "pthread_cond", "every=3";
    pthread_cond_timeout: "pthread_cond", "timeout=30";
    epoll_wait: "epoll_wait", "every=3";
    epoll_wait_for_ever: "epoll_wait", "every=0";
    epoll_pwait: "epoll_pwait", "every=3";
    epoll_pwait_for_ever: "epoll_pwait", "every=0";
    epoll_pwait2: "epoll_pwait2", "every=3";
    read_pipe: "read_pipe", "every=3";
    read_eventfd: "read_eventfd", "every=3";
    read_signalfd: "read_signalfd", "every=3";
    read_timerfd: "read_timerfd", "every=3";
    read_inotify: "read_inotify", "every=3";
    read_fanotify: "read_fanotify", "every=3";
    read_userfaultfd: "read_userfaultfd", "every=3";
    sigwaitinfo: "sigtimedwait", "every=3";
    sigsuspend: "sigsuspend", "every=3";
    pause: "pause", "every=3";
    semop: "semop", "every=3";
    semop_for_ever: "semop", "every=0";
    msgrcv: "msgrcv", "every=3";
    msgsnd: "msgsnd", "every=3";
    mq_timedreceive: "mq_timedreceive", "every=3";
    mq_timedreceive_timeout: "mq_timedreceive", "timeout=30";
    io_uring_enter_for_ever: "io_uring_enter", "every=0", "ext=0";
    io_getevents: "io_getevents", "every=3";
    wait4: "wait4", "every=3";
    waitid: "wait4", "op=waitid", "every=3";
    flock: "lock", "every=3";
    fcntl_lock: "lock", "op=fcntl", "every=3";
    spin: "spin", "turns=20000";
    rseq: "rseq";
    leader_exit: "leader_exit", "every=3";
    threads: "threads", "every=10";
    threads_for_ever: "threads", "every=0", "n=64";
    nolibc_static: "nolibc_static";
    mmap_churn: "mmap_churn", "threads=8";
    thread_churn: "thread_churn";
    sigtrap_blocked: "misc_loop", "kind=sigtrap-blocked", "every=3";
    sigtrap_ignored: "misc_loop", "kind=sigtrap-ignored", "every=3";
    sigtrap_handler: "misc_loop", "kind=sigtrap-handler", "every=3";
}

cannot_tell! { Sometimes:
    read_pty: "read_pty", "every=3";
    accept: "accept", "every=3";
    recv: "recv", "every=3";
    io_uring_enter: "io_uring_enter", "every=3";
}

/// A finite timeout in a call that the kernel cannot restart: such a thread is waited for until it has returned by
/// itself, and is then on time.
macro_rules! on_time {
    ($($test:ident: $name:literal $(, $arg:literal)*;)+) => {$(
        #[test]
        fn $test() {
            // Early is a fault. How late is the machine's doing: lateness.rs has undisturbed twins beside.
            let fixture = start!($name $(, $arg)*, "timeout=60", "late=60000");
            let pid = fixture.target();
            // Each waits for about a timeout.
            for n in 0..times() / 10 {
                match set_within(pid, fixture.pidfd(), n % 2 == 0, LIMITS) {
                    Ok(_) | Err(InjectError::Refused(Refusal::NoHarmlessMoment { .. })) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            fixture.wait_rounds(5).expect("goes round");
            fixture.finish().expect("a verdict").assert_clean(5);
        }
    )+};
}

on_time! {
    epoll_wait_timeout: "epoll_wait";
    epoll_pwait_timeout: "epoll_pwait";
    epoll_pwait2_timeout: "epoll_pwait2";
    semtimedop: "semop";
    sigtimedwait: "sigtimedwait";
    io_uring_enter_timeout: "io_uring_enter";
    io_getevents_timeout: "io_getevents";
    recv_timeout: "recv";
    accept_timeout: "accept";
    write_to_a_full_socket_timeout: "blocked", "kind=write-stream";
    writev_to_a_full_socket_timeout: "blocked", "kind=writev-stream";
    connect_timeout: "blocked", "kind=connect";
}
