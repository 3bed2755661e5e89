//! Plain columns, as ps(1) and lsblk(8) print them.

use std::io::{self, Write};

/// Which side of a column its text stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table whose columns are as wide as their widest cell.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Table {
        Table {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(crate) fn print(&self, out: &mut impl Write, headings: bool) -> io::Result<()> {
        let width = |text: &str| text.chars().count();
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, (heading, _))| {
                let cells = self.rows.iter().filter_map(|row| row.get(at));
                cells
                    .map(|cell| width(cell))
                    .chain(headings.then(|| width(heading)))
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut text = String::new();
            for ((cell, (_, align)), width_wanted) in cells.zip(&self.columns).zip(&widths) {
                if !text.is_empty() {
                    text.push(' ');
                }
                let pad = " ".repeat(width_wanted.saturating_sub(width(cell)));
                match align {
                    Align::Left => text.extend([cell, &pad]),
                    Align::Right => text.extend([&pad, cell]),
                }
            }
            writeln!(out, "{}", text.trim_end())
        };
        if headings {
            line(&mut self.columns.iter().map(|(heading, _)| *heading))?;
        }
        for row in &self.rows {
            line(&mut row.iter().map(String::as_str))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[("PID", Align::Right), ("COMMAND", Align::Left)]);
        table.row(vec!["1".to_owned(), "init".to_owned()]);
        table.row(vec!["12345".to_owned(), "ä".to_owned()]);
        let mut text = Vec::new();
        table.print(&mut text, true).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "  PID COMMAND\n    1 init\n12345 ä\n"
        );
    }
}
