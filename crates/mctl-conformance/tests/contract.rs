//! The contract's sentences and the cases hold to each other, both ways.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stop where a test would"
)]

use std::path::{Path, PathBuf};

use mctl_conformance::contract::{
    Instead, Sentence, TEXT, WITHOUT_CASE, faults, sentences, without_case,
};
use mctl_conformance::matrix::refreshed;
use mctl_conformance::report::{Case, built_in};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn contract() -> Vec<Sentence> {
    sentences(TEXT).expect("every sentence has its anchor")
}

#[test]
fn sentences_and_cases_hold_to_each_other() {
    let without = without_case(WITHOUT_CASE).expect("the list reads");
    let faults = faults(&contract(), &built_in().expect("the cases"), &without);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn tests_that_stand_for_cases_are_there() {
    for (anchor, instead) in without_case(WITHOUT_CASE).expect("the list reads") {
        let Instead::Test(file, name) = instead else {
            continue;
        };
        let text = std::fs::read_to_string(root().join(&file))
            .unwrap_or_else(|error| panic!("{anchor}: {file}: {error}"));
        let head = format!("fn {name}(");
        let at = text
            .find(&head)
            .unwrap_or_else(|| panic!("{anchor}: {file} has no `{name}`"));
        let before = text.get(..at).unwrap_or_default();
        let lines: Vec<&str> = before.lines().rev().take(6).collect();
        assert!(
            lines.iter().any(|line| line.trim() == "#[test]"),
            "{anchor}: `{name}` in {file} is no test"
        );
    }
}

/// Every link to a sentence leads to one.
#[test]
fn links_lead_to_sentences() {
    let mut anchors: Vec<String> = contract().into_iter().map(|s| s.anchor).collect();
    // A heading is linked to by its words.
    anchors.extend(
        TEXT.lines()
            .filter(|line| line.starts_with("##"))
            .map(|line| {
                let words = line.trim_start_matches('#').trim().to_lowercase();
                let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
                words
                    .chars()
                    .filter(kept)
                    .collect::<String>()
                    .replace(' ', "-")
            }),
    );
    let mut files = Vec::new();
    collect(&root(), &mut files);
    let mut links = 0;
    for path in files {
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        for (at, line) in text.lines().enumerate() {
            for piece in line.split("CONTRACT.md#").skip(1) {
                let end = piece
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
                    .unwrap_or(piece.len());
                let anchor = piece.get(..end).unwrap_or_default();
                if anchor.is_empty() {
                    continue;
                }
                links += 1;
                assert!(
                    anchors.iter().any(|known| known == anchor),
                    "{}:{}: no sentence `{anchor}`",
                    path.display(),
                    at + 1
                );
            }
        }
    }
    assert!(links > 0, "nothing links to the contract");
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // A link may lead out of the repository.
        if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            continue;
        }
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" {
                collect(&path, found);
            }
        } else if ["rs", "md", "case", "c", "h", "txt"]
            .iter()
            .any(|end| path.extension().is_some_and(|e| e == *end))
        {
            found.push(path);
        }
    }
}

/// The page of all kernels has a row for each case and no other.
#[test]
fn the_kernel_matrix_has_the_rows_of_today() {
    let path = root().join("docs/kernel-matrix.md");
    let page = std::fs::read_to_string(path).expect("docs/kernel-matrix.md");
    let wanted = refreshed(&page, &built_in().expect("the cases"));
    assert!(
        wanted.as_deref() == Some(page.as_str()),
        "cargo run -p mctl-conformance -- matrix docs/kernel-matrix.md"
    );
}

/// The check itself notices: each kind of fault, one at a time.
#[test]
fn each_fault_is_noticed() {
    let text = "## 1. X\n<a id=\"a-one\"></a>One.\n- <a id=\"a-two\"></a>Two\n  goes on.\n";
    let two = sentences(text).expect("it reads");
    assert_eq!(two.len(), 2);
    assert_eq!(two[1].text, "Two goes on.");
    let case = |name: &str, shows: &str| Case {
        name: name.to_owned(),
        scenario: mctl_conformance::lang::parse(&format!("case \"x\"\n{shows}")).expect("parses"),
    };
    let both = [case("c", "shows a-one a-two")];
    let none = without_case("").expect("empty");
    assert!(faults(&two, &both, &none).is_empty());
    for (cases, list, wanted) in [
        (
            vec![case("c", "shows a-one")],
            "",
            "neither a case nor a reason",
        ),
        (
            vec![case("c", "shows a-one a-two a-three")],
            "",
            "which the contract does not have",
        ),
        (
            vec![case("c", "shows a-one a-two"), case("d", "")],
            "",
            "d shows no sentence",
        ),
        (
            both.to_vec(),
            "a-one needs luck",
            "excused from a case, but has one",
        ),
        (
            both.to_vec(),
            "a-nine needs luck",
            "but the contract does not have it",
        ),
    ] {
        let found = faults(&two, &cases, &without_case(list).expect("it reads"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(wanted), "{found:?}");
    }
    for text in [
        "<a id=\"a\"></a>x\n<a id=\"a\"></a>y\n",
        "## 1. X\n- no anchor\n",
        "## 1. X\n1. no anchor\n",
        "| a | b |\n|---|---|\n| no anchor | x |\n",
        "<a id=\"a>x\n",
    ] {
        assert!(sentences(text).is_err(), "{text:?}");
    }
}
