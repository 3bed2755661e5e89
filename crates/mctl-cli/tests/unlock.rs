//! `mctl unlock` on real processes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::memory::{kib, populated};
use common::{NO_PROCESS, mctl};
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
