//! The contract as the suite reads it: its sentences by their anchors, and what shows each.

use std::collections::{BTreeMap, BTreeSet};

use crate::report::Case;

/// docs/CONTRACT.md as it was when this program was built.
pub const TEXT: &str = include_str!("../../../docs/CONTRACT.md");
/// The sentences that no case shows, and why.
pub const WITHOUT_CASE: &str = include_str!("../cases/without-case.txt");

/// One sentence that can be tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// Its anchor.
    pub anchor: String,
    /// Its text, as it stands in the file, without the anchor.
    pub text: String,
    /// Its line, from 1.
    pub line: usize,
}

/// Why a sentence has no case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instead {
    /// A test elsewhere in the repository shows it: file, name.
    Test(String, String),
    /// This hardware, kernel or part that is not there yet would show it.
    Needs(String),
}

const OPEN: &str = "<a id=\"";
const CLOSE: &str = "\"></a>";

/// The sentences of the contract.
///
/// # Errors
/// A list item or a row of a table without an anchor, an anchor twice, an anchor that is not
/// closed; with the line.
pub fn sentences(text: &str) -> Result<Vec<Sentence>, String> {
    let mut found: Vec<Sentence> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut inside = false;
    let mut above_rule = "";
    for (at, line) in text.lines().enumerate() {
        let number = at + 1;
        if line.starts_with("## ") {
            inside = true;
        }
        let trimmed = line.trim_start();
        let item = trimmed.strip_prefix("- ").or_else(|| {
            let (digits, rest) = trimmed.split_once(". ")?;
            (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some(rest)
        });
        let row = trimmed.strip_prefix("| ");
        let start = item.or(row).unwrap_or(trimmed);
        if let Some(rest) = start.strip_prefix(OPEN) {
            let (anchor, rest) = rest
                .split_once(CLOSE)
                .ok_or_else(|| format!("line {number}: the anchor is not closed"))?;
            if !seen.insert(anchor.to_owned()) {
                return Err(format!("line {number}: `{anchor}` stands twice"));
            }
            found.push(Sentence {
                anchor: anchor.to_owned(),
                text: rest.to_owned(),
                line: number,
            });
        } else if inside && item.is_some() {
            return Err(format!("line {number}: a list item without an anchor"));
        } else if row.is_some() && above_rule.starts_with('|') {
            return Err(format!("line {number}: a row of a table without an anchor"));
        } else if trimmed.starts_with("  ") || line.starts_with("  ") {
            // A sentence goes on.
            if let Some(last) = found.last_mut()
                && item.is_none()
                && row.is_none()
            {
                last.text.push(' ');
                last.text.push_str(trimmed);
            }
        }
        // The head of a table is followed by its rule, which has no blank after the bar.
        above_rule = if trimmed.starts_with("|-") || trimmed.starts_with("| <") {
            trimmed
        } else {
            ""
        };
    }
    Ok(found)
}

/// Reads the list of sentences without a case: `ANCHOR test FILE NAME` or `ANCHOR needs WHAT`.
///
/// # Errors
/// A line that is neither, with its number.
pub fn without_case(text: &str) -> Result<BTreeMap<String, Instead>, String> {
    let mut found = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = || {
            format!(
                "line {}: `ANCHOR test FILE NAME` or `ANCHOR needs WHAT`",
                at + 1
            )
        };
        let (anchor, rest) = line.split_once(' ').ok_or_else(wrong)?;
        let instead = match rest.trim_start().split_once(' ') {
            Some(("test", rest)) => {
                let (file, name) = rest.trim().split_once(' ').ok_or_else(wrong)?;
                Instead::Test(file.to_owned(), name.trim().to_owned())
            }
            Some(("needs", what)) => Instead::Needs(what.trim().to_owned()),
            _ => return Err(wrong()),
        };
        if found.insert(anchor.to_owned(), instead).is_some() {
            return Err(format!("line {}: `{anchor}` stands twice", at + 1));
        }
    }
    Ok(found)
}

/// Where sentences and cases do not hold to each other; empty where they do.
#[must_use]
pub fn faults(
    sentences: &[Sentence],
    cases: &[Case],
    without: &BTreeMap<String, Instead>,
) -> Vec<String> {
    let anchors: BTreeSet<&str> = sentences.iter().map(|s| s.anchor.as_str()).collect();
    let mut shown = BTreeSet::new();
    let mut faults = Vec::new();
    for case in cases {
        if case.scenario.shows.is_empty() {
            faults.push(format!("{} shows no sentence of the contract", case.name));
        }
        for anchor in &case.scenario.shows {
            shown.insert(anchor.as_str());
            if !anchors.contains(anchor.as_str()) {
                faults.push(format!(
                    "{} shows `{anchor}`, which the contract does not have",
                    case.name
                ));
            }
        }
    }
    for anchor in without.keys() {
        if !anchors.contains(anchor.as_str()) {
            faults.push(format!(
                "`{anchor}` is excused from a case, but the contract does not have it"
            ));
        }
        if shown.contains(anchor.as_str()) {
            faults.push(format!("`{anchor}` is excused from a case, but has one"));
        }
    }
    for sentence in sentences {
        let anchor = sentence.anchor.as_str();
        if !shown.contains(anchor) && !without.contains_key(anchor) {
            faults.push(format!(
                "docs/CONTRACT.md:{}: `{anchor}` has neither a case nor a reason",
                sentence.line
            ));
        }
    }
    faults
}
