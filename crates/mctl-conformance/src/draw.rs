//! Drawing a trace: the address space after every step, for a terminal and as SVG.

use std::fmt::Write as _;

use mctl_model::VmFlags;

use crate::report::xml;
use crate::run::Frame;
use crate::view::{Place, Span, View};

/// How many cells a span is drawn with at most.
const CELLS: u64 = 40;

/// What a span is first of all, as a letter and a colour.
fn look(span: &Span) -> (char, &'static str) {
    if span.flags.has(VmFlags::LOCKED) {
        ('L', "#b5651d")
    } else if span.flags.has(VmFlags::NOHUGEPAGE) {
        ('n', "#888888")
    } else if span.flags.has(VmFlags::HUGEPAGE) {
        ('h', "#2e7d32")
    } else if span.flags.has(VmFlags::MERGEABLE) {
        ('m', "#6a1b9a")
    } else if span.flags.has(VmFlags::SHARED) {
        ('s', "#1565c0")
    } else {
        ('.', "#90a4ae")
    }
}

/// A span as a bar: `#` huge, `=` resident, then its letter for what is not resident.
fn bar(span: &Span) -> String {
    let size = (span.end - span.start).max(1);
    let cells = (size / mctl_model::PAGE).clamp(1, CELLS);
    let share = |bytes: u64| (bytes * cells).div_ceil(size).min(cells);
    let huge = share(span.huge);
    let resident = share(span.rss).max(huge);
    let (letter, _) = look(span);
    (0..cells)
        .map(|cell| {
            if cell < huge {
                '#'
            } else if cell < resident {
                '='
            } else {
                letter
            }
        })
        .collect()
}

/// One address space as text.
#[must_use]
pub fn view_text(view: &View) -> String {
    let mut out = String::new();
    for span in &view.spans {
        let _ = writeln!(
            out,
            "    {:>12} |{}| {} KiB [{}]{}",
            Place(span.start).to_string(),
            bar(span),
            (span.end - span.start) >> 10,
            span.flags,
            if span.eligible { " eligible" } else { "" }
        );
    }
    if let Some((locked, enabled)) = view.status {
        let _ = writeln!(
            out,
            "    locked {} KiB, THP_enabled {}",
            locked >> 10,
            u8::from(enabled)
        );
    }
    out
}

/// A trace as text.
#[must_use]
pub fn text(frames: &[Frame]) -> String {
    let mut out = String::from("# huge  = resident  L locked  h/n advice  m mergeable  s shared\n");
    for frame in frames {
        let _ = writeln!(out, "{} -> {}", frame.step, frame.result);
        for (name, view) in &frame.views {
            let _ = writeln!(out, "  {name}:");
            out.push_str(&view_text(view));
        }
    }
    out
}

/// A trace as SVG: a row a step and task, a box a span.
#[must_use]
pub fn svg(frames: &[Frame]) -> String {
    let mut body = String::new();
    let mut y: u64 = 10;
    for frame in frames {
        let _ = writeln!(
            body,
            "<text x=\"10\" y=\"{}\" font-weight=\"bold\">{}</text>",
            y + 12,
            xml(&format!("{} -> {}", frame.step, frame.result))
        );
        y += 20;
        for (name, view) in &frame.views {
            let _ = writeln!(body, "<text x=\"20\" y=\"{}\">{}</text>", y + 14, xml(name));
            let mut x: u64 = 90;
            for span in &view.spans {
                let pages = ((span.end - span.start) / mctl_model::PAGE).max(1);
                // Sizes span many powers of two: a box is as wide as the logarithm.
                let width = 14 + 12 * u64::from(pages.ilog2());
                let (_, colour) = look(span);
                let part = |bytes: u64| width * bytes / (span.end - span.start).max(1);
                let title = xml(&span.to_string());
                let _ = writeln!(
                    body,
                    "<g><title>{title}</title><rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"18\" \
                     fill=\"{colour}\" fill-opacity=\"0.35\" stroke=\"{colour}\"/>\
                     <rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"18\" fill=\"{colour}\" fill-opacity=\"0.6\"/>\
                     <rect x=\"{x}\" y=\"{}\" width=\"{}\" height=\"6\" fill=\"#d32f2f\"/></g>",
                    part(span.rss),
                    y + 12,
                    part(span.huge)
                );
                x += width + 6;
            }
            y += 26;
        }
        y += 6;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1200\" height=\"{}\" \
         font-family=\"monospace\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n",
        y + 10
    )
}
