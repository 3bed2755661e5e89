//! Reading never touches: every command that only reads, and every dry run, under strace.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod untouched_trace;

use std::process::Command;

use common::{command, mctl, ran};
use mctl_testkit::{skip, start};
use untouched_trace::Trace;

/// Every way to read a process. `PID` and `FILE` stand for the process and for its saved state.
const READS: &[&str] = &[
    "get PID",
    "get --json PID",
    "get --raw --bytes PID",
    "get --tree PID",
    "get --tree --json PID",
    "get --maps PID",
    "get --maps --json PID",
    "get -o pid,inode,process,command,policy,exec,uid,ppid,threads,state,size,swap,rss,anon,huge,coverage,shmem,shmemhuge,filehuge,hugetlb,advised,why PID",
    "map PID",
    "map --svg - PID",
    "probe",
    "probe --json",
    "explain EPERM get",
    "set nohugepage --dry-run PID",
    "set nohugepage --inherit --dry-run --json PID",
    "set hugepage-advised --dry-run PID",
    "set hugepage --dry-run PID",
    "set hugepage --dry-run --override-advice PID",
    "set mergeable --dry-run PID",
    "set nohugepage --dry-run --wait 1s PID",
    "set nohugepage --dry-run --disturb PID",
    "set nohugepage --dry-run --through-filter PID",
    "set nohugepage --dry-run --split PID",
    "set nohugepage,mergeable --dry-run --tree PID",
    "clear nohugepage --dry-run PID",
    "clear hugepage-advised,mergeable --dry-run --tree PID",
    "clear hugepage --dry-run PID",
    "advise willneed --dry-run PID",
    "advise mergeable --anon --dry-run PID",
    "advise hugepage --anon --dry-run PID",
    "advise populate-read --anon --dry-run PID",
    "cold --dry-run PID",
    "pageout --dry-run PID",
    "collapse --dry-run PID",
    "collapse --dry-run --max-growth 1G PID",
    "split --dry-run PID",
    "lock --dry-run PID",
    "lock --dry-run --json PID",
    "lock --dry-run --onfault PID",
    "unlock --dry-run PID",
    "restore --dry-run FILE",
    "restore --dry-run --json FILE",
    "map --json PID",
    "run --dry-run --thp never --inherit -- true",
];

/// Commands without a process to touch, or that do not only read.
const NOT_HERE: &[&str] = &["man", "completions", "help"];

fn strace() -> bool {
    let works = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status();
    works.is_ok_and(|status| status.success())
}

/// No command that can be rehearsed, and none that reads, is forgotten above.
#[test]
fn none_is_forgotten() {
    let help = mctl(&["--help"]).assert(0).out;
    let commands = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .map_while(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !NOT_HERE.contains(name));
    for name in commands {
        let read = |with: &str| {
            READS
                .iter()
                .any(|words| words.starts_with(&format!("{name} ")) && words.contains(with))
                || READS.contains(&name)
        };
        let rehearsed = mctl(&[name, "--help"]).assert(0).out.contains("--dry-run");
        assert!(
            read(if rehearsed { "--dry-run" } else { "" }),
            "mctl {name}"
        );
    }
}

#[test]
fn every_read_leaves_the_process_alone() {
    if !strace() {
        skip!("needs strace, and the right to trace");
    }
    let mut fixture = start!("touch");
    let answer = fixture.ask("map 8388608").unwrap();
    let address = answer.split(' ').nth(1).unwrap().to_owned();
    fixture.ask(&format!("touch {address} 8388608")).unwrap();
    fixture
        .ask(&format!("advise {address} 4194304 14"))
        .unwrap();
    fixture.ask("spawn").unwrap();
    // In every state there is: which of them the kernel shows differs.
    let states = ["setthp 0 0", "setthp 1 2", "setthp 1 0"];
    let pid = fixture.pid().to_string();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("saved.json");
    let trace = dir.path().join("trace");
    let mut faults = Vec::new();
    for state in states {
        // Before Linux 6.18 there is no such state.
        if fixture.ask(state).unwrap() != "ok" {
            continue;
        }
        std::fs::write(&file, mctl(&["get", "--json", &pid]).assert(0).out).unwrap();
        for words in READS {
            let words: Vec<&str> = words
                .split(' ')
                .map(|word| match word {
                    "PID" => pid.as_str(),
                    "FILE" => file.to_str().unwrap(),
                    word => word,
                })
                .collect();
            let mut traced = Command::new("strace");
            traced
                .args(["-f", "-v", "-s", "256", "-o"])
                .arg(&trace)
                .arg(command().get_program())
                .args(&words);
            let done = ran(&mut traced);
            // Some are refused, by the host or for the state: that is an answer too.
            let answered = matches!(done.code, Some(0 | 1)) && !done.err.contains("panicked");
            let text = std::fs::read_to_string(&trace).unwrap();
            let seen = Trace::of(&text, &pid);
            assert!(seen.calls > 20, "the trace is empty: {text}");
            let words = words.join(" ");
            if !answered {
                faults.push(format!("{state}: mctl {words}: {done:?}"));
            }
            faults.extend(
                seen.faults
                    .iter()
                    .map(|fault| format!("{state}: mctl {words}: {fault}")),
            );
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The test above can fail: what asks the process is seen as such.
#[test]
fn what_asks_the_process_is_seen() {
    if !strace() {
        skip!("needs strace, and the right to trace");
    }
    let fixture = start!("touch");
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let mut traced = Command::new("strace");
    traced
        .args(["-f", "-v", "-o"])
        .arg(&trace)
        .arg(command().get_program())
        .args(["set", "-q", "nohugepage", &fixture.pid().to_string()]);
    ran(&mut traced).assert(0);
    let text = std::fs::read_to_string(&trace).unwrap();
    let faults = Trace::of(&text, &fixture.pid().to_string()).faults;
    if mctl_testkit::has_native_call() {
        // One call of the kernel's own, which strace knows by number only.
        return;
    }
    assert!(
        faults.iter().any(|fault| fault.contains("ptrace")),
        "{faults:?}"
    );
}
