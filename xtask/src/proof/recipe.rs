//! A command of a table, and how it is run: in a process group of its own, with a limit, its output in a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;

/// One entry of nightly.toml or evidence.toml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recipe {
    pub(super) name: String,
    /// What is shown by it: a sentence.
    pub(super) promise: String,
    /// Run by bash, in the repository's folder.
    pub(super) command: String,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    /// The most that it may take.
    pub(super) minutes: u64,
    /// Programs that it needs beside cargo.
    #[serde(default)]
    pub(super) needs: Vec<String>,
}

/// How it ended.
#[derive(Debug)]
pub(super) enum End {
    Exited(ExitStatus),
    TooLong,
    /// Nothing was run: these programs are not installed.
    Lacks(Vec<String>),
}

impl End {
    pub(super) fn is_well(&self) -> bool {
        matches!(self, End::Exited(status) if status.success())
    }

    pub(super) fn words(&self) -> String {
        match self {
            End::Exited(status) if status.success() => "passed".to_owned(),
            End::Exited(status) => format!("FAILED ({status})"),
            End::TooLong => "FAILED (took longer than it may)".to_owned(),
            End::Lacks(programs) => format!("NOT RUN (needs {})", programs.join(", ")),
        }
    }
}

/// Both tables, by the file's name.
pub(super) fn table(repo: &Path, file: &str, key: &str) -> Result<Vec<Recipe>> {
    let path = repo.join("xtask").join(file);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    parse(&text, key).with_context(|| path.display().to_string())
}

fn parse(text: &str, key: &str) -> Result<Vec<Recipe>> {
    let mut tables: BTreeMap<String, Vec<Recipe>> = toml::from_str(text)?;
    tables.remove(key).with_context(|| format!("no [[{key}]]"))
}

impl Recipe {
    fn lacks(&self) -> Vec<String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_there =
            |name: &String| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
        self.needs
            .iter()
            .filter(|name| !is_there(name))
            .cloned()
            .collect()
    }

    /// Runs it to its end, its output in `log`.
    pub(super) fn run(&self, repo: &Path, log: &Path) -> Result<(End, Duration)> {
        let begun = Instant::now();
        let lacks = self.lacks();
        if !lacks.is_empty() {
            return Ok((End::Lacks(lacks), begun.elapsed()));
        }
        let out = File::create(log).with_context(|| log.display().to_string())?;
        let mut child = Command::new("bash")
            .args(["-c", &self.command])
            .current_dir(repo)
            .envs(&self.env)
            .env("CARGO_TERM_COLOR", "never")
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out)
            .process_group(0)
            .spawn()
            .context("starting bash")?;
        let limit = Duration::from_secs(self.minutes.saturating_mul(60));
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok((End::Exited(status), begun.elapsed()));
            }
            if begun.elapsed() > limit {
                let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                if let Some(group) = group {
                    // Its own group: what it started and did not wait for ends with it.
                    let _ = kill_process_group(group, Signal::KILL);
                }
                child.wait()?;
                return Ok((End::TooLong, begun.elapsed()));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(command: &str) -> Recipe {
        Recipe {
            name: "x".to_owned(),
            promise: String::new(),
            command: command.to_owned(),
            env: BTreeMap::from([("WORD".to_owned(), "said".to_owned())]),
            minutes: 1,
            needs: Vec::new(),
        }
    }

    #[test]
    fn what_a_command_did_is_known_and_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = dir.path().join("log");
        let (end, _) = recipe("echo $WORD; echo err >&2")
            .run(dir.path(), &log)
            .expect("ran");
        assert!(end.is_well());
        assert_eq!(std::fs::read_to_string(&log).expect("a log"), "said\nerr\n");
        let (end, _) = recipe("exit 3").run(dir.path(), &log).expect("ran");
        assert!(
            !end.is_well() && end.words().contains('3'),
            "{}",
            end.words()
        );
        let mut lacking = recipe("true");
        lacking.needs.push("no-such-program".to_owned());
        let (end, _) = lacking.run(dir.path(), &log).expect("not run");
        assert!(!end.is_well() && end.words().starts_with("NOT RUN"));
    }

    #[test]
    fn what_takes_too_long_is_ended_with_what_it_started() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut long = recipe("sleep 600 & echo $!; wait");
        long.minutes = 0;
        let log = dir.path().join("log");
        let (end, _) = long.run(dir.path(), &log).expect("ran");
        assert!(matches!(end, End::TooLong));
    }

    /// The tables of this repository.
    #[test]
    fn the_tables_are_sound() {
        for (text, key) in [
            (include_str!("../../nightly.toml"), "run"),
            (include_str!("../../evidence.toml"), "capability"),
        ] {
            let table = parse(text, key).expect("a table");
            assert!(!table.is_empty());
            let mut names: Vec<&str> = table.iter().map(|recipe| recipe.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), table.len(), "a name is there twice");
            for recipe in &table {
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                assert!(
                    recipe.name.chars().all(plain),
                    "{} becomes a file's name",
                    recipe.name
                );
                assert!(
                    !recipe.promise.is_empty() && recipe.minutes > 0,
                    "{}",
                    recipe.name
                );
            }
        }
    }
}
