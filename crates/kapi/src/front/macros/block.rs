//! One specification: from its opening macro to `KAPI_END_SPEC`, statement by statement.

use super::args::Arg;
use super::build::Builder;
use super::error;
use crate::diag::{Severity, Source};
use crate::front::clex::{Kind, Lexer, Token};
use crate::front::{Parsed, csig};
use crate::ir::SpecKind;

/// Reads the specification at `at`; answers the offset after it.
pub(super) fn parse(
    source: &Source<'_>,
    index: &csig::Index<'_>,
    at: usize,
    marker: &str,
    diff: bool,
    parsed: &mut Parsed,
) -> usize {
    let mut reader = Reader {
        source,
        lexer: Lexer::new(source.text, at, diff),
        pushed: None,
        end: at,
        parsed,
        skipping: 0,
        conditions: 0,
    };
    reader.next();
    let Some(header) = reader.arguments() else {
        error(
            source,
            reader.parsed,
            at,
            at + marker.len(),
            "syntax",
            format!("`{marker}` has no name"),
            "expected `(name)`",
        );
        return reader.end;
    };
    let name = header.first().map(Arg::code).unwrap_or_default();
    let kind = match marker {
        "DEFINE_KAPI_IOCTL_SPEC" => SpecKind::Ioctl,
        "DEFINE_SYSFS_API_SPEC" => SpecKind::Sysfs,
        _ => SpecKind::Function,
    };
    let mut builder = Builder::new(&name, kind, source.span(at, reader.end), &header);
    reader.body(&mut builder, at);
    let end = reader.end;
    let mut spec = builder.finish(source, parsed);
    spec.signature = index.find(&spec.name, end);
    parsed.specs.push(spec);
    end
}

struct Reader<'s, 'p> {
    source: &'s Source<'s>,
    lexer: Lexer<'s>,
    pushed: Option<Token<'s>>,
    end: usize,
    parsed: &'p mut Parsed,
    /// How many `#if` levels deep we are in a branch that does not count.
    skipping: usize,
    /// How many `#if` levels deep we are in branches that count.
    conditions: usize,
}

impl<'s> Reader<'s, '_> {
    fn next(&mut self) -> Option<Token<'s>> {
        loop {
            let token = match self.pushed.take() {
                Some(token) => token,
                None => self.lexer.next_token()?,
            };
            if let Kind::Directive(text) = token.kind {
                self.directive(text, &token);
                continue;
            }
            if self.skipping > 0 {
                continue;
            }
            self.end = token.to;
            return Some(token);
        }
    }

    fn back(&mut self, token: Token<'s>) {
        self.end = token.from;
        self.pushed = Some(token);
    }

    /// The first branch of a conditional counts (`#if 0`: its `#else`), as in a usual build.
    fn directive(&mut self, text: &str, token: &Token<'_>) {
        let words: Vec<&str> = text
            .trim_start()
            .trim_start_matches('#')
            .split_whitespace()
            .collect();
        let word = words.first().copied().unwrap_or_default();
        if self.skipping > 0 {
            match word {
                "if" | "ifdef" | "ifndef" => self.skipping += 1,
                "endif" => {
                    self.skipping -= 1;
                    if self.skipping == 0 {
                        self.conditions = self.conditions.saturating_sub(1);
                    }
                }
                _ => {}
            }
            return;
        }
        match word {
            "if" if words.get(1) == Some(&"0") => self.skip_dead_branch(),
            "if" | "ifdef" | "ifndef" => {
                self.conditions += 1;
                let span = self.source.span(token.from, token.to);
                let message = format!(
                    "`{}`: the first branch is read, the others are not",
                    text.trim()
                );
                self.parsed.diagnostics.push(self.source.diagnostic(
                    Severity::Note,
                    "conditional",
                    message,
                    span,
                ));
            }
            "else" | "elif" if self.conditions > 0 => self.skipping = 1,
            "endif" => {
                self.conditions = self.conditions.saturating_sub(1);
            }
            _ => {}
        }
    }

    /// From `#if 0` to its `#else` or `#endif`.
    fn skip_dead_branch(&mut self) {
        let mut depth = 0usize;
        while let Some(token) = self.lexer.next_token() {
            let Kind::Directive(text) = token.kind else {
                continue;
            };
            let word = text
                .trim_start()
                .trim_start_matches('#')
                .split_whitespace()
                .next()
                .unwrap_or_default();
            match word {
                "if" | "ifdef" | "ifndef" => depth += 1,
                "endif" if depth == 0 => return,
                "endif" => depth -= 1,
                "else" | "elif" if depth == 0 => {
                    self.conditions += 1;
                    return;
                }
                _ => {}
            }
        }
    }

    fn body(&mut self, builder: &mut Builder, start: usize) {
        loop {
            let Some(token) = self.next() else {
                self.unterminated(start, "the end of the file");
                return;
            };
            match &token.kind {
                Kind::Ident("KAPI_END_SPEC") => return,
                Kind::Ident(name)
                    if super::MARKERS.contains(name)
                        || name.contains("SYSCALL_DEFINE")
                        || *name == "EXPORT_SYMBOL" =>
                {
                    let found = format!("`{name}`");
                    self.back(token.clone());
                    self.unterminated(start, &found);
                    return;
                }
                Kind::Ident(name) => {
                    let args = self.arguments();
                    let span = self.source.span(token.from, self.end.max(token.to));
                    builder.statement(
                        name,
                        args.unwrap_or_default(),
                        span,
                        self.source,
                        self.parsed,
                    );
                }
                Kind::Punct(".") => self.designator(&token, builder),
                Kind::Punct("}") => builder.close(),
                // `+` is the patch's, where its lines were folded.
                Kind::Punct("," | ";" | "+" | "{") => {}
                Kind::Bad(what) => {
                    let what = (*what).to_owned();
                    error(
                        self.source,
                        self.parsed,
                        token.from,
                        token.to,
                        "syntax",
                        what,
                        "expected a KAPI_ macro or `.field = value`",
                    );
                }
                _ => {
                    let found = self
                        .source
                        .text
                        .get(token.from..token.to)
                        .unwrap_or_default();
                    let message = format!("unexpected `{found}`");
                    error(
                        self.source,
                        self.parsed,
                        token.from,
                        token.to,
                        "syntax",
                        message,
                        "expected a KAPI_ macro or `.field = value`",
                    );
                }
            }
        }
    }

    fn unterminated(&mut self, start: usize, found: &str) {
        let line_end = self
            .source
            .text
            .get(start..)
            .and_then(|t| t.find([')', '\n']))
            .map_or(start + 1, |n| start + n + 1);
        error(
            self.source,
            self.parsed,
            start,
            line_end,
            "unterminated",
            format!("this specification has no end; found {found}"),
            "expected `KAPI_END_SPEC` before that",
        );
    }

    /// `.field = value`, `.list[3] = {`.
    fn designator(&mut self, dot: &Token<'s>, builder: &mut Builder) {
        let Some(Token {
            kind: Kind::Ident(field),
            ..
        }) = self.next()
        else {
            error(
                self.source,
                self.parsed,
                dot.from,
                dot.to,
                "syntax",
                "`.` without a field".into(),
                "expected a field name",
            );
            return;
        };
        let mut index = None;
        let mut token = self.next();
        if token.as_ref().is_some_and(|t| t.is("[")) {
            index = match self.next().map(|t| t.kind) {
                Some(Kind::Number(n)) => n.parse::<u64>().ok(),
                _ => None,
            };
            while token.as_ref().is_some_and(|t| !t.is("]")) {
                token = self.next();
            }
            token = self.next();
        }
        match token {
            Some(t) if t.is("=") => {}
            other => {
                error(
                    self.source,
                    self.parsed,
                    dot.from,
                    self.end,
                    "syntax",
                    format!("`.{field}` without `=`"),
                    "expected `= value`",
                );
                if let Some(t) = other {
                    self.back(t);
                }
                return;
            }
        }
        let Some(first) = self.next() else { return };
        if first.is("{") && builder.opens(field) {
            builder.open_raw(
                field,
                index,
                self.source.span(dot.from, self.end),
                self.source,
                self.parsed,
            );
            return;
        }
        self.back(first);
        let arg = self.value(dot.from);
        let span = self.source.span(dot.from, self.end);
        builder.set(field, &[arg], span, self.source, self.parsed);
    }

    /// To the `,` that ends an initialiser.
    fn value(&mut self, from: usize) -> Arg<'s> {
        let mut tokens: Vec<Token<'s>> = Vec::new();
        let mut depth = 0usize;
        while let Some(token) = self.next() {
            match &token.kind {
                Kind::Punct("(" | "[" | "{") => depth += 1,
                Kind::Punct("}" | ",") if depth == 0 => {
                    let brace = token.is("}");
                    if brace {
                        self.back(token);
                    }
                    break;
                }
                Kind::Ident(name)
                    if depth == 0
                        && name.starts_with("KAPI_")
                        && tokens.last().is_some_and(is_operand) =>
                {
                    let at = token.from;
                    self.back(token);
                    error(
                        self.source,
                        self.parsed,
                        at,
                        at + 1,
                        "syntax",
                        "a new item starts inside a value".into(),
                        "expected `,` before it",
                    );
                    break;
                }
                Kind::Punct(")" | "]" | "}") => depth = depth.saturating_sub(1),
                _ => {}
            }
            tokens.push(token);
        }
        unfold(&mut tokens);
        let span = tokens.first().zip(tokens.last()).map_or_else(
            || self.source.span(from, self.end),
            |(a, b)| self.source.span(a.from, b.to),
        );
        Arg { tokens, span }
    }

    /// `( … )` after a macro, split at its commas; `None` if there are none.
    fn arguments(&mut self) -> Option<Vec<Arg<'s>>> {
        let open = self.next()?;
        if !open.is("(") {
            self.back(open);
            return None;
        }
        let mut args: Vec<Vec<Token<'s>>> = vec![Vec::new()];
        let mut depth = 0usize;
        loop {
            let Some(token) = self.next() else {
                error(
                    self.source,
                    self.parsed,
                    open.from,
                    open.to,
                    "syntax",
                    "this `(` is never closed".into(),
                    "expected `)` before the end of the file",
                );
                break;
            };
            match &token.kind {
                Kind::Punct(")") if depth == 0 => break,
                Kind::Punct("(" | "[" | "{") => depth += 1,
                Kind::Punct(")" | "]" | "}") => depth = depth.saturating_sub(1),
                Kind::Punct(",") if depth == 0 => {
                    args.push(Vec::new());
                    continue;
                }
                Kind::Ident(name)
                    if name.starts_with("KAPI_")
                        && args
                            .last()
                            .and_then(|a| a.last())
                            .is_some_and(|t| matches!(t.kind, Kind::Str(_))) =>
                {
                    let at = token.from;
                    // A string may be followed by a macro that is a string; a call is a new item.
                    if self
                        .source
                        .text
                        .get(token.to..)
                        .is_some_and(|r| r.trim_start().starts_with('('))
                        || name.ends_with("_END")
                        || *name == "KAPI_END_SPEC"
                    {
                        self.back(token);
                        error(
                            self.source,
                            self.parsed,
                            at,
                            at + 1,
                            "syntax",
                            "a new item starts inside the arguments".into(),
                            "expected `)` before it",
                        );
                        break;
                    }
                }
                Kind::Bad(what) => {
                    let what = (*what).to_owned();
                    error(
                        self.source,
                        self.parsed,
                        token.from,
                        token.from + 1,
                        "syntax",
                        what,
                        "expected its end on the same line",
                    );
                    continue;
                }
                _ => {}
            }
            if let Some(last) = args.last_mut() {
                last.push(token);
            }
        }
        let (from, to) = (open.from, self.end);
        Some(
            args.into_iter()
                .map(|mut tokens| {
                    unfold(&mut tokens);
                    let span = tokens.first().zip(tokens.last()).map_or_else(
                        || self.source.span(from, to),
                        |(a, b)| self.source.span(a.from, b.to),
                    );
                    Arg { tokens, span }
                })
                .collect(),
        )
    }
}

fn is_operand(token: &Token<'_>) -> bool {
    matches!(
        token.kind,
        Kind::Ident(_) | Kind::Number(_) | Kind::Str(_) | Kind::Char(_) | Kind::Punct(")" | "]")
    )
}

/// Drops every `+` that adds nothing: the unary one (a no-op in C), one between two strings, and
/// one before another operator or a closing bracket. Those are the patch's line marks.
fn unfold(tokens: &mut Vec<Token<'_>>) {
    let mut kept: Vec<Token<'_>> = Vec::with_capacity(tokens.len());
    let mut rest = std::mem::take(tokens).into_iter().peekable();
    while let Some(token) = rest.next() {
        if token.is("+") {
            let before = kept.last();
            let after = rest.peek();
            let string = |t: &Token<'_>| matches!(t.kind, Kind::Str(_));
            let adds = before.is_some_and(is_operand)
                && after.is_some_and(|t| {
                    is_operand(t) && !t.is(")") && !t.is("]") || t.is("(") || t.is("-") || t.is("~")
                })
                && !(before.is_some_and(string) || after.is_some_and(string));
            if !adds {
                continue;
            }
        }
        kept.push(token);
    }
    *tokens = kept;
}
