//! The C declaration beside a specification: `SYSCALL_DEFINEn` or a prototype.

use std::collections::HashMap;

use super::clex::{Kind, Lexer, Token};
use crate::diag::Source;
use crate::ir::{Signature, bare_name};

/// More tokens than any declaration has.
const MOST_TOKENS: usize = 512;

/// Every `SYSCALL_DEFINEn` of a file.
#[must_use]
pub fn syscalls(source: &Source<'_>) -> Vec<Signature> {
    defined(source, false)
}

fn defined(source: &Source<'_>, diff: bool) -> Vec<Signature> {
    memchr::memmem::find_iter(source.text.as_bytes(), b"SYSCALL_DEFINE")
        .filter_map(|at| parse_at(source, word_start(source.text, at), diff))
        .filter(|signature| signature.syscall)
        .collect()
}

fn word_start(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    at - before
        .iter()
        .rev()
        .take(64)
        .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
        .count()
}

/// The declarations of one file, found once.
pub(crate) struct Index<'s> {
    source: &'s Source<'s>,
    diff: bool,
    syscalls: HashMap<String, Signature>,
}

impl<'s> Index<'s> {
    pub(crate) fn new(source: &'s Source<'s>, diff: bool) -> Self {
        let mut syscalls = HashMap::new();
        for signature in defined(source, diff) {
            syscalls.entry(signature.name.clone()).or_insert(signature);
        }
        Self {
            source,
            diff,
            syscalls,
        }
    }

    /// The declaration of `name`: a `SYSCALL_DEFINEn` anywhere in the file, else the prototype
    /// that follows `after`.
    pub(crate) fn find(&self, name: &str, after: usize) -> Option<Signature> {
        let bare = bare_name(name);
        self.syscalls.get(bare).cloned().or_else(|| {
            parse_at(self.source, after, self.diff)
                .filter(|signature| bare_name(&signature.name) == bare)
        })
    }
}

/// Parses the declaration that starts at `at`, over stray `;`.
#[must_use]
pub fn parse_at(source: &Source<'_>, at: usize, diff: bool) -> Option<Signature> {
    let mut lexer = Lexer::new(source.text, at, diff);
    let mut before: Vec<Token<'_>> = Vec::new();
    for _ in 0..MOST_TOKENS {
        let token = lexer.next_token()?;
        match &token.kind {
            Kind::Directive(_) => {}
            Kind::Punct(";" | "+") if before.is_empty() => {}
            Kind::Punct("(") => {
                let Some(Token {
                    kind: Kind::Ident(name),
                    from,
                    to,
                }) = before.last().cloned()
                else {
                    return None;
                };
                let args = arguments(&mut lexer)?;
                // Attributes in front of a declaration have arguments of their own.
                if name == "__attribute__" || name == "__section" {
                    before.clear();
                    continue;
                }
                return signature(source, name, from, to, &args, &before);
            }
            Kind::Punct("{" | "}" | ";" | "=" | ")") | Kind::Str(_) | Kind::Bad(_) => return None,
            _ => before.push(token),
        }
    }
    None
}

fn arguments<'a>(lexer: &mut Lexer<'a>) -> Option<Vec<Vec<Token<'a>>>> {
    let mut args = vec![Vec::new()];
    let mut depth = 0usize;
    for _ in 0..MOST_TOKENS {
        let token = lexer.next_token()?;
        match token.kind {
            Kind::Punct("(" | "[" | "{") => depth += 1,
            Kind::Punct(")") if depth == 0 => return Some(args),
            Kind::Punct(")" | "]" | "}") => depth = depth.saturating_sub(1),
            Kind::Punct(",") if depth == 0 => {
                args.push(Vec::new());
                continue;
            }
            Kind::Directive(_) | Kind::Punct("+") => continue,
            _ => {}
        }
        args.last_mut()?.push(token);
    }
    None
}

fn signature(
    source: &Source<'_>,
    word: &str,
    from: usize,
    to: usize,
    args: &[Vec<Token<'_>>],
    before: &[Token<'_>],
) -> Option<Signature> {
    let text = |tokens: &[Token<'_>]| {
        let mut out = String::new();
        for token in tokens {
            let piece = source.text.get(token.from..token.to).unwrap_or_default();
            if !out.is_empty() && !out.ends_with('*') {
                out.push(' ');
            }
            out.push_str(piece);
        }
        out
    };
    if let Some(at) = word.find("SYSCALL_DEFINE") {
        let digits = word.get(at + "SYSCALL_DEFINE".len()..).unwrap_or_default();
        let arity = digits.parse::<u32>().ok()?;
        let name = text(args.first()?);
        let pairs = args.get(1..).unwrap_or_default();
        let args = pairs
            .chunks(2)
            .map(|pair| {
                (
                    text(pair.first().map_or(&[][..], |t| t)),
                    text(pair.get(1).map_or(&[][..], |t| t)),
                )
            })
            .collect();
        return Some(Signature {
            name,
            syscall: true,
            args,
            arity: Some(arity),
            span: source.span(from, to),
        });
    }
    // A prototype has a type before its name.
    if before.len() < 2 {
        return None;
    }
    let mut pairs = Vec::new();
    for arg in args {
        let name_at = arg.iter().rposition(|t| matches!(t.kind, Kind::Ident(_)));
        match name_at {
            None => {}
            Some(0) if arg.len() == 1 && text(arg) == "void" => {}
            Some(0) if arg.len() == 1 => pairs.push((text(arg), String::new())),
            Some(n) => pairs.push((
                text(arg.get(..n).unwrap_or_default()),
                text(arg.get(n..=n).unwrap_or_default()),
            )),
        }
    }
    Some(Signature {
        name: word.to_owned(),
        syscall: false,
        args: pairs,
        arity: None,
        span: source.span(from, to),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syscall_and_a_prototype() {
        let source = Source::new(
            "a.c",
            "x;\nSYSCALL_DEFINE2(mlock, unsigned long, start, size_t, len)\n{\n}",
        );
        let found = Index::new(&source, false).find("sys_mlock", 0).unwrap();
        assert_eq!((found.arity, found.args.len()), (Some(2), 2));
        assert_eq!(found.args[0], ("unsigned long".into(), "start".into()));
        let source = Source::new("a.c", ";\nint mctl(int pidfd, const char *what, void);\n");
        let found = Index::new(&source, false).find("mctl", 0).unwrap();
        assert_eq!(found.args[1], ("const char *".into(), "what".into()));
        assert!(Index::new(&source, false).find("other", 0).is_none());
    }
}
