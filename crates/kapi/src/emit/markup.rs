//! Plain text and Markdown.

use std::fmt::Write as _;

use super::outline::{Node, outline};
use crate::ir::Spec;

pub(super) fn title(spec: &Spec) -> String {
    if spec.description.is_empty() {
        spec.name.clone()
    } else {
        format!("{} — {}", spec.name, spec.description.replace('\n', " "))
    }
}

/// Text filled to 78 columns, each line after `indent` blanks.
pub(super) fn fill(text: &str, indent: usize) -> String {
    let mut out = String::new();
    for line in text.split('\n') {
        let mut width = 0;
        for word in line.split_whitespace() {
            let length = word.chars().count();
            if width > 0 && indent + width + 1 + length > 78 {
                out.push('\n');
                width = 0;
            }
            if width == 0 {
                out.push_str(&" ".repeat(indent));
            } else {
                out.push(' ');
                width += 1;
            }
            out.push_str(word);
            width += length;
        }
        out.push('\n');
    }
    out
}

pub(super) fn indented(text: &str, by: usize) -> String {
    text.lines()
        .map(|line| {
            if line.is_empty() {
                "\n".to_owned()
            } else {
                format!("{}{line}\n", " ".repeat(by))
            }
        })
        .collect()
}

/// For a terminal.
pub(super) fn plain(spec: &Spec) -> String {
    let mut out = title(spec);
    out.push('\n');
    for section in outline(spec) {
        let _ = write!(out, "\n{}\n", section.title.to_uppercase());
        for node in &section.nodes {
            match node {
                Node::Para(text) => out.push_str(&fill(text, 4)),
                Node::Code(text) => out.push_str(&indented(text, 4)),
                Node::Def { term, facts, paras } => {
                    let _ = writeln!(out, "    {term}");
                    for para in paras {
                        out.push_str(&fill(para, 8));
                    }
                    for (label, text) in facts {
                        out.push_str(&fill(&format!("{label}: {}", text.replace('\n', " ")), 8));
                    }
                }
            }
        }
    }
    out
}

fn md_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(
            c,
            '*' | '_' | '`' | '\\' | '<' | '>' | '[' | ']' | '#' | '|'
        ) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Markdown.
pub(super) fn markdown(spec: &Spec) -> String {
    let mut out = format!("# {}\n", md_escape(&title(spec)));
    for section in outline(spec) {
        let _ = write!(out, "\n## {}\n\n", section.title);
        for node in &section.nodes {
            match node {
                Node::Para(text) => {
                    let _ = write!(out, "{}\n\n", md_escape(text).replace('\n', "  \n"));
                }
                Node::Code(text) => {
                    let fence = if text.contains("```") { "````" } else { "```" };
                    let _ = write!(out, "{fence}c\n{text}\n{fence}\n\n");
                }
                Node::Def { term, facts, paras } => {
                    let _ = writeln!(out, "- **{}**", md_escape(term));
                    for para in paras {
                        let _ = write!(out, "\n  {}\n\n", md_escape(para).replace('\n', "  \n  "));
                    }
                    for (label, text) in facts {
                        let _ =
                            writeln!(out, "  - {label}: {}", md_escape(&text.replace('\n', " ")));
                    }
                }
            }
        }
    }
    out
}
