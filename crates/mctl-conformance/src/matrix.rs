//! docs/kernel-matrix.md: the rows that the cases of today make of it.
//!
//! The marks come from guests (`cargo xtask guest matrix`). Between two such runs cases come, go
//! and change their sentence: then the row is as it has to be, and its marks say `?`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::report::Case;

const HEAD: &str = "| case | sentence |";

/// What a sentence's cell says: the case's own words, with a link to the contract's.
#[must_use]
pub fn cell(case: &Case) -> String {
    let words = case.scenario.sentence.replace('|', "\\|");
    match case.scenario.shows.first() {
        Some(anchor) => format!("[{words}](CONTRACT.md#{anchor})"),
        None => words,
    }
}

/// The page with a row for each case and no other; `None` where it has no table.
#[must_use]
pub fn refreshed(page: &str, cases: &[Case]) -> Option<String> {
    let lines: Vec<&str> = page.lines().collect();
    let head = lines.iter().position(|line| line.starts_with(HEAD))?;
    let kernels = lines.get(head)?.matches('|').count().checked_sub(3)?;
    let rows: Vec<Vec<&str>> = lines
        .iter()
        .skip(head + 2)
        .take_while(|line| line.starts_with("| "))
        .map(|line| cells(line))
        .collect();
    let mut out = String::new();
    for line in lines.iter().take(head + 2) {
        let _ = writeln!(out, "{line}");
    }
    for case in cases {
        let cell = cell(case);
        let old = rows
            .iter()
            .find(|row| row.first() == Some(&case.name.as_str()))
            .filter(|row| row.get(1) == Some(&cell.as_str()));
        let _ = write!(out, "| {} | {cell} |", case.name);
        for at in 0..kernels {
            let mark = old.and_then(|row| row.get(at + 2)).unwrap_or(&"?");
            let _ = write!(out, " {mark} |");
        }
        out.push('\n');
    }
    for line in lines.iter().skip(head + 2 + rows.len()) {
        let _ = writeln!(out, "{line}");
    }
    Some(out)
}

/// The page with one kernel's marks as a report of a run there has them (`run --json`), and what hangs on them: its
/// counts, and why sentences cannot be tried there. Reasons for a difference that no mark names any more go.
///
/// # Errors
/// Where the page has no such column, or the report no rows: what is wrong.
pub fn with_report(page: &str, kernel: &str, report: &serde_json::Value) -> Result<String, String> {
    let fates = fates(report)?;
    let lines: Vec<&str> = page.lines().collect();
    let head = lines.iter().find(|line| line.starts_with(HEAD));
    let head = cells(head.ok_or("the page has no table")?);
    let column = head.iter().position(|name| *name == kernel);
    let column = column.ok_or_else(|| format!("the page has no column {kernel}"))?;
    let counts = ["holds", "differs", "not-possible"].map(|word| {
        fates
            .values()
            .filter(|(verdict, _)| verdict == word)
            .count()
    });
    let mut out: Vec<String> = Vec::new();
    let mut section = "";
    for line in lines {
        section = line.strip_prefix("## ").unwrap_or(section);
        let mut row: Vec<String> = cells(line).into_iter().map(str::to_owned).collect();
        let first = row.first().cloned().unwrap_or_default();
        match section {
            "Runs" if first == kernel => {
                for (cell, count) in row.iter_mut().skip(2).zip(counts) {
                    *cell = count.to_string();
                }
                out.push(format!("| {} |", row.join(" | ")));
            }
            "Sentences" if line.starts_with("| ") && !line.starts_with(HEAD) => {
                if let (Some((verdict, _)), Some(cell)) = (fates.get(&first), row.get_mut(column)) {
                    *cell = match verdict.as_str() {
                        "holds" => "✓".to_owned(),
                        "not-possible" => "·".to_owned(),
                        _ => "✗ **unexplained**".to_owned(),
                    };
                }
                out.push(format!("| {} |", row.join(" | ")));
            }
            "Why sentences cannot be tried" if line.starts_with("- ") => {
                out.extend(without_kernel(line, kernel));
            }
            _ => out.push(line.to_owned()),
        }
    }
    let mut whys: BTreeMap<&str, usize> = BTreeMap::new();
    for (verdict, why) in fates.values() {
        if verdict == "not-possible" {
            *whys.entry(why).or_default() += 1;
        }
    }
    for (why, count) in whys {
        add_why(&mut out, why, kernel, count);
    }
    Ok(renumbered(&out))
}

/// Each case's verdict, best effort counted as holding, and why it could not be tried.
fn fates(report: &serde_json::Value) -> Result<BTreeMap<String, (String, String)>, String> {
    let rows = report.get("rows").and_then(|rows| rows.as_array());
    let mut fates = BTreeMap::new();
    for row in rows.ok_or("the report has no rows")? {
        let case = row.get("case").and_then(|case| case.as_str());
        let backends = row.get("backends").and_then(|all| all.as_object());
        let fate = backends.and_then(|all| all.values().next());
        let (Some(case), Some(fate)) = (case, fate) else {
            return Err("a row of the report has no case or no backend".to_owned());
        };
        let word = |name: &str| {
            fate.get(name)
                .and_then(|word| word.as_str())
                .unwrap_or_default()
        };
        let verdict = word("verdict").trim_end_matches("-best-effort");
        fates.insert(
            case.to_owned(),
            (verdict.to_owned(), word("why").to_owned()),
        );
    }
    Ok(fates)
}

/// A reason and the kernels that it stands for: `- WHY (stock-6.1 5, stock-6.12 4)`.
fn why_and_kernels(line: &str) -> Option<(&str, Vec<&str>)> {
    let (why, kernels) = line
        .strip_prefix("- ")?
        .strip_suffix(')')?
        .rsplit_once(" (")?;
    Some((why, kernels.split(", ").collect()))
}

fn without_kernel(line: &str, kernel: &str) -> Option<String> {
    let Some((why, mut kernels)) = why_and_kernels(line) else {
        return Some(line.to_owned());
    };
    kernels.retain(|entry| entry.split(' ').next() != Some(kernel));
    (!kernels.is_empty()).then(|| format!("- {why} ({})", kernels.join(", ")))
}

/// Puts a reason for a kernel into the list, which is in the order of the alphabet.
fn add_why(lines: &mut Vec<String>, why: &str, kernel: &str, count: usize) {
    let Some(begin) = lines
        .iter()
        .position(|line| line == "## Why sentences cannot be tried")
    else {
        return;
    };
    let first = begin + 2;
    let mut at = first;
    while let Some((known, kernels)) = lines.get(at).and_then(|line| why_and_kernels(line)) {
        if known == why {
            let mut kernels: Vec<String> = kernels.into_iter().map(str::to_owned).collect();
            kernels.push(format!("{kernel} {count}"));
            kernels.sort();
            if let Some(line) = lines.get_mut(at) {
                *line = format!("- {why} ({})", kernels.join(", "));
            }
            return;
        }
        if known > why {
            break;
        }
        at += 1;
    }
    lines.insert(at, format!("- {why} ({kernel} {count})"));
}

/// The reasons for a difference that a mark names, numbered anew.
fn renumbered(lines: &[String]) -> String {
    let mark = |cell: &str| -> Option<usize> { cell.strip_prefix("✗ ")?.parse().ok() };
    let named: BTreeSet<usize> = lines
        .iter()
        .flat_map(|line| cells(line))
        .filter_map(mark)
        .collect();
    let new = |old: usize| {
        named
            .iter()
            .position(|known| *known == old)
            .map(|at| at + 1)
    };
    let mut out = String::new();
    let mut section = "";
    for line in lines {
        section = line.strip_prefix("## ").unwrap_or(section);
        let reason = line
            .split_once(". ")
            .filter(|_| section == "Why sentences differ");
        let reason = reason.and_then(|(number, why)| Some((number.parse::<usize>().ok()?, why)));
        if let Some((number, why)) = reason {
            if let Some(number) = new(number) {
                let _ = writeln!(out, "{number}. {why}");
            }
        } else if cells(line).into_iter().any(|cell| mark(cell).is_some()) {
            let row: Vec<String> = cells(line)
                .into_iter()
                .map(|cell| match mark(cell).and_then(new) {
                    Some(number) => format!("✗ {number}"),
                    None => cell.to_owned(),
                })
                .collect();
            let _ = writeln!(out, "| {} |", row.join(" | "));
        } else {
            let _ = writeln!(out, "{line}");
        }
    }
    out
}

/// The cells of a row; a bar after a backslash is no border.
fn cells(line: &str) -> Vec<&str> {
    let mut cells = Vec::new();
    let mut start = 0;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if c == '|' && before != '\\' {
            if at > 0 {
                cells.push(line.get(start..at).unwrap_or_default().trim());
            }
            start = at + 1;
        }
        before = c;
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# The contract on every kernel

## Runs

| kernel | Linux | sentences hold | differ | not possible | jobs passed |
|---|---|---|---|---|---|
| old | 6.1 | 1 | 2 | 0 | 46 |
| new | 7.2 | 2 | 1 | 0 | 47 |

## Why sentences differ

1. one
2. two

## Why sentences cannot be tried

- a (new 1, old 2)
- c (old 1)

## Sentences

| case | sentence | old | new |
|---|---|---|---|
| x/1 | [one \\| two](CONTRACT.md#call-self) | ✗ 1 | ✓ |
| x/2 | s | ✗ 2 | ✗ 2 |
| x/3 | s | ? | ✓ |
";

    #[test]
    fn a_run_gives_its_kernel_new_marks_and_leaves_the_others() {
        let report = serde_json::json!({ "rows": [
            { "case": "x/1", "backends": { "stock": { "verdict": "not-possible", "why": "b" } } },
            { "case": "x/2", "backends": { "stock": { "verdict": "differs" } } },
            { "case": "x/3", "backends": { "stock": { "verdict": "holds-best-effort", "strict": "no" } } },
        ]});
        let page = with_report(PAGE, "old", &report).unwrap_or_default();
        let wanted = PAGE
            .replace(
                "| old | 6.1 | 1 | 2 | 0 | 46 |",
                "| old | 6.1 | 1 | 1 | 1 | 46 |",
            )
            .replace("1. one\n2. two\n", "1. two\n")
            .replace(
                "- a (new 1, old 2)\n- c (old 1)\n",
                "- a (new 1)\n- b (old 1)\n",
            )
            .replace("| ✗ 1 | ✓ |", "| · | ✓ |")
            .replace("| ✗ 2 | ✗ 2 |", "| ✗ **unexplained** | ✗ 1 |")
            .replace("| ? | ✓ |", "| ✓ | ✓ |");
        assert_eq!(page, wanted);
    }

    #[test]
    fn what_is_no_report_is_said() {
        let none = serde_json::json!({});
        assert!(with_report(PAGE, "old", &none).is_err_and(|why| why.contains("no rows")));
        let empty = serde_json::json!({ "rows": [] });
        assert!(with_report(PAGE, "none", &empty).is_err_and(|why| why.contains("none")));
        assert!(with_report("", "old", &empty).is_err());
    }
}
