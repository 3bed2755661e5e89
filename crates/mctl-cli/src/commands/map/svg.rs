//! The picture as SVG: the same lines, with the numbers of every line as its tooltip.

use std::fmt::Write;

use mctl::Target;
use mctl::coverage::Coverage;

use super::layout::{Line, Look, Piece, Scale};
use super::terminal::summary;
use crate::commands::get::{percent_text, size_text};

/// Cells a line.
pub(super) const COLUMNS: usize = 96;

const CELL: u64 = 8;
const ROW: u64 = 14;
const LABEL: u64 = 260;
const HEAD: u64 = 56;
const MARGIN: u64 = 10;
/// Columns that a stretch left out takes.
const LEFT_OUT: u64 = 8;

/// Okabe and Ito's colours, which the colour-blind can tell apart.
fn colour(look: Look) -> &'static str {
    match look {
        Look::Huge => "#009e73",
        Look::Small => "#e69f00",
        Look::File => "#c9c9c9",
        Look::Never => "#0072b2",
        Look::Swapped => "#cc79a7",
        Look::NotPresent => "#f0f0f0",
    }
}

/// A picture in the making. What it takes is bounded by the number of cells on a page.
#[derive(Debug)]
pub(super) struct Picture {
    title: String,
    body: String,
    y: u64,
}

impl Picture {
    pub(super) fn new(target: &Target, name: &str, total: &Coverage, scale: Scale) -> Picture {
        Picture {
            title: escape(&format!(
                "process {} ({name}): {}",
                target.pid(),
                summary(total, scale)
            )),
            body: String::new(),
            y: HEAD,
        }
    }

    pub(super) fn line(&mut self, line: &Line) -> Result<(), std::io::Error> {
        let huge = line.coverage.percent().map_or("-".to_owned(), percent_text);
        let label = escape(&format!(
            "{:x} {:>5} {}",
            line.start,
            size_text(line.coverage.size),
            line.name.chars().take(18).collect::<String>()
        ));
        let tip = escape(&format!(
            "{:x} {}: size {}, present {}, anonymous {}, in huge pages {huge}, swapped {}",
            line.start,
            line.name,
            line.coverage.size,
            line.coverage.rss,
            line.coverage.anonymous,
            line.coverage.swap,
        ));
        let mut group = format!(
            "<g><title>{tip}</title><text x=\"{MARGIN}\" y=\"{}\">{label}</text>",
            self.y + ROW - 4
        );
        let mut column = 0;
        for piece in &line.pieces {
            match piece {
                Piece::Cells(look, count) => self.cells(&mut group, *look, *count, &mut column),
                Piece::LeftOut(bytes) => {
                    if column + LEFT_OUT > COLUMNS as u64 {
                        column = 0;
                        self.y += ROW;
                    }
                    let x = LABEL + column * CELL;
                    add(
                        &mut group,
                        format_args!(
                            "<text x=\"{}\" y=\"{}\" class=\"gap\">…{}…</text>",
                            x + 2,
                            self.y + ROW - 4,
                            size_text(*bytes)
                        ),
                    );
                    column += LEFT_OUT;
                }
            }
        }
        group.push_str("</g>\n");
        self.body.push_str(&group);
        self.y += ROW;
        Ok(())
    }

    fn cells(&mut self, group: &mut String, look: Look, count: u64, column: &mut u64) {
        let mut left = count;
        while left > 0 {
            if *column >= COLUMNS as u64 {
                *column = 0;
                self.y += ROW;
            }
            let part = left.min((COLUMNS as u64).saturating_sub(*column));
            add(
                group,
                format_args!(
                    "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>",
                    LABEL + *column * CELL,
                    self.y + 1,
                    part * CELL,
                    ROW - 2,
                    colour(look)
                ),
            );
            *column += part;
            left -= part;
        }
    }

    pub(super) fn finish(self) -> String {
        let width = LABEL + COLUMNS as u64 * CELL + MARGIN;
        let height = self.y + MARGIN;
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"monospace\" font-size=\"11\">\n\
             <style>text{{white-space:pre}}.gap{{fill:#888}}</style>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"{MARGIN}\" y=\"18\" font-size=\"13\">{}</text>\n",
            self.title
        );
        let mut x = MARGIN;
        for (look, word) in Look::ALL {
            add(
                &mut text,
                format_args!(
                    "<rect x=\"{x}\" y=\"30\" width=\"12\" height=\"12\" fill=\"{}\" stroke=\"#888\"/>\
                     <text x=\"{}\" y=\"40\">{word}</text>\n",
                    colour(look),
                    x + 18
                ),
            );
            x += 30 + word.len() as u64 * 7 + 10;
        }
        text.push_str(&self.body);
        text.push_str("</svg>\n");
        text
    }
}

/// Writing to a string cannot fail.
fn add(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(what);
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out() {
        assert_eq!(
            escape("<a b=\"c\">&\x07"),
            "&lt;a b=&quot;c&quot;&gt;&amp;?"
        );
    }
}
