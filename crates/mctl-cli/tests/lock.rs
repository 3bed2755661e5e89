//! `mctl lock` on real processes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::memory::{kib, mapped};
use common::{NO_PROCESS, NOBODY, interruptible, mctl};
use mctl_testkit::{require_root, start};

#[test]
fn what_is_mapped_now_is_locked() {
    require_root!();
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, _) = mapped(&mut fixture, "map 4194304");
    let ran = mctl(&["lock", "--dry-run", &pid]).assert(0);
    assert!(ran.out.contains("may be locked: 0 B of "), "{ran:?}");
    assert_eq!(kib(&mut fixture, &start, "Locked"), 0);
    let ran = mctl(&["lock", "--onfault", &pid]).assert(0);
    assert!(ran.out.contains("): locked 0 B → "), "{ran:?}");
    assert_eq!(kib(&mut fixture, &start, "Rss"), 0, "nothing is brought in");
    mctl(&["lock", "-q", &pid]).assert(0);
    assert_eq!(kib(&mut fixture, &start, "Locked"), 4096);
    let (later, _) = mapped(&mut fixture, "map 2097152");
    assert_eq!(kib(&mut fixture, &later, "Locked"), 0);
    let ran = mctl(&["lock", "--future", &pid]).assert(0);
    assert!(ran.err.contains("mctl: note: "), "{ran:?}");
    let (later, _) = mapped(&mut fixture, "map 2097152");
    assert_eq!(kib(&mut fixture, &later, "Locked"), 2048);
}

/// A process of nobody's that may lock so many KiB.
struct Limited(Child);

impl Limited {
    fn start(kib: &str) -> Limited {
        let child = Command::new("sh")
            .args(["-c", &format!("ulimit -l {kib} && echo && exec sleep 60")])
            .uid(NOBODY)
            .gid(NOBODY)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        let mut line = [0];
        child.stdout.take().unwrap().read_exact(&mut line).unwrap();
        Limited(child)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn its_limit_is_explained_beforehand() {
    require_root!();
    let little = Limited::start("4");
    let pid = little.0.id().to_string();
    let ran = mctl(&["lock", &pid]).assert(1);
    let says = ran.err.contains("RLIMIT_MEMLOCK") && ran.err.contains("(ENOMEM)");
    assert!(says, "{ran:?}");
    let ran = mctl(&["lock", "-n", &pid]).assert(0);
    assert!(ran.out.contains("cannot be locked: "), "{ran:?}");
    let none = Limited::start("0");
    let pid = none.0.id().to_string();
    let json = mctl(&["lock", "--json", &pid]).assert(1).json();
    assert_eq!(json["processes"][0]["error"]["errno"], "EPERM");
}

#[test]
fn a_tree_is_locked_and_unlocked() {
    require_root!();
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let child = fixture.ask("spawn").unwrap().replace("child ", "");
    let locked = |pid: &str| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmLck"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    mctl(&["lock", "--tree", &pid]).assert(0);
    assert!(locked(&pid) > 0 && locked(&child) > 0);
    let json = mctl(&["unlock", "--tree", "--json", &pid]).assert(0).json();
    assert_eq!(json["processes"].as_array().unwrap().len(), 2);
    assert_eq!((locked(&pid), locked(&child)), (0, 0));
}

/// The pages are brought in piece by piece, and Ctrl-C comes between two of them.
#[test]
fn ctrl_c_leaves_the_rest_as_it_was() {
    require_root!();
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let size: u64 = 4 << 30;
    let (start, _) = mapped(&mut fixture, &format!("map {size}"));
    let child = interruptible()
        .args(["lock", &pid])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Once the first pages are there it is at work.
    let deadline = Instant::now() + Duration::from_secs(120);
    while kib(&mut fixture, &start, "Rss") == 0 {
        assert!(Instant::now() < deadline, "it never began");
    }
    let ours = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(ours, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{err}");
    assert!(err.contains("the rest is as it was"), "{err}");
    let there = kib(&mut fixture, &start, "Rss");
    assert!(
        there < size >> 10,
        "{there} KiB: it ended before Ctrl-C came"
    );
    // The mapping is in two: what was locked, and what was not reached.
    let locked = kib(&mut fixture, &start, "Locked");
    assert!(
        locked == 0 || locked == kib(&mut fixture, &start, "Size"),
        "{locked} KiB"
    );
    mctl(&["unlock", "-q", &pid]).assert(0);
    assert_eq!(kib(&mut fixture, &start, "Locked"), 0);
}

#[test]
fn bad_words() {
    mctl::<&str>(&["lock"]).assert(2);
    mctl(&["lock", "0"]).assert(2);
    mctl(&["lock", NO_PROCESS]).assert(1);
}
