//! The contract's sentences on every kernel, as one table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::guest::KERNELS;
use crate::jobs::{CONFORMANCE, Table};
use crate::layout::Layout;
use crate::results::Results;

/// What came of a sentence on a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Holds,
    /// With the reason from the table, if it is there.
    Differs(Option<String>),
    NotPossible(String),
}

/// Rows: case → (sentence, kernel → fate).
type Rows = BTreeMap<String, (String, BTreeMap<String, Fate>)>;

/// Writes the table of all kernels that have results, and returns where it is.
pub(crate) fn write(layout: &Layout) -> Result<PathBuf> {
    let table = Table::read(layout)?;
    let mut rows = Rows::new();
    let mut heads = Vec::new();
    for kernel in KERNELS {
        let dir = layout.results().join(kernel);
        let Ok(json) = std::fs::read(dir.join(format!("{CONFORMANCE}.json"))) else {
            continue;
        };
        let results = Results::read(&dir)?;
        // A guest that broke off has no report to show.
        if results.sentences.is_none() {
            continue;
        }
        add(&mut rows, kernel, &json, &table.differing(kernel))?;
        heads.push(results);
    }
    if heads.is_empty() {
        bail!("no guest has run the conformance suite yet: cargo xtask guest test");
    }
    let path = layout.results().join("kernel-matrix.md");
    std::fs::write(&path, render(&rows, &heads))?;
    Ok(path)
}

fn add(rows: &mut Rows, kernel: &str, json: &[u8], known: &BTreeMap<&str, &str>) -> Result<()> {
    let report: serde_json::Value = serde_json::from_slice(json).context(kernel.to_owned())?;
    let list = report.get("rows").and_then(|r| r.as_array());
    for row in list.context("the conformance report has no rows")? {
        let text = |name: &str| row.get(name).and_then(|v| v.as_str()).unwrap_or("?");
        let Some(fate) = row
            .get("backends")
            .and_then(|b| b.as_object())
            .and_then(|b| b.values().next())
        else {
            continue;
        };
        let word = |name: &str| fate.get(name).and_then(|v| v.as_str()).unwrap_or("?");
        let fate = match word("verdict") {
            "holds" | "holds-best-effort" => Fate::Holds,
            "not-possible" => Fate::NotPossible(word("why").to_owned()),
            _ => Fate::Differs(known.get(text("case")).map(|r| (*r).to_owned())),
        };
        let entry = rows.entry(text("case").to_owned());
        let words = text("sentence").replace('|', "\\|");
        // As mctl-conformance's own `matrix` has it: the words of the case, a link to the contract's.
        let shown = row.get("shows").and_then(|shows| shows.get(0));
        let cell = match shown.and_then(|anchor| anchor.as_str()) {
            Some(anchor) => format!("[{words}](CONTRACT.md#{anchor})"),
            None => words,
        };
        let entry = entry.or_insert_with(|| (cell, BTreeMap::new()));
        entry.1.insert(kernel.to_owned(), fate);
    }
    Ok(())
}

fn render(rows: &Rows, heads: &[Results]) -> String {
    let mut out = String::from(
        "# The contract on every kernel\n\n\
         Written by `cargo xtask guest matrix` from real runs in guests. ✓ holds, ✗ differs (with the\n\
         number of its reason), · cannot be tried there, ? was not run there since the case is as it is.\n\n## Runs\n\n\
         | kernel | Linux | sentences hold | differ | not possible | jobs passed | failed | skipped | single tests passed | failed | skipped | seconds |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for head in heads {
        let count = |wanted: fn(&Fate) -> bool| {
            let fates = rows
                .values()
                .filter_map(|(_, fates)| fates.get(&head.kernel));
            fates.filter(|fate| wanted(fate)).count()
        };
        let jobs = |word: &str| head.jobs.iter().filter(|j| j.verdict == word).count();
        let (pass, fail, skip) = head.tests();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {pass} | {fail} | {skip} | {:.0} |",
            head.kernel,
            head.release,
            count(|f| *f == Fate::Holds),
            count(|f| matches!(f, Fate::Differs(_))),
            count(|f| matches!(f, Fate::NotPossible(_))),
            jobs("pass"),
            jobs("fail"),
            jobs("skip"),
            head.seconds
        );
    }
    reasons_and_rows(&mut out, rows, heads);
    out
}

fn reasons_and_rows(out: &mut String, rows: &Rows, heads: &[Results]) {
    let fates = || rows.values().flat_map(|(_, fates)| fates.values());
    let known: BTreeSet<&str> = fates()
        .filter_map(|fate| match fate {
            Fate::Differs(Some(reason)) => Some(reason.as_str()),
            _ => None,
        })
        .collect();
    out.push_str("\n## Why sentences differ\n\n");
    for (i, reason) in known.iter().enumerate() {
        let _ = writeln!(out, "{}. {reason}", i + 1);
    }
    if known.is_empty() {
        out.push_str("None does for a known reason.\n");
    }
    out.push_str("\n## Why sentences cannot be tried\n\n");
    let mut whys: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (_, fates) in rows.values() {
        for (kernel, fate) in fates {
            if let Fate::NotPossible(why) = fate {
                *whys.entry(why).or_default().entry(kernel).or_default() += 1;
            }
        }
    }
    for (why, kernels) in whys {
        let list: Vec<String> = kernels.iter().map(|(k, n)| format!("{k} {n}")).collect();
        let _ = writeln!(out, "- {why} ({})", list.join(", "));
    }
    out.push_str("\n## Sentences\n\n| case | sentence |");
    for head in heads {
        let _ = write!(out, " {} |", head.kernel);
    }
    out.push_str("\n|---|---|");
    out.push_str(&"---|".repeat(heads.len()));
    out.push('\n');
    for (case, (sentence, fates)) in rows {
        let _ = write!(out, "| {case} | {sentence} |");
        for head in heads {
            let mark = match fates.get(&head.kernel) {
                Some(Fate::Holds) => "✓".to_owned(),
                Some(Fate::NotPossible(_)) => "·".to_owned(),
                Some(Fate::Differs(Some(reason))) => {
                    let number = known.iter().position(|r| r == reason).unwrap_or(0) + 1;
                    format!("✗ {number}")
                }
                Some(Fate::Differs(None)) => "✗ **unexplained**".to_owned(),
                None => "?".to_owned(),
            };
            let _ = write!(out, " {mark} |");
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fate_has_its_mark_and_its_reason() {
        let json = br#"{"rows":[
            {"case":"1/a","sentence":"A | B","backends":{"stock":{"verdict":"holds"}}},
            {"case":"1/b","sentence":"B","shows":["clear-returns"],"backends":{"stock":{"verdict":"differs"}}},
            {"case":"1/c","sentence":"C","backends":{"stock":{"verdict":"differs"}}},
            {"case":"1/d","sentence":"D","backends":{"stock":{"verdict":"not-possible","why":"no swap"}}}
        ]}"#;
        let mut rows = Rows::new();
        add(
            &mut rows,
            "stock-6.1",
            json,
            &BTreeMap::from([("1/b", "too old")]),
        )
        .unwrap();
        let head = Results {
            kernel: "stock-6.1".into(),
            ..Results::default()
        };
        let text = render(&rows, &[head]);
        for part in [
            "| 1/a | A \\| B | ✓ |",
            "| 1/b | [B](CONTRACT.md#clear-returns) | ✗ 1 |",
            "| 1/c | C | ✗ **unexplained** |",
            "| 1/d | D | · |",
            "1. too old",
            "- no swap (stock-6.1 1)",
            "| stock-6.1 |  | 1 | 2 | 1 |",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
