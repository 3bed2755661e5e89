//! `mctl completions`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::mctl;

#[test]
fn every_shell_gets_the_commands_and_the_policies() {
    for shell in ["bash", "zsh", "fish"] {
        let script = mctl(&["completions", shell]).assert(0).out;
        for word in ["mctl", "restore", "override-advice", "nohugepage"] {
            // clap's generator for fish knows no values of positional arguments.
            let known = script.contains(word) || (shell, word) == ("fish", "nohugepage");
            assert!(known, "{shell}: {word}");
        }
        // Checked by the shell itself where it is installed.
        let Ok(mut child) = Command::new(shell).arg("-n").stdin(Stdio::piped()).spawn() else {
            continue;
        };
        child
            .stdin
            .take()
            .unwrap()
            .write_all(script.as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success(), "{shell}");
    }
}

#[test]
fn other_shells_are_unknown() {
    mctl(&["completions", "cmd.exe"]).assert(2);
    mctl(&["completions"]).assert(2);
}
