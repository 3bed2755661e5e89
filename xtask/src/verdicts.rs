//! What the negative controls came to, kept for the series that they were seen with.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A base's file of verdicts.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Verdicts {
    /// The digest of the series. Another series, other verdicts.
    series: String,
    /// Every selftest passed without any control.
    passes_without: bool,
    controls: BTreeMap<String, Row>,
}

/// One control's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    noticed: bool,
    /// The line that noticed it, or why nothing did.
    words: String,
    /// For build and boot.
    seconds: f64,
    /// The digest of the control.
    patch: String,
}

fn digest(text: &str) -> String {
    let sum = Sha256::digest(text.as_bytes());
    sum.iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Verdicts {
    /// Those of an earlier run if they are of this series, else none.
    pub(crate) fn read(file: &Path, series: &str) -> Self {
        let series = digest(series);
        let old = std::fs::read(file).ok();
        let old: Option<Self> = old.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        old.filter(|old| old.series == series).unwrap_or(Self {
            series,
            ..Self::default()
        })
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        if let Some(dir) = file.parent() {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::write(file, serde_json::to_string_pretty(self)?)
            .with_context(|| file.display().to_string())
    }

    pub(crate) fn passes_without(&self) -> bool {
        self.passes_without
    }

    pub(crate) fn without(&mut self, passes: bool) {
        self.passes_without = passes;
    }

    pub(crate) fn set(&mut self, name: &str, row: Row) {
        self.controls.insert(name.to_owned(), row);
    }

    /// What is known of a control as it is now.
    pub(crate) fn get(&self, name: &str, patch: &str) -> Option<&Row> {
        let row = self.controls.get(name)?;
        (row.patch == digest(patch)).then_some(row)
    }
}

impl Row {
    pub(crate) fn new(patch: &str, verdict: Result<String, String>, time: Duration) -> Self {
        let noticed = verdict.is_ok();
        let (Ok(words) | Err(words)) = verdict;
        Self {
            noticed,
            words,
            seconds: time.as_secs_f64(),
            patch: digest(patch),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.noticed {
            "noticed"
        } else {
            "NOT NOTICED"
        };
        write!(f, "{word} ({:.0} s): {}", self.seconds, self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_holds_for_the_series_and_the_control_that_it_was_seen_with() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deep/controls.json");
        let mut verdicts = Verdicts::read(&file, "series");
        assert!(!verdicts.passes_without());
        let time = Duration::from_secs(61);
        verdicts.without(true);
        verdicts.set("a", Row::new("patch a", Ok("t: not ok 3".into()), time));
        verdicts.set("b", Row::new("patch b", Err("t says pass".into()), time));
        verdicts.write(&file).unwrap();

        let same = Verdicts::read(&file, "series");
        assert!(same.passes_without());
        let row = |name, patch| same.get(name, patch).map(ToString::to_string);
        assert_eq!(row("a", "patch a").unwrap(), "noticed (61 s): t: not ok 3");
        let missed = row("b", "patch b").unwrap();
        assert_eq!(missed, "NOT NOTICED (61 s): t says pass");
        assert_eq!(row("a", "another patch"), None);
        assert_eq!(row("c", ""), None);

        let other = Verdicts::read(&file, "another series");
        assert!(!other.passes_without() && other.get("a", "patch a").is_none());
        std::fs::write(&file, "{").unwrap();
        assert!(!Verdicts::read(&file, "series").passes_without());
    }
}
