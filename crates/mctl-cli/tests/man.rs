//! `mctl man`: the pages are there and are sound.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use common::mctl;

/// What mandoc(1) complains of, but for style; `None` where it is not installed.
fn complaints(page: &Path) -> Option<String> {
    let output = Command::new("mandoc")
        .args(["-T", "lint", "-W", "warning"])
        .arg(page)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn all_pages_are_written_and_sound() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("man1");
    mctl(&["man", "--out", out.to_str().unwrap()]).assert(0);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&out).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let sections: &[&str] = if path.extension().is_some_and(|end| end == "7") {
            &["NAME", "DESCRIPTION", "GUARANTEES", "WHO MAY", "SEE ALSO"]
        } else {
            &["NAME", "SYNOPSIS", "EXIT STATUS", "EXAMPLES", "SEE ALSO"]
        };
        for section in sections {
            assert!(text.contains(section), "{}: {section}", path.display());
        }
        if let Some(complaints) = complaints(&path) {
            assert_eq!(complaints, "", "{}", path.display());
        }
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(
        names.join(" "),
        "mctl-advise.1 mctl-clear.1 mctl-cold.1 mctl-collapse.1 mctl-completions.1 mctl-explain.1 mctl-get.1 mctl-lock.1 mctl-man.1 mctl-map.1 mctl-pageout.1 mctl-probe.1 \
         mctl-restore.1 mctl-run.1 mctl-set.1 mctl-split.1 mctl-unlock.1 mctl.1 mctl.7"
    );
}

#[test]
fn one_page() {
    assert!(mctl(&["man"]).assert(0).out.contains("mctl\\-set"));
    let page = mctl(&["man", "run"]).assert(0).out;
    assert!(page.contains("\\fB127\\fR"), "the exit codes of run");
    let page = mctl(&["man", "set"]).assert(0).out;
    for kind in mctl::PolicyKind::ALL {
        assert!(page.contains(&kind.word().replace('-', "\\-")), "{kind}");
    }
    assert!(
        page.contains("\n\\fBmctl set\\fR [OPTIONS] POLICY[,POLICY]... PID[:INODE]...\n.br\n"),
        "{page}"
    );
    let page = mctl(&["man", "get"]).assert(0).out;
    for reason in mctl::why::Reason::ALL {
        let phrase = reason.phrase().replace('-', "\\-");
        assert!(page.contains(&format!("\\fB{phrase}\\fR\n")), "{phrase}");
    }
    assert!(page.contains("\\fBCOVERAGE\\fR\n"), "{page}");
    let page = mctl(&["man", "concepts"]).assert(0).out;
    assert!(page.starts_with(".TH MCTL 7 "), "{page}");
    let ran = mctl(&["man", "bogus"]).assert(2);
    assert!(ran.err.contains("the commands are run, "), "{ran:?}");
    mctl(&["man", "--out", "/proc/no"]).assert(1);
}
