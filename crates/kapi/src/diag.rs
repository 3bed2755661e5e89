//! Messages as a compiler gives them: where, the line itself, what was expected.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::ir::Span;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Suspicious.
    Warning,
    /// Wrong.
    Error,
}

impl Severity {
    /// `note`, `warning`, `error`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One message.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name of the rule (`unknown-constant`).
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Span,
    /// The line itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// What was expected, or what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
}

impl Diagnostic {
    /// A message without a source line.
    #[must_use]
    pub fn new(
        severity: Severity,
        code: &'static str,
        message: impl Into<String>,
        span: Span,
    ) -> Self {
        Self {
            severity,
            code,
            message: message.into(),
            span,
            line: None,
            expected: None,
        }
    }

    /// Adds what was expected.
    #[must_use]
    pub fn expected(mut self, what: impl Into<String>) -> Self {
        self.expected = Some(what.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}[{}]: {}",
            self.severity.word(),
            self.code,
            self.message
        )?;
        write!(f, "  --> {}", self.span)?;
        if let Some(line) = &self.line {
            let number = self.span.line.to_string();
            let gutter = " ".repeat(number.len());
            // Only what surrounds the place: a folded patch is one line of 10 kB.
            let column = usize::try_from(self.span.column)
                .unwrap_or(1)
                .saturating_sub(1);
            let from = column.saturating_sub(60);
            let shown: String = line
                .chars()
                .skip(from)
                .take(140)
                .map(|c| if c == '\t' { ' ' } else { c })
                .collect();
            let lead = if from > 0 { "…" } else { "" };
            let under = usize::try_from(self.span.length).unwrap_or(1).clamp(1, 60);
            let under = under
                .min(shown.chars().count().saturating_sub(column - from))
                .max(1);
            writeln!(f, "\n {gutter} |")?;
            writeln!(f, " {number} | {lead}{shown}")?;
            write!(
                f,
                " {gutter} | {}{}",
                " ".repeat(column - from + lead.chars().count()),
                "^".repeat(under)
            )?;
            if let Some(expected) = &self.expected {
                write!(f, " {expected}")?;
            }
        } else if let Some(expected) = &self.expected {
            write!(f, "\n   = {expected}")?;
        }
        Ok(())
    }
}

/// A text with a name, and where its lines start.
#[derive(Debug)]
pub struct Source<'a> {
    /// The file as it was named.
    pub name: Arc<str>,
    /// Its text.
    pub text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Source<'a> {
    /// Indexes the lines of `text`.
    #[must_use]
    pub fn new(name: &str, text: &'a str) -> Self {
        let mut starts = vec![0];
        starts.extend(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1));
        Self {
            name: Arc::from(name),
            text,
            starts,
        }
    }

    /// The place `from..to` (byte offsets).
    #[must_use]
    pub fn span(&self, from: usize, to: usize) -> Span {
        let index = self
            .starts
            .partition_point(|start| *start <= from)
            .saturating_sub(1);
        let start = self.starts.get(index).copied().unwrap_or(0);
        let before = self.text.get(start..from).unwrap_or_default();
        // In a line of megabytes bytes are near enough.
        let columns = if before.len() > 65_536 {
            before.len()
        } else {
            before.chars().count()
        };
        Span {
            file: Arc::clone(&self.name),
            line: u32::try_from(index + 1).unwrap_or(u32::MAX),
            column: u32::try_from(columns + 1).unwrap_or(u32::MAX),
            length: u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX),
        }
    }

    /// The line that `span` is on.
    #[must_use]
    pub fn line(&self, span: &Span) -> Option<String> {
        let index = usize::try_from(span.line).ok()?.checked_sub(1)?;
        let rest = self.text.get(*self.starts.get(index)?..)?;
        Some(rest.lines().next().unwrap_or_default().to_owned())
    }

    /// A message about `span`, with its line.
    #[must_use]
    pub fn diagnostic(
        &self,
        severity: Severity,
        code: &'static str,
        message: impl Into<String>,
        span: Span,
    ) -> Diagnostic {
        let line = self.line(&span);
        Diagnostic {
            line,
            ..Diagnostic::new(severity, code, message, span)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_shows_place_line_and_expectation() {
        let source = Source::new("a.c", "one\n  KAPI_WHAT(3)\n");
        let span = source.span(6, 15);
        let text = source
            .diagnostic(Severity::Error, "unknown", "no such macro", span)
            .expected("a KAPI macro")
            .to_string();
        assert_eq!(
            text,
            "error[unknown]: no such macro\n  --> a.c:2:3\n   |\n 2 |   KAPI_WHAT(3)\n   |   ^^^^^^^^^ a KAPI macro"
        );
    }
}
