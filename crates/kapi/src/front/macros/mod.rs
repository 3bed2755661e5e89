//! The macro dialect (`DEFINE_KERNEL_API_SPEC … KAPI_END_SPEC`) inside C files and patches.
//!
//! Reads C files, unified diffs, and mails whose lines were folded into one (there the `+` of the
//! patch stands between the tokens).

mod args;
mod block;
mod build;
mod fields;
mod set;

pub(crate) use args::quote;

use super::{Parsed, csig};
use crate::diag::{Severity, Source};

/// What a specification starts with.
pub const MARKERS: [&str; 3] = [
    "DEFINE_KERNEL_API_SPEC",
    "DEFINE_KAPI_IOCTL_SPEC",
    "DEFINE_SYSFS_API_SPEC",
];

/// Whether the text is a unified diff with its lines intact.
#[must_use]
pub fn is_diff(text: &str) -> bool {
    memchr::memmem::find(text.as_bytes(), b"\n@@ -").is_some()
        && memchr::memmem::find(text.as_bytes(), b"\n+++ ").is_some()
}

/// Reads every specification of a file.
#[must_use]
pub fn parse(source: &Source<'_>) -> Parsed {
    let mut parsed = Parsed::default();
    let diff = is_diff(source.text);
    let mut from = 0;
    let mut index = None;
    while let Some((at, marker)) = next_marker(source.text, from) {
        from = at + marker.len();
        if !is_code(source.text, at) {
            continue;
        }
        let index = index.get_or_insert_with(|| csig::Index::new(source, diff));
        let end = block::parse(source, index, at, marker, diff, &mut parsed);
        from = from.max(end);
    }
    raw_structs(source, &mut parsed);
    parsed
}

/// What the first revision wrote for an ioctl: an initialiser of the structure itself. It is not
/// read, which is said.
pub const RAW: [&str; 2] = ["struct kapi_ioctl_spec ", "struct kernel_api_spec "];

fn raw_structs(source: &Source<'_>, parsed: &mut Parsed) {
    for word in RAW {
        for at in memchr::memmem::find_iter(source.text.as_bytes(), word.as_bytes()) {
            let rest = source.text.get(at + word.len()..).unwrap_or_default();
            let name: usize = rest
                .bytes()
                .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
                .count();
            let after = rest.get(name..).unwrap_or_default().trim_start();
            let opens = after
                .strip_prefix('=')
                .is_some_and(|more| more.trim_start().starts_with('{'));
            if name > 0 && opens && is_code(source.text, at) {
                error(
                    source,
                    parsed,
                    at,
                    at + word.len() + name,
                    "raw-struct",
                    format!(
                        "`{}` is written as a structure, which is not read",
                        rest.get(..name).unwrap_or_default()
                    ),
                    "expected DEFINE_KERNEL_API_SPEC or DEFINE_KAPI_IOCTL_SPEC",
                );
            }
        }
    }
}

fn next_marker(text: &str, from: usize) -> Option<(usize, &'static str)> {
    let rest = text.as_bytes().get(from..)?;
    let mut base = 0;
    loop {
        let at = base + memchr::memmem::find(rest.get(base..)?, b"DEFINE_")?;
        let here = rest.get(at..)?;
        if let Some(marker) = MARKERS.into_iter().find(|m| here.starts_with(m.as_bytes())) {
            return Some((from + at, marker));
        }
        base = at + 7;
    }
}

/// Not the definition of the macro itself, and not a word in a comment.
fn is_code(text: &str, at: usize) -> bool {
    // A folded mail is one line; only what is near matters.
    let mut near = at.saturating_sub(400);
    while !text.is_char_boundary(near) {
        near += 1;
    }
    let before = text.get(near..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    let lead = line.trim_start_matches(['+', ' ', '\t']);
    if before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
        return false;
    }
    let lead_is_short = lead.len() < 200;
    let comment = lead_is_short
        && (lead.starts_with('*') || lead.starts_with("//") || lead.starts_with("/*"));
    let define = line.trim_end().ends_with("#define") || line.trim_end().ends_with("# define");
    !comment && !define
}

pub(super) fn error(
    source: &Source<'_>,
    parsed: &mut Parsed,
    from: usize,
    to: usize,
    code: &'static str,
    message: String,
    expected: &str,
) {
    let span = source.span(from, to);
    parsed.diagnostics.push(
        source
            .diagnostic(Severity::Error, code, message, span)
            .expected(expected),
    );
}
