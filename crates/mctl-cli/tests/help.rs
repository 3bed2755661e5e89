//! The whole manual as a snapshot: a change of the command line is seen in review.

mod common;

use common::mctl;

#[test]
fn the_whole_manual() {
    let mut manual = mctl(&["--help"]).assert(0).out;
    for command in [
        "run",
        "set",
        "clear",
        "get",
        "map",
        "restore",
        "advise",
        "pageout",
        "cold",
        "collapse",
        "split",
        "lock",
        "unlock",
        "probe",
        "explain",
        "man",
        "completions",
    ] {
        let help = mctl(&[command, "--help"]).assert(0).out;
        assert!(help.contains("Examples:\n"), "{command}");
        manual.push_str(&format!("\n---- mctl {command} --help\n\n{help}"));
        assert!(!mctl(&[command, "-h"]).assert(0).out.is_empty());
        assert_eq!(mctl(&["help", command]).assert(0).out, help, "{command}");
    }
    insta::assert_snapshot!(manual);
}

#[test]
fn version() {
    for flag in ["--version", "-V"] {
        let ran = mctl(&[flag]).assert(0);
        assert_eq!(ran.out, concat!("mctl ", env!("CARGO_PKG_VERSION"), "\n"));
    }
}

#[test]
fn without_words() {
    let ran = mctl::<&str>(&[]).assert(2);
    assert!(ran.err.contains("Usage: mctl"), "{ran:?}");
    mctl(&["bogus"]).assert(2);
    let ran = mctl(&["probee"]).assert(2);
    assert!(ran.err.contains("'probe'"), "{ran:?}");
    mctl(&["--bogus"]).assert(2);
}

/// The suite has a command of its own: what is delivered holds no agent and no word to start one.
#[test]
fn the_suite_is_not_in_the_command() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_mctl")).unwrap();
    let holds = |word: &str| program.windows(word.len()).any(|at| at == word.as_bytes());
    assert!(holds("same-page merging"), "the search finds what is there");
    for word in ["mctl_conformance", "--mctl-conformance-deputy"] {
        assert!(!holds(word), "{word}");
    }
    mctl(&["model", "repl"]).assert(2);
    mctl(&["--mctl-conformance-deputy"]).assert(2);
}
