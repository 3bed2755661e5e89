//! Tokens of an expression.

use super::parse::ExprError;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tok<'a> {
    Number(i128),
    Name(&'a str),
    Op(&'static str),
    End,
}

/// Longest first.
const OPS: &[&str] = &[
    "<=>", "<<=", ">>=", "=>", "->", "||", "&&", "==", "!=", "<=", ">=", "<<", ">>", "|=", "&=",
    "^=", "+=", "-=", "(", ")", ",", "|", "&", "^", "~", "!", "<", ">", "+", "-", "*", "/", "%",
    "=", "?", ":",
];

/// Every token with the byte offset it starts at.
pub(super) fn lex(text: &str) -> Result<Vec<(usize, Tok<'_>)>, ExprError> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let rest = text.get(at..).unwrap_or_default();
        if byte.is_ascii_digit() {
            let length = rest
                .bytes()
                .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
                .count();
            let word = rest.get(..length).unwrap_or_default();
            let number = number(word).ok_or_else(|| {
                ExprError::new(
                    at,
                    length,
                    format!("`{word}` is no integer"),
                    "a decimal, 0x or 0 octal integer",
                )
            })?;
            tokens.push((at, Tok::Number(number)));
            at += length;
        } else if byte.is_ascii_alphabetic() || byte == b'_' {
            let length = path_length(rest);
            tokens.push((at, Tok::Name(rest.get(..length).unwrap_or_default())));
            at += length;
        } else if let Some(op) = OPS.iter().find(|op| rest.starts_with(**op)) {
            tokens.push((at, Tok::Op(op)));
            at += op.len();
        } else {
            let odd = rest.chars().next().unwrap_or('\u{fffd}');
            return Err(ExprError::new(
                at,
                odd.len_utf8(),
                format!("unexpected character {odd:?}"),
                "a name, a number or an operator",
            ));
        }
    }
    tokens.push((text.len(), Tok::End));
    Ok(tokens)
}

/// A name, with `->member`, `.member` and `[3]` steps.
fn path_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let word = |from: usize| {
        bytes
            .get(from..)
            .unwrap_or_default()
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
            .count()
    };
    let mut end = word(0);
    loop {
        let rest = bytes.get(end..).unwrap_or_default();
        let step = if rest.starts_with(b"->") {
            2
        } else if rest.starts_with(b".") {
            1
        } else {
            0
        };
        if step > 0
            && bytes
                .get(end + step)
                .is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
        {
            end += step + word(end + step);
        } else if rest.starts_with(b"[")
            && word(end + 1) > 0
            && bytes.get(end + 1 + word(end + 1)) == Some(&b']')
        {
            end += 2 + word(end + 1);
        } else {
            return end;
        }
    }
}

/// C integers, with their suffixes.
pub(super) fn number(word: &str) -> Option<i128> {
    let lower = word.to_ascii_lowercase();
    if let Some(hex) = lower.strip_prefix("0x") {
        return i128::from_str_radix(hex.trim_end_matches(['u', 'l']), 16).ok();
    }
    let digits = lower.trim_end_matches(['u', 'l']);
    if let Some(binary) = digits.strip_prefix("0b") {
        return i128::from_str_radix(binary, 2).ok();
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return i128::from_str_radix(digits, 8).ok();
    }
    digits.parse().ok()
}
