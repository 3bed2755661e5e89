//! A man page in man(7), section 2.

use std::fmt::Write as _;

use super::outline::{Node, outline};
use crate::ir::{Spec, SpecKind};

/// Makes text safe for roff.
fn roff(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (n, line) in text.split('\n').enumerate() {
        if n > 0 {
            out.push_str("\n.br\n");
        }
        if line.starts_with(['.', '\'']) {
            out.push_str("\\&");
        }
        for c in line.chars() {
            match c {
                '\\' => out.push_str("\\e"),
                '-' => out.push_str("\\-"),
                '\'' => out.push_str("\\(aq"),
                '`' => out.push_str("\\(ga"),
                '^' => out.push_str("\\(ha"),
                '~' => out.push_str("\\(ti"),
                '"' => out.push_str("\\(dq"),
                c if c.is_control() => out.push(' '),
                c if c.is_ascii() => out.push(c),
                c => {
                    let _ = write!(out, "\\[u{:04X}]", u32::from(c));
                }
            }
        }
    }
    out
}

fn code(text: &str) -> String {
    let lines: String = text.lines().map(|line| roff(line) + "\n").collect();
    format!(".in +4n\n.EX\n{lines}.EE\n.in\n")
}

/// The page. `date` may be empty.
pub(super) fn page(spec: &Spec, date: &str) -> String {
    let section = if spec.kind == SpecKind::Function {
        "2"
    } else {
        "4"
    };
    let name = spec.call_name();
    let mut out = String::from(
        ".\\\" SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0\n.\\\" Made from the API specification by kapi; do not edit.\n",
    );
    let _ = writeln!(
        out,
        ".TH {} {section} \"{}\" \"mctl\" \"Linux API specifications\"",
        roff(&name.to_uppercase()),
        // mandoc(1) knows dates of one form only, with plain hyphens.
        date.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', " ")
    );
    let summary = if spec.description.is_empty() {
        "kernel API"
    } else {
        &spec.description
    };
    let _ = write!(
        out,
        ".SH NAME\n{} \\- {}\n",
        roff(name),
        roff(&summary.replace('\n', " "))
    );
    for part in outline(spec) {
        let _ = writeln!(out, ".SH {}", part.title.to_uppercase());
        for (n, node) in part.nodes.iter().enumerate() {
            match node {
                Node::Para(text) => {
                    if n > 0 {
                        out.push_str(".P\n");
                    }
                    let _ = writeln!(out, "{}", roff(text));
                }
                Node::Code(text) => out.push_str(&code(text)),
                Node::Def { term, facts, paras } => {
                    let _ = write!(out, ".TP\n.B {}\n", roff(term));
                    let mut first = true;
                    let mut line = |text: String, out: &mut String| {
                        if !first {
                            out.push_str(".IP\n");
                        }
                        first = false;
                        let _ = writeln!(out, "{text}");
                    };
                    for para in paras {
                        line(roff(para), &mut out);
                    }
                    for (label, text) in facts {
                        line(
                            format!("\\fI{label}\\fP: {}", roff(&text.replace('\n', " "))),
                            &mut out,
                        );
                    }
                    if paras.is_empty() && facts.is_empty() {
                        out.push_str("\\&\n");
                    }
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_lines_cannot_be_made_by_text() {
        assert_eq!(roff(".so /etc/passwd"), "\\&.so /etc/passwd");
        assert_eq!(roff("a\n'b\\n-c"), "a\n.br\n\\&\\(aqb\\en\\-c");
    }
}
