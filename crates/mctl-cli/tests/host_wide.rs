//! What changes the whole machine: host knobs, swap, KSM, pressure. Only in a guest of ours:
//!
//!     cargo xtask guest test --only host_wide
//!
//! Nothing may run beside such a test; the guest starts them one by one, with `--ignored`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "host_wide/budget.rs"]
mod budget;
mod common;
#[path = "host_wide/reading.rs"]
mod reading;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::mctl;
use common::memory::{kib, mapped, populated};
use mctl_testkit::{Fixture, compile, skip, start};

const THP: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
const MIB: u64 = 1 << 10;

/// Refuses to go on anywhere but in one of our guests.
#[track_caller]
fn only_in_a_guest() {
    let line = std::fs::read_to_string("/proc/cmdline").unwrap();
    assert!(
        line.split_whitespace().any(|word| word == "mctl.guest=1"),
        "refused: this test changes the whole machine, and this is no guest of ours \
         (no mctl.guest=1 in /proc/cmdline); run cargo xtask guest test --only host_wide"
    );
}

/// Writes a knob, and puts the old value back in the end.
struct Knob {
    path: String,
    old: String,
}

impl Knob {
    #[track_caller]
    fn set(path: &str, value: &str) -> Knob {
        only_in_a_guest();
        let text = std::fs::read_to_string(path).unwrap();
        let chosen = text.split(['[', ']']).nth(1).unwrap_or(text.trim());
        std::fs::write(path, value).unwrap_or_else(|e| panic!("{path} = {value}: {e}"));
        Knob {
            path: path.to_owned(),
            old: chosen.to_owned(),
        }
    }
}

impl Drop for Knob {
    fn drop(&mut self) {
        let _ = std::fs::write(&self.path, &self.old);
    }
}

/// How much of a fresh mapping, written to from end to end, is huge.
fn fresh(fixture: &mut Fixture) -> u64 {
    let (start, _) = populated(fixture, "map 8388608");
    kib(fixture, &start, "AnonHugePages")
}

/// The same with the program's own HUGEPAGE advice.
fn fresh_advised(fixture: &mut Fixture) -> u64 {
    let (start, len) = mapped(fixture, "map 8388608");
    let advice = format!("advise {start} {len} 14");
    assert_eq!(fixture.ask(&advice).unwrap(), "ok");
    let touch = format!("touch {start} {len}");
    assert_eq!(fixture.ask(&touch).unwrap(), "ok");
    kib(fixture, &start, "AnonHugePages")
}

/// "No huge page" shows something only where one can appear.
#[track_caller]
fn huge_pages_appear(fixture: &mut Fixture) {
    assert_eq!(
        fresh_advised(fixture),
        8 * MIB,
        "this guest makes no huge pages at all"
    );
}

fn native() -> bool {
    Path::new("/sys/kernel/mm/mctl/nr").exists()
}

#[test]
#[ignore = "changes the whole machine: only in a guest"]
fn where_the_host_says_always() {
    only_in_a_guest();
    let _knob = Knob::set(THP, "always");
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    assert_eq!(fresh(&mut fixture), 8 * MIB, "the host says always");
    mctl(&["set", "-q", "--inherit", "nohugepage", &pid]).assert(0);
    assert_eq!((fresh(&mut fixture), fresh_advised(&mut fixture)), (0, 0));
    let answer = fixture.ask("fork").unwrap();
    assert!(answer.starts_with("fork "), "{answer}");
    assert_eq!(fresh(&mut fixture), 0, "the child has it too");
    fixture.ask("exit").unwrap();
    mctl(&["clear", "nohugepage", &pid]).assert(0);
    assert_eq!(fresh(&mut fixture), 8 * MIB, "after clear it is as before");
    mctl(&["set", "-q", "--inherit", "hugepage", &pid]).assert(0);
    assert_eq!(fresh(&mut fixture), 8 * MIB);
}

#[test]
#[ignore = "changes the whole machine: only in a guest"]
fn where_the_host_says_madvise() {
    only_in_a_guest();
    let _knob = Knob::set(THP, "madvise");
    let mut fixture = start!("touch");
    huge_pages_appear(&mut fixture);
    let pid = fixture.pid().to_string();
    assert_eq!(fresh(&mut fixture), 0, "without advice");
    let (before, len) = mapped(&mut fixture, "map 8388608");
    mctl(&["set", "-q", "hugepage", &pid]).assert(0);
    let touch = format!("touch {before} {len}");
    assert_eq!(fixture.ask(&touch).unwrap(), "ok");
    assert_eq!(kib(&mut fixture, &before, "AnonHugePages"), 8 * MIB);
    // What is mapped later is the native kernel's alone.
    let later = if native() { 8 * MIB } else { 0 };
    assert_eq!(fresh(&mut fixture), later);
    mctl(&["set", "-q", "--inherit", "nohugepage", &pid]).assert(0);
    assert_eq!(fresh_advised(&mut fixture), 0, "never is never");
}

#[test]
#[ignore = "changes the whole machine: only in a guest"]
fn where_the_host_says_never() {
    only_in_a_guest();
    let _knob = Knob::set(THP, "madvise");
    let mut fixture = start!("touch");
    huge_pages_appear(&mut fixture);
    let _never = Knob::set(THP, "never");
    assert_eq!(fresh_advised(&mut fixture), 0);
    let pid = fixture.pid().to_string();
    let ran = mctl(&["set", "--strict", "--inherit", "hugepage", &pid]);
    if native() {
        ran.assert(0);
    } else {
        let ran = ran.assert(1);
        assert!(ran.err.contains("EOPNOTSUPP"), "{ran:?}");
        assert!(
            ran.err.contains("transparent_hugepage"),
            "names the knob: {ran:?}"
        );
    }
    assert_eq!(
        fresh_advised(&mut fixture),
        0,
        "no policy overrides the host's never"
    );
}

#[test]
#[ignore = "changes the whole machine: only in a guest"]
fn a_program_started_under_a_policy() {
    only_in_a_guest();
    let _knob = Knob::set(THP, "always");
    let program = compile("touch", &[]).unwrap();
    // Maps, touches, asks: lines in, lines out.
    let huge = |args: &[&str]| -> String {
        let script = r#"
            coproc T { "$@"; }
            ask() { echo "$1" >&"${T[1]}"; read -r line <&"${T[0]}"; }
            while read -r line <&"${T[0]}"; do case $line in ready*) break;; esac; done
            ask "map 8388608"; set -- $line; at=$2
            ask "touch $at 8388608"; ask "huge $at"; echo "$line"
        "#;
        let program = program.display().to_string();
        let words = [&["-c", script, "bash"], args, &[&program]].concat();
        let output = Command::new("bash").args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let mctl = env!("CARGO_BIN_EXE_mctl");
    assert_eq!(huge(&[]), "huge 8192", "it can appear");
    assert_eq!(
        huge(&[mctl, "run", "--thp", "never", "--inherit", "--"]),
        "huge 0"
    );
    assert_eq!(
        huge(&[mctl, "run", "--thp", "always", "--inherit", "--"]),
        "huge 8192"
    );
}

#[test]
#[ignore = "changes the whole machine: only in a guest"]
fn always_is_inherited_on_a_native_kernel() {
    only_in_a_guest();
    if !native() {
        skip!("needs a kernel with mctl()");
    }
    let _knob = Knob::set(THP, "madvise");
    let mut fixture = start!("touch");
    huge_pages_appear(&mut fixture);
    let pid = fixture.pid().to_string();
    assert_eq!(fresh(&mut fixture), 0, "before");
    let ran = mctl(&[
        "set",
        "--strict",
        "--verbose",
        "--inherit",
        "hugepage",
        &pid,
    ])
    .assert(0);
    println!("{}", ran.out);
    assert_eq!(fresh(&mut fixture), 8 * MIB, "after");
    fixture.ask("fork").unwrap();
    assert_eq!(fresh(&mut fixture), 8 * MIB, "the child");
    fixture.ask("exit").unwrap();
    let answer = fixture.ask("exec").unwrap();
    assert!(answer.starts_with("ready"), "{answer}");
    assert_eq!(fresh(&mut fixture), 8 * MIB, "the next image");
    mctl(&["clear", "hugepage", &pid]).assert(0);
    assert_eq!(fresh(&mut fixture), 0, "cleared");
}

/// Swap in memory.
struct Zram;

impl Zram {
    fn on() -> Option<Zram> {
        only_in_a_guest();
        if !Path::new("/dev/zram0").exists() {
            return None;
        }
        std::fs::write("/sys/block/zram0/disksize", "268435456").unwrap();
        for tool in ["mkswap", "swapon"] {
            let output = Command::new(format!("/sbin/{tool}"))
                .arg("/dev/zram0")
                .output();
            let output = output.unwrap();
            assert!(output.status.success(), "{tool}: {output:?}");
        }
        Some(Zram)
    }
}

impl Drop for Zram {
    fn drop(&mut self) {
        let _ = Command::new("/sbin/swapoff").arg("/dev/zram0").status();
        let _ = std::fs::write("/sys/block/zram0/reset", "1");
    }
}

fn status(pid: i32, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(key)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "changes the whole machine: only in a guest"]
fn pageout_goes_to_swap_and_comes_back() {
    only_in_a_guest();
    let mut fixture = start!("touch");
    let pid = fixture.pid();
    let (start, len) = populated(&mut fixture, "map 33554432");
    let Some(_zram) = Zram::on() else {
        skip!("needs zram");
    };
    assert_eq!(status(pid, "VmSwap:"), 0);
    mctl(&["pageout", "-q", "--anon", &pid.to_string()]).assert(0);
    let swapped = status(pid, "VmSwap:");
    assert!(swapped >= 28 * MIB, "{swapped} KiB of 32 MiB");
    let check = format!("check {start} {len}");
    assert_eq!(fixture.ask(&check).unwrap(), "ok");
    assert!(
        status(pid, "VmSwap:") < swapped,
        "it came back to be checked"
    );
}

#[test]
#[ignore = "changes the whole machine: only in a guest"]
fn what_is_cold_goes_first_under_pressure() {
    only_in_a_guest();
    let Some(_zram) = Zram::on() else {
        skip!("needs zram");
    };
    let group = Path::new("/sys/fs/cgroup/mctl-pressure");
    std::fs::create_dir_all(group).unwrap();
    if !group.join("memory.max").exists() {
        skip!("needs the memory controller");
    }
    let mut kept = start!("touch");
    let mut cold = start!("touch");
    for fixture in [&kept, &cold] {
        std::fs::write(group.join("cgroup.procs"), fixture.pid().to_string()).unwrap();
    }
    let (start, len) = populated(&mut kept, "map 33554432");
    populated(&mut cold, "map 33554432");
    mctl(&["cold", "-q", &cold.pid().to_string()]).assert(0);
    // Both, and something more, do not fit: 24 of 64 MiB have to go.
    let again = format!("touch {start} {len}");
    assert_eq!(kept.ask(&again).unwrap(), "ok");
    std::fs::write(group.join("memory.max"), "41943040").unwrap();
    let (warm, gone) = (status(kept.pid(), "VmSwap:"), status(cold.pid(), "VmSwap:"));
    println!("swapped: {gone} KiB of the cold one, {warm} KiB of the other");
    assert!(
        gone + warm >= 16 * MIB,
        "there was no pressure: {gone} + {warm} KiB"
    );
    assert!(
        gone >= 3 * warm,
        "{gone} KiB of the cold one, {warm} of the other"
    );
    std::fs::write(group.join("memory.max"), "max").unwrap();
}

#[test]
#[ignore = "changes the whole machine: only in a guest"]
fn ksm_merges_and_unmerges() {
    only_in_a_guest();
    let ksm = |name: &str| format!("/sys/kernel/mm/ksm/{name}");
    if !Path::new(&ksm("run")).exists() {
        skip!("needs KSM");
    }
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    if fixture.ask("merge").unwrap() != "merge 0" {
        skip!("needs PR_SET_MEMORY_MERGE (Linux 6.4)");
    }
    // Untouched by reads but filled with the same: a page of zeroes each, written. Small pages, whatever
    // the host says: KSM merges no part of a huge one.
    let (start, len) = mapped(&mut fixture, "map 4194304");
    assert_eq!(
        fixture.ask(&format!("advise {start} {len} 15")).unwrap(),
        "ok"
    );
    assert_eq!(
        fixture.ask(&format!("advise {start} {len} 23")).unwrap(),
        "ok"
    );
    let _pages = Knob::set(&ksm("pages_to_scan"), "20000");
    let _sleep = Knob::set(&ksm("sleep_millisecs"), "20");
    let _run = Knob::set(&ksm("run"), "1");
    let sharing = || -> u64 {
        let text = std::fs::read_to_string(ksm("pages_sharing")).unwrap();
        text.trim().parse().unwrap()
    };
    assert_eq!(sharing(), 0, "nothing else merges here");
    mctl(&["set", "-q", "--inherit", "mergeable", &pid]).assert(0);
    let begin = Instant::now();
    while sharing() < 512 && begin.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(100));
    }
    let merged = sharing();
    assert!(merged >= 512, "{merged} of 1024 pages");
    mctl(&["clear", "mergeable", &pid]).assert(0);
    assert!(sharing() < 16, "unmerged: {} of {merged}", sharing());
}
