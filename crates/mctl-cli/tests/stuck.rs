//! Processes about which the kernel does not answer: they are refused by name, and the others of the command are
//! served; one of them cannot hang a command.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{command, thp_enabled};
use mctl_testkit::{CpuCgroup, Fixture, start};
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

/// The command in a cgroup of its own, to be sent signals.
fn command_in(cgroup: &CpuCgroup) -> Command {
    let mut command = mctl_testkit::heeding_signals("sh");
    command
        .args(["-c", "echo 0 >\"$0\" && exec \"$@\""])
        .arg(cgroup.procs())
        .arg(env!("CARGO_BIN_EXE_mctl"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Waits until the command waits for an answer: a task of its, beside itself, sleeps, and still does at the next looks.
/// False: it has ended before.
fn is_in_the_wait(child: &mut Child, cgroup: &CpuCgroup) -> bool {
    let own = i32::try_from(child.id()).unwrap();
    let asleep = || {
        let tasks = cgroup.members().into_iter().filter(|pid| *pid != own);
        let asleep: Vec<i32> = tasks
            .filter(|pid| {
                let tasks = mctl_testkit::tasks(*pid);
                !tasks.is_empty() && tasks.iter().all(|task| matches!(task.state, 'S' | 'D'))
            })
            .collect();
        asleep
    };
    let mut seen = (Vec::new(), 0);
    while child.try_wait().unwrap().is_none() {
        let now = asleep();
        seen = match now == seen.0 && !now.is_empty() {
            true => (now, seen.1 + 1),
            false => (now, 0),
        };
        if seen.1 == 20 {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

/// In the middle of its wait a signal ends the command, and nothing of it is left in its cgroup.
#[test]
fn a_signal_ends_the_wait_and_leaves_nothing() {
    let stuck = start!("fuse_stuck", "how=flush");
    let cgroup = match CpuCgroup::with_quota("stuck", 1_000_000) {
        Ok(cgroup) => cgroup,
        Err(why) => mctl_testkit::skip!("{why}"),
    };
    for words in ["get", "set nohugepage", "lock", "collapse"] {
        for signal in [Signal::INT, Signal::TERM] {
            let mut tries = 0;
            // It may have ended by itself before it was seen, on a machine that is slow to look.
            loop {
                tries += 1;
                assert!(tries < 50, "{words}: never met in its wait");
                let mut child = command_in(&cgroup)
                    .args(words.split(' '))
                    .arg(stuck.target().to_string())
                    .spawn()
                    .unwrap();
                let waits = is_in_the_wait(&mut child, &cgroup);
                if waits {
                    kill_process(Pid::from_child(&child), signal).unwrap();
                }
                let begun = Instant::now();
                let status = child.wait_with_output().unwrap().status;
                assert!(begun.elapsed() < NEVER, "{words}");
                while !cgroup.members().is_empty() {
                    assert!(
                        begun.elapsed() < NEVER,
                        "{words}: {:?} is left",
                        cgroup.members()
                    );
                    std::thread::sleep(Duration::from_millis(1));
                }
                let ended = status.signal() == Some(signal.as_raw())
                    || status.code() == Some(128 + signal.as_raw());
                if waits && ended {
                    break;
                }
            }
            eprintln!("{words}: met in its wait at try {tries}");
        }
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
