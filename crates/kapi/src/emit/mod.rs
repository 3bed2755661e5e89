//! Emitters: everything that specifications are published as.

mod cmacro;
mod html;
mod man;
mod markup;
mod outline;
mod prototype;
mod requirements;
mod rst;
mod syzlang;

pub use requirements::{Verified, requirements, verified};

use std::str::FromStr;

use crate::front::kdoc;
use crate::ir::{CORPUS_FORMAT, Spec};

/// A form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text for a terminal.
    Plain,
    /// JSON of the whole corpus.
    Json,
    /// reStructuredText.
    Rst,
    /// A man page.
    Man,
    /// Markdown.
    Markdown,
    /// One HTML page with search.
    Html,
    /// The kernel's kerneldoc dialect.
    Kerneldoc,
    /// syzkaller descriptions.
    Syzlang,
    /// The macro dialect.
    Macros,
    /// Requirements with identifiers and hashes, as JSON.
    Requirements,
}

impl Format {
    /// Every format with its name.
    pub const ALL: [(&'static str, Self); 10] = [
        ("plain", Self::Plain),
        ("json", Self::Json),
        ("rst", Self::Rst),
        ("man", Self::Man),
        ("markdown", Self::Markdown),
        ("html", Self::Html),
        ("kerneldoc", Self::Kerneldoc),
        ("syzlang", Self::Syzlang),
        ("macros", Self::Macros),
        ("requirements", Self::Requirements),
    ];
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, format)| *format)
            .ok_or_else(|| {
                let names: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
                format!("no format `{text}`; one of {}", names.join(", "))
            })
    }
}

/// A [`Corpus`](crate::ir::Corpus) that is not copied to be written.
#[derive(serde::Serialize)]
struct Borrowed<'a> {
    format: &'a str,
    specs: &'a [Spec],
}

/// The specifications in `format`.
#[must_use]
pub fn emit(specs: &[Spec], format: Format) -> String {
    let each = |one: &dyn Fn(&Spec) -> String, between: &str| {
        specs.iter().map(one).collect::<Vec<_>>().join(between)
    };
    match format {
        Format::Plain => each(&|spec| markup::plain(spec), "\n"),
        Format::Json => json(&Borrowed {
            format: CORPUS_FORMAT,
            specs,
        }),
        Format::Rst => rst::pages(specs),
        Format::Man => each(&|spec| man::page(spec, ""), ""),
        Format::Markdown => each(&|spec| markup::markdown(spec), "\n"),
        Format::Html => html::page(specs),
        Format::Kerneldoc => each(&kdoc::write, "\n"),
        Format::Syzlang => syzlang::emit(specs),
        Format::Macros => each(&cmacro::emit, "\n"),
        Format::Requirements => requirements(specs, &[]),
    }
}

/// A man page of one specification with a date of the form `2026-11-20`; [`emit`] leaves it out.
#[must_use]
pub fn man_page(spec: &Spec, date: &str) -> String {
    man::page(spec, date)
}

/// The volume of the manual that the page belongs to: `2`, `3`, `5` or `9`.
#[must_use]
pub fn man_volume(spec: &Spec) -> &'static str {
    prototype::volume(spec)
}

/// Pretty JSON with a final newline.
pub(crate) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).map_or_else(
        |error| format!("{{\"error\": \"{error}\"}}\n"),
        |text| text + "\n",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Corpus;

    #[test]
    fn the_document_is_a_corpus() {
        let corpus = Corpus::new(vec![Spec::default()]);
        assert_eq!(emit(&corpus.specs, Format::Json), json(&corpus));
    }
}
