//! Many calls at once: several threads, forks and signal handlers, on the same processes. None fails, least of all
//! because the library takes its own work for another tracer's.
//!
//! `MCTL_CALLS` sets how many; a million are for the nightly run.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::Command;

use common::{Linked, compile, has, words};

#[test]
fn many_calls_at_once_do_not_meet_each_other() {
    common::require_cargo!();
    mctl_testkit::require_root!();
    if !has("gcc", &["--version"]) {
        mctl_testkit::skip!("no gcc");
    }
    let calls = std::env::var("MCTL_CALLS").unwrap_or_else(|_| "4000".to_owned());
    let dir = tempfile::tempdir().unwrap();
    let exe = compile(
        "gcc",
        &["-std=c11"],
        "tests/c/many.c",
        Linked::Shared,
        dir.path(),
    );
    let text = words(Command::new(exe).args([calls.as_str(), "4"]));
    eprint!("{text}");
    assert!(text.starts_with("result: "), "{text}");
    assert!(text.ends_with(" 0 failed, 0 EBUSY\n"), "{text}");
}
