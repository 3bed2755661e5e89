//! From a comment to blocks.

use std::borrow::Cow;

use super::doc::{Block, Sub, subfields};
use super::text;

/// A line of a comment.
struct Line<'a> {
    indent: usize,
    /// Without indentation and comment marks; trailing blanks only in `|` lines.
    body: Cow<'a, str>,
    from: usize,
    to: usize,
}

/// A comment as blocks.
#[derive(Debug, Default)]
pub(super) struct Doc {
    pub(super) name: String,
    pub(super) summary: String,
    pub(super) name_at: (usize, usize),
    /// `@name: text` in order.
    pub(super) params: Vec<Sub>,
    /// Free text between the header and the blocks.
    pub(super) body: String,
    pub(super) blocks: Vec<Block>,
}

/// Reads the inside of a `/** … */` comment, which starts at byte `base` of the file.
pub(super) fn read(comment: &str, base: usize, diff: bool) -> Option<Doc> {
    let lines = lines(comment, base, diff);
    let mut rest = lines.iter().skip_while(|l| l.body.is_empty()).peekable();
    let header = rest.next()?;
    let (name, summary) = header_of(&header.body)?;
    let mut doc = Doc {
        name,
        summary,
        name_at: (header.from, header.to),
        ..Doc::default()
    };
    // The summary may go on until the first blank line or key.
    while let Some(line) = rest.next_if(|l| {
        !l.body.is_empty() && text::key_of(&l.body).is_none() && !l.body.starts_with('@')
    }) {
        doc.summary.push(' ');
        doc.summary.push_str(&line.body);
    }
    let rest: Vec<&Line<'_>> = rest.collect();
    let base_indent = rest
        .iter()
        .filter(|l| {
            text::key_of(&l.body).is_some_and(|k| subfields(k).is_some()) || l.body.starts_with('@')
        })
        .map(|l| l.indent)
        .min()?;
    let mut at = 0;
    let mut body: Vec<&str> = Vec::new();
    while let Some(line) = rest.get(at) {
        let end = at
            + 1
            + rest
                .get(at + 1..)
                .unwrap_or_default()
                .iter()
                .position(|l| !l.body.is_empty() && l.indent <= base_indent)
                .unwrap_or(rest.len() - at - 1);
        let below = rest.get(at + 1..end).unwrap_or_default();
        if line.body.is_empty() {
            body.push("");
            at += 1;
            continue;
        }
        if let Some(param) = line.body.strip_prefix('@') {
            let (name, first) = param.split_once(':').unwrap_or((param, ""));
            let text = collect(first.trim(), below, false);
            doc.params.push(Sub {
                key: name.trim().to_owned(),
                text,
                from: line.from,
                to: line.to,
            });
        } else if let Some(key) = text::key_of(&line.body) {
            doc.blocks.push(block(key, line, below));
        } else {
            body.push(&line.body);
            body.extend(below.iter().map(|l| &*l.body));
        }
        at = end;
    }
    doc.body = text::decode(&body);
    Some(doc)
}

/// `name - summary`, `name() - summary`.
fn header_of(line: &str) -> Option<(String, String)> {
    let (name, summary) = line
        .split_once(" - ")
        .unwrap_or((line.trim_end_matches(" -"), ""));
    let name = name.trim().strip_suffix("()").unwrap_or(name.trim());
    let good = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'.' | b'/' | b'-'));
    good.then(|| (name.to_owned(), summary.trim().to_owned()))
}

fn block(key: &str, line: &Line<'_>, below: &[&Line<'_>]) -> Block {
    let known = subfields(key).unwrap_or_default();
    let is_sub = |l: &Line<'_>| {
        text::key_of(&l.body)
            .filter(|k| known.contains(k))
            .map(str::to_owned)
    };
    // Where the subfields stand, a line with another key is one that is not known. A block that
    // is all text has none, and text may be indented further.
    let column = below
        .iter()
        .filter(|l| is_sub(l).is_some())
        .map(|l| l.indent)
        .min()
        .or_else(|| below.iter().find(|l| !l.body.is_empty()).map(|l| l.indent))
        .filter(|_| !known.is_empty());
    let is_odd = |l: &Line<'_>| {
        text::key_of(&l.body)
            .filter(|k| {
                Some(l.indent) == column
                    && !known.contains(k)
                    && k.len() > 2
                    && k.bytes()
                        .all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'_')
            })
            .map(str::to_owned)
    };
    let after = |body: &str, key: &str| {
        body.get(key.len() + 1..)
            .unwrap_or_default()
            .trim_start()
            .to_owned()
    };
    let code = matches!(key, "examples" | "example");
    let first_sub = below
        .iter()
        .position(|l| is_sub(l).is_some() || is_odd(l).is_some())
        .unwrap_or(below.len());
    let mut block = Block {
        key: key.to_owned(),
        head: collect(
            &after(&line.body, key),
            below.get(..first_sub).unwrap_or_default(),
            code,
        ),
        subs: Vec::new(),
        odd: Vec::new(),
        from: line.from,
        to: line.to,
    };
    let mut at = first_sub;
    while let Some(line) = below.get(at) {
        let (known, odd) = (is_sub(line), is_odd(line));
        let is_known = known.is_some();
        let Some(sub) = known.or(odd) else { break };
        let rest = below.get(at + 1..).unwrap_or_default();
        let length = rest
            .iter()
            .position(|l| is_sub(l).is_some() || is_odd(l).is_some())
            .unwrap_or(rest.len());
        let text = collect(
            &after(&line.body, &sub),
            rest.get(..length).unwrap_or_default(),
            false,
        );
        let list = if is_known {
            &mut block.subs
        } else {
            &mut block.odd
        };
        list.push(Sub {
            key: sub,
            text,
            from: line.from,
            to: line.to,
        });
        at += 1 + length;
    }
    block
}

fn collect(first: &str, below: &[&Line<'_>], code: bool) -> String {
    let mut lines: Vec<Cow<'_, str>> = vec![Cow::Borrowed(first)];
    // In code the indentation below the first line counts.
    let base = below
        .iter()
        .find(|l| !l.body.is_empty())
        .map_or(0, |l| l.indent);
    for line in below {
        if code && !line.body.is_empty() && line.indent > base && !line.body.starts_with("| ") {
            lines.push(Cow::Owned(format!(
                "{}{}",
                " ".repeat(line.indent - base),
                line.body
            )));
        } else {
            lines.push(Cow::Borrowed(&line.body));
        }
    }
    let lines: Vec<&str> = lines.iter().map(|l| &**l).collect();
    if code {
        text::decode_code(&lines)
    } else {
        text::decode(&lines)
    }
}

fn lines(comment: &str, base: usize, diff: bool) -> Vec<Line<'_>> {
    let mut out = Vec::new();
    let mut offset = base;
    for (n, raw) in comment.split('\n').enumerate() {
        let from = offset;
        offset += raw.len() + 1;
        let mut line = raw.strip_suffix('\r').unwrap_or(raw);
        if diff && n > 0 {
            if line.starts_with('-') {
                continue;
            }
            line = line.strip_prefix(['+', ' ']).unwrap_or(line);
        }
        if n > 0 {
            let trimmed = line.trim_start_matches([' ', '\t']);
            line = trimmed.strip_prefix('*').unwrap_or(line);
        }
        let body = line.trim_start_matches([' ', '\t']);
        let indent = line.get(..line.len() - body.len()).unwrap_or_default();
        let indent = indent.bytes().map(|b| if b == b'\t' { 8 } else { 1 }).sum();
        let body = if body.starts_with('|') {
            body
        } else {
            body.trim_end()
        };
        let lead = raw.len() - raw.trim_start_matches(['+', ' ', '\t', '*']).len();
        out.push(Line {
            indent,
            body: text::unescape(body),
            from: from + lead,
            to: from + raw.trim_end().len().max(lead),
        });
    }
    out
}
