//! `mctl unlock` on real processes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::memory::{kib, populated};
use common::{NO_PROCESS, interruptible, mctl, wait_interruptible};
use mctl_testkit::start;

#[test]
fn whoever_locked_it() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, len) = populated(&mut fixture, "map 2097152");
    assert_eq!(fixture.ask(&format!("lock {start} {len}")).unwrap(), "ok");
    let ran = mctl(&["unlock", "-n", &pid]).assert(0);
    assert!(ran.out.contains("would unlock 2 MiB"), "{ran:?}");
    assert_eq!(kib(&mut fixture, &start, "Locked"), 2048);
    let ran = mctl(&["unlock", &pid]).assert(0);
    assert!(ran.out.contains("locked 2 MiB → 0 B"), "{ran:?}");
    assert_eq!(kib(&mut fixture, &start, "Locked"), 0);
    let json = mctl(&["unlock", "--json", "--tree", &pid]).assert(0).json();
    assert_eq!(json["processes"][0]["locked"]["after"], 0);
    assert_eq!(json["request"], "unlock");
}

#[test]
fn bad_words() {
    mctl::<&str>(&["unlock"]).assert(2);
    mctl(&["unlock", "--current", "1"]).assert(2);
    mctl(&["unlock", NO_PROCESS]).assert(1);
}

/// Some processes never have a harmless moment. All of them together are waited for no longer than one, and the others
/// are done.
#[test]
fn several_are_waited_for_as_long_as_one() {
    if mctl_testkit::has_native_call() {
        mctl_testkit::skip!("written for kernels on which threads have to be stopped");
    }
    const WAIT_MS: u64 = 1500;
    let never = [
        start!("no_moment", "most=0", "every=1000000"),
        start!("no_moment", "most=0", "every=1000000"),
        start!("no_moment", "most=0", "every=1000000"),
        start!("no_moment", "most=0", "every=1000000"),
    ];
    let pausing = [start!("pause", "every=0"), start!("pause", "every=0")];
    for fixture in never.iter().chain(&pausing) {
        let asleep = fixture.wait_blocked(std::time::Duration::from_secs(60));
        asleep.unwrap();
    }
    let pids: Vec<String> = [
        &never[0],
        &pausing[0],
        &never[1],
        &never[2],
        &pausing[1],
        &never[3],
    ]
    .iter()
    .map(|fixture| fixture.pid().to_string())
    .collect();
    let wait = format!("{WAIT_MS}ms");
    for command in [&["unlock"][..], &["advise", "hugepage"]] {
        let mut words: Vec<&str> = command.to_vec();
        words.extend(["--wait", &wait]);
        words.extend(pids.iter().map(String::as_str));
        let ran = mctl(&words).assert(1);
        let waited: Vec<u64> = ran
            .err
            .split(" within ")
            .skip(1)
            .filter_map(|rest| rest.split(' ').next()?.parse().ok())
            .collect();
        assert_eq!(waited.len(), never.len(), "{command:?}: {ran:?}");
        // Each for itself, it were four times the wait.
        let sum: u64 = waited.iter().sum();
        assert!(sum <= 2 * WAIT_MS, "{command:?}: {waited:?}");
        assert!(sum >= WAIT_MS / 2, "{command:?}: {waited:?}");
        for fixture in &pausing {
            let failed = format!("process {}:", fixture.pid());
            assert!(!ran.err.contains(&failed), "{command:?}: {ran:?}");
        }
    }
}

/// However long a moment is waited for, Ctrl-C ends it: where a carrier is to be born, and where a thread is to be
/// borrowed.
#[test]
fn a_long_wait_ends_with_ctrl_c() {
    if mctl_testkit::has_native_call() {
        mctl_testkit::skip!("written for kernels on which threads have to be stopped");
    }
    let fixture = start!("no_moment", "most=0", "every=1000000");
    let patience = std::time::Duration::from_secs(60);
    fixture.wait_blocked(patience).unwrap();
    let pid = fixture.pid().to_string();
    for command in [&["unlock"][..], &["advise", "hugepage"]] {
        let child = interruptible()
            .args(command)
            .args(["--wait", "60s", &pid])
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mctl = rustix::process::Pid::from_child(&child);
        // From here on at any moment, most likely of its wait.
        wait_interruptible(&child);
        std::thread::sleep(std::time::Duration::from_millis(200));
        rustix::process::kill_process(mctl, rustix::process::Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{command:?}");
        // Waited to the end, it would say for how long.
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(
            !err.contains("no harmless moment within"),
            "{command:?}: {err}"
        );
    }
}
