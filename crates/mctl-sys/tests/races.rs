//! The target changes while it is injected into: it dies, executes another program, loses threads,
//! or somebody else injects too.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use common::{PATIENCE, PATIENT, Random, get, prctl, rounds, set};
use mctl_sys::inject::{InjectError, Job, Limits, Memory, Prepared, Refusal, Runs, run};
use mctl_sys::raw::madvise::Range;
use mctl_sys::raw::pidfd::{pidfd_open, pidfd_send_signal};
use mctl_sys::raw::prctl::PR_GET_THP_DISABLE;
use mctl_testkit::{Fixture, require_root, start};

#[test]
fn dying_meanwhile() {
    let mut random = Random::new(17);
    let (mut died, mut ran) = (0, 0);
    let deaths = rounds("MCTL_DEATHS", 40);
    // Where nothing is ever done before the end comes, more of them.
    while died < deaths || (ran == 0 && died < 20 * deaths) {
        let fixture = start!("threads", "every=0", "n=3");
        let pidfd = fixture.pidfd();
        // An emulated machine is slow twice: the processor is, and the scheduler's turns are as long as ever.
        let most = 600 * mctl_testkit::slower().pow(2);
        let delay = Duration::from_micros(random.below(most));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(delay);
                pidfd_send_signal(pidfd, libc::SIGKILL).expect("killed");
            });
            loop {
                match set(fixture.pid(), fixture.pidfd(), true) {
                    Ok(_) => ran += 1,
                    Err(error) => {
                        assert_eq!(error.errno(), mctl_abi::Errno::ESRCH, "{error:?}");
                        died += 1;
                        break;
                    }
                }
            }
        });
    }
    assert!(ran > 0);
}

#[test]
fn executing_another_program_meanwhile() {
    let fixture = start!("exec_loop", "every=1");
    for n in 0..rounds("MCTL_INJECTIONS", 300) {
        set(fixture.pid(), fixture.pidfd(), n % 2 == 0).expect("injected");
    }
    // Each exec takes an emulated processor as long as several injections.
    let least = 20 / mctl_testkit::slower().min(10);
    fixture.finish().expect("a verdict").assert_clean(least);
}

/// Waits until it has executed a program: its vDSO is elsewhere then.
fn wait_for_exec(fixture: &Fixture) {
    let vdso = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", fixture.pid())).expect("stat");
        stat.split(' ').nth(27).map(str::to_owned)
    };
    let (first, begun) = (vdso(), std::time::Instant::now());
    while vdso() == first {
        assert!(begun.elapsed() < PATIENCE, "no exec");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Advises a range of a program that is gone, which has to be noticed.
#[track_caller]
fn refused_as_replaced(prepared: Prepared<'_>, memory: Option<Arc<Memory>>) {
    let range = Range {
        start: 4096,
        len: 4096,
    };
    let mut runs = Runs::new(14, vec![range], false).of(memory);
    let mut jobs = [Job::runs(prepared, &mut runs, Limits::default())];
    run(&mut jobs);
    let outcome = jobs[0].outcome();
    assert!(
        matches!(outcome, Err(InjectError::Refused(Refusal::Replaced))),
        "{outcome:?}"
    );
}

#[test]
fn ranges_of_a_program_that_is_gone_are_not_advised() {
    let fixture = start!("exec_loop", "every=30");
    let prepared = Prepared::look(fixture.pid(), fixture.pidfd()).expect("looked at");
    wait_for_exec(&fixture);
    refused_as_replaced(prepared, None);
    fixture.finish().expect("a verdict").assert_clean(1);
}

/// Also where it is looked at again in between, as between two stops of long work.
#[test]
fn a_later_look_does_not_make_them_its_own() {
    let fixture = start!("exec_loop", "every=30");
    let look = || Prepared::look(fixture.pid(), fixture.pidfd()).expect("looked at");
    let memory = look().memory().map(Arc::new);
    assert!(memory.is_some());
    wait_for_exec(&fixture);
    for _ in 0..20 {
        refused_as_replaced(look(), memory.clone());
    }
    fixture.finish().expect("a verdict").assert_clean(1);
}

#[test]
fn two_injectors_take_turns() {
    let fixture = start!("epoll_wait", "every=3");
    let (pid, pidfd) = (fixture.pid(), fixture.pidfd());
    // Whoever is too unlucky for a quarter of a second is told that it is busy, which on a busy machine happens. It
    // asks again then.
    let turns = 200 / mctl_testkit::slower();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..turns {
                    let once = || set(pid, pidfd, true);
                    let busy = |e: &InjectError| {
                        matches!(
                            e,
                            InjectError::Refused(mctl_sys::inject::Refusal::Traced { .. })
                        )
                    };
                    let mut outcome = once();
                    let begun = std::time::Instant::now();
                    while outcome.as_ref().is_err_and(busy) && begun.elapsed() < PATIENCE {
                        outcome = once();
                    }
                    outcome.expect("in turn");
                }
            });
        }
    });
    fixture.finish().expect("a verdict").assert_clean(1);
}

#[test]
fn many_targets_in_one_shield() {
    let fixtures = [
        start!("epoll_wait", "every=3"),
        start!("vfork", "every=400"),
        start!("poll", "every=3"),
        start!("spin", "turns=20000"),
    ];
    let mut calls = [(); 4].map(|()| [prctl(PR_GET_THP_DISABLE, 0)]);
    let mut jobs: Vec<Job<'_>> = fixtures
        .iter()
        .zip(&mut calls)
        .map(|(fixture, calls)| {
            let prepared = Prepared::look(fixture.pid(), fixture.pidfd()).expect("looked at");
            Job::script(
                prepared,
                calls,
                Limits {
                    wait_ms: 1000,
                    ..PATIENT
                },
            )
        })
        .collect();
    run(&mut jobs);
    // The second may have been met between two vforks, or be refused; the others are served.
    for (n, job) in jobs.iter().enumerate() {
        let outcome = job.outcome();
        assert!(n == 1 || outcome.is_ok(), "{n}: {outcome:?}");
    }
    drop(jobs);
    for fixture in fixtures {
        fixture.finish().expect("a verdict").assert_clean(1);
    }
}

fn lines(path: &str) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

fn descriptors(pid: &str) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

#[test]
fn nothing_is_left_behind() {
    // In a process of its own: other tests of this one open and close things too.
    if std::env::var_os("MCTL_HYGIENE").is_none() {
        let me = std::env::current_exe().expect("this binary");
        let out = Command::new(me)
            .args(["--exact", "nothing_is_left_behind", "--nocapture"])
            .env("MCTL_HYGIENE", "1")
            .output()
            .expect("runs");
        assert!(out.status.success(), "{out:?}");
        return;
    }
    let fixture = start!("epoll_wait", "every=0");
    let pid = fixture.pid().to_string();
    set(fixture.pid(), fixture.pidfd(), false).expect("injected");
    let ours = |what| match what {
        "fds" => descriptors("self"),
        _ => lines("/proc/self/maps"),
    };
    let theirs = || (descriptors(&pid), lines(&format!("/proc/{pid}/maps")));
    let before = (ours("fds"), ours("maps"), theirs());
    for n in 0..rounds("MCTL_HYGIENE_ROUNDS", 10_000) {
        set(fixture.pid(), fixture.pidfd(), n % 2 == 0).expect("injected");
    }
    let after = (ours("fds"), ours("maps"), theirs());
    assert_eq!((before.0, before.2), (after.0, after.2));
    // The allocator may have grown its heap by a mapping or two.
    assert!(after.1 <= before.1 + 2, "{before:?} {after:?}");
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    assert!(
        children.split_whitespace().count() <= 1,
        "zombies: {children}"
    );
    fixture.finish().expect("a verdict").assert_clean(1);
}

/// Inside a PID namespace of its own, where numbers can be had again.
#[test]
fn a_recycled_number_is_a_stranger() {
    require_root!();
    if std::env::var_os("MCTL_OWN_PIDS").is_some() {
        return recycled_inside();
    }
    let me = std::env::current_exe().expect("this binary");
    let out = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .arg(me)
        .args(["--exact", "a_recycled_number_is_a_stranger", "--nocapture"])
        .env("MCTL_OWN_PIDS", "1")
        .output();
    let out = match out {
        Ok(out) => out,
        Err(error) => mctl_testkit::skip!("no unshare(1): {error}"),
    };
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    if said.contains("Operation not permitted") {
        mctl_testkit::skip!("no PID namespace: {said}");
    }
    assert!(out.status.success(), "{out:?}");
}

fn sleeper() -> std::process::Child {
    Command::new("sleep").arg("1000").spawn().expect("sleeps")
}

fn recycled_inside() {
    let mut victim = sleeper();
    let pid = i32::try_from(victim.id()).expect("a PID");
    let pidfd = pidfd_open(pid).expect("a pidfd");
    std::thread::sleep(Duration::from_millis(50));
    let prepared = Prepared::look(pid, pidfd.as_fd()).expect("alive");
    victim.kill().expect("killed");
    victim.wait().expect("reaped");

    std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).expect("ns_last_pid");
    let mut stranger = sleeper();
    assert_eq!(stranger.id(), pid.unsigned_abs(), "the number again");
    std::thread::sleep(Duration::from_millis(50));

    let mut calls = [prctl(PR_GET_THP_DISABLE, 0)];
    let mut jobs = [Job::script(prepared, &mut calls, Limits::default())];
    run(&mut jobs);
    assert_eq!(jobs[0].outcome(), Err(InjectError::Gone));
    drop(jobs);
    assert_eq!(calls[0].result, None, "nothing was run in the stranger");
    let looked = Prepared::look(pid, pidfd.as_fd());
    assert!(matches!(looked, Err(InjectError::Gone)), "{looked:?}");
    assert_eq!(get(pid), Ok(0), "by its own descriptor it can be reached");
    stranger.kill().expect("killed");
    stranger.wait().expect("reaped");
}
