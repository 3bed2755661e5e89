//! One situation, one errno, whichever command meets it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::time::Duration;

use common::{AsUser, NO_PROCESS, Ran, mctl};
use mctl_testkit::Fixture;
use rustix::process::Signal;

/// Commands that only read.
const READS: &[&[&str]] = &[&["get"], &["get", "--json"], &["get", "--maps"], &["map"]];

/// Commands for which the process itself has to make a call, whoever asks.
const INJECTED: &[&[&str]] = &[
    &["set", "nohugepage"],
    &["set", "nohugepage", "--json"],
    &["set", "nohugepage", "-n"],
    &["clear", "nohugepage"],
    &["advise", "mergeable", "--anon"],
    &["advise", "mergeable", "--anon", "-n"],
    &["lock"],
    &["lock", "-n"],
    &["unlock"],
];

/// Those that the kernel may do from outside.
const REMOTE: &[&[&str]] = &[
    &["cold"],
    &["cold", "-n"],
    &["pageout"],
    &["collapse"],
    &["collapse", "-n"],
    &["advise", "willneed", "--skip-errors"],
];

/// What is wrong: one line for each command that says something else.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn check(
        &mut self,
        situation: &str,
        errno: &str,
        pid: &str,
        commands: &[&[&[&str]]],
        run: impl Fn(&[&str]) -> Ran,
    ) {
        for command in commands.iter().copied().flatten() {
            let words = [*command, &[pid]].concat();
            let ran = run(&words);
            let said = format!("{}{}", ran.err, ran.out);
            let others = [
                "ESRCH",
                "EPERM",
                "EACCES",
                "EBUSY",
                "EOPNOTSUPP",
                "ENOENT",
                "EINVAL",
            ];
            let other = others.iter().find(|e| **e != errno && said.contains(**e));
            if ran.code != Some(1) || !said.contains(errno) || other.is_some() {
                self.0.push(format!("{situation}: {command:?}: {ran:?}"));
            }
        }
    }

    #[track_caller]
    fn assert_none(self) {
        assert!(self.0.is_empty(), "\n{}", self.0.join("\n"));
    }
}

const ALL: &[&[&[&str]]] = &[READS, INJECTED, REMOTE];

#[test]
fn gone_or_without_memory() {
    let mut wrong = Wrong::default();
    wrong.check("gone", "ESRCH", NO_PROCESS, ALL, |words| mctl(words));
    let recycled = format!("{}:1", std::process::id());
    let inodes = mctl(&["probe", "--json"]).assert(0).json()["kernel"]["process_inodes"] == "yes";
    if inodes {
        wrong.check("recycled", "ESRCH", &recycled, ALL, |words| mctl(words));
    }
    let zombie = mctl_testkit::start!("zombie");
    let pid = zombie.target().to_string();
    // (`get` and `map` of memory that is gone say so alike.)
    wrong.check("zombie", "ESRCH", &pid, ALL, |words| mctl(words));
    wrong.assert_none();
}

#[test]
fn another_users() {
    mctl_testkit::require_root!();
    let mut wrong = Wrong::default();
    let fixture = mctl_testkit::start!("touch");
    let nobody = AsUser::new();
    let pid = fixture.pid().to_string();
    let changes: &[&[&[&str]]] = &[INJECTED, REMOTE];
    wrong.check("another user's", "EPERM", &pid, changes, |words| {
        nobody.mctl(words)
    });
    wrong.assert_none();
}

/// It can be read, and changed from outside, but makes no call.
#[test]
fn not_to_be_reached_now() {
    let mut wrong = Wrong::default();
    let held = mctl_testkit::start!("held");
    let pid = held.target().to_string();
    wrong.check("traced", "EBUSY", &pid, &[INJECTED], |words| mctl(words));
    wrong.assert_none();
}

/// Stopped by a signal it stands still already: it is served, and stays stopped.
#[test]
fn stopped_by_a_signal() {
    let stopped = mctl_testkit::start!("touch");
    stopped.signal(Signal::STOP).unwrap();
    stopped.wait_state("T", Duration::from_secs(60)).unwrap();
    let pid = stopped.pid().to_string();
    for command in INJECTED.iter().chain(REMOTE) {
        let words = [*command, &[pid.as_str()]].concat();
        let ran = mctl(&words);
        // A limit of the process's own may forbid a lock, stopped or not.
        let limited = ran.err.contains("RLIMIT_MEMLOCK");
        assert!(ran.code == Some(0) || limited, "{command:?}: {ran:?}");
        // Let go, it is on its way back into the stop, and comes to no code of its own before.
        let stands = stopped.wait_state("T", Duration::from_secs(60));
        assert!(stands.is_ok(), "{command:?}: {stands:?}");
    }
}

#[test]
fn of_another_architecture() {
    let mut wrong = Wrong::default();
    let fixture: Fixture = mctl_testkit::start!("i386");
    let pid = fixture.pid().to_string();
    let switches = &INJECTED[..4];
    wrong.check(
        "32-bit",
        "EOPNOTSUPP",
        &pid,
        &[switches, &INJECTED[6..]],
        |words| mctl(words),
    );
    wrong.assert_none();
}
