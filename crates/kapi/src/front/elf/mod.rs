//! `.kapi_specs` in ELF objects and kernel images: pointers to constants, or whole records.
//!
//! The layout comes from the file's BTF where it has one; else from the known versions of the
//! header, of which the one is taken whose records make sense throughout.

mod btf;
mod decode;
mod image;
mod layout;
mod versions;

use decode::Item;
use image::Image;
use layout::{Layout, Machine};

use super::Parsed;
use crate::diag::{Diagnostic, Severity};
use crate::ir::Span;

/// More specifications than there are calls.
const MOST: usize = 100_000;
/// More sections than a compiler makes.
const MOST_SECTIONS: usize = 8;
const ROOT: &str = "kernel_api_spec";

/// Reads the specifications of an ELF file.
#[must_use]
pub fn parse(name: &str, bytes: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let span = Span {
        file: name.into(),
        ..Span::default()
    };
    let mut problems = Vec::new();
    let mut fail = |message: String, expected: &str| {
        problems.push(
            Diagnostic::new(Severity::Error, "elf", message, span.clone()).expected(expected),
        );
    };
    let image = match Image::open(bytes) {
        Ok(image) => image,
        Err(error) => {
            fail(error.to_string(), "expected an ELF file");
            parsed.diagnostics = problems;
            return parsed;
        }
    };
    if image.specs.is_empty() {
        fail(
            "no section .kapi_specs".to_owned(),
            "expected an object with API specifications",
        );
    }
    if image.specs.len() > MOST_SECTIONS {
        fail(
            format!("{} sections .kapi_specs", image.specs.len()),
            "expected one; the first few are read",
        );
    }
    let mut rest = usize::MAX;
    for (start, size) in image.specs.iter().take(MOST_SECTIONS) {
        match find(&image, *start, *size) {
            Some((layout, addresses)) => {
                image.refill_with(rest);
                for at in addresses {
                    parsed.specs.push(decode::spec(
                        &Item {
                            image: &image,
                            layout: &layout,
                            name: ROOT,
                            at,
                        },
                        &span,
                    ));
                }
                rest = image.left();
            }
            None if image.exhausted() => fail(
                "its specifications come to many times the size of the file".to_owned(),
                "expected records that do not share their bytes",
            ),
            None => fail(
                format!("the {size} bytes of .kapi_specs fit no known layout"),
                "expected pointers or records of a known version, or BTF",
            ),
        }
    }
    parsed.diagnostics = problems;
    parsed
}

/// The layout, and where the records are.
fn find(image: &Image<'_>, start: u64, size: u64) -> Option<(Layout, Vec<u64>)> {
    let machine = Machine {
        pointer: image.pointer,
        align64: if image.i386 { 4 } else { 8 },
    };
    let big = image.big;
    let known = image
        .btf
        .as_deref()
        .and_then(|section| btf::layout(section, big));
    if let Some(addresses) = pointers(image, start, size) {
        let layout = known
            .clone()
            .unwrap_or_else(|| layout::layout(versions::POINTERS, machine));
        if sound(image, &layout, &addresses) {
            return Some((layout, addresses));
        }
    }
    let versions = versions::inline_versions()
        .into_iter()
        .map(|v| layout::layout(v, machine));
    known
        .into_iter()
        .chain(versions)
        .find_map(|layout| records(image, &layout, start, size).map(|at| (layout.clone(), at)))
}

/// The section as an array of pointers into the file.
fn pointers(image: &Image<'_>, start: u64, size: u64) -> Option<Vec<u64>> {
    if size == 0 || !size.is_multiple_of(image.pointer) {
        return None;
    }
    let count = usize::try_from(size / image.pointer)
        .ok()
        .filter(|n| *n <= MOST)?;
    let mut addresses = Vec::with_capacity(count.min(4096));
    for n in 0..size / image.pointer {
        match image.address(start + n * image.pointer)? {
            0 => {}
            at => {
                image.from(at)?;
                addresses.push(at);
            }
        }
    }
    (!addresses.is_empty()).then_some(addresses)
}

/// The section as an array of records; the linker may have put gaps between them.
fn records(image: &Image<'_>, layout: &Layout, start: u64, size: u64) -> Option<Vec<u64>> {
    let record = layout.size_of(ROOT);
    if record < 64 || record > size {
        return None;
    }
    let end = start.checked_add(size)?;
    let mut symbols: Vec<(u64, u64)> = image
        .symbols
        .iter()
        .copied()
        .filter(|(at, _)| (start..end).contains(at))
        .collect();
    symbols.sort_unstable();
    symbols.dedup();
    if symbols
        .iter()
        .any(|(_, size)| *size != 0 && *size != record)
    {
        return None;
    }
    let apart = symbols
        .windows(2)
        .all(|w| matches!(w, [(a, _), (b, _)] if b - a >= record && b - a < record + 128));
    let addresses: Vec<u64> = symbols.iter().map(|(at, _)| *at).collect();
    if !addresses.is_empty() && apart && sound(image, layout, &addresses) {
        return Some(addresses);
    }
    [1u64, 8, 16, 32, 64, 128].into_iter().find_map(|align| {
        let stride = record.next_multiple_of(align);
        // The last record needs no gap after it.
        let count = (size + stride - record) / stride;
        if count == 0 || size - record > (count - 1) * stride + (stride - record) {
            return None;
        }
        let addresses: Vec<u64> = (0..count).take(MOST).map(|n| start + n * stride).collect();
        sound(image, layout, &addresses).then_some(addresses)
    })
}

/// Whether every record has a name and counts that its arrays can hold.
fn sound(image: &Image<'_>, layout: &Layout, addresses: &[u64]) -> bool {
    const COUNTS: [(&str, i128); 10] = [
        ("param_count", 16),
        ("error_count", 64),
        ("lock_count", 64),
        ("constraint_count", 64),
        ("signal_count", 64),
        ("signal_mask_count", 64),
        ("struct_spec_count", 16),
        ("side_effect_count", 64),
        ("state_trans_count", 64),
        ("capability_count", 16),
    ];
    const MAGICS: [(&str, i128); 3] = [
        ("param_magic", 0x4b41_5031),
        ("error_magic", 0x4b41_4533),
        ("cap_magic", 0x4b41_4343),
    ];
    image.refill();
    addresses.iter().all(|at| {
        let item = Item {
            image,
            layout,
            name: ROOT,
            at: *at,
        };
        let name = item.text("name");
        let named =
            !name.is_empty() && name.len() < 128 && name.bytes().all(|b| b.is_ascii_graphic());
        let version = item
            .number("version")
            .is_none_or(|n| (0..1000).contains(&n));
        let printable = |text: String| {
            !text.contains(|c: char| c == '\u{fffd}' || c.is_control() && !c.is_whitespace())
        };
        let texts = ["description", "long_description", "examples", "notes"]
            .into_iter()
            .all(|f| printable(item.text(f)));
        let items = decode_names(&item);
        named
            && version
            && texts
            && items
            && COUNTS
                .iter()
                .all(|(field, most)| item.number(field).is_none_or(|n| (0..=*most).contains(&n)))
            && MAGICS
                .iter()
                .all(|(field, magic)| item.number(field).is_none_or(|n| n == *magic || n == 0))
    }) && !image.exhausted()
}

/// Whether the items inside have names, as those of a misread record do not.
fn decode_names(item: &Item<'_>) -> bool {
    let spec = decode::spec(item, &Span::default());
    let good = |name: &str| {
        !name.is_empty() && !name.contains(|c: char| c == '\u{fffd}' || c.is_control())
    };
    spec.params.iter().all(|p| good(&p.name))
        && spec
            .errors
            .iter()
            .all(|e| e.name.starts_with('E') && good(&e.name))
        && spec.locks.iter().all(|l| good(&l.name))
        && spec.signals.iter().all(|s| good(&s.name))
        && spec.constraints.iter().all(|c| good(&c.name))
        && spec.capabilities.iter().all(|c| c.name.starts_with("CAP_"))
}
