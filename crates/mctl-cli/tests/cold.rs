//! `mctl cold` on real processes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::memory::{kib, populated};
use common::{NO_PROCESS, mctl};
use mctl_testkit::{spawn_tree, start};

#[test]
fn the_pages_stay_but_lose_their_reference() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, len) = populated(&mut fixture, "map 8388608");
    assert_eq!(kib(&mut fixture, &start, "Referenced"), 8192);
    let mut referenced = Vec::new();
    // The kernel passes over a page that compaction or DAMON holds at that moment; a second call gets it.
    while referenced.last() != Some(&0) && referenced.len() < 5 {
        let ran = mctl(&["cold", &pid]).assert(0);
        assert!(ran.out.contains("): cold: "), "{ran:?}");
        assert_eq!(kib(&mut fixture, &start, "Rss"), 8192);
        referenced.push(kib(&mut fixture, &start, "Referenced"));
    }
    assert_eq!(referenced.last(), Some(&0), "{referenced:?}");
    assert!(referenced[0] < 8192 / 8, "{referenced:?}");
    assert_eq!(fixture.ask(&format!("check {start} {len}")).unwrap(), "ok");
}

#[test]
fn ten_thousand_mappings() {
    let fixture = start!("vmas", "n=10000", "touch=1");
    let pid = fixture.pid().to_string();
    let json = mctl(&["cold", "--json", "--anon", &pid]).assert(0).json();
    let advised = &json["processes"][0]["advised"];
    assert!(advised["advised"].as_u64().unwrap() >= 10_000 * 4096);
    assert_eq!(advised["complete"], true);
}

#[test]
fn a_tree() {
    let tree = spawn_tree(1, 3).unwrap();
    let root = tree.pid().to_string();
    let ran = mctl(&["cold", "--tree", &root]).assert(0);
    assert_eq!(ran.out.matches("): cold: ").count(), 4, "{ran:?}");
}

#[test]
fn bad_words() {
    mctl::<&str>(&["cold"]).assert(2);
    mctl(&["cold", "x"]).assert(2);
    mctl(&["cold", "--min-coverage", "5", "1"]).assert(2);
    mctl(&["cold", NO_PROCESS]).assert(1);
}
