//! Plain columns, as ps(1) and lsblk(8) print them.

use std::io::{self, IsTerminal as _, Write};

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Which side of a column its text stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// How many columns a line may have: those of the terminal, where output goes to one. `COLUMNS` says another number
/// for it. What goes to a program or a file is never cut off.
fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let said = std::env::var("COLUMNS").ok();
    if let Some(columns) = said.and_then(|text| text.parse().ok()).filter(|n| *n > 0) {
        return Some(columns);
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// As much of a text as so many columns of a terminal hold.
fn shorten(text: &str, columns: usize) -> &str {
    let mut wide = 0;
    let end = text.char_indices().find(|(_, c)| {
        wide += c.width().unwrap_or(0);
        wide > columns
    });
    end.map_or(text, |(at, _)| text.get(..at).unwrap_or(text))
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

    /// Prints it, on a terminal with the last column cut off at the edge.
    pub(crate) fn print(&self, out: &mut impl Write, headings: bool) -> io::Result<()> {
        self.print_within(out, headings, terminal_width())
    }

    fn print_within(
        &self,
        out: &mut impl Write,
        headings: bool,
        within: Option<usize>,
    ) -> io::Result<()> {
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, (heading, _))| {
                let cells = self.rows.iter().filter_map(|row| row.get(at));
                cells
                    .map(|cell| cell.width())
                    .chain(headings.then(|| heading.width()))
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        // What stands before the last column is kept: a figure that is cut off is another figure.
        let before: usize = widths.iter().rev().skip(1).map(|width| width + 1).sum();
        let left = within.map_or(usize::MAX, |within| within.saturating_sub(before).max(1));
        let last = self.columns.len().saturating_sub(1);
        let mut line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut text = String::new();
            let columns = self.columns.iter().zip(&widths).enumerate();
            for (cell, (at, ((_, align), width))) in cells.zip(columns) {
                if at > 0 {
                    text.push(' ');
                }
                let text_column = at == last && *align == Align::Left;
                let cell = if text_column {
                    shorten(cell, left)
                } else {
                    cell
                };
                let pad = " ".repeat(width.saturating_sub(cell.width()));
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

    fn printed(table: &Table, within: Option<usize>) -> String {
        let mut text = Vec::new();
        table.print_within(&mut text, true, within).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn wide_characters_line_up() {
        let mut table = Table::new(&[("COMMAND", Align::Left), ("PID", Align::Right)]);
        table.row(vec!["サーバー".to_owned(), "1".to_owned()]);
        table.row(vec!["cafe\u{301}".to_owned(), "2".to_owned()]);
        let wanted = "COMMAND  PID\nサーバー   1\ncafe\u{301}       2\n";
        assert_eq!(printed(&table, None), wanted);
    }

    #[test]
    fn the_last_column_is_cut_off() {
        let mut table = Table::new(&[("PID", Align::Right), ("WHY", Align::Left)]);
        table.row(vec!["12345".to_owned(), "サーバー".to_owned()]);
        assert_eq!(printed(&table, Some(9)), "  PID WHY\n12345 サ\n");
        assert_eq!(printed(&table, Some(1)), "  PID W\n12345\n");
        assert_eq!(printed(&table, Some(80)), printed(&table, None));
        // Figures are whole or not there.
        let mut table = Table::new(&[("WHY", Align::Left), ("PID", Align::Right)]);
        table.row(vec!["x".to_owned(), "12345".to_owned()]);
        assert_eq!(printed(&table, Some(5)), "WHY   PID\nx   12345\n");
    }
}
