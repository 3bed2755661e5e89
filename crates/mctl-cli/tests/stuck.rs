//! Processes about which the kernel does not answer: they are refused by name, and the others of the command are
//! served; one of them cannot hang a command.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{command, thp_enabled};
use mctl_testkit::{Fixture, start};
use rustix::process::{Pid, Signal, kill_process};

/// Far beyond the bound, on any machine; without one it would be for ever.
const NEVER: Duration = Duration::from_secs(60);

/// Runs it; ends it where it hangs. Whoever held its standard output would keep this waiting, too.
fn run_within_reason(words: &str, pids: &[String]) -> common::Ran {
    let mut command = command();
    command.args(words.split(' ')).args(pids);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&child);
    let (done, ended) = std::sync::mpsc::channel();
    let watch = std::thread::spawn(move || {
        if ended.recv_timeout(NEVER).is_err() {
            kill_process(pid, Signal::KILL).unwrap();
        }
    });
    let output = child.wait_with_output().unwrap();
    done.send(()).ok();
    watch.join().unwrap();
    common::Ran {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// In execve(2), closing a descriptor: nearly all of its files in /proc wait.
fn targets(stuck: &[Fixture], good: &Fixture) -> Vec<String> {
    let stuck = stuck.iter().map(Fixture::target);
    stuck
        .chain([good.pid()])
        .map(|pid| pid.to_string())
        .collect()
}

#[test]
fn the_others_are_served_and_each_has_a_result() {
    let stuck = [
        start!("fuse_stuck", "how=flush"),
        start!("fuse_stuck", "how=flush"),
    ];
    let good = start!("poll", "every=0");
    let pids = targets(&stuck, &good);
    for words in [
        "set nohugepage --dry-run",
        "set nohugepage",
        "clear nohugepage",
        "get",
        "get --maps",
        "lock --dry-run",
        "lock",
        "unlock",
        "collapse --dry-run",
        "collapse",
        "cold",
        "split",
    ] {
        let begun = Instant::now();
        let ran = run_within_reason(words, &pids).assert(1);
        eprintln!("{words}: {:?}", begun.elapsed());
        for pid in &pids[..2] {
            assert!(ran.err.contains(pid.as_str()), "{words}: {ran:#?}");
        }
        let refused = format!("mctl: process {}:", pids[2]);
        assert!(!ran.err.contains(&refused), "{words}: {ran:#?}");
        if words == "set nohugepage" {
            assert!(!thp_enabled(good.pid()));
        }
    }
    good.finish().unwrap().assert_clean(1);
}

/// A look at a tree begins with a look at every process there is.
#[test]
fn a_tree_elsewhere_is_shown() {
    let stuck = start!("fuse_stuck", "how=flush");
    let good = start!("poll", "every=0");
    let ran = run_within_reason("get --tree", &[good.pid().to_string()]).assert(0);
    assert!(ran.out.contains(&good.pid().to_string()), "{ran:#?}");
    drop(stuck);
}

#[test]
fn a_signal_ends_it() {
    let stuck = start!("fuse_stuck", "how=flush");
    for signal in [Signal::INT, Signal::TERM] {
        let mut child = common::interruptible();
        let child = child
            .args(["get", &stuck.target().to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = child.spawn().unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let begun = Instant::now();
        child.wait_with_output().unwrap();
        assert!(begun.elapsed() < NEVER);
    }
}

/// A program that changes the instruction under us is named, and that is no success.
#[test]
fn a_hostile_program_is_named() {
    let filter = match mctl_testkit::is_root() {
        true => "filter=1",
        false => "filter=0",
    };
    let hostile = start!("vdso_flips", "how=jump", filter);
    let pid = hostile.pid().to_string();
    let mut named = 0;
    for n in 0..3000 {
        let words = ["set nohugepage", "clear nohugepage"][n % 2];
        let ran = run_within_reason(words, std::slice::from_ref(&pid));
        if ran.code == Some(0) {
            continue;
        }
        let ran = ran.assert(1);
        assert!(ran.err.contains(&pid), "{ran:#?}");
        named += usize::from(ran.err.contains("changes the code"));
        if named == 3 {
            break;
        }
    }
    assert!(named > 0, "never caught: the test shows nothing");
    hostile.finish().unwrap().assert_clean(1);
}
