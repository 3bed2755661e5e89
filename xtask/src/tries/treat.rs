//! Calls of mctl on a program, and what they say.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// The mctl that is tried.
#[derive(Clone, Debug)]
pub(super) struct Mctl(PathBuf);

/// The two changes that are made in turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Set,
    Clear,
}

impl Change {
    pub(super) fn other(self) -> Change {
        match self {
            Change::Set => Change::Clear,
            Change::Clear => Change::Set,
        }
    }
}

/// What a change did.
#[derive(Debug)]
pub(super) struct Changed {
    /// How long the command took.
    pub(super) took: Duration,
    pub(super) success: bool,
    pub(super) processes: Vec<Process>,
}

/// What became of one process.
#[derive(Debug, Deserialize)]
pub(super) struct Process {
    pub(super) pid: i32,
    #[serde(default)]
    pub(super) name: String,
    outcome: Option<Outcome>,
    pub(super) error: Option<Refused>,
}

#[derive(Debug, Deserialize)]
struct Outcome {
    #[serde(default)]
    stopped_ns: Option<u64>,
}

/// Why it was not changed.
#[derive(Debug, Deserialize)]
pub(super) struct Refused {
    pub(super) errno: String,
    pub(super) message: String,
}

#[derive(Debug, Deserialize)]
struct Printed {
    processes: Vec<Process>,
}

impl Process {
    /// For how long a thread was stopped, in nanoseconds, where one was.
    pub(super) fn stopped_ns(&self) -> Option<u64> {
        self.outcome.as_ref()?.stopped_ns.filter(|ns| *ns > 0)
    }
}

impl Mctl {
    pub(super) fn new(path: &Path) -> Mctl {
        Mctl(path.to_owned())
    }

    /// Whatever it hangs in, it is ended after a minute.
    fn command(&self) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", "60"])
            .arg(&self.0)
            .stdin(Stdio::null());
        command
    }

    /// Reads the policies of a tree; whether the command succeeded.
    pub(super) fn read_tree(&self, pid: i32) -> Result<bool> {
        let mut command = self.command();
        command.args(["get", "--tree"]).arg(pid.to_string());
        let status = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        Ok(status.success())
    }

    /// Changes a tree.
    pub(super) fn change(&self, change: Change, pid: i32) -> Result<Changed> {
        let words: &[&str] = match change {
            Change::Set => &["set", "nohugepage", "--inherit", "--tree", "--json"],
            Change::Clear => &["clear", "nohugepage", "--tree", "--json"],
        };
        let begin = Instant::now();
        let output = self.command().args(words).arg(pid.to_string()).output()?;
        let took = begin.elapsed();
        let printed: Printed = match serde_json::from_slice(&output.stdout) {
            Ok(printed) => printed,
            Err(error) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                return Err(error)
                    .with_context(|| format!("mctl {words:?}: {}: {said}", output.status));
            }
        };
        if printed.processes.is_empty() {
            bail!("mctl {words:?} {pid} names no process");
        }
        Ok(Changed {
            took,
            success: output.status.success(),
            processes: printed.processes,
        })
    }
}

/// What a process is within its program: the title that it gave itself, or its name.
pub(super) fn role(process: &Process) -> String {
    let raw = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
    let line = String::from_utf8_lossy(&raw).replace('\0', " ");
    title(&line).unwrap_or_else(|| process.name.clone())
}

fn title(line: &str) -> Option<String> {
    if let Some(at) = line.find("--type=") {
        return Some(line[at + 7..].split(' ').next()?.to_owned());
    }
    // "postgres: checkpointer", "postgres: postgres postgres 127.0.0.1(4711) idle", "nginx: worker process"
    let (program, rest) = line.split_once(": ")?;
    if program.contains(['/', ' ']) {
        return None;
    }
    let rest = if rest.contains('(') {
        "session"
    } else {
        rest.trim()
    };
    Some(
        rest.split_whitespace()
            .take(3)
            .collect::<Vec<_>>()
            .join(" "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_named_by_what_they_do() {
        for (line, wanted) in [
            (
                "postgres: autovacuum launcher   ",
                Some("autovacuum launcher"),
            ),
            (
                "postgres: postgres postgres 127.0.0.1(4711) SELECT",
                Some("session"),
            ),
            ("nginx: worker process", Some("worker process")),
            (
                "/usr/lib/chromium/chromium --type=renderer --x=y ",
                Some("renderer"),
            ),
            (
                "nginx: master process /usr/sbin/nginx -c /tmp/x",
                Some("master process /usr/sbin/nginx"),
            ),
            ("/usr/bin/python3 a: b", None),
            ("", None),
        ] {
            assert_eq!(title(line).as_deref(), wanted, "{line}");
        }
    }

    #[test]
    fn what_mctl_prints_is_understood() {
        let text = r#"{"processes": [
            {"pid": 7, "inode": 1, "name": "a", "outcome": {"stopped_ns": 5, "notes": []}},
            {"pid": 8, "inode": 2, "name": "b", "error": {"errno": "EBUSY", "message": "why", "hint": null}}]}"#;
        let printed: Printed = serde_json::from_str(text).unwrap();
        assert_eq!(printed.processes[0].stopped_ns(), Some(5));
        assert!(printed.processes[0].error.is_none());
        assert_eq!(printed.processes[1].error.as_ref().unwrap().errno, "EBUSY");
        assert_eq!(printed.processes[1].stopped_ns(), None);
    }
}
