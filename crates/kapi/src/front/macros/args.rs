//! The arguments of a macro or designator: strings, symbols, numbers.

use crate::front::clex::{Kind, Token};
use crate::ir::{Flags, Span, Value, vocab::Word};

/// One argument: its tokens, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Arg<'a> {
    pub(super) tokens: Vec<Token<'a>>,
    pub(super) span: Span,
}

/// Names that stand for several effects.
const EFFECT_GROUPS: &[(&str, &str)] = &[
    (
        "KAPI_EFFECTS_MEMORY",
        "KAPI_EFFECT_ALLOC_MEMORY | KAPI_EFFECT_FREE_MEMORY",
    ),
    (
        "KAPI_EFFECTS_LOCKING",
        "KAPI_EFFECT_LOCK_ACQUIRE | KAPI_EFFECT_LOCK_RELEASE",
    ),
    (
        "KAPI_EFFECTS_RESOURCES",
        "KAPI_EFFECT_RESOURCE_CREATE | KAPI_EFFECT_RESOURCE_DESTROY",
    ),
    (
        "KAPI_EFFECTS_IO",
        "KAPI_EFFECT_NETWORK | KAPI_EFFECT_FILESYSTEM",
    ),
    ("KAPI_EFFECT_NONE", "0"),
];

impl Arg<'_> {
    /// A string: adjacent literals are one; `NULL` is none; a symbol stays its name.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for token in &self.tokens {
            match &token.kind {
                Kind::Str(text) => out.push_str(text),
                Kind::Ident("NULL") if self.tokens.len() == 1 => {}
                Kind::Punct("(" | ")" | "#" | "##") => {}
                kind => out.push_str(piece(kind)),
            }
        }
        out.retain(|c| c != '\r');
        out
    }

    /// A constant expression.
    pub(super) fn value(&self) -> Value {
        Value::new(&self.code())
    }

    /// A word of a vocabulary.
    pub(super) fn word<W: Word>(&self) -> W {
        let text = self.text_or_code();
        let bare = text.trim_matches(['(', ')']);
        match bare.parse::<u64>().ok().and_then(W::from_number) {
            Some(word) => word,
            None => W::parse(bare),
        }
    }

    /// Words joined by `|`.
    pub(super) fn flags<W: Word>(&self) -> Flags<W> {
        let mut text = self.code();
        for (group, members) in EFFECT_GROUPS {
            if text.contains(group) {
                text = text
                    .split('|')
                    .map(|part| if part.trim() == *group { members } else { part })
                    .collect::<Vec<_>>()
                    .join("|");
            }
        }
        Flags::parse(&text)
    }

    /// Whether it says yes.
    pub(super) fn truth(&self) -> bool {
        !matches!(self.code().as_str(), "false" | "0" | "no")
    }

    /// The members of `{ A, B }`, of `A, B`, or the one symbol that stands for a list.
    pub(super) fn list(&self) -> Vec<Self>
    where
        Self: Sized,
    {
        let open = self.tokens.iter().rposition(|t| t.is("{"));
        let inner = match open {
            Some(open) => {
                let rest = self.tokens.get(open + 1..).unwrap_or_default();
                let end = rest.iter().position(|t| t.is("}")).unwrap_or(rest.len());
                rest.get(..end).unwrap_or_default()
            }
            None => &self.tokens,
        };
        inner
            .split(|t| t.is(","))
            .filter(|part| !part.is_empty())
            .map(|part| Self {
                tokens: part.to_vec(),
                span: self.span.clone(),
            })
            .collect()
    }

    fn text_or_code(&self) -> String {
        if self.tokens.iter().any(|t| matches!(t.kind, Kind::Str(_))) {
            self.text()
        } else {
            self.code()
        }
    }

    /// The tokens as C, spaced the one way.
    pub(super) fn code(&self) -> String {
        let mut out = String::new();
        let mut operand = false;
        for token in &self.tokens {
            match &token.kind {
                Kind::Str(text) => {
                    if !out.is_empty() && !out.ends_with('(') {
                        out.push(' ');
                    }
                    out.push_str(&quote(text));
                    operand = true;
                }
                Kind::Punct(p @ ("->" | "." | ")" | "]")) => {
                    out.push_str(p);
                    operand = matches!(*p, ")" | "]");
                }
                Kind::Punct(p @ ("(" | "[")) => {
                    out.push_str(p);
                    operand = false;
                }
                Kind::Punct(",") => {
                    out.push_str(", ");
                    operand = false;
                }
                Kind::Punct(p) if operand => {
                    out.push(' ');
                    out.push_str(p);
                    out.push(' ');
                    operand = false;
                }
                Kind::Punct(p) => out.push_str(p),
                kind => {
                    if operand {
                        out.push(' ');
                    }
                    out.push_str(piece(kind));
                    operand = true;
                }
            }
        }
        out.trim().to_owned()
    }
}

fn piece<'t>(kind: &'t Kind<'_>) -> &'t str {
    match kind {
        Kind::Ident(text) | Kind::Number(text) | Kind::Char(text) | Kind::Directive(text) => text,
        Kind::Str(text) => text,
        Kind::Punct(text) => text,
        Kind::Bad(_) => "\u{fffd}",
    }
}

/// A C string literal.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if u32::from(c) < 0x20 || u32::from(c) == 0x7f => {
                out.push_str(&format!("\\{:03o}", u32::from(c)))
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
