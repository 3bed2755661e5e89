//! Carriers: long calls in a target that never stops for them, and nothing of ours left in it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Random, rounds};
use mctl_sys::inject::{CarriedCall, Carrier, InjectError, Limits, Refusal, Undone};
use mctl_sys::raw::pidfd::pidfd_open;
use mctl_testkit::{Fixture, start};

const MIB: u64 = 1 << 20;
const POPULATE_WRITE: u64 = 23;
const LIMIT: Duration = Duration::from_secs(60);

fn never() -> bool {
    false
}

/// Maps memory in the target; its first byte.
fn map(fixture: &mut Fixture, len: u64) -> u64 {
    let answer = fixture.ask(&format!("map {len}")).expect("mapped");
    let start = answer.split(' ').nth(1).expect("an address");
    u64::from_str_radix(start.trim_start_matches("0x"), 16).expect("hex")
}

fn populate(start: u64, len: u64) -> Vec<CarriedCall> {
    (0..len / MIB)
        .map(|n| start + n * MIB)
        .map(|at| {
            let args = [at, MIB, POPULATE_WRITE, 0, 0, 0];
            CarriedCall::new(libc::SYS_madvise, args)
        })
        .collect()
}

/// The children of a process, ended ones among them.
fn children(pid: i32) -> Vec<String> {
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))
        .expect("its threads")
        .flatten()
    {
        let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(text.split_whitespace().map(str::to_owned));
    }
    found
}

#[test]
fn calls_are_made_and_nothing_is_left() {
    let mut fixture = start!("touch");
    let start = map(&mut fixture, 64 * MIB);
    fixture
        .wait_blocked(Duration::from_secs(60))
        .expect("asleep");
    let pid = fixture.pid();
    let carrier = Carrier::start(pid, fixture.pidfd(), None, Limits::default(), LIMIT, &never);
    let mut carrier = carrier.expect("a carrier");
    assert_eq!(children(pid).len(), 1);
    let child: i32 = children(pid)[0].parse().expect("a PID");
    assert!(mctl_sys::inject::is_carrier(child));
    let mut calls = populate(start, 64 * MIB);
    assert_eq!(carrier.run(&mut calls, &never), Ok(()));
    assert!(calls.iter().all(|call| call.result == Some(0)), "{calls:?}");
    // A call that fails says so.
    let mut wrong = [CarriedCall::new(
        libc::SYS_madvise,
        [start, MIB, 999, 0, 0, 0],
    )];
    assert_eq!(carrier.run(&mut wrong, &never), Ok(()));
    assert_eq!(wrong[0].result, Some(-i64::from(libc::EINVAL)));
    let report = carrier.end();
    eprintln!("{report:?}");
    assert_eq!(report.left, None);
    assert_eq!(children(pid), Vec::<String>::new());
    let rss = fixture
        .ask(&format!("smaps {start:#x} Rss"))
        .expect("smaps");
    assert!(rss.contains(&(64 << 10).to_string()), "{rss}");
    fixture.finish().expect("a verdict").assert_clean(1);
}

/// Most threads have half a millisecond to live, and one of them is to bear the carrier.
#[test]
fn threads_that_come_and_go_bear_one_too() {
    let fixture = start!("thread_churn", "width=32");
    let (pid, pidfd) = (fixture.pid(), fixture.pidfd());
    for _ in 0..rounds("MCTL_CARRIERS", 40) {
        let carrier = Carrier::start(pid, pidfd, None, common::PATIENT, LIMIT, &never);
        let mut carrier = carrier.expect("a carrier");
        let mut calls = [CarriedCall::new(libc::SYS_getppid, [0; 6])];
        assert_eq!(carrier.run(&mut calls, &never), Ok(()));
        assert_eq!(carrier.end().left, None);
    }
    fixture.finish().expect("a verdict").assert_clean(1);
}

/// No test of its own: the driver, which has carriers at work until it is killed.
#[test]
fn drive() {
    let Ok(at) = std::env::var("MCTL_CARRY") else {
        return;
    };
    let (pid, start) = at.split_once(',').expect("PID,ADDRESS");
    let pid: i32 = pid.parse().expect("a PID");
    let start: u64 = start.parse().expect("an address");
    let pidfd = pidfd_open(pid).expect("a pidfd");
    println!("\ndriving");
    loop {
        let carrier = Carrier::start(pid, pidfd.as_fd(), None, Limits::default(), LIMIT, &never);
        // The one before may just be ending, with its target held.
        let Ok(mut carrier) = carrier else { continue };
        println!("born");
        let drop_all = CarriedCall::new(libc::SYS_madvise, [start, KILL_BYTES, 4, 0, 0, 0]);
        for _ in 0..4 {
            let mut calls = populate(start, KILL_BYTES);
            calls.push(drop_all);
            carrier.run(&mut calls, &never).expect("made");
        }
        carrier.end();
        println!("ended");
    }
}

const KILL_BYTES: u64 = 32 * MIB;

fn wait_for_word(child: &mut Child, word: &[u8]) {
    let out = child.stdout.as_mut().expect("its output");
    let mut text = Vec::new();
    let mut byte = [0u8];
    while !text.ends_with(word) {
        assert_eq!(out.read(&mut byte).expect("read"), 1, "the driver ended");
        text.extend(byte);
    }
}

/// Kills of mctl while a carrier is at work: `MCTL_CARRIER_KILLS` of them, else 60.
#[test]
fn killing_its_keeper_ends_the_carrier_and_harms_no_target() {
    let mut fixture = start!("touch");
    let start = map(&mut fixture, KILL_BYTES);
    let pid = fixture.pid();
    let mut random = Random::new(u64::from(std::process::id()));
    let kills = rounds("MCTL_CARRIER_KILLS", 60);
    let (mut at_work, mut made, mut late) = (0, 0, 0);
    // Enough of them while a carrier is at work, however long that takes here.
    while made < kills || (at_work * 4 < kills && made < 20 * kills) {
        made += 1;
        fixture
            .wait_blocked(Duration::from_secs(60))
            .expect("asleep");
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "drive", "--nocapture"])
            .env("MCTL_CARRY", format!("{pid},{start}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a driver");
        wait_for_word(&mut child, b"born\n");
        std::thread::sleep(Duration::from_micros(random.below(30_000)));
        child.kill().expect("killed");
        at_work += u64::from(!children(pid).is_empty());
        child.wait().expect("ended");
        let begun = Instant::now();
        while !children(pid).is_empty() {
            if begun.elapsed() > Duration::from_secs(60) {
                let told = children(pid).into_iter().map(|child| {
                    let text = std::fs::read_to_string(format!("/proc/{child}/status"));
                    text.unwrap_or_default()
                        .lines()
                        .take(9)
                        .collect::<Vec<_>>()
                        .join("; ")
                });
                panic!("left behind: {:?}", told.collect::<Vec<_>>());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        late += u64::from(begun.elapsed() > Duration::from_millis(100));
    }
    eprintln!(
        "{made} kills, {at_work} while a carrier was at work, {late} ended later than 100 ms"
    );
    assert!(
        at_work * 4 >= kills,
        "{at_work} of {kills}: too few to prove anything"
    );
    fixture.finish().expect("a verdict").assert_clean(1);
}

/// No test of its own: the driver, which has carriers in a program that runs all the time.
#[test]
fn drive_beside_its_own_code() {
    let Ok(pid) = std::env::var("MCTL_CARRY_BESIDE") else {
        return;
    };
    let pid: i32 = pid.parse().expect("a PID");
    let pidfd = pidfd_open(pid).expect("a pidfd");
    println!("\ndriving");
    loop {
        let carrier = Carrier::start(pid, pidfd.as_fd(), None, common::PATIENT, LIMIT, &never);
        let Ok(mut carrier) = carrier else { continue };
        println!("born");
        for _ in 0..20 {
            let mut calls = [CarriedCall::new(libc::SYS_getppid, [0; 6])];
            carrier.run(&mut calls, &never).expect("made");
            std::thread::sleep(Duration::from_millis(1));
        }
        carrier.end();
    }
}

/// Nobody is left then to look for a moment at which the program can wait for the carrier, but its keeper.
#[test]
fn killing_its_keeper_leaves_nothing_in_a_program_that_never_sleeps() {
    let fixture = start!("spin");
    let pid = fixture.pid();
    let mut random = Random::new(u64::from(std::process::id()));
    let mut at_work = 0;
    for _ in 0..rounds("MCTL_CARRIER_KILLS", 60) / 3 {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "drive_beside_its_own_code", "--nocapture"])
            .env("MCTL_CARRY_BESIDE", pid.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a driver");
        wait_for_word(&mut child, b"born\n");
        std::thread::sleep(Duration::from_micros(random.below(15_000)));
        child.kill().expect("killed");
        at_work += u64::from(!children(pid).is_empty());
        child.wait().expect("ended");
        let begun = Instant::now();
        while !children(pid).is_empty() {
            let left = children(pid);
            assert!(begun.elapsed() < Duration::from_secs(60), "left: {left:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert!(at_work > 0, "too few to prove anything");
    fixture.finish().expect("a verdict").assert_clean(1);
}

fn memory_of(fixture: &Fixture) -> (u64, u64) {
    let line = fixture.info("memory").expect("its memory");
    let (start, len) = line.split_once(' ').expect("two numbers");
    let start = u64::from_str_radix(start.trim_start_matches("0x"), 16).expect("hex");
    (start, len.parse().expect("a length"))
}

fn begin(fixture: &Fixture, limit: Duration) -> Carrier {
    let pidfd = fixture.pidfd();
    Carrier::start(fixture.pid(), pidfd, None, Limits::default(), limit, &never).expect("a carrier")
}

fn is_gone_soon(pid: &str) -> bool {
    let begun = Instant::now();
    while std::path::Path::new(&format!("/proc/{pid}")).exists() {
        if begun.elapsed() > Duration::from_secs(60) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// The thread that alone can end the wait is not the one that waits.
#[test]
fn a_program_that_serves_its_own_faults_serves_the_carrier_s() {
    for mode in ["mode=0", "mode=1"] {
        let fixture = start!("uffd_served", mode);
        let (start, len) = memory_of(&fixture);
        let mut carrier = begin(&fixture, LIMIT);
        let mut calls = populate(start, len);
        assert_eq!(carrier.run(&mut calls, &never), Ok(()));
        assert!(calls.iter().all(|call| call.result == Some(0)), "{calls:?}");
        assert_eq!(carrier.end().left, None);
        fixture
            .finish()
            .expect("a verdict")
            .assert_clean(len / 4096);
    }
}

/// What is never served: a deadline, a caller that wants no more, the target's end.
#[test]
fn a_call_that_never_returns_is_ended() {
    let fixture = start!("uffd_served", "mode=3");
    let (start, _) = memory_of(&fixture);
    let pid = fixture.pid();
    let mut carrier = begin(&fixture, Duration::from_millis(50));
    let mut calls = populate(start, 2 * MIB);
    assert_eq!(carrier.run(&mut calls, &never), Err(Undone::TooLong));
    assert_eq!(calls[0].result, None);
    assert_eq!(carrier.end().left, None);
    assert_eq!(children(pid), Vec::<String>::new());

    let mut carrier = begin(&fixture, LIMIT);
    let begun = Instant::now();
    let enough = || begun.elapsed() > Duration::from_millis(50);
    assert_eq!(carrier.run(&mut calls, &enough), Err(Undone::Cancelled));
    assert!(begun.elapsed() < LIMIT, "by being cancelled");
    assert_eq!(carrier.end().left, None);
    assert_eq!(children(pid), Vec::<String>::new());

    let mut carrier = begin(&fixture, LIMIT);
    let child = children(pid).pop().expect("a child");
    let ended = std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            let result = carrier.run(&mut calls, &never);
            (result, carrier.end())
        });
        std::thread::sleep(Duration::from_millis(50));
        fixture
            .signal(rustix::process::Signal::KILL)
            .expect("killed");
        run.join().expect("ran")
    });
    assert_eq!(ended.0, Err(Undone::Failed(InjectError::Gone)));
    assert_eq!(ended.1.left, None);
    assert!(
        is_gone_soon(&child),
        "it holds the memory of a process that is gone"
    );
}

/// Another program has none of what the calls concern.
#[test]
fn an_exec_ends_the_carrier() {
    let mut fixture = start!("touch");
    let start = map(&mut fixture, 4 * MIB);
    fixture
        .wait_blocked(Duration::from_secs(60))
        .expect("asleep");
    let mut carrier = begin(&fixture, LIMIT);
    let child = children(fixture.pid()).pop().expect("a child");
    fixture.send("exec").expect("sent");
    fixture.wait_ready().expect("the next program");
    let mut calls = populate(start, 4 * MIB);
    let replaced = Err(Undone::Failed(Refusal::Replaced.into()));
    assert_eq!(carrier.run(&mut calls, &never), replaced);
    assert!(calls.iter().all(|call| call.result.is_none()));
    assert_eq!(carrier.end().left, None);
    assert!(is_gone_soon(&child));
    fixture.finish().expect("a verdict").assert_clean(0);
}

/// What the program does meanwhile works as ever: its own waits see no child, it may go to a user
/// namespace of its own, and be stopped.
#[test]
fn the_program_goes_on_meanwhile() {
    let mut fixture = start!("touch");
    let start = map(&mut fixture, 4 * MIB);
    fixture
        .wait_blocked(Duration::from_secs(60))
        .expect("asleep");
    let mut carrier = begin(&fixture, LIMIT);
    let echild = format!("error {}", libc::ECHILD);
    assert_eq!(fixture.ask("child").expect("an answer"), echild);
    // Who asks for all kinds of children is told that there is one.
    let all = format!("child {}", libc::__WALL);
    assert_eq!(fixture.ask(&all).expect("an answer"), "child 0");
    let user = fixture.ask("newuser").expect("an answer");
    assert!(
        user == "ok" || user == format!("error {}", libc::EPERM),
        "{user}"
    );
    let mut calls = populate(start, 4 * MIB);
    assert_eq!(carrier.run(&mut calls, &never), Ok(()));
    // A stop of the whole process is not kept from it by ours.
    fixture.signal(rustix::process::Signal::STOP).expect("sent");
    fixture
        .wait_state("T", Duration::from_secs(60))
        .expect("stopped");
    assert_eq!(carrier.run(&mut calls, &never), Ok(()));
    fixture.signal(rustix::process::Signal::CONT).expect("sent");
    fixture
        .wait_blocked(Duration::from_secs(60))
        .expect("asleep");
    assert_eq!(carrier.end().left, None);
    assert_eq!(fixture.ask(&all).expect("an answer"), echild);
    fixture.finish().expect("a verdict").assert_clean(1);
}

/// A child of it would be the first process of a PID namespace, and take it along when it ends.
#[test]
fn no_carrier_begins_a_namespace() {
    mctl_testkit::require_root!();
    let mut fixture = start!("touch");
    assert_eq!(fixture.ask("newpid").expect("an answer"), "ok");
    fixture
        .wait_blocked(Duration::from_secs(60))
        .expect("asleep");
    let (pid, pidfd) = (fixture.pid(), fixture.pidfd());
    let carrier = Carrier::start(pid, pidfd, None, Limits::default(), LIMIT, &never);
    assert_eq!(carrier.err(), Some(Refusal::OtherPidNamespace.into()));
    // Its own first child still can.
    assert!(
        fixture
            .ask("spawn")
            .expect("an answer")
            .starts_with("child ")
    );
    fixture.finish().expect("a verdict").assert_clean(1);
}

/// A caller that asks nothing for a while, as one does that was stopped, leaves nothing behind.
#[test]
fn an_idle_carrier_ends() {
    let fixture = start!("poll", "every=0");
    fixture
        .wait_blocked(Duration::from_secs(60))
        .expect("asleep");
    let mut carrier = begin(&fixture, LIMIT);
    let child = children(fixture.pid()).pop().expect("a child");
    assert!(is_gone_soon(&child));
    assert!(!carrier.is_there());
    let mut calls = [CarriedCall::new(libc::SYS_getpid, [0; 6])];
    assert_eq!(carrier.run(&mut calls, &never), Err(Undone::Ended));
    assert_eq!(carrier.end().left, None);
    fixture.finish().expect("a verdict").assert_clean(1);
}

/// Every program ends somehow: one without a C library, and one that has it linked in, without threads.
#[test]
fn programs_of_all_kinds_can_bear_one() {
    let linked_in = Fixture::builder("pause").cflag("-static").start();
    for fixture in [Ok(start!("nolibc_static")), linked_in] {
        let fixture = match fixture {
            Ok(fixture) => fixture,
            // No static C library here.
            Err(error) => {
                eprintln!("skipped: {error}");
                continue;
            }
        };
        let (pid, fd) = (fixture.pid(), fixture.pidfd());
        // One has a child of its own, which wakes it.
        let before = children(pid);
        let mut carrier = match Carrier::start(pid, fd, None, Limits::default(), LIMIT, &never) {
            Ok(carrier) => carrier,
            // Written by hand, it may set the number anywhere.
            Err(InjectError::Refused(Refusal::NoExitInstructions)) => {
                eprintln!("none in it: left alone");
                fixture.finish().expect("a verdict").assert_clean(1);
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let mut calls = [CarriedCall::new(libc::SYS_getppid, [0; 6])];
        assert_eq!(carrier.run(&mut calls, &never), Ok(()));
        assert_eq!(calls[0].result, Some(i64::from(fixture.pid())));
        assert_eq!(carrier.end().left, None);
        assert_eq!(children(pid), before);
        fixture.finish().expect("a verdict").assert_clean(1);
    }
}

/// A carrier is gone as soon as its target, though it may be in a call that takes long: nothing of it is
/// left in the target's cgroup.
#[test]
fn a_target_that_ends_leaves_an_empty_cgroup() {
    let Some(group) = OwnGroup::make() else {
        mctl_testkit::skip!("no cgroup of our own to be had");
    };
    let fixture = start!("uffd_served", "mode=3");
    let (start, _) = memory_of(&fixture);
    std::fs::write(group.0.join("cgroup.procs"), fixture.pid().to_string()).expect("moved");
    let mut carrier = begin(&fixture, LIMIT);
    let mut calls = populate(start, 2 * MIB);
    let members = || std::fs::read_to_string(group.0.join("cgroup.procs")).expect("members");
    assert_eq!(members().lines().count(), 2, "the target and its carrier");
    std::thread::scope(|scope| {
        let run = scope.spawn(|| carrier.run(&mut calls, &never));
        std::thread::sleep(Duration::from_millis(20));
        fixture
            .signal(rustix::process::Signal::KILL)
            .expect("killed");
        let begun = Instant::now();
        while !members().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{}", members());
            std::thread::sleep(Duration::from_millis(1));
        }
        eprintln!("empty after {:?}", begun.elapsed());
        run.join().expect("ran").expect_err("it ended");
    });
    carrier.end();
}

/// A cgroup of this test's, removed in the end.
struct OwnGroup(std::path::PathBuf);

impl OwnGroup {
    fn make() -> Option<OwnGroup> {
        let roots = [
            "/sys/fs/cgroup",
            "/sys/fs/cgroup/unified",
            "/sys/fs/cgroup/pids",
        ];
        roots.iter().find_map(|root| {
            let root = std::path::Path::new(root);
            let dir = root.join(format!("mctl-carrier-{}", std::process::id()));
            let usable = root.join("cgroup.procs").exists() && std::fs::create_dir(&dir).is_ok();
            usable.then(|| OwnGroup(dir))
        })
    }
}

impl Drop for OwnGroup {
    fn drop(&mut self) {
        let begun = Instant::now();
        while std::fs::remove_dir(&self.0).is_err() && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
