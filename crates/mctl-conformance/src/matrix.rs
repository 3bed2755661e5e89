//! docs/kernel-matrix.md: the rows that the cases of today make of it.
//!
//! The marks come from guests (`cargo xtask guest matrix`). Between two such runs cases come, go
//! and change their sentence: then the row is as it has to be, and its marks say `?`.

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
