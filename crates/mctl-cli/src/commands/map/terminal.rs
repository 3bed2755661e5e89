//! The picture in a terminal.

use std::io::{self, Write};

use mctl::Target;
use mctl::coverage::Coverage;

use super::layout::{Line, Look, Piece, Scale};
use crate::commands::get::{percent_text, size_text};

/// Characters and colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ink {
    colour: bool,
    ascii: bool,
}

impl Ink {
    /// ASCII also where the locale is not UTF-8.
    pub(super) fn choose(colour: bool, ascii: bool) -> Ink {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
            .unwrap_or_default()
            .to_ascii_lowercase();
        let utf8 = locale.contains("utf-8") || locale.contains("utf8");
        Ink {
            colour,
            ascii: ascii || !utf8,
        }
    }

    /// Legible without colour too: every look has a character of its own.
    fn character(self, look: Look) -> char {
        let (plain, ascii) = match look {
            Look::Huge => ('█', '#'),
            Look::Small => ('▒', 'o'),
            Look::File => ('░', ':'),
            Look::Never => ('n', 'n'),
            Look::Swapped => ('s', 's'),
            Look::NotPresent => ('·', '.'),
        };
        if self.ascii { ascii } else { plain }
    }

    /// The number of an SGR sequence: told apart also by those who do not see red and green.
    fn sgr(look: Look) -> &'static str {
        match look {
            Look::Huge => "32",
            Look::Small => "33",
            Look::File => "2",
            Look::Never => "34",
            Look::Swapped => "35",
            Look::NotPresent => "2",
        }
    }

    fn paint(self, look: Look, count: usize, text: &mut String) {
        let drawn = std::iter::repeat_n(self.character(look), count);
        if self.colour {
            text.push_str("\x1b[");
            text.push_str(Ink::sgr(look));
            text.push('m');
            text.extend(drawn);
            text.push_str("\x1b[0m");
        } else {
            text.extend(drawn);
        }
    }
}

/// Address, size, coverage, name, and the blanks between them.
const LABEL: usize = 16 + 1 + 5 + 1 + 6 + 1 + NAME + 1;
const NAME: usize = 18;

/// How wide the terminal is, 80 where there is none.
pub(super) fn width() -> usize {
    let named = std::env::var("COLUMNS")
        .ok()
        .and_then(|text| text.parse().ok());
    let size = || {
        rustix::termios::tcgetwinsize(io::stdout())
            .ok()
            .map(|size| usize::from(size.ws_col))
    };
    named
        .or_else(size)
        .filter(|width| *width > 0)
        .unwrap_or(80)
        .clamp(*super::WIDTHS.start(), *super::WIDTHS.end())
}

/// A page of some width.
#[derive(Debug)]
pub(super) struct Page {
    ink: Ink,
    columns: usize,
}

impl Page {
    pub(super) fn new(ink: Ink, width: usize) -> Page {
        Page {
            ink,
            columns: width.saturating_sub(LABEL).max(8),
        }
    }

    /// Cells a line.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn head(
        &self,
        out: &mut impl Write,
        target: &Target,
        name: &str,
        total: &Coverage,
        scale: Scale,
    ) -> io::Result<()> {
        writeln!(
            out,
            "process {} ({name}): {}",
            target.pid(),
            summary(total, scale)
        )?;
        let mut legend = String::new();
        for (look, word) in Look::ALL {
            if !legend.is_empty() {
                legend.push_str("   ");
            }
            self.ink.paint(look, 1, &mut legend);
            legend.push(' ');
            legend.push_str(word);
        }
        writeln!(out, "{legend}")?;
        writeln!(out, "{:<16} {:>5} {:>6} MAPPING", "ADDRESS", "SIZE", "HUGE")
    }

    pub(super) fn line(&self, out: &mut impl Write, line: &Line) -> io::Result<()> {
        let rows = self.rows(line);
        let huge = line.coverage.percent().map_or("-".to_owned(), percent_text);
        for (index, row) in rows.iter().enumerate() {
            if index == 0 {
                writeln!(
                    out,
                    "{:<16x} {:>5} {huge:>6} {:<NAME$} {}",
                    line.start,
                    size_text(line.coverage.size),
                    shorten(&line.name),
                    row.trim_end(),
                )?;
            } else {
                writeln!(out, "{:LABEL$}{}", "", row.trim_end())?;
            }
        }
        Ok(())
    }

    /// Breaks the pieces of a line to the width.
    fn rows(&self, line: &Line) -> Vec<String> {
        let mut rows = Vec::new();
        let mut row = String::new();
        let mut free = self.columns;
        for piece in &line.pieces {
            match piece {
                Piece::Cells(look, count) => {
                    let mut left = *count;
                    while left > 0 {
                        if free == 0 {
                            rows.push(std::mem::take(&mut row));
                            free = self.columns;
                        }
                        let part = left.min(free as u64);
                        let cells = usize::try_from(part).unwrap_or(free);
                        self.ink.paint(*look, cells, &mut row);
                        left -= part;
                        free -= cells;
                    }
                }
                Piece::LeftOut(bytes) => {
                    let dots = if self.ink.ascii { ".." } else { "⋯" };
                    let text = format!(" {dots}{}{dots} ", size_text(*bytes));
                    let wide = text.chars().count();
                    if wide > free {
                        rows.push(std::mem::take(&mut row));
                        free = self.columns;
                    }
                    row.push_str(&text);
                    free = free.saturating_sub(wide);
                }
            }
        }
        rows.push(row);
        rows
    }
}

/// The numbers above a picture.
pub(super) fn summary(total: &Coverage, scale: Scale) -> String {
    let huge = match total.percent() {
        Some(percent) => format!("{} of both in huge pages", percent_text(percent)),
        None => "none of it in huge pages".to_owned(),
    };
    format!(
        "{} present, {} anonymous, {} shared, {huge}; one cell is {}",
        size_text(total.rss),
        size_text(total.anonymous),
        size_text(total.shmem),
        size_text(mctl::coverage::Bytes(scale.0)),
    )
}

fn shorten(name: &str) -> String {
    if name.chars().count() <= NAME {
        return name.to_owned();
    }
    let kept: String = name.chars().take(NAME - 1).collect();
    format!("{kept}~")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mctl::coverage::Bytes;

    fn page(width: usize) -> Page {
        Page::new(
            Ink {
                colour: false,
                ascii: true,
            },
            width,
        )
    }

    fn line(pieces: &[Piece]) -> Line {
        Line {
            start: 0x1000,
            mappings: 1,
            name: "a name that is far too long".to_owned(),
            coverage: Coverage::default(),
            pieces: pieces.to_vec(),
        }
    }

    #[test]
    fn lines_are_broken_at_the_width() {
        let page = page(LABEL + 10);
        let line = line(&[
            Piece::Cells(Look::Huge, 12),
            Piece::Cells(Look::Small, 1),
            Piece::LeftOut(Bytes(3 << 30)),
            Piece::Cells(Look::NotPresent, 2),
        ]);
        assert_eq!(page.rows(&line), ["##########", "##o", " ..3G.. .."]);
        let mut text = Vec::new();
        page.line(&mut text, &line).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.lines().all(|line| line.chars().count() <= LABEL + 11),
            "{text}"
        );
        assert!(text.contains("a name that is fa~"));
    }

    #[test]
    fn every_look_has_its_own_character() {
        for ascii in [false, true] {
            let ink = Ink {
                colour: false,
                ascii,
            };
            let all: std::collections::BTreeSet<char> = Look::ALL
                .iter()
                .map(|(look, _)| ink.character(*look))
                .collect();
            assert_eq!(all.len(), Look::ALL.len());
        }
    }

    #[test]
    fn colour_ends_where_it_should() {
        let ink = Ink {
            colour: true,
            ascii: true,
        };
        let mut text = String::new();
        ink.paint(Look::Huge, 2, &mut text);
        assert_eq!(text, "\x1b[32m##\x1b[0m");
    }
}
