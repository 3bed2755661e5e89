//! `cargo xtask steady`: the README's test command again and again beside busy processors. A test that fails in one
//! of many runs depends on the machine's speed, and is at fault.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::layout::Layout;
use crate::{run, say};

#[derive(Debug, Args)]
pub(crate) struct Steady {
    /// How many runs
    #[arg(long, default_value_t = 20)]
    runs: u32,
    /// How many busy loops keep the processors from the tests
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(0..=64))]
    load: u32,
    /// Run the test executables as this user (and group), from a copy that is the user's own. As root only;
    /// examples in the documentation are left out then
    #[arg(long)]
    user: Option<u32>,
    /// More words for cargo test, such as -p mctl
    #[arg(last = true)]
    words: Vec<String>,
}

/// A loop on a processor; ends with this value, and with the thread that started it.
struct Busy(Child);

impl Busy {
    fn start() -> Result<Busy> {
        let child = run::ends_with_us("sh")
            .args(["-c", "while :; do :; done"])
            .stdin(Stdio::null())
            .spawn()
            .context("starting a busy loop")?;
        Ok(Busy(child))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Steady {
    /// Whether every run passed.
    pub(crate) fn run(&self, layout: &Layout) -> Result<bool> {
        let words = if self.words.is_empty() {
            vec!["--workspace".to_owned()]
        } else {
            self.words.clone()
        };
        let suite = match self.user {
            Some(user) => Suite::copied(layout, &words, user)?,
            None => Suite::Cargo(words),
        };
        let _busy: Vec<Busy> = (0..self.load)
            .map(|_| Busy::start())
            .collect::<Result<_>>()?;
        let mut failures: BTreeMap<String, u32> = BTreeMap::new();
        let mut failed = 0;
        for number in 1..=self.runs {
            let begun = Instant::now();
            let found = suite.run(layout)?;
            let seconds = begun.elapsed().as_secs();
            say(&format!(
                "run {number}: {} failures, {seconds} s",
                found.len()
            ));
            failed += u32::from(!found.is_empty());
            for Failed { test, why } in found {
                say(&format!("    {test}"));
                for line in why {
                    say(&format!("        {line}"));
                }
                *failures.entry(test).or_default() += 1;
            }
        }
        for (test, times) in &failures {
            say(&format!("failed {times} times: {test}"));
        }
        say(&format!(
            "result: {} runs beside {} busy loops, {failed} with failures",
            self.runs, self.load
        ));
        Ok(failed == 0)
    }
}

/// What is run.
enum Suite {
    /// `cargo test` with these words.
    Cargo(Vec<String>),
    /// Executables, each in the folder of its package, by a user.
    Copied {
        dir: tempfile::TempDir,
        tests: Vec<(PathBuf, PathBuf)>,
        user: u32,
    },
}

impl Suite {
    fn copied(layout: &Layout, words: &[String], user: u32) -> Result<Suite> {
        let tests = built(layout, words)?;
        // Where a target folder is marked the tests keep what they compile.
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("CACHEDIR.TAG"), "")?;
        let mut copies = Vec::with_capacity(tests.len());
        for (exe, package) in tests {
            let name = exe.file_name().context("an executable has a name")?;
            let copy = dir.path().join(name);
            std::fs::copy(&exe, &copy).with_context(|| exe.display().to_string())?;
            copies.push((copy, package));
        }
        let owner = format!("{user}:{user}");
        run::run(Command::new("chown").args(["-R", &owner]).arg(dir.path()))?;
        Ok(Suite::Copied {
            dir,
            tests: copies,
            user,
        })
    }

    /// The tests that failed.
    fn run(&self, layout: &Layout) -> Result<Vec<Failed>> {
        match self {
            Suite::Cargo(words) => {
                let mut command = Command::new("cargo");
                command
                    .args(["test", "--no-fail-fast"])
                    .args(words)
                    .current_dir(&layout.repo);
                failures(&mut command, "cargo test")
            }
            Suite::Copied { dir, tests, user } => {
                let mut all = Vec::new();
                for (exe, package) in tests {
                    let id = user.to_string();
                    let mut command = Command::new("setpriv");
                    command
                        .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
                        .arg(exe)
                        .current_dir(package)
                        .env("HOME", dir.path())
                        .env("CARGO_TARGET_DIR", dir.path())
                        .env("CARGO_MANIFEST_DIR", package)
                        // insta would ask cargo, which may be where this user cannot go.
                        .env("INSTA_WORKSPACE_ROOT", &layout.repo);
                    let name = exe
                        .file_name()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned();
                    all.extend(failures(&mut command, &name)?);
                }
                Ok(all)
            }
        }
    }
}

/// A test that failed.
#[derive(Debug)]
struct Failed {
    /// Its name, after that of the executable.
    test: String,
    /// The beginning of what it said. A failure in one of many runs is not easily had again.
    why: Vec<String>,
}

/// Runs tests; those that failed, by name, or the command's own word where none is named.
fn failures(command: &mut Command, name: &str) -> Result<Vec<Failed>> {
    let output = command
        .stdin(Stdio::null())
        .env("RUST_BACKTRACE", "0")
        .output()
        .with_context(|| format!("starting {name}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut found = named(&text, name);
    if !output.status.success() && found.is_empty() {
        found.push(Failed {
            test: format!("{name}: {}", output.status),
            why: Vec::new(),
        });
    }
    Ok(found)
}

/// So many lines of what a test said are kept.
const SAID: usize = 20;

fn named(text: &str, of: &str) -> Vec<Failed> {
    let said = |test: &str| -> Vec<String> {
        let begin = format!("---- {test} stdout ----");
        let lines = text.lines().skip_while(|line| *line != begin).skip(1);
        lines
            .take_while(|line| !line.starts_with("---- ") && *line != "failures:")
            .filter(|line| !line.is_empty())
            .take(SAID)
            .map(str::to_owned)
            .collect()
    };
    text.lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
        .map(|test| Failed {
            test: format!("{of}: {test}"),
            why: said(test),
        })
        .collect()
}

/// Builds the tests; each executable with the folder of its package.
fn built(layout: &Layout, words: &[String]) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut command = Command::new("cargo");
    command
        .args(["test", "--no-run", "--message-format=json"])
        .args(words)
        .current_dir(&layout.repo);
    let text = run::bytes(&mut command)?;
    let tests: Vec<_> = String::from_utf8_lossy(&text)
        .lines()
        .filter_map(artefact)
        .collect();
    if tests.is_empty() {
        bail!("cargo named no test executable");
    }
    Ok(tests)
}

fn artefact(line: &str) -> Option<(PathBuf, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["profile"]["test"] != true {
        return None;
    }
    let exe = Path::new(message["executable"].as_str()?);
    let package = Path::new(message["manifest_path"].as_str()?).parent()?;
    Some((exe.to_path_buf(), package.to_path_buf()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_named() {
        let text = "test a::b ... ok\ntest c ... FAILED\ntest d - should panic ... FAILED\nnoise\n\n\
                    failures:\n\n---- c stdout ----\nthread 'c' panicked at x.rs:1:\nwhy\n\n\nfailures:\n    c\n";
        let found = named(text, "x");
        let tests: Vec<&str> = found.iter().map(|failed| failed.test.as_str()).collect();
        assert_eq!(tests, ["x: c", "x: d - should panic"]);
        assert_eq!(found[0].why, ["thread 'c' panicked at x.rs:1:", "why"]);
        assert!(found[1].why.is_empty());
        let none = failures(&mut Command::new("true"), "true").expect("ran");
        assert!(none.is_empty());
        let unnamed = failures(&mut Command::new("false"), "false").expect("ran");
        assert!(unnamed.len() == 1 && unnamed[0].test.starts_with("false: "));
    }

    #[test]
    fn cargo_names_what_it_built() {
        let line = r#"{"reason":"compiler-artifact","manifest_path":"/r/crates/x/Cargo.toml","profile":{"test":true},"executable":"/r/target/debug/deps/x-1"}"#;
        let (exe, package) = artefact(line).expect("a test");
        assert_eq!(exe, Path::new("/r/target/debug/deps/x-1"));
        assert_eq!(package, Path::new("/r/crates/x"));
        assert!(artefact(&line.replace("\"test\":true", "\"test\":false")).is_none());
        assert!(artefact("noise").is_none());
    }
}
