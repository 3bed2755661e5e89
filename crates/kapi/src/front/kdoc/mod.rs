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
use crate::diag::Source;

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

fn find(text: &str, from: usize, what: &str) -> Option<usize> {
    memchr::memmem::find(text.as_bytes().get(from..)?, what.as_bytes()).map(|n| from + n)
}
