//! reStructuredText that docutils reads without a warning, whatever the texts hold.

use std::fmt::Write as _;

use super::markup::{fill, indented, title};
use super::outline::{Node, outline};
use super::prototype::is_identifier;
use crate::ir::Spec;

/// Every specification; a label is made once.
pub(super) fn pages(specs: &[Spec]) -> String {
    let mut labels: Vec<&str> = Vec::new();
    let mut out = String::from(".. SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0\n");
    for spec in specs {
        let name = spec.call_name();
        if is_identifier(name) && !labels.contains(&name) {
            labels.push(name);
            let _ = write!(out, "\n.. _kapi-{name}:\n");
        }
        page(spec, &mut out);
    }
    out
}

/// Text without any markup of its own, in one line.
fn plain(text: &str) -> String {
    let text: String = text.replace(char::is_control, " ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // `::` at an end promises code.
        if matches!(c, '*' | '`' | '|' | '\\' | '_') || (c == ':' && out.ends_with(':')) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Lines none of which begins a list, a title, a field, a comment or a quotation.
fn safe(filled: &str) -> String {
    let mut out = String::with_capacity(filled.len());
    for line in filled.lines() {
        let at = line.len() - line.trim_start().len();
        let (indent, text) = line.split_at(at);
        let first = text.split_whitespace().next().unwrap_or_default();
        let counted =
            first.len() < text.len() && (first.ends_with(['.', ')']) || first.starts_with('('));
        let special = text.starts_with(|c: char| !c.is_alphanumeric() && c != '\\') || counted;
        let _ = writeln!(out, "{indent}{}{text}", if special { "\\" } else { "" });
    }
    out
}

fn page(spec: &Spec, out: &mut String) {
    let head = safe(&plain(&title(spec)));
    let head = head.trim_end();
    // Some characters are two columns wide.
    let width: usize = head.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum();
    let _ = write!(out, "\n{head}\n{}\n", "=".repeat(width.max(4)));
    for section in outline(spec) {
        let _ = write!(
            out,
            "\n{}\n{}\n",
            section.title,
            "-".repeat(section.title.chars().count())
        );
        for node in &section.nodes {
            out.push('\n');
            match node {
                Node::Para(text) => out.push_str(&paragraph(text, 0)),
                Node::Code(text) => {
                    let _ = write!(out, "::\n\n{}", indented(&code(text), 4));
                }
                Node::Def { term, facts, paras } => definition(term, facts, paras, out),
            }
        }
    }
}

/// Lines of code without a margin that all of them have, and without blank ones at either end.
fn code(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|l| l.replace(|c: char| c.is_control() && c != '\t', " "))
        .map(|l| l.trim_end().to_owned())
        .collect();
    let first = lines.iter().position(|l| !l.is_empty()).unwrap_or(0);
    let last = lines
        .iter()
        .rposition(|l| !l.is_empty())
        .map_or(0, |n| n + 1);
    lines.get(first..last).unwrap_or_default().join("\n")
}

fn definition(term: &str, facts: &[(&'static str, String)], paras: &[String], out: &mut String) {
    let term = plain(term);
    let term = if term.is_empty() { "(no name)" } else { &term };
    let _ = writeln!(out, "**{term}**");
    let mut first = true;
    for para in paras {
        if !first {
            out.push('\n');
        }
        first = false;
        out.push_str(&paragraph(para, 4));
    }
    if !paras.is_empty() && !facts.is_empty() {
        out.push('\n');
    }
    for (label, text) in facts {
        let _ = writeln!(out, "    * {label}: {}", plain(text));
    }
}

/// A paragraph; one with line breaks becomes a line block.
fn paragraph(text: &str, indent: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    match lines.as_slice() {
        [] => format!("{}\\ \n", " ".repeat(indent)),
        [one] => safe(&fill(&plain(one), indent)),
        lines => lines
            .iter()
            .map(|line| format!("{}| {}\n", " ".repeat(indent), plain(line)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_begins_no_list_and_no_code() {
        assert_eq!(paragraph("- a", 0), "\\- a\n");
        assert_eq!(paragraph("1. a", 0), "\\1. a\n");
        assert_eq!(paragraph("see::", 4), "    see:\\:\n");
        assert_eq!(paragraph("a_ *b*", 0), "a\\_ \\*b\\*\n");
        assert_eq!(paragraph("a\nb", 0), "| a\n| b\n");
    }
}
