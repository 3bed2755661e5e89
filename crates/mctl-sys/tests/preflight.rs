//! Each refusal on a real target, and the target is as it was; and what must not be refused.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{PATIENCE, get, prctl, refusal, rounds, set};
use mctl_sys::inject::{InjectError, Job, Limits, Prepared, Refusal, run};
use mctl_sys::raw::pidfd::{pidfd_open, pidfd_send_signal};
use mctl_sys::raw::prctl::PR_GET_THP_DISABLE;
use mctl_testkit::{Fixture, require_root, start};

/// Another user, who need not be known here.
const SOMEONE: u32 = 65_533;

/// What the target must not lose: its signal dispositions and masks, its tracer.
fn facts(pid: i32) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let keep = [
        "SigPnd",
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "ShdPnd",
        "TracerPid",
        "Seccomp",
        "THP_enabled",
        "NoNewPrivs",
    ];
    let mine = |line: &&str| keep.iter().any(|key| line.starts_with(key));
    text.lines().filter(mine).map(str::to_owned).collect()
}

/// Whatever was under way when the facts were taken (a signal of the fixture's own on its way) comes to rest.
fn assert_as_before(pid: i32, before: &[String]) {
    let begun = std::time::Instant::now();
    while facts(pid) != before {
        if begun.elapsed() > PATIENCE {
            assert_eq!(facts(pid), before);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn refused_unharmed(fixture: Fixture, expected: &Refusal) {
    let pid = fixture.target();
    let before = facts(pid);
    assert_eq!(refusal(pid), *expected);
    assert_as_before(pid, &before);
    // It may end before it has done a round of its loop.
    fixture.finish().expect("a verdict").assert_clean(0);
}

#[test]
fn another_tracer_is_named() {
    let fixture = start!("held");
    let (tracer, name) = (fixture.pid(), "held".to_owned());
    let before = facts(fixture.target());
    let Refusal::Traced {
        tracer: got,
        name: called,
    } = refusal(fixture.target())
    else {
        panic!("not for its tracer");
    };
    assert_eq!(got, tracer);
    assert!(called.starts_with(&name), "{called}");
    assert_as_before(fixture.target(), &before);
    // As above: on a slow machine no round may have been done yet.
    fixture.finish().expect("a verdict").assert_clean(0);
}

#[test]
fn syscall_user_dispatch() {
    refused_unharmed(
        start!("misc_loop", "kind=dispatch"),
        &Refusal::SyscallUserDispatch,
    );
}

#[test]
fn a_pending_sigtrap() {
    refused_unharmed(
        start!("misc_loop", "kind=sigtrap-pending"),
        &Refusal::PendingSigtrap,
    );
}

#[test]
fn a_32_bit_process() {
    refused_unharmed(start!("i386"), &Refusal::Bits32);
}

#[test]
fn a_zombie() {
    refused_unharmed(start!("zombie"), &Refusal::Zombie);
}

/// Whether we, the parent, are told that it has stopped.
fn stop_heard(pid: i32) -> bool {
    let options = libc::WSTOPPED | libc::WCONTINUED | libc::WNOHANG;
    // SAFETY: all-zero is a valid siginfo_t; waitid fills it in.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is ours.
    let ret = unsafe { libc::waitid(libc::P_PID, pid.unsigned_abs(), &raw mut info, options) };
    assert_eq!(ret, 0);
    info.si_signo != 0
}

#[test]
fn a_stopped_process() {
    let fixture = start!("stopped");
    fixture.wait_state("T", PATIENCE).expect("stopped");
    // It stands still already. It stays stopped, and its parent hears nothing of it.
    while stop_heard(fixture.pid()) {}
    for n in 0..rounds("MCTL_INJECTIONS", 300) {
        let report = set(fixture.pid(), fixture.pidfd(), n % 2 == 0).expect("injected");
        assert_eq!(report.disturbed, None);
        fixture.wait_state("T", PATIENCE).expect("still stopped");
    }
    assert!(!stop_heard(fixture.pid()), "a stop that was none");
    fixture.finish().expect("a verdict").assert_clean(1);
}

#[test]
fn a_parent_inside_vfork() {
    let fixture = start!("vfork", "every=1500");
    // A wait that only the child ends, or a signal that kills.
    fixture.wait_state("D", PATIENCE).expect("in vfork");
    refused_unharmed(fixture, &Refusal::InVfork);
}

#[test]
fn a_kernel_thread() {
    require_root!();
    let name = std::fs::read_to_string("/proc/2/comm").unwrap_or_default();
    if name.trim() != "kthreadd" {
        mctl_testkit::skip!("no kernel thread to be seen here (PID 2 is {name:?})");
    }
    let pidfd = pidfd_open(2).expect("a pidfd");
    // Only looked at: that reads and nothing else.
    let looked = Prepared::look(2, pidfd.as_fd());
    assert!(
        matches!(looked, Err(InjectError::Refused(Refusal::KernelThread))),
        "{looked:?}"
    );
}

#[test]
fn a_dead_process() {
    let fixture = start!("poll");
    let (pid, pidfd) = (fixture.pid(), pidfd_open(fixture.pid()).expect("a pidfd"));
    fixture.finish().expect("a verdict").assert_clean(0);
    let looked = Prepared::look(pid, pidfd.as_fd());
    assert!(matches!(looked, Err(InjectError::Gone)), "{looked:?}");
}

fn works_unharmed(fixture: Fixture) {
    let pid = fixture.target();
    let before = facts(pid);
    for n in 0..100 {
        set(pid, fixture.pidfd(), n % 2 == 0).expect("injected");
    }
    assert_as_before(pid, &before);
    fixture.finish().expect("a verdict").assert_clean(1);
}

/// As root a filter is suspended for our call and for nothing else.
macro_rules! seccomp_is_no_obstacle_to_root {
    ($($test:ident: $name:literal $(, $arg:literal)*;)+) => {$(
        #[test]
        fn $test() {
            require_root!();
            works_unharmed(start!($name $(, $arg)*));
        }
    )+};
}

seccomp_is_no_obstacle_to_root! {
    seccomp_kill: "misc_loop", "kind=seccomp-kill", "every=3";
    seccomp_errno: "misc_loop", "kind=seccomp-errno", "every=3";
    seccomp_trap: "misc_loop", "kind=seccomp-trap", "every=3";
    seccomp_allow: "misc_loop", "kind=seccomp-allow", "every=3";
    nodump: "misc_loop", "kind=nodump", "every=3";
}

/// It enters strict mode only after it has said that it is ready: it cannot say so later.
#[test]
fn seccomp_strict() {
    require_root!();
    let fixture = start!("seccomp_strict");
    let strict = || facts(fixture.pid()).contains(&"Seccomp:\t1".to_owned());
    let begun = std::time::Instant::now();
    while !strict() {
        assert!(begun.elapsed() < PATIENCE, "never in strict mode");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    works_unharmed(fixture);
}

/// The filter is there again after us: what it forbids is still forbidden.
#[test]
fn the_filter_is_back_afterwards() {
    require_root!();
    let fixture = start!("misc_loop", "kind=seccomp-kill");
    get(fixture.pid()).expect("injected");
    assert!(facts(fixture.pid()).contains(&"Seccomp:\t2".to_owned()));
    fixture.finish().expect("a verdict").assert_clean(1);
}

/// A copy of this test binary that other users can run.
fn copy_for_all(dir: &Path) -> PathBuf {
    let copy = dir.join("preflight");
    let this = std::env::current_exe().expect("this binary");
    mctl_sys::program::copy_program(&this, &copy, 0o755).expect("copied");
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    copy
}

/// Injects as another user and returns what came of it, as text.
fn as_someone(pid: i32) -> String {
    as_someone_told(pid, &[])
}

fn as_someone_told(pid: i32, told: &[(&str, &str)]) -> String {
    let name = format!("mctl-preflight-{}-{pid}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir).expect("a directory");
    let exe = copy_for_all(&dir);
    let mut command = Command::new(exe);
    command
        .args(["--exact", "inject_and_tell", "--nocapture"])
        .env("MCTL_TEST_TARGET", pid.to_string())
        .envs(told.iter().copied())
        .current_dir("/")
        .uid(SOMEONE)
        .gid(SOMEONE);
    let out = loop {
        match command.output() {
            // A fork in another thread of this test may hold the new copy open for a moment.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(1));
            }
            other => break other.expect("runs"),
        }
    };
    std::fs::remove_dir_all(&dir).expect("removed");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let line = text.lines().find_map(|line| line.split_once("outcome "));
    line.unwrap_or_else(|| panic!("{out:?}")).1.to_owned()
}

/// No test of its own: the other end of [`as_someone`].
#[test]
fn inject_and_tell() {
    let Ok(pid) = std::env::var("MCTL_TEST_TARGET") else {
        return;
    };
    let pid = pid.parse().expect("a PID");
    if std::env::var_os("MCTL_TEST_LATE").is_none() {
        println!("\noutcome {:?}", get(pid));
        return;
    }
    let pidfd = pidfd_open(pid).expect("a pidfd");
    let prepared = Prepared::look(pid, pidfd.as_fd()).expect("looked at");
    pidfd_send_signal(pidfd.as_fd(), libc::SIGUSR1).expect("told");
    let begun = Instant::now();
    let filtered = || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("alive");
        text.contains("\nSeccomp:\t2\n")
    };
    while !filtered() {
        assert!(begun.elapsed() < PATIENCE, "no filter");
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut calls = [prctl(PR_GET_THP_DISABLE, 0)];
    let mut jobs = [Job::script(prepared, &mut calls, Limits::default())];
    run(&mut jobs);
    println!(
        "\noutcome {:?}",
        jobs[0].outcome().map(|report| report.calls)
    );
}

#[test]
fn another_users_process() {
    require_root!();
    let fixture = start!("poll");
    let before = facts(fixture.pid());
    assert_eq!(as_someone(fixture.pid()), "Err(Refused(NotPermitted))");
    assert_as_before(fixture.pid(), &before);
    fixture.finish().expect("a verdict").assert_clean(1);
}

#[test]
fn ones_own_process_without_privilege() {
    require_root!();
    let fixture = start!(@ Fixture::builder("poll").as_user(SOMEONE));
    assert_eq!(as_someone(fixture.pid()), "Ok(0)");
    fixture.finish().expect("a verdict").assert_clean(1);
}

#[test]
fn a_filter_that_we_may_not_suspend() {
    require_root!();
    for kind in [
        "kind=seccomp-kill",
        "kind=seccomp-errno",
        "kind=seccomp-allow",
    ] {
        let fixture = start!(@ Fixture::builder("misc_loop").arg(kind).as_user(SOMEONE));
        assert_eq!(as_someone(fixture.pid()), "Err(Refused(Seccomp))");
        fixture.finish().expect("a verdict").assert_clean(1);
    }
}

/// It was not there when the target was looked at.
#[test]
fn a_filter_that_comes_meanwhile() {
    require_root!();
    for kind in [
        "kind=seccomp-kill",
        "kind=seccomp-errno",
        "kind=seccomp-trap",
    ] {
        let builder = Fixture::builder("misc_loop").arg(kind).arg("later=1");
        let fixture = start!(@ builder.arg("every=3").as_user(SOMEONE));
        let told = as_someone_told(fixture.pid(), &[("MCTL_TEST_LATE", "1")]);
        assert_eq!(told, "Err(Refused(Seccomp))", "{kind}");
        fixture.finish().expect("a verdict").assert_clean(1);
    }
}

/// A cgroup of our own, removed at the end.
struct Cgroup {
    path: PathBuf,
    thaw: (&'static str, &'static str),
}

impl Cgroup {
    fn new(root: &str, thaw: (&'static str, &'static str)) -> Option<Cgroup> {
        let path = Path::new(root).join(format!("mctl-test-{}", std::process::id()));
        std::fs::create_dir(&path).ok()?;
        Some(Cgroup { path, thaw })
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path.join(file), text).expect("written");
    }

    fn wait(&self, file: &str, wanted: &str) {
        let begun = Instant::now();
        let has =
            || std::fs::read_to_string(self.path.join(file)).is_ok_and(|t| t.contains(wanted));
        while !has() {
            assert!(begun.elapsed() < PATIENCE, "not frozen");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::write(self.path.join(self.thaw.0), self.thaw.1);
        let begun = Instant::now();
        while std::fs::remove_dir(&self.path).is_err() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Where a hierarchy of cgroups is mounted.
fn mounted(suits: impl Fn(&str) -> bool) -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let line = text.lines().find(|line| suits(line))?;
    line.split(' ').nth(4).map(str::to_owned)
}

/// Calls that the kernel restarts: the freezer itself makes the others fail, whoever looks on.
const RESTARTED: &[&str] = &["poll", "read_pipe", "futex_wait"];

fn frozen(group: Option<Cgroup>, freeze: (&str, &str), seen: (&str, &str)) {
    let Some(group) = group else {
        mctl_testkit::skip!("no such cgroup may be made here");
    };
    for name in RESTARTED.iter().copied() {
        let fixture = start!(name, "every=0");
        fixture.wait_blocked(PATIENCE).expect("blocked");
        group.write("cgroup.procs", &fixture.pid().to_string());
        group.write(freeze.0, freeze.1);
        group.wait(seen.0, seen.1);
        let begun = Instant::now();
        assert_eq!(refusal(fixture.pid()), Refusal::Frozen, "{name}");
        assert!(begun.elapsed() < PATIENCE, "a bounded wait");
        group.write(group.thaw.0, group.thaw.1);
        assert!(set(fixture.pid(), fixture.pidfd(), true).is_ok());
        fixture.finish().expect("a verdict").assert_clean(1);
    }
}

#[test]
fn frozen_by_cgroup_v2() {
    require_root!();
    let root = mounted(|line| line.contains(" - cgroup2 "));
    let thaw = ("cgroup.freeze", "0");
    let group = root.and_then(|root| Cgroup::new(&root, thaw));
    frozen(group, ("cgroup.freeze", "1"), ("cgroup.events", "frozen 1"));
}

#[test]
fn frozen_by_cgroup_v1() {
    require_root!();
    let root = mounted(|line| line.contains(" - cgroup ") && line.contains("freezer"));
    let thaw = ("freezer.state", "THAWED");
    let group = root.and_then(|root| Cgroup::new(&root, thaw));
    frozen(
        group,
        ("freezer.state", "FROZEN"),
        ("freezer.state", "FROZEN"),
    );
}
