//! A man page in man(7), with the sections of man-pages(7) in their order.

use std::fmt::Write as _;

use super::outline::{Node, outline};
use super::prototype::{prototype, volume};
use crate::ir::Spec;

/// The sections of a page and the parts of the outline in each; all but the first have a heading
/// of their own.
const SECTIONS: [(&str, &[&str]); 6] = [
    (
        "DESCRIPTION",
        &[
            "Description",
            "Interface",
            "Parameters",
            "Structures",
            "Rules",
            "Capabilities",
            "Signals",
            "Side effects",
            "State transitions",
        ],
    ),
    ("RETURN VALUE", &["Return value"]),
    ("ERRORS", &["Errors"]),
    ("HISTORY", &["History"]),
    ("NOTES", &["Notes", "Contexts", "Locks", "Not understood"]),
    ("EXAMPLES", &["Examples"]),
];

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

/// Text in one line.
fn line(text: &str) -> String {
    roff(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn code(text: &str) -> String {
    let lines: String = text.lines().map(|line| roff(line) + "\n").collect();
    format!(".in +4n\n.EX\n{lines}.EE\n.in\n")
}

/// The page. `date` may be empty.
pub(super) fn page(spec: &Spec, date: &str) -> String {
    let name = spec.call_name();
    let mut out = String::from(
        ".\\\" SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0\n.\\\" Made from the API specification by kapi; do not edit.\n",
    );
    let _ = writeln!(
        out,
        ".TH {} {} \"{}\" \"mctl\" \"Linux API specifications\"",
        line(&name.to_uppercase()),
        volume(spec),
        // mandoc(1) knows dates of one form only, with plain hyphens.
        date.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', " ")
    );
    let summary = if spec.description.trim().is_empty() {
        "kernel API"
    } else {
        &spec.description
    };
    let _ = write!(out, ".SH NAME\n{} \\- {}\n", line(name), line(summary));
    synopsis(spec, &mut out);
    let parts = outline(spec);
    for (title, wanted) in SECTIONS {
        let mut open = false;
        for part in wanted
            .iter()
            .filter_map(|w| parts.iter().find(|p| p.title == *w))
        {
            if !open {
                let _ = writeln!(out, ".SH {title}");
            }
            let own = wanted.first() == Some(&part.title);
            if !own {
                let _ = writeln!(out, ".SS {}", part.title);
            }
            open = true;
            nodes(&part.nodes, &mut out);
        }
        if title == "RETURN VALUE" && volume(spec) == "2" && !spec.errors.is_empty() {
            out.push_str(if open { ".P\n" } else { ".SH RETURN VALUE\n" });
            out.push_str("On error, \\-1 is returned, and\n.I errno\nis set to tell the error.\n");
        }
    }
    out
}

fn synopsis(spec: &Spec, out: &mut String) {
    let made = prototype(spec);
    if made.line.trim().is_empty() {
        return;
    }
    out.push_str(".SH SYNOPSIS\n.nf\n");
    for header in &made.headers {
        let _ = writeln!(out, ".B #include <{header}>");
    }
    if !made.headers.is_empty() {
        out.push_str(".P\n");
    }
    let _ = write!(out, ".B {}\n.fi\n", line(&made.line));
    if made.bare {
        let _ = write!(
            out,
            ".P\nThe C library has no function for\n.BR {} ();\n.BR syscall (2)\nmakes the call.\n",
            line(spec.call_name())
        );
    }
}

fn nodes(nodes: &[Node], out: &mut String) {
    for (n, node) in nodes.iter().enumerate() {
        match node {
            Node::Para(text) => {
                if n > 0 {
                    out.push_str(".P\n");
                }
                let _ = writeln!(out, "{}", roff(text));
            }
            Node::Code(text) => out.push_str(&code(text)),
            Node::Def { term, facts, paras } => {
                let _ = write!(out, ".TP\n.B {}\n", line(term));
                let mut first = true;
                let mut item = |text: String, out: &mut String| {
                    if !first {
                        out.push_str(".IP\n");
                    }
                    first = false;
                    let _ = writeln!(out, "{text}");
                };
                for para in paras {
                    item(roff(para), out);
                }
                for (label, text) in facts {
                    item(format!("\\fI{label}\\fP: {}", line(text)), out);
                }
                if paras.is_empty() && facts.is_empty() {
                    out.push_str("\\&\n");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_lines_cannot_be_made_by_text() {
        assert_eq!(roff(".so /etc/passwd"), "\\&.so /etc/passwd");
        assert_eq!(roff("a\n'b\\n-c"), "a\n.br\n\\&\\(aqb\\en\\-c");
    }

    #[test]
    fn every_part_has_a_section() {
        // A part that no section names would vanish from the pages.
        let of = |title: &str| SECTIONS.iter().any(|(_, parts)| parts.contains(&title));
        for title in super::super::outline::TITLES {
            assert!(title == "Synopsis" || of(title), "{title}");
        }
    }
}
