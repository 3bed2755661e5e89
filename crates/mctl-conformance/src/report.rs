//! What came of every sentence on every backend: a table, JSON, JUnit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::backend::Backend;
use crate::lang::{Scenario, parse};
use crate::run::{Verdict, run};

/// One case: a sentence of the contract as a scenario.
#[derive(Clone, Debug)]
pub struct Case {
    /// The folder (section) and name.
    pub name: String,
    /// The scenario.
    pub scenario: Scenario,
}

/// Reads every `.case` file below a folder, in the order of their names.
///
/// # Errors
/// Where a file cannot be read or is wrong; the message says where.
pub fn load(root: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for path in files(root)? {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let scenario = parse(&text).with_context(|| path.display().to_string())?;
        let name = path.strip_prefix(root).unwrap_or(&path).with_extension("");
        cases.push(Case {
            name: name.to_string_lossy().into_owned(),
            scenario,
        });
    }
    Ok(cases)
}

include!(concat!(env!("OUT_DIR"), "/cases.rs"));

/// The cases that were built into this program.
///
/// # Errors
/// Where one is wrong.
pub fn built_in() -> Result<Vec<Case>> {
    CASES
        .iter()
        .map(|(name, text)| {
            let scenario = parse(text).with_context(|| (*name).to_owned())?;
            Ok(Case {
                name: (*name).to_owned(),
                scenario,
            })
        })
        .collect()
}

fn files(root: &Path) -> Result<Vec<PathBuf>> {
    if root.is_file() {
        return Ok(vec![root.to_owned()]);
    }
    let mut found = Vec::new();
    let entries =
        std::fs::read_dir(root).with_context(|| format!("cannot read {}", root.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|end| end == "case") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// How one sentence fared on one backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Fate {
    /// It holds.
    Holds,
    /// It holds where the engine does as much as it can; strict callers are refused.
    HoldsBestEffort {
        /// What strict callers are told.
        strict: String,
    },
    /// It does not.
    Differs {
        /// Line in the case.
        line: usize,
        /// The step.
        step: String,
        /// What it must come to.
        wanted: String,
        /// What it came to.
        got: String,
    },
    /// It cannot be tried here.
    NotPossible {
        /// Why.
        why: String,
    },
}

impl From<Verdict> for Fate {
    fn from(verdict: Verdict) -> Fate {
        match verdict {
            Verdict::Holds => Fate::Holds,
            Verdict::Differs {
                line,
                step,
                wanted,
                got,
            } => Fate::Differs {
                line,
                step,
                wanted,
                got,
            },
            Verdict::NotPossible(why) | Verdict::Unsupported(why) => Fate::NotPossible { why },
        }
    }
}

/// One row.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The case.
    pub case: String,
    /// The sentence.
    pub sentence: String,
    /// The anchors of the contract that it shows.
    pub shows: Vec<String>,
    /// Each backend's fate.
    pub backends: BTreeMap<String, Fate>,
}

/// How many sentences hold, differ, cannot be tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Hold.
    pub holds: usize,
    /// Hold where the engine does as much as it can, although not exactly.
    pub holds_best_effort: usize,
    /// Differ.
    pub differs: usize,
    /// Cannot be tried here.
    pub not_possible: usize,
}

/// Every sentence on every backend.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The rows, in the order of the cases.
    pub rows: Vec<Row>,
    /// Sentences that differed once and held when they were tried again, with what differed: the
    /// host's background work (a page on its way to a list, khugepaged) shows like this.
    pub unsteady: Vec<String>,
}

/// How often a case that differs on a real kernel is tried again.
const AGAIN: usize = 3;

/// Runs a case strictly, and, where the engine refuses that, as far as it can.
fn try_case(case: &Case, backend: &mut dyn Backend) -> Fate {
    let strict = match run(&case.scenario, backend) {
        Verdict::Unsupported(strict) if backend.best_effort(true) => strict,
        verdict => return verdict.into(),
    };
    let verdict = run(&case.scenario, backend);
    backend.best_effort(false);
    match verdict {
        Verdict::Holds => Fate::HoldsBestEffort { strict },
        Verdict::NotPossible(why) | Verdict::Unsupported(why) if why == strict => {
            Fate::NotPossible { why }
        }
        Verdict::NotPossible(why) | Verdict::Unsupported(why) => Fate::NotPossible {
            why: format!("{strict}; {why}"),
        },
        differs @ Verdict::Differs { .. } => differs.into(),
    }
}

impl Report {
    /// Runs every case on every backend.
    pub fn run(cases: &[Case], backends: &mut [&mut dyn Backend]) -> Report {
        let mut report = Report::default();
        for case in cases {
            let mut row = Row {
                case: case.name.clone(),
                sentence: case.scenario.sentence.clone(),
                shows: case.scenario.shows.clone(),
                backends: BTreeMap::new(),
            };
            for backend in backends.iter_mut() {
                let mut fate = try_case(case, *backend);
                let again = if backend.name() == "model" { 0 } else { AGAIN };
                for _ in 0..again {
                    if !matches!(fate, Fate::Differs { .. }) {
                        break;
                    }
                    let first = format!("{} on {}: {fate:?}", case.name, backend.name());
                    fate = try_case(case, *backend);
                    if !matches!(fate, Fate::Differs { .. }) {
                        report.unsteady.push(first);
                    }
                }
                row.backends.insert(backend.name().to_owned(), fate);
            }
            report.rows.push(row);
        }
        report
    }

    /// The counts of one backend.
    #[must_use]
    pub fn counts(&self, backend: &str) -> Counts {
        let mut counts = Counts::default();
        for fate in self.rows.iter().filter_map(|row| row.backends.get(backend)) {
            match fate {
                Fate::Holds => counts.holds += 1,
                Fate::HoldsBestEffort { .. } => counts.holds_best_effort += 1,
                Fate::Differs { .. } => counts.differs += 1,
                Fate::NotPossible { .. } => counts.not_possible += 1,
            }
        }
        counts
    }

    /// The names of the backends.
    #[must_use]
    pub fn backends(&self) -> Vec<String> {
        self.rows
            .first()
            .map(|row| row.backends.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// Whether no sentence differs anywhere.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.backends()
            .iter()
            .all(|name| self.counts(name).differs == 0)
    }

    /// A backend on which no sentence held and none differed: every one was passed over.
    #[must_use]
    pub fn idle_backend(&self) -> Option<String> {
        self.backends().into_iter().find(|name| {
            let counts = self.counts(name);
            counts.holds + counts.holds_best_effort + counts.differs == 0
        })
    }

    /// The table for people; with `all` the sentences that hold too.
    #[must_use]
    pub fn table(&self, all: bool) -> String {
        let mut out = String::new();
        for row in &self.rows {
            for (backend, fate) in &row.backends {
                let text = match fate {
                    Fate::Holds if !all => continue,
                    Fate::Holds => "holds".to_owned(),
                    Fate::HoldsBestEffort { .. } if !all => continue,
                    Fate::HoldsBestEffort { strict } => {
                        format!("holds, best effort; strict callers: {strict}")
                    }
                    Fate::Differs {
                        line,
                        step,
                        wanted,
                        got,
                    } => format!("DIFFERS at line {line} `{step}`: wanted {wanted}, got {got}"),
                    Fate::NotPossible { why } => format!("not possible here: {why}"),
                };
                let _ = writeln!(out, "{backend:6} {:44} {text}", row.case);
            }
        }
        for once in &self.unsteady {
            let _ = writeln!(out, "unsteady: {once}");
        }
        for name in self.backends() {
            let counts = self.counts(&name);
            let _ = writeln!(
                out,
                "{name}: {} sentences hold, {} more at best effort, {} differ, {} not possible here",
                counts.holds, counts.holds_best_effort, counts.differs, counts.not_possible
            );
        }
        out
    }

    /// As JSON.
    ///
    /// # Errors
    /// Never in practice: the report is plain data.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// As JUnit XML: one suite a backend, one test case a sentence.
    #[must_use]
    pub fn junit(&self) -> String {
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
        for name in self.backends() {
            let counts = self.counts(&name);
            let _ = writeln!(
                out,
                "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">",
                xml(&name),
                self.rows.len(),
                counts.differs,
                counts.not_possible
            );
            for row in &self.rows {
                let inside = match row.backends.get(&name) {
                    Some(Fate::Differs {
                        line,
                        step,
                        wanted,
                        got,
                    }) => format!(
                        "<failure message=\"{}\"/>",
                        xml(&format!("line {line} {step}: wanted {wanted}, got {got}"))
                    ),
                    Some(Fate::NotPossible { why }) => {
                        format!("<skipped message=\"{}\"/>", xml(why))
                    }
                    Some(Fate::Holds | Fate::HoldsBestEffort { .. }) | None => String::new(),
                };
                let _ = writeln!(
                    out,
                    "    <testcase classname=\"{}\" name=\"{}\">{inside}</testcase>",
                    xml(&row.case),
                    xml(&row.sentence)
                );
            }
            out.push_str("  </testsuite>\n");
        }
        out.push_str("</testsuites>\n");
        out
    }
}

/// Text inside XML.
#[must_use]
pub(crate) fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // Other control characters cannot be written in XML 1.0 at all.
            c if c < ' ' && !matches!(c, '\t' | '\n' | '\r') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
