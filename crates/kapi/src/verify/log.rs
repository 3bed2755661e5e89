//! The log of a run: every script with what it reported, one JSON object a line, so that each
//! witness can be looked up and made again.

use std::io::BufRead;

use serde::{Deserialize, Serialize};

use crate::consts;

use super::HARMLESS;
use super::run::{Log, run_all};
use super::script::{Outcome, Step};

/// One process and its calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The number that findings name it by.
    pub number: usize,
    /// The call under test.
    pub call: String,
    /// What the process was told to do.
    pub steps: Vec<Step>,
    /// What it reported.
    pub log: Log,
}

pub(super) fn entries(
    call: &str,
    scripts: Vec<Vec<Step>>,
    logs: &[Log],
    from: usize,
) -> Vec<Entry> {
    scripts
        .into_iter()
        .zip(logs)
        .enumerate()
        .map(|(n, (steps, log))| Entry {
            number: from + n,
            call: call.to_owned(),
            steps,
            log: log.clone(),
        })
        .collect()
}

/// An entry that was made again.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Its number.
    pub number: usize,
    /// The call under test.
    pub call: String,
    /// How it came out then, and how now; the same when nothing has changed.
    pub then: String,
    /// How it came out now.
    pub now: String,
}

impl Replayed {
    /// Whether the value, or the error, is the one that was logged.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.then == self.now
    }
}

/// Value or error of the call under test; descriptor numbers and addresses may differ.
fn outcome(log: &Log) -> String {
    let Some(Outcome { value, errno, .. }) = log.calls.get("call") else {
        return log
            .failed
            .clone()
            .unwrap_or_else(|| "no outcome".to_owned());
    };
    match (value, errno) {
        (Some(value), _) => value.to_string(),
        (None, Some(errno)) => {
            consts::errno_name((*errno).into()).map_or_else(|| errno.to_string(), str::to_owned)
        }
        (None, None) => "no outcome".to_owned(),
    }
}

/// Calls that prepare or undo, beside those under test.
const HELPERS: [&str; 1] = ["close"];

/// The number of a call in the steps that may harm more than its caller.
fn harmful(steps: &[Step]) -> Option<u32> {
    steps.iter().find_map(|step| match step {
        Step::Call { number, .. } => HARMLESS
            .iter()
            .chain(&HELPERS)
            .all(|name| consts::syscall_number(name) != Some(*number))
            .then_some(*number),
        Step::Fork(steps) | Step::Exec(steps) => harmful(steps),
        _ => None,
    })
}

/// Makes the logged calls again, all or those with these numbers.
///
/// # Errors
///
/// When the log cannot be read, has no such entry, or has a call that may harm more than its
/// caller, unless `dangerous`.
pub fn replay(
    log: impl BufRead,
    numbers: &[usize],
    dangerous: bool,
) -> anyhow::Result<Vec<Replayed>> {
    let mut entries: Vec<Entry> = Vec::new();
    for (n, line) in log.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let entry: Entry = serde_json::from_str(&line)
            .map_err(|error| anyhow::anyhow!("line {} is no entry of a log: {error}", n + 1))?;
        if numbers.is_empty() || numbers.contains(&entry.number) {
            entries.push(entry);
        }
    }
    for number in numbers {
        anyhow::ensure!(
            entries.iter().any(|e| e.number == *number),
            "the log has no entry {number}"
        );
    }
    if let Some((entry, number)) = entries
        .iter()
        .filter(|_| !dangerous)
        .find_map(|e| Some((e, harmful(&e.steps)?)))
    {
        anyhow::bail!(
            "entry {} makes system call {number}, which may harm more than its caller; --dangerous makes it all the same",
            entry.number
        );
    }
    let scripts: Vec<Vec<Step>> = entries.iter().map(|e| e.steps.clone()).collect();
    let logs = run_all(&scripts);
    Ok(entries
        .into_iter()
        .zip(logs)
        .map(|(entry, log)| Replayed {
            number: entry.number,
            then: outcome(&entry.log),
            now: outcome(&log),
            call: entry.call,
        })
        .collect())
}
