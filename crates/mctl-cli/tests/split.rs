//! `mctl split` and `mctl set nohugepage --split` on real processes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::memory::{kib, mapped};
use common::{NO_PROCESS, mctl};
use mctl_testkit::{Fixture, start};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 32 * MIB;
const MADV_HUGEPAGE: i32 = 14;
const MADV_COLLAPSE: i32 = 25;

macro_rules! need_split {
    () => {
        if let Err(error) = mctl::split::probe() {
            mctl_testkit::skip!("{error}");
        }
        mctl_testkit::require_root!();
    };
}

/// Zeroes in huge pages; how many KiB of them are huge.
fn zeroes(fixture: &mut Fixture) -> (String, u64) {
    let (start, len) = mapped(fixture, &format!("map {SIZE}"));
    for line in [
        format!("advise {start} {len} {MADV_HUGEPAGE}"),
        format!("blank {start} {len}"),
    ] {
        assert_eq!(fixture.ask(&line).unwrap(), "ok", "{line}");
    }
    fixture
        .ask(&format!("advise {start} {len} {MADV_COLLAPSE}"))
        .unwrap();
    let huge = kib(fixture, &start, "AnonHugePages");
    (start, huge)
}

#[test]
fn zeroes_in_huge_pages_go_back() {
    need_split!();
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, huge) = zeroes(&mut fixture);
    if huge == 0 {
        mctl_testkit::skip!("the machine has no huge pages to give");
    }
    let ran = mctl(&["split", "--dry-run", &pid]).assert(0);
    assert!(
        ran.out
            .contains(&format!("would split {} huge page", huge / 2048)),
        "{ran:?}"
    );
    let json = mctl(&["split", "-n", "--json", &pid]).assert(0).json();
    assert_eq!(json["processes"][0]["plan"]["eligible"], huge << 10);
    assert_eq!(kib(&mut fixture, &start, "AnonHugePages"), huge);

    let ran = mctl(&["split", &pid]).assert(0);
    assert!(ran.out.contains(&format!("{pid} (touch-")), "{ran:?}");
    assert!(ran.out.contains("given back of "), "{ran:?}");
    assert!(ran.out.contains("resident     "), "{ran:?}");
    assert_eq!(kib(&mut fixture, &start, "AnonHugePages"), 0);
    let rss = kib(&mut fixture, &start, "Rss");
    assert!(rss <= SIZE / 1024 - huge * 95 / 100, "{rss} {huge}");
    assert_eq!(fixture.ask(&format!("zero {start} {SIZE}")).unwrap(), "ok");

    let json = mctl(&["split", "--json", &pid, NO_PROCESS])
        .assert(1)
        .json();
    let row = json["processes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["pid"].as_i64() == pid.parse().ok())
        .unwrap();
    assert_eq!(row["split"]["stayed_huge"], 0, "{row}");
    fixture.finish().unwrap().assert_clean(1);
}

/// The set alone says what stays huge, and what to do about it.
#[test]
fn nohugepage_says_what_stays_huge() {
    need_split!();
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, huge) = zeroes(&mut fixture);
    if huge == 0 {
        mctl_testkit::skip!("the machine has no huge pages to give");
    }
    let ran = mctl(&["set", "nohugepage", &pid]).assert(0);
    assert!(ran.err.contains(&format!("mctl split {pid}")), "{ran:?}");
    assert!(
        ran.err.contains("MiB is in huge pages and stays so"),
        "{ran:?}"
    );
    let json = mctl(&["set", "nohugepage", "--json", &pid])
        .assert(0)
        .json();
    assert_eq!(json["processes"][0]["still_huge"], huge << 10, "{json}");
    let quiet = mctl(&["set", "-q", "nohugepage", &pid]).assert(0);
    assert_eq!((quiet.out.as_str(), quiet.err.as_str()), ("", ""));
    assert_eq!(kib(&mut fixture, &start, "AnonHugePages"), huge);
    fixture.finish().unwrap().assert_clean(1);
}

#[test]
fn nohugepage_with_split() {
    need_split!();
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, huge) = zeroes(&mut fixture);
    if huge == 0 {
        mctl_testkit::skip!("the machine has no huge pages to give");
    }
    let ran = mctl(&["set", "nohugepage", "--split", "--dry-run", &pid]).assert(0);
    assert!(ran.out.contains("would split "), "{ran:?}");
    assert_eq!(kib(&mut fixture, &start, "AnonHugePages"), huge);
    let ran = mctl(&["set", "nohugepage", "--split", &pid]).assert(0);
    assert!(ran.out.contains("given back of "), "{ran:?}");
    assert!(!ran.err.contains("stays so"), "{ran:?}");
    assert!(!ran.err.contains("khugepaged"), "{ran:?}");
    assert_eq!(kib(&mut fixture, &start, "AnonHugePages"), 0);
    assert!(
        !common::thp_enabled(fixture.pid()),
        "the policy is in force"
    );
    fixture.finish().unwrap().assert_clean(1);
}

#[test]
fn a_tree_is_split() {
    need_split!();
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    // From here on the child answers.
    let child = fixture.ask("fork").unwrap().replace("fork ", "");
    let (start, huge) = zeroes(&mut fixture);
    if huge == 0 {
        mctl_testkit::skip!("the machine has no huge pages to give");
    }
    let json = mctl(&["split", "--tree", "--json", &pid]).assert(0).json();
    let rows = json["processes"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{json}");
    assert_eq!(rows[1]["pid"].to_string(), child);
    assert_eq!(rows[1]["split"]["split"], huge / 2048, "{json}");
    assert_eq!(kib(&mut fixture, &start, "AnonHugePages"), 0);
    fixture.ask("exit 0").unwrap();
    fixture.finish().unwrap().assert_clean(1);
}

#[test]
fn bad_words() {
    mctl::<&str>(&["split"]).assert(2);
    mctl(&["split", "--pace", "fast", "1"]).assert(2);
    let ran = mctl(&["set", "hugepage", "--split", NO_PROCESS]).assert(2);
    assert!(ran.err.contains("--split goes with nohugepage"), "{ran:?}");
}
