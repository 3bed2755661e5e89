//! Splitting huge pages: what is all zero goes back, what was written stays.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use mctl::split::{Split, probe};
use mctl::{Error, Target};
use mctl_testkit::{Fixture, start};

const MIB: u64 = 1 << 20;
const MADV_HUGEPAGE: u32 = 14;
const MADV_COLLAPSE: u32 = 25;

/// Whether this kernel gives anything back, and we may ask it to.
macro_rules! need_split {
    () => {
        if let Err(error) = probe() {
            mctl_testkit::skip!("{error}");
        }
        mctl_testkit::require_root!();
    };
}

fn target(fixture: &Fixture) -> Target {
    Target::open(fixture.pid().to_string().parse().unwrap()).unwrap()
}

/// Memory of the fixture, huge as far as the machine has huge pages to give.
fn huge(fixture: &mut Fixture, ask: &str, fill: &str, mib: u64) -> (String, u64) {
    let answer = fixture.ask(&format!("{ask} {}", mib * MIB)).unwrap();
    let start = answer.split(' ').nth(1).unwrap().to_owned();
    let len = mib * MIB;
    for line in [
        format!("advise {start} {len} {MADV_HUGEPAGE}"),
        format!("{fill} {start} {len}"),
    ] {
        assert_eq!(fixture.ask(&line).unwrap(), "ok", "{line}");
    }
    // What came in small because no huge page was at hand.
    fixture
        .ask(&format!("advise {start} {len} {MADV_COLLAPSE}"))
        .unwrap();
    let kib = kib(fixture, &start, "AnonHugePages");
    (start, kib << 10)
}

fn kib(fixture: &mut Fixture, start: &str, key: &str) -> u64 {
    let answer = fixture.ask(&format!("smaps {start} {key}")).unwrap();
    answer.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn zeroes_go_back() {
    need_split!();
    let mut fixture = start!("touch");
    let (start, huge) = huge(&mut fixture, "map", "blank", 512);
    if huge < 64 * MIB {
        mctl_testkit::skip!("the machine has no huge pages to give");
    }
    let target = target(&fixture);
    assert_eq!(
        mctl::operation::dry_run(&Split::new(), &target)
            .unwrap()
            .eligible
            .0,
        huge,
        "what would be split is what is huge"
    );
    let rss = kib(&mut fixture, &start, "Rss") << 10;
    let done = Split::new().run(&target).unwrap();
    assert_eq!(kib(&mut fixture, &start, "AnonHugePages"), 0, "{done:?}");
    let less = rss - (kib(&mut fixture, &start, "Rss") << 10);
    assert!(less * 100 >= huge * 95, "{less} of {huge}: {done:?}");
    assert!(done.given_back.0 * 100 >= huge * 95, "{done:?}");
    assert_eq!((done.stayed_huge, done.gone), (0, 0), "{done:?}");
    let len = 512 * MIB;
    assert_eq!(fixture.ask(&format!("zero {start} {len}")).unwrap(), "ok");
    assert_eq!(fixture.ask(&format!("touch {start} {len}")).unwrap(), "ok");
    assert_eq!(fixture.ask(&format!("check {start} {len}")).unwrap(), "ok");
    fixture.finish().unwrap().assert_clean(1);
}

#[test]
fn what_was_written_stays() {
    need_split!();
    let mut fixture = start!("touch");
    let (start, huge) = huge(&mut fixture, "map", "touch", 32);
    let done = Split::new().run(&target(&fixture)).unwrap();
    assert_eq!(done.split << 21, huge, "{done:?}");
    assert_eq!(done.given_back.0, 0, "{done:?}");
    let len = 32 * MIB;
    assert_eq!(fixture.ask(&format!("check {start} {len}")).unwrap(), "ok");
    fixture.finish().unwrap().assert_clean(1);
}

#[test]
fn locked_memory_is_passed_over_and_counted() {
    need_split!();
    let mut fixture = start!("touch");
    let (start, huge) = huge(&mut fixture, "map", "blank", 16);
    let lock = fixture.ask(&format!("lock {start} {}", 16 * MIB)).unwrap();
    if lock != "ok" {
        mctl_testkit::skip!("the machine lets it lock no 16 MiB: {lock}");
    }
    let done = Split::new().run(&target(&fixture)).unwrap();
    assert_eq!(done.huge.locked.0, huge, "{done:?}");
    assert_eq!(kib(&mut fixture, &start, "AnonHugePages") << 10, huge);
    assert_eq!(done.given_back.0, 0, "{done:?}");
    fixture.finish().unwrap().assert_clean(1);
}

#[test]
fn what_is_shared_after_a_fork_is_passed_over_and_counted() {
    need_split!();
    let mut fixture = start!("touch");
    let (start, huge) = huge(&mut fixture, "map", "blank", 16);
    let target = target(&fixture);
    let child = fixture.ask("fork").unwrap();
    assert!(child.starts_with("fork "), "{child}");
    let done = Split::new().run(&target).unwrap();
    assert_eq!(done.huge.shared.0, huge, "{done:?}");
    assert_eq!((done.huge.eligible.0, done.split), (0, 0), "{done:?}");
    assert_eq!(kib(&mut fixture, &start, "AnonHugePages") << 10, huge);
    fixture.ask("exit 0").unwrap();
    // The parent's alone again.
    let done = Split::new().run(&target).unwrap();
    assert_eq!(done.split << 21, huge, "{done:?}");
    fixture.finish().unwrap().assert_clean(1);
}

/// How long threads write while their memory is split and made huge again: `MCTL_SPLIT_SECONDS`.
fn seconds() -> u64 {
    std::env::var("MCTL_SPLIT_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5)
}

#[test]
fn nothing_is_lost_while_eight_threads_write() {
    need_split!();
    let fixture = start!("counters", "threads=8", "mib=32");
    let target = target(&fixture);
    let begun = Instant::now();
    let (mut split, mut back, mut rounds) = (0, 0, 0);
    while begun.elapsed() < Duration::from_secs(seconds()) {
        let done = Split::new().run(&target).unwrap();
        split += done.split;
        back += done.given_back.0;
        rounds += 1;
    }
    eprintln!("{rounds} rounds: {split} huge pages split, {back} bytes given back");
    fixture.finish().unwrap().assert_clean(1000);
    if split == 0 {
        mctl_testkit::skip!("the machine has no huge pages to give");
    }
}

#[test]
fn a_process_that_is_gone() {
    need_split!();
    let fixture = start!("touch");
    let target = target(&fixture);
    fixture.finish().unwrap();
    let error = Split::new().run(&target).unwrap_err();
    assert!(matches!(error, Error::NoProcess { .. }), "{error}");
}
