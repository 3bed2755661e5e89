//! A dry run makes the checks of the real call: where that is refused, so is this, in the same words.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{AsUser, NOBODY, Ran, mctl};
use mctl_testkit::{Fixture, require_root, start};

/// The options of each command that has a dry run, but for the process.
const COMMANDS: &[&[&str]] = &[
    &["cold"],
    &["collapse"],
    &["pageout"],
    &["advise", "mergeable", "--anon"],
    &["lock"],
    &["unlock"],
    &["set", "nohugepage"],
    &["clear", "nohugepage"],
];

/// Both refuse, with one answer.
#[track_caller]
fn same(run: impl Fn(&[&str]) -> Ran, words: &[&str], errno: &str) {
    let dry: Vec<&str> = [words, &["--dry-run"]].concat();
    let dry = run(&dry).assert(1);
    let real = run(words).assert(1);
    assert!(real.err.contains(errno), "{words:?}: {real:?}");
    assert_eq!(dry.err, real.err, "{words:?}");
    assert_eq!(dry.out, "", "{words:?}");
}

#[test]
fn the_process_of_another_user() {
    require_root!();
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    let nobody = AsUser::new();
    for words in COMMANDS {
        let words: Vec<&str> = [*words, &[pid.as_str()]].concat();
        same(|args| nobody.mctl(args), &words, "EPERM");
    }
}

#[test]
fn an_ordinary_user_on_own_processes() {
    require_root!();
    let fixture = start!(@ Fixture::builder("touch").as_user(NOBODY));
    let pid = fixture.pid().to_string();
    let nobody = AsUser::new();
    // No capability is needed, and a dry run says so.
    let dry = nobody.mctl(&["lock", "-n", &pid]);
    if dry.err.contains("Yama") {
        mctl_testkit::skip!("Yama forbids it");
    }
    dry.assert(0);
    for command in ["cold", "collapse", "pageout"] {
        nobody.mctl(&[command, "-n", &pid]).assert(0);
        nobody.mctl(&[command, &pid]).assert(0);
    }
    let dry = nobody
        .mctl(&["advise", "mergeable", "--anon", "-n", &pid])
        .assert(0);
    assert!(dry.out.contains("would"), "{dry:?}");
}

#[test]
fn a_traced_process() {
    let fixture = start!("held");
    let pid = fixture.target().to_string();
    let saved = mctl(&["get", "--json", &pid]).assert(0);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("saved.json");
    std::fs::write(&file, &saved.out).unwrap();
    for words in [
        &["advise", "mergeable", "--anon"][..],
        &["lock"],
        &["unlock"],
    ] {
        let words: Vec<&str> = [words, &[pid.as_str()]].concat();
        same(|args| mctl(args), &words, "EBUSY");
    }
    same(
        |args| mctl(args),
        &["restore", file.to_str().unwrap()],
        "EBUSY",
    );
}

#[test]
fn restoring() {
    let fixture = start!("pause");
    let saved = mctl(&["get", "--json", &fixture.pid().to_string()]).assert(0);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("saved.json");
    std::fs::write(&file, &saved.out).unwrap();
    let file = file.to_str().unwrap();
    mctl(&["restore", "-n", file]).assert(0);
    drop(fixture);
    same(|args| mctl(args), &["restore", file], "ESRCH");
}
