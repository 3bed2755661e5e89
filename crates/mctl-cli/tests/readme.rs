//! The README's tour is run, and what it prints is what the README says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::process::Command;

/// One `$ command` and the lines under it.
struct Line {
    command: String,
    output: Vec<String>,
}

/// The ```console blocks of a text.
fn blocks(text: &str) -> Vec<Vec<Line>> {
    let mut blocks = Vec::new();
    let mut open: Option<Vec<Line>> = None;
    for line in text.lines() {
        match (&mut open, line) {
            (None, "```console") => open = Some(Vec::new()),
            (None, _) => {}
            (Some(_), "```") => blocks.extend(open.take()),
            (Some(block), line) => match line.strip_prefix("$ ") {
                Some(command) => {
                    block.push(Line {
                        command: command.to_owned(),
                        output: Vec::new(),
                    });
                }
                None => {
                    let last = block.last_mut().expect("output belongs to a command");
                    last.output.push(line.to_owned());
                }
            },
        }
    }
    blocks
}

/// `[..]` stands for any text within the line.
fn fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split("[..]");
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

const MARK: &str = "\u{1e}";

/// Runs a block in one shell, in a directory of its own; returns the output of each command.
fn run(block: &[Line]) -> Vec<Vec<String>> {
    let mut script = String::from("exec 2>&1\n");
    for line in block {
        script.push_str(&format!("printf '{MARK}\\n'\n{}\n", line.command));
        if line.command.contains(" & ") {
            // A person takes longer to type the next line than the program to start.
            script.push_str("sleep 0.5\n");
        }
    }
    // Background jobs must not hold the pipe open beyond the block.
    script.push_str("exec >&- 2>&-\n");
    let dir = tempfile::tempdir().unwrap();
    let mctl = std::path::Path::new(env!("CARGO_BIN_EXE_mctl"))
        .parent()
        .unwrap();
    let path = format!("{}:{}", mctl.display(), std::env::var("PATH").unwrap());
    let out = dir.path().join("out");
    let status = Command::new("bash")
        .args(["-c", &script])
        .current_dir(dir.path())
        .env("PATH", path)
        .env("NO_COLOR", "1")
        .stdout(std::fs::File::create(&out).unwrap())
        .status()
        .unwrap();
    assert!(status.success() || status.code() == Some(1), "{status}");
    let text = std::fs::read_to_string(&out).unwrap();
    text.split(&format!("{MARK}\n"))
        .skip(1)
        .map(|part| part.lines().map(str::to_owned).collect())
        .collect()
}

#[test]
fn the_tour_is_real() {
    let caps = mctl::HostCaps::probe().unwrap();
    if caps.thp.is_none() {
        mctl_testkit::skip!("needs a kernel with transparent huge pages");
    }
    let readme = include_str!("../../../README.md");
    let blocks = blocks(readme);
    assert!(blocks.len() >= 5, "the tour has gone");
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    let root = mctl_testkit::is_root();
    for block in blocks {
        let locks = block.iter().any(|line| line.command.contains("mctl lock"));
        if locks && !root && limit.is_some_and(|limit| limit < 8 << 20) {
            mctl_testkit::note_skip("needs an RLIMIT_MEMLOCK of 8 MiB for mctl lock");
            continue;
        }
        let outputs = run(&block);
        assert_eq!(outputs.len(), block.len(), "every command was run");
        for (line, got) in block.iter().zip(outputs) {
            let same = line.output.len() == got.len()
                && line
                    .output
                    .iter()
                    .zip(&got)
                    .all(|(pattern, got)| fits(pattern, got));
            assert!(
                same,
                "$ {}\nthe README says:\n{}\nit printed:\n{}",
                line.command,
                line.output.join("\n"),
                got.join("\n")
            );
        }
    }
}

#[test]
fn the_comparison_can_fail() {
    assert!(fits("a [..] c", "a bbb c"));
    assert!(fits("[..]", ""));
    assert!(!fits("a [..] c", "a bbb d"));
    assert!(!fits("abc", "abcd"));
    assert!(!fits("", "x"));
}

/// The README's two commands stand there as CI and a newcomer type them.
#[test]
fn the_two_commands_are_there() {
    let readme = include_str!("../../../README.md");
    let ci = include_str!("../../../.ci/run");
    assert!(readme.contains("    cargo test --workspace\n"));
    assert!(ci.contains("cargo test --workspace"));
    assert!(readme.contains("    cargo run -q -- run --thp never"));
}
