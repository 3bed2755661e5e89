//! Signals and injections at the same time: none is lost, doubled or made up.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{PATIENCE, PATIENT, rounds, set_within};
use mctl_sys::inject::{InjectError, Limits, Refusal};
use mctl_sys::raw::pidfd::pidfd_send_signal;
use mctl_testkit::{Fixture, start};

fn inject_many(fixture: &Fixture) {
    let mut served = 0;
    for n in 0..rounds("MCTL_INJECTIONS", 400) {
        // The longer it is waited for, the more often a signal meets a thread that is attached, or just let go.
        match set_within(fixture.target(), fixture.pidfd(), n % 2 == 0, PATIENT) {
            Ok(_) => served += 1,
            Err(error) => panic!("{error:?}, after {served}"),
        }
    }
    assert!(served > 0, "never served");
}

/// Not faster than this: on a starved machine the sender then outruns the program, which, injected
/// into or not, handles its backlog for ever and comes to no verdict.
macro_rules! storm {
    ($($test:ident: $($arg:literal),*;)+) => {$(
        #[test]
        fn $test() {
            let fixture = start!("storm", "every=3", "gap=600", "late=60000" $(, $arg)*);
            inject_many(&fixture);
            fixture.finish().expect("a verdict").assert_clean(10);
        }
    )+};
}

storm! {
    epoll_wait: "call=epoll_wait";
    epoll_pwait: "call=epoll_pwait";
    ppoll: "call=ppoll";
    pselect6: "call=pselect6";
    sigsuspend: "call=sigsuspend";
    read: "call=read";
    read_restart: "call=read", "restart=1";
}

/// Runs `disturb` over and over in another thread while the fixture is injected into.
fn beside(fixture: &Fixture, disturb: impl Fn(BorrowedFd<'_>) + Sync) {
    let pidfd = fixture.pidfd();
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                disturb(pidfd);
            }
        });
        let _ends = mctl_testkit::SetOnDrop(&end);
        inject_many(fixture);
    });
}

/// While the first thread is traced, signals to the process that it ignores are queued, and may wake another thread,
/// whose call ends for it. So another thread is taken, where there is one.
#[test]
fn ignored_signals_do_not_end_the_calls_of_other_threads() {
    let fixture = start!("threads", "every=0", "n=8");
    beside(&fixture, |pidfd| {
        for signal in [libc::SIGURG, libc::SIGWINCH, libc::SIGCHLD] {
            let _ = pidfd_send_signal(pidfd, signal);
        }
    });
    fixture.finish().expect("a verdict").assert_clean(1);
}

/// A signal that is ignored wakes nobody, but it does wake a traced thread, whose call then ends
/// early unless the injector sees to it.
#[test]
fn ignored_signals_do_not_end_a_call() {
    for name in ["epoll_wait", "semop", "io_uring_enter", "poll"] {
        let fixture = start!(name, "every=0");
        beside(&fixture, |pidfd| {
            for signal in [libc::SIGURG, libc::SIGWINCH, libc::SIGCHLD] {
                let _ = pidfd_send_signal(pidfd, signal);
            }
        });
        fixture.finish().expect("a verdict").assert_clean(1);
    }
}

fn state(fixture: &Fixture) -> char {
    fixture.tasks().first().map_or('?', |task| task.state)
}

/// Injects while the process is stopped and continued; either is a state to inject in.
fn inject_where_it_runs(fixture: &Fixture) {
    match set_within(fixture.pid(), fixture.pidfd(), false, Limits::default()) {
        Ok(_) | Err(InjectError::Refused(Refusal::Unresponsive { .. })) => {}
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn a_stop_that_comes_meanwhile_stands() {
    let fixture = start!("poll", "every=0");
    let pidfd = fixture.pidfd();
    let send = |signal| pidfd_send_signal(pidfd, signal).expect("sent");
    for _ in 0..rounds("MCTL_STOPS", 60) {
        std::thread::scope(|scope| {
            scope.spawn(|| send(libc::SIGSTOP));
            for _ in 0..4 {
                inject_where_it_runs(&fixture);
            }
        });
        fixture.wait_state("T", PATIENCE).expect("stopped");
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(state(&fixture), 'T');
        send(libc::SIGCONT);
        fixture.wait_blocked(PATIENCE).expect("goes on");
    }
    fixture.finish().expect("a verdict").assert_clean(1);
}

#[test]
fn a_continue_that_comes_meanwhile_stands() {
    let fixture = start!("poll", "every=0");
    let pidfd = fixture.pidfd();
    let send = |signal| pidfd_send_signal(pidfd, signal).expect("sent");
    for _ in 0..rounds("MCTL_STOPS", 200) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                send(libc::SIGSTOP);
                send(libc::SIGCONT);
            });
            for _ in 0..3 {
                inject_where_it_runs(&fixture);
            }
        });
        fixture.wait_blocked(PATIENCE).expect("not left stopped");
    }
    fixture.finish().expect("a verdict").assert_clean(1);
}
