//! The suite as a command: what it says and how it ends.

#![allow(
    clippy::expect_used,
    reason = "helpers of tests stop where a test would"
)]

use std::process::{Command, Output};

fn run(case: &str, more: &[&str]) -> Output {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("one.case");
    std::fs::write(&file, case).expect("it is written");
    Command::new(env!("CARGO_BIN_EXE_mctl-conformance"))
        .arg("run")
        .arg(&file)
        .args(more)
        .output()
        .expect("it runs")
}

#[test]
fn zero_held_sentences_is_a_failure_of_its_own() {
    mctl_testkit::require_root!();
    // No host has this Yama.
    let idle = run(
        "case \"x\"\nhost yama=99\nspawn p\np unlockall\n",
        &["--backend", "stock"],
    );
    assert_eq!(idle.status.code(), Some(3), "{idle:?}");
    let said = String::from_utf8_lossy(&idle.stderr);
    assert!(
        said.contains("not one sentence was held on stock"),
        "{said}"
    );
    let one = run(
        "case \"x\"\nspawn p\np unlockall\n",
        &["--backend", "stock"],
    );
    assert_eq!(one.status.code(), Some(0), "{one:?}");
}

#[test]
fn a_difference_is_told_from_success() {
    let good = run(
        "case \"x\"\nspawn p\np unlockall\n",
        &["--backend", "model"],
    );
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    let bad = run(
        "case \"x\"\nspawn p\np unlockall -> EPERM\n",
        &["--backend", "model"],
    );
    assert_eq!(bad.status.code(), Some(1), "{bad:?}");
    let broken = run("spwan p\n", &["--backend", "model"]);
    assert_eq!(broken.status.code(), Some(2), "{broken:?}");
}
