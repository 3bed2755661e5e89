//! The harness itself: it cleans up, changes users, tells what it waits for, and compiles variants.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use mctl_testkit::{Fixture, KitError, compile, require_root, start, tasks};

const A_MOMENT: Duration = Duration::from_millis(100);

/// Gone, or a zombie that init has not reaped yet.
fn is_gone(pid: i32) -> bool {
    tasks(pid).iter().all(|task| task.state == 'Z')
}

fn wait_gone(pid: i32) -> bool {
    let begun = std::time::Instant::now();
    while !is_gone(pid) {
        if begun.elapsed() > Duration::from_secs(120) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

#[test]
fn dropping_kills_the_program_its_children_and_its_directory() {
    let tree = start!("tree");
    let nodes: Vec<i32> = tree
        .info_all("node")
        .iter()
        .map(|n| n.parse().expect("a PID"))
        .collect();
    let dir = tree.dir().to_owned();
    drop(tree);
    assert!(nodes.iter().all(|pid| wait_gone(*pid)));
    assert!(!dir.exists());
}

#[test]
fn a_program_dies_with_the_thread_that_started_it_unless_told_otherwise() {
    let start = |outlive: bool| {
        std::thread::spawn(move || {
            let builder = Fixture::builder("nanosleep");
            let builder = if outlive {
                builder.outlive_thread()
            } else {
                builder
            };
            builder.start().expect("starts")
        })
        .join()
        .expect("no panic")
    };
    let mortal = start(false);
    assert!(wait_gone(mortal.pid()));
    let other = start(true);
    other.wait_rounds(2).expect("goes round");
    other.finish().expect("a verdict").assert_clean(1);
}

#[test]
fn another_user() {
    require_root!();
    let fixture = start!(@ Fixture::builder("epoll_wait").as_user(65534));
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", fixture.pid())).expect("status");
    assert!(
        status.contains("Uid:\t65534\t65534\t65534\t65534"),
        "{status}"
    );
    assert!(status.contains("Groups:\t \n"), "{status}");
    fixture.wait_rounds(2).expect("goes round");
    fixture.finish().expect("a verdict").assert_clean(1);
}

#[test]
fn a_static_variant() {
    let exe = match compile("epoll_wait", &["-static"]) {
        Ok(exe) => exe,
        Err(error @ KitError::Unavailable { .. }) => mctl_testkit::skip!("{error}"),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(exe, compile("epoll_wait", &["-static"]).expect("is cached"));
    assert_ne!(exe, compile("epoll_wait", &[]).expect("compiles"));
    let fixture = start!(@ Fixture::builder("epoll_wait").cflag("-static"));
    fixture.wait_rounds(2).expect("goes round");
    fixture.finish().expect("a verdict").assert_clean(1);
}

#[test]
fn errors_say_what_happened() {
    let error = Fixture::start("no_such_program", &[]).expect_err("no such program");
    assert!(
        matches!(&error, KitError::NoSuchProgram(path) if path.ends_with(Path::new("no_such_program.c")))
    );
    let error = Fixture::start("pthread_cond", &["every=0"]).expect_err("it declines");
    assert!(matches!(error, KitError::Unavailable { .. }), "{error}");
    let spin = start!("spin");
    let error = spin.wait_state("Z", A_MOMENT).expect_err("it runs");
    assert!(matches!(error, KitError::Timeout { .. }), "{error}");
}

#[test]
fn a_killed_program_gives_no_verdict() {
    let fixture = start!("misc_loop");
    fixture
        .signal(rustix::process::Signal::KILL)
        .expect("killed");
    let error = fixture.finish().expect_err("no verdict");
    assert!(matches!(error, KitError::Protocol { .. }), "{error}");
}

#[test]
fn states_that_are_waited_for() {
    start!("stopped")
        .wait_state("T", Duration::from_secs(120))
        .expect("stops");
    start!("zombie")
        .wait_state("Z", Duration::from_secs(120))
        .expect("is one");
    let leader = start!("leader_exit");
    assert_eq!(leader.tasks()[0].state, 'Z');
    let task = leader
        .wait_blocked(Duration::from_secs(120))
        .expect("the other thread");
    assert_ne!(task.tid, leader.pid());
}
