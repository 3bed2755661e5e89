//! The kerneldoc dialect: a `/** name - summary … */` comment before the function.

mod apply;
mod doc;
mod limits;
mod read;
mod text;
mod write;

pub use doc::MARKERS;
pub use write::write;

use super::{Parsed, csig, macros};
use crate::diag::{Severity, Source};

/// Reads every specification of a file.
#[must_use]
pub fn parse(source: &Source<'_>) -> Parsed {
    let mut parsed = Parsed::default();
    let diff = macros::is_diff(source.text);
    let mut from = 0;
    let mut index = None;
    while let Some(start) = find(source.text, from, "/**") {
        let inside = start + 3;
        let Some(end) = find(source.text, inside, "*/") else {
            let rest = source.text.get(inside..).unwrap_or_default();
            if MARKERS.iter().any(|m| rest.contains(m)) {
                parsed.diagnostics.push(
                    source
                        .diagnostic(
                            Severity::Error,
                            "unclosed-comment",
                            "the comment has no end; the specification in it is not read",
                            source.span(start, inside),
                        )
                        .expected("expected `*/`"),
                );
            }
            break;
        };
        from = end + 2;
        let comment = source.text.get(inside..end).unwrap_or_default();
        if !MARKERS.iter().any(|m| comment.contains(m)) {
            continue;
        }
        let Some(doc) = read::read(comment, inside, diff) else {
            continue;
        };
        if let Some(flat) = doc.blocks.iter().find(|b| is_flat(&b.key)) {
            parsed.diagnostics.push(
                source
                    .diagnostic(
                        Severity::Error,
                        "flat-dialect",
                        format!(
                            "`{}:` belongs to the flat form of the first kerneldoc revision, which is not read",
                            flat.key
                        ),
                        source.span(flat.from, flat.to),
                    )
                    .expected("expected subfields below their item, as in later revisions"),
            );
            continue;
        }
        if !doc.blocks.iter().any(|b| {
            MARKERS
                .iter()
                .any(|m| m.strip_suffix(':') == Some(b.key.as_str()))
        }) {
            continue;
        }
        let mut spec = apply::apply(doc, source, &mut parsed);
        let index = index.get_or_insert_with(|| csig::Index::new(source, diff));
        spec.signature = index.find(&spec.name, end + 2);
        if let Some(signature) = &spec.signature {
            for param in spec.params.iter_mut().filter(|p| p.type_name.is_empty()) {
                if let Some((kind, _)) = signature.args.iter().find(|(_, name)| *name == param.name)
                {
                    param.type_name.clone_from(kind);
                }
            }
        }
        parsed.specs.push(spec);
    }
    parsed
}

/// Keys that give a part of an item a line of its own, without saying of which item below which.
fn is_flat(key: &str) -> bool {
    const ITEMS: [&str; 6] = ["param", "error", "lock", "signal", "return", "capability"];
    const PARTS: [&str; 11] = [
        "type",
        "flags",
        "desc",
        "code",
        "condition",
        "constraint",
        "constraint-type",
        "range",
        "direction",
        "action",
        "check-type",
    ];
    key.split_once('-')
        .is_some_and(|(item, part)| ITEMS.contains(&item) && PARTS.contains(&part))
}

fn find(text: &str, from: usize, what: &str) -> Option<usize> {
    memchr::memmem::find(text.as_bytes().get(from..)?, what.as_bytes()).map(|n| from + n)
}
