//! How texts are laid out in a comment, both ways and without loss.
//!
//! Lines of a paragraph are joined by a space, a blank line parts paragraphs, a list item starts
//! a line of its own. A line that starts with `|` is one line of the text exactly as it is (the
//! line block of reStructuredText): the writer uses it for everything that refilling would change.

/// Columns that a filled line may take, without the comment's own.
const WIDTH: usize = 76;

/// Lines (without their indentation) to text.
pub(super) fn decode(lines: &[&str]) -> String {
    let mut out = String::new();
    let mut fresh = true;
    let mut literal_before = false;
    for (n, line) in lines.iter().enumerate() {
        if line.is_empty() {
            // Several blank lines are one break.
            if !out.is_empty() && !fresh {
                out.push_str("\n\n");
            }
            fresh = true;
            continue;
        }
        // What stands after the key is never a line block.
        let literal = if n == 0 { None } else { literal(line) };
        let body = literal.unwrap_or(line);
        if !fresh {
            out.push(if literal.is_some() || literal_before || is_item(body) {
                '\n'
            } else {
                ' '
            });
        }
        out.push_str(body);
        fresh = false;
        literal_before = literal.is_some();
    }
    if fresh && out.ends_with("\n\n") {
        out.truncate(out.len() - 2);
    }
    out
}

/// As [`decode`], but every line stays a line: for examples.
pub(super) fn decode_code(lines: &[&str]) -> String {
    let first = lines
        .iter()
        .position(|l| !l.is_empty())
        .unwrap_or(lines.len());
    let last = lines
        .iter()
        .rposition(|l| !l.is_empty())
        .map_or(first, |n| n + 1);
    let kept = lines.get(first..last).unwrap_or_default();
    kept.iter()
        .map(|line| literal(line).unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The content of a `|` line.
fn literal(line: &str) -> Option<&str> {
    let rest = line.strip_prefix('|')?;
    if rest.is_empty() {
        Some(rest)
    } else {
        rest.strip_prefix(' ')
    }
}

/// `- x`, `* x`, `1. x`, `2) x`.
fn is_item(line: &str) -> bool {
    if line.starts_with("- ") || line.starts_with("* ") {
        return true;
    }
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    digits > 0
        && digits < 4
        && line
            .get(digits..)
            .is_some_and(|rest| rest.starts_with(". ") || rest.starts_with(") "))
}

/// Whether a line that starts so would be read as something else than text.
fn is_special(line: &str) -> bool {
    line.starts_with('|') || line.starts_with('@') || is_item(line) || key_of(line).is_some()
}

/// The `key` of `key: value`.
pub(super) fn key_of(line: &str) -> Option<&str> {
    let length = line
        .bytes()
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        .count();
    let key = line.get(..length)?;
    let rest = line.get(length..)?.strip_prefix(':')?;
    (key.starts_with(|c: char| c.is_ascii_alphabetic())
        && (rest.is_empty() || rest.starts_with([' ', '\t'])))
    .then_some(key)
}

/// Text to lines; the first one stands after the key, the others below it.
pub(super) fn encode(text: &str, first_column: usize) -> Vec<String> {
    let text = text.replace('\r', "");
    if text.is_empty() {
        return Vec::new();
    }
    let paragraphs: Vec<&str> = text.split("\n\n").collect();
    if paragraphs
        .iter()
        .any(|p| p.is_empty() || p.starts_with('\n') || p.ends_with('\n'))
    {
        return below(text.split('\n').map(line_block));
    }
    let mut lines: Vec<String> = Vec::new();
    for (n, paragraph) in paragraphs.iter().enumerate() {
        if n > 0 {
            lines.push(String::new());
        }
        let filled = if paragraph.contains('\n') {
            None
        } else {
            fill(paragraph, if n == 0 { first_column } else { 0 })
        };
        match filled {
            Some(filled) => lines.extend(filled),
            None => {
                if n == 0 {
                    lines.push(String::new());
                }
                lines.extend(paragraph.split('\n').map(line_block));
            }
        }
    }
    lines
}

/// As [`encode`], for examples: every line its own, nothing after the key.
pub(super) fn encode_code(text: &str) -> Vec<String> {
    let text = text.replace('\r', "");
    if text.is_empty() {
        return Vec::new();
    }
    let lines: Vec<&str> = text.split('\n').collect();
    let edge_blank =
        lines.first().is_some_and(|l| l.is_empty()) || lines.last().is_some_and(|l| l.is_empty());
    let plain = |line: &str| {
        line.is_empty() || !line.starts_with([' ', '\t', '|', '@']) && !line.ends_with([' ', '\t'])
    };
    if !edge_blank && lines.iter().copied().all(plain) {
        return below(lines.iter().map(|l| (*l).to_owned()));
    }
    below(lines.iter().copied().map(line_block))
}

fn below(lines: impl Iterator<Item = String>) -> Vec<String> {
    std::iter::once(String::new()).chain(lines).collect()
}

fn line_block(line: &str) -> String {
    if line.is_empty() {
        "|".to_owned()
    } else {
        format!("| {line}")
    }
}

/// Whether the text can stand on one line as it is.
pub(super) fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(' ')
        && !text.ends_with(' ')
        && !text.contains("  ")
        && !text.contains(|c: char| c.is_control() || c.is_whitespace() && c != ' ')
}

/// Greedy filling; `None` where some line would be read as something else.
fn fill(paragraph: &str, first_column: usize) -> Option<Vec<String>> {
    if !is_plain(paragraph) || paragraph.starts_with('|') || is_item(paragraph) {
        return None;
    }
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut width = first_column;
    for word in paragraph.split(' ') {
        let length = word.chars().count();
        if !line.is_empty() && width + 1 + length > WIDTH {
            lines.push(std::mem::take(&mut line));
            width = 0;
        }
        if !line.is_empty() {
            line.push(' ');
            width += 1;
        }
        line.push_str(word);
        width += length;
    }
    lines.push(line);
    let safe = lines.iter().enumerate().all(|(n, line)| {
        !is_special(line) || n == 0 && first_column > 0 && !line.starts_with('|') && !is_item(line)
    });
    safe.then_some(lines)
}

/// Makes a line safe inside a comment.
pub(super) fn escape(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut star = false;
    for c in line.chars() {
        if c == '/' && star {
            out.push('\\');
        }
        star = c == '*' || (star && c == '\\');
        out.push(c);
    }
    out
}

/// Undoes [`escape`].
pub(super) fn unescape(line: &str) -> std::borrow::Cow<'_, str> {
    if !line.contains("\\/") {
        return line.into();
    }
    let mut out = String::with_capacity(line.len());
    let mut star = false;
    for c in line.chars() {
        if c == '/' && star && out.ends_with('\\') {
            out.pop();
        }
        star = c == '*' || (star && c == '\\');
        out.push(c);
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn back(lines: &[String]) -> String {
        decode(&lines.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[test]
    fn wrapped_lines_join_and_blank_lines_part() {
        assert_eq!(
            decode(&["one", "two", "", "", "three", "- a", "b", "- c"]),
            "one two\n\nthree\n- a b\n- c"
        );
        assert_eq!(
            decode(&["", "| x", "|  y", "|", "| z", "w"]),
            "x\n y\n\nz\nw"
        );
    }

    #[test]
    fn comment_ends_are_escaped() {
        for text in ["a */ b", "*\\/", "**//*/", "*\\\\/"] {
            assert!(!escape(text).contains("*/"), "{text}");
            assert_eq!(unescape(&escape(text)), text);
        }
    }

    proptest! {
        #[test]
        fn any_text_survives(text in "([ -~\n\t]|é|desc: |\n\n|[|] |- ){0,200}", column in 1usize..30) {
            prop_assert_eq!(back(&encode(&text, column)), text.clone());
            let code = encode_code(&text);
            let code = code.as_slice();
            prop_assert_eq!(decode_code(&code.iter().map(String::as_str).collect::<Vec<_>>()), text.clone());
            let escaped = escape(&text);
            prop_assert_eq!(unescape(&escaped), text);
        }
    }
}
