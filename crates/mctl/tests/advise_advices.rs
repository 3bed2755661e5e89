//! Every advice of the table on another process: it really arrives, or is refused for a reason.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper may panic")]

use std::time::Duration;

use mctl::advise::{ADVICES, Advice, Advise, Effect, P_PID, Range, Way, process_madvise};
use mctl::{Errno, Target};
use mctl_testkit::{Fixture, require_root, start};

const LEN: u64 = 4 << 20;

fn target(f: &Fixture) -> Target {
    Target::open(f.pid().to_string().parse().unwrap()).unwrap()
}

fn ok(f: &mut Fixture, command: &str) {
    assert_eq!(f.ask(command).unwrap(), "ok", "{command}");
}

fn map(f: &mut Fixture, kind: &str) -> Range {
    let answer = f.ask(&format!("{kind} {LEN}")).unwrap();
    let word = answer
        .split(' ')
        .nth(1)
        .unwrap_or_else(|| panic!("{answer}"));
    let start = u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap();
    Range { start, len: LEN }
}

fn smaps(f: &mut Fixture, at: Range, key: &str) -> String {
    f.ask(&format!("smaps {:#x} {key}", at.start)).unwrap()
}

fn kib(f: &mut Fixture, at: Range, key: &str) -> u64 {
    let line = smaps(f, at, key);
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn has_flag(f: &mut Fixture, at: Range, flag: &str) -> bool {
    smaps(f, at, "VmFlags").split(' ').any(|word| word == flag)
}

fn give(f: &Fixture, at: Range, advice: Advice) -> Result<u64, Errno> {
    let advise = Advise::new(advice).ranges(vec![at]);
    let advised = advise.give(&target(f)).map_err(|error| error.errno())?;
    assert_eq!(
        matches!(advised.way, Way::Injected | Way::Carrier),
        advised.longest_stop > Duration::ZERO,
        "{advice}"
    );
    advised.as_syscall()
}

fn word(text: &str) -> Advice {
    text.parse().unwrap()
}

#[test]
fn flags_arrive_and_go_again() {
    let mut f = start!("touch");
    for (advice, flag, set) in [
        ("random", "rr", true),
        ("sequential", "sr", true),
        ("normal", "sr", false),
        ("normal", "rr", false),
        ("dontdump", "dd", true),
        ("dodump", "dd", false),
        ("hugepage", "hg", true),
        ("nohugepage", "nh", true),
        ("nohugepage", "hg", false),
        ("hugepage", "nh", false),
        ("mergeable", "mg", true),
        ("unmergeable", "mg", false),
    ] {
        if !mctl_sys::raw::madvise::knows_advice(word(advice).number()) {
            eprintln!("skipped: this kernel does not know {advice}");
            continue;
        }
        let at = map(&mut f, "map");
        if !set {
            // What it takes away was there before.
            let on = match flag {
                "sr" => "sequential",
                "rr" => "random",
                "dd" => "dontdump",
                "mg" => "mergeable",
                "hg" => "hugepage",
                _ => "nohugepage",
            };
            assert_eq!(give(&f, at, word(on)), Ok(LEN), "{on}");
            assert!(has_flag(&mut f, at, flag), "{on}");
        }
        assert_eq!(give(&f, at, word(advice)), Ok(LEN), "{advice}");
        assert_eq!(has_flag(&mut f, at, flag), set, "{advice} {flag}");
        ok(&mut f, &format!("unmap {:#x} {LEN}", at.start));
    }
    // Undoing what only the program itself, or an override, may do.
    let at = map(&mut f, "map");
    ok(&mut f, &format!("advise {:#x} {LEN} 10", at.start));
    ok(&mut f, &format!("advise {:#x} {LEN} 18", at.start));
    assert!(has_flag(&mut f, at, "dc") && has_flag(&mut f, at, "wf"));
    assert_eq!(give(&f, at, Advice::DOFORK), Ok(LEN));
    assert_eq!(give(&f, at, Advice::KEEPONFORK), Ok(LEN));
    assert!(!has_flag(&mut f, at, "dc") && !has_flag(&mut f, at, "wf"));
    f.finish().unwrap().assert_clean(1);
}

#[test]
fn pages_come_and_become_huge() {
    require_root!();
    let mut f = start!("touch");
    let at = map(&mut f, "map");
    ok(&mut f, &format!("advise {:#x} {LEN} 15", at.start));
    assert_eq!(kib(&mut f, at, "Rss"), 0);
    assert_eq!(give(&f, at, Advice::POPULATE_WRITE), Ok(LEN));
    assert_eq!(kib(&mut f, at, "Rss"), LEN >> 10);
    assert_eq!(kib(&mut f, at, "Private_Dirty"), LEN >> 10);
    let read = map(&mut f, "shared");
    assert_eq!(give(&f, read, Advice::POPULATE_READ), Ok(LEN));
    assert_eq!(kib(&mut f, read, "Rss"), LEN >> 10);
    // Huge pages where there are small ones, with their contents.
    let small = map(&mut f, "map");
    ok(&mut f, &format!("advise {:#x} {LEN} 15", small.start));
    ok(&mut f, &format!("touch {:#x} {LEN}", small.start));
    // Looked at while the advice keeps khugepaged away: it may come at once when that is gone.
    assert_eq!(kib(&mut f, small, "AnonHugePages"), 0);
    ok(&mut f, &format!("advise {:#x} {LEN} 14", small.start));
    match give(&f, small, Advice::COLLAPSE) {
        Ok(bytes) => {
            assert_eq!(bytes, LEN);
            assert_eq!(kib(&mut f, small, "AnonHugePages"), LEN >> 10);
        }
        Err(Errno::EINVAL) => eprintln!("skipped: no transparent huge pages here"),
        Err(errno) => panic!("{errno}"),
    }
    for advice in [Advice::COLD, Advice::PAGEOUT, Advice::WILLNEED] {
        assert_eq!(give(&f, small, advice), Ok(LEN), "{advice}");
    }
    ok(&mut f, &format!("check {:#x} {LEN}", small.start));
    f.finish().unwrap().assert_clean(1);
}

#[test]
fn destructive_advice_is_refused_and_with_the_override_done() {
    require_root!();
    let mut f = start!("touch");
    let at = map(&mut f, "map");
    let place = format!("{:#x} {LEN}", at.start);
    ok(&mut f, &format!("touch {place}"));
    for info in ADVICES
        .iter()
        .filter(|info| info.effect == Effect::Destructive)
    {
        let flags_before = smaps(&mut f, at, "VmFlags");
        for flags in [0, 1, 2] {
            let got = process_madvise(P_PID, f.pid(), Some(&[at]), info.advice, flags);
            assert_eq!(
                got.map_err(|e| e.errno()),
                Err(Errno::EPERM),
                "{}",
                info.name
            );
        }
        let entire = process_madvise(P_PID, f.pid(), None, info.advice, 8);
        assert_eq!(
            entire.map_err(|e| e.errno()),
            Err(Errno::EPERM),
            "{}",
            info.name
        );
        assert_eq!(
            give(&f, at, info.advice),
            Err(Errno::EPERM),
            "{}",
            info.name
        );
        assert_eq!(smaps(&mut f, at, "VmFlags"), flags_before, "{}", info.name);
        ok(&mut f, &format!("check {place}"));
    }
    let over = |f: &Fixture, at: Range, advice: Advice| -> Result<u64, Errno> {
        let advise = Advise::new(advice).ranges(vec![at]).allow_destructive();
        let advised = advise.give(&target(f)).map_err(|error| error.errno())?;
        let forks = [Advice::DONTFORK, Advice::WIPEONFORK];
        let way = if forks.contains(&advice) {
            Way::Injected
        } else {
            Way::Carrier
        };
        assert_eq!(advised.way, way, "{advice}");
        advised.as_syscall()
    };
    assert_eq!(over(&f, at, Advice::DONTFORK), Ok(LEN));
    assert!(has_flag(&mut f, at, "dc"));
    assert_eq!(over(&f, at, Advice::WIPEONFORK), Ok(LEN));
    assert!(has_flag(&mut f, at, "wf"));
    assert_eq!(over(&f, at, Advice::FREE), Ok(LEN));
    assert_eq!(over(&f, at, Advice::DONTNEED), Ok(LEN));
    assert_eq!(kib(&mut f, at, "Rss"), 0);
    ok(&mut f, &format!("zero {place}"));
    let shared = map(&mut f, "memfd");
    ok(&mut f, &format!("touch {:#x} {LEN}", shared.start));
    assert_eq!(over(&f, shared, Advice::REMOVE), Ok(LEN));
    ok(&mut f, &format!("zero {:#x} {LEN}", shared.start));
    // Guards, which kill on access: installed and taken away again.
    if mctl_sys::raw::madvise::knows_advice(Advice::GUARD_INSTALL.number()) {
        assert_eq!(over(&f, at, Advice::GUARD_INSTALL), Ok(LEN));
        assert_eq!(over(&f, at, Advice::GUARD_REMOVE), Ok(LEN));
        ok(&mut f, &format!("zero {place}"));
    }
    // Not locked, so this one does what DONTNEED does. Poisoning is not tried: it takes page
    // frames of the machine out of use.
    ok(&mut f, &format!("touch {place}"));
    assert_eq!(over(&f, at, Advice::DONTNEED_LOCKED), Ok(LEN));
    ok(&mut f, &format!("zero {place}"));
    f.finish().unwrap().assert_clean(1);
}

#[test]
fn every_advice_of_the_table_was_tried() {
    // Those above, by name; a new row has to come in there.
    let tried = [
        "normal",
        "random",
        "sequential",
        "willneed",
        "dontneed",
        "free",
        "remove",
        "dontfork",
        "dofork",
        "mergeable",
        "unmergeable",
        "hugepage",
        "nohugepage",
        "dontdump",
        "dodump",
        "wipeonfork",
        "keeponfork",
        "cold",
        "pageout",
        "populate-read",
        "populate-write",
        "dontneed-locked",
        "collapse",
        "guard-install",
        "guard-remove",
    ];
    let never = ["hwpoison", "soft-offline"];
    for info in ADVICES {
        let word = info.word;
        assert!(tried.contains(&word) || never.contains(&word), "{word}");
    }
}

/// Injected long work comes in short stops. Times are reported, not asserted: the host is noisy.
#[test]
fn long_work_is_sliced() {
    let mut f = start!("touch");
    let len = 256u64 << 20;
    for advice in [
        Advice::POPULATE_WRITE,
        Advice::POPULATE_READ,
        Advice::MERGEABLE,
    ] {
        let answer = f.ask(&format!("map {len}")).unwrap();
        let start = answer
            .split(' ')
            .nth(1)
            .unwrap()
            .trim_start_matches("0x")
            .to_owned();
        let start = u64::from_str_radix(&start, 16).unwrap();
        ok(&mut f, &format!("advise {start:#x} {len} 15"));
        let mut calls = 0;
        let mut last = 0;
        let mut progress = |p: &mctl::advise::Progress| {
            assert!(p.bytes >= last && p.bytes <= p.total && p.total == len);
            last = p.bytes;
            calls += 1;
        };
        let advise = Advise::new(advice).ranges(vec![Range { start, len }]);
        let mut hooks = mctl::operation::Hooks {
            progress: Some(&mut progress),
            cancel: None,
        };
        let advised = mctl::operation::run(&advise, &target(&f), &mut hooks).unwrap();
        assert!(advised.is_complete(), "{advised:?}");
        assert_eq!(last, len);
        eprintln!(
            "{advice} of {} MiB: {:?} in all, {:?} stopped, the longest stop {:?}",
            len >> 20,
            advised.took,
            advised.stopped,
            advised.longest_stop
        );
        assert!(advised.longest_stop > Duration::ZERO);
        assert!(calls >= 1);
        ok(&mut f, &format!("unmap {start:#x} {len}"));
    }
    f.finish().unwrap().assert_clean(1);
}
