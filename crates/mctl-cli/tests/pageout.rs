//! `mctl pageout` on real processes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::memory::{kib, mapped};
use common::{NO_PROCESS, interruptible, mctl, wait_interruptible};
use mctl_testkit::start;

#[test]
fn pages_of_files_go_and_come_back() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, len) = mapped(&mut fixture, "file 16777216 a.data");
    let read = format!("zero {start} {len}");
    assert_eq!(fixture.ask(&read).unwrap(), "ok");
    // Pages that were just read may still be on their way to the lists that reclaim sees.
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut args = vec!["pageout", "--maps", "*/a.data", &pid];
    let mut ran = mctl(&args).assert(0);
    while kib(&mut fixture, &start, "Rss") > 1024 {
        if Instant::now() > deadline {
            mctl_testkit::skip!("the file system under the tests keeps its pages");
        }
        ran = mctl(&args).assert(0);
    }
    assert!(ran.out.contains(&format!("{pid} (touch-")), "{ran:?}");
    assert!(
        ran.out.contains("resident") && ran.out.contains("swap"),
        "{ran:?}"
    );
    assert_eq!(fixture.ask(&read).unwrap(), "ok");
    args.push("-q");
    assert_eq!(mctl(&args).assert(0).out, "");
}

#[test]
fn everything_with_what_was_passed_over() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, len) = mapped(&mut fixture, "file 4096 a.data");
    let locked = fixture.ask(&format!("lock {start} {len}")).unwrap();
    if locked != "ok" {
        mctl_testkit::skip!("the machine lets it lock no page: {locked}");
    }
    let ran = mctl(&["pageout", &pid]).assert(0);
    assert!(ran.out.contains("passed over"), "{ran:?}");
    assert!(ran.out.contains("locked"), "{ran:?}");
    let ran = mctl(&["pageout", "--json", &pid, NO_PROCESS]).assert(1);
    let json = ran.json();
    let row = json["processes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["pid"].as_i64() == pid.parse().ok())
        .unwrap();
    assert!(row["advised"]["skipped_total"].as_u64().unwrap() > 0);
    assert_eq!(row["advised"]["skipped_why"][0]["errno"], "EINVAL");
    assert!(row["change"]["before"]["memory"]["rss"].as_u64().unwrap() > 0);
    assert!(row["change"]["host_wide"]["swap_in"].is_u64());
    assert!(row["change"]["major_faults"].is_u64());
}

/// Where anonymous memory has nowhere to go, its huge pages are not split for nothing.
#[test]
fn without_swap_anonymous_memory_is_left_out() {
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    if swaps.lines().count() > 1 {
        mctl_testkit::skip!("needs a host without swap");
    }
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, len) = mapped(&mut fixture, "map 16777216");
    for line in [
        format!("advise {start} {len} 14"),
        format!("touch {start} {len}"),
    ] {
        assert_eq!(fixture.ask(&line).unwrap(), "ok");
    }
    let huge = kib(&mut fixture, &start, "AnonHugePages");
    let said = "the host has no swap: ";
    let ran = mctl(&["pageout", &pid]).assert(0);
    assert!(
        ran.err
            .starts_with(&format!("mctl: note: process {pid}: {said}")),
        "{ran:?}"
    );
    assert!(ran.err.contains("is left out"), "{ran:?}");
    let ran = mctl(&["pageout", "--dry-run", &pid]).assert(0);
    assert!(ran.out.contains(said), "{ran:?}");
    let json = mctl(&["pageout", "-n", "--json", &pid]).assert(0).json();
    let left = &json["processes"][0]["plan"]["bounds"]["left_out"];
    assert!(left["bytes"].as_u64().unwrap() >= 16 << 20, "{json}");
    let json = mctl(&["pageout", "--json", &pid]).assert(0).json();
    let left = &json["processes"][0]["advised"]["bounds"]["left_out"];
    assert_eq!(left["why"], "the host has no swap", "{json}");
    let range = common::memory::range(&start, &len);
    for words in [
        &["pageout", "--anon"][..],
        &["pageout", "--range", &range],
        &["pageout", "--anon", "--dry-run"],
        &["advise", "pageout", "--anon", "--skip-errors"],
    ] {
        let ran = mctl(&[words, &[&pid]].concat()).assert(1);
        assert!(
            ran.err.contains("no swap") && ran.err.contains("EOPNOTSUPP"),
            "{ran:?}"
        );
    }
    mctl(&["advise", "pageout", "--skip-errors", &pid]).assert(0);
    mctl(&["cold", "--anon", "-q", &pid]).assert(0);
    assert_eq!(kib(&mut fixture, &start, "AnonHugePages"), huge);
    assert_eq!(fixture.ask(&format!("check {start} {len}")).unwrap(), "ok");
}

#[test]
fn a_dry_run_says_how_much() {
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    let ran = mctl(&["pageout", "--dry-run", "-v", &pid]).assert(0);
    assert!(ran.out.contains("would give pageout to "), "{ran:?}");
    assert!(ran.out.lines().count() > 3, "{ran:?}");
}

#[cfg(target_arch = "x86_64")]
const CLOCK_NANOSLEEP: u64 = 230;
#[cfg(not(target_arch = "x86_64"))]
const CLOCK_NANOSLEEP: u64 = 115;

/// Waits until it pauses, which it does between two batches only.
fn wait_pausing(child: &std::process::Child) {
    let pid = i32::try_from(child.id()).unwrap();
    let begun = Instant::now();
    let pauses = |task: &mctl_testkit::Task| task.is_blocked_in(Some(CLOCK_NANOSLEEP));
    while !mctl_testkit::tasks(pid).iter().any(pauses) {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "it never pauses"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn ctrl_c_ends_it_between_two_batches() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let other = start!("pause");
    let (start, len) = mapped(&mut fixture, "file 268435456 a.data");
    // 128 steps of 2 MiB, 200 ms each: it would take 25 s.
    let child = interruptible()
        .args([
            "pageout",
            "--pace",
            "200ms",
            "--file",
            &pid,
            &other.pid().to_string(),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_interruptible(&child);
    wait_pausing(&child);
    let begun = Instant::now();
    let ours = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(ours, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(60));
    let out = String::from_utf8(output.stdout).unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{out} {err}");
    assert!(
        out.contains("pageout: ") && out.contains("resident"),
        "{out}"
    );
    assert!(
        err.contains("interrupted; 1 process was not begun"),
        "{err}"
    );
    assert_eq!(fixture.ask(&format!("zero {start} {len}")).unwrap(), "ok");
}

#[test]
fn a_second_ctrl_c_kills() {
    use std::os::unix::process::ExitStatusExt;
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    mapped(&mut fixture, "file 67108864 a.data");
    let mut child = interruptible()
        .args(["pageout", "--pace", "60s", "--file", &pid])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_interruptible(&child);
    wait_pausing(&child);
    let ours = rustix::process::Pid::from_child(&child);
    // Two in a row, before the first can have been acted on.
    for _ in 0..200 {
        let _ = rustix::process::kill_process(ours, rustix::process::Signal::INT);
    }
    let status = child.wait().unwrap();
    assert!(
        status.signal() == Some(2) || status.code() == Some(130),
        "{status}"
    );
}
