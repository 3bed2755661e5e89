//! install.sh at the root: the command, its manual pages and its completions, each in its place.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::Command;

fn script() -> Command {
    let mut sh = Command::new("sh");
    sh.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../install.sh"));
    sh
}

#[test]
fn everything_is_installed_by_one_command() {
    let cargo = Command::new(env!("CARGO")).arg("--version").output();
    if !cargo.is_ok_and(|output| output.status.success()) {
        mctl_testkit::skip!("needs a cargo that this user may run");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut sh = script();
    sh.args(["--debug", "--prefix", "/usr/local", "--destdir"])
        .arg(dir.path())
        .env("CARGO", env!("CARGO"));
    let exe = Path::new(env!("CARGO_BIN_EXE_mctl"));
    if let Some(target) = exe
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").exists())
    {
        sh.env("CARGO_TARGET_DIR", target);
    }
    let said = common::ran(&mut sh).assert(0).out;
    let root = dir.path().join("usr/local");
    let version = Command::new(root.join("bin/mctl"))
        .arg("--version")
        .output();
    assert!(version.unwrap().status.success());
    for file in [
        "share/man/man1/mctl.1",
        "share/man/man1/mctl-set.1",
        "share/man/man7/mctl.7",
        "share/bash-completion/completions/mctl",
        "share/zsh/site-functions/_mctl",
        "share/fish/vendor_completions.d/mctl.fish",
    ] {
        let path = root.join(file);
        assert!(std::fs::metadata(&path).unwrap().len() > 100, "{file}");
        assert!(said.contains(path.to_str().unwrap()), "{file}: {said}");
    }
}

#[test]
fn a_mistyped_option_is_refused() {
    let ran = common::ran(script().arg("--perfix"));
    assert!(ran.assert(2).err.contains("--perfix"));
}
