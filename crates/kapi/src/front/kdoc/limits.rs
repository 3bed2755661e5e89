//! `constraint-type: range(lo,hi) | mask(expr) | …`, both ways.

use super::doc::Block;
use super::write::Out;
use crate::ir::vocab::{ConstraintKind, Word};
use crate::ir::{Limits, Range, Value};

/// Splits at the commas outside brackets.
pub(super) fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text.get(start..at).unwrap_or_default().trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    let last = text.get(start..).unwrap_or_default().trim();
    if !last.is_empty() || !parts.is_empty() {
        parts.push(last);
    }
    parts
}

/// A comma-separated list of values.
pub(super) fn values(text: &str) -> Vec<Value> {
    split(text)
        .into_iter()
        .filter(|p| !p.is_empty())
        .map(Value::new)
        .collect()
}

/// `lo, hi`.
pub(super) fn range(text: &str) -> Option<Range> {
    match split(text.trim().trim_start_matches('[').trim_end_matches(']')).as_slice() {
        [min, max] => Some(Range {
            min: Value::new(min),
            max: Value::new(max),
        }),
        _ => None,
    }
}

/// Reads the limits of a block; answers what could not be read.
pub(super) fn read(block: &Block) -> (Limits, Vec<String>) {
    let mut limits = Limits::default();
    let mut wrong = Vec::new();
    let value = |key: &str| block.sub(key).filter(|t| !t.is_empty()).map(Value::new);
    if let Some(text) = block.sub("constraint-type") {
        let (word, args) = match text.split_once('(') {
            Some((word, rest)) => (
                word.trim(),
                Some(rest.trim_end().strip_suffix(')').unwrap_or(rest).trim()),
            ),
            None => (text.trim(), None),
        };
        let kind = ConstraintKind::parse(word);
        if let Some(args) = args {
            match kind {
                ConstraintKind::Range => {
                    limits.range = range(args);
                    if limits.range.is_none() {
                        wrong.push(format!(
                            "`{text}`: range() takes a least and a greatest value"
                        ));
                    }
                }
                ConstraintKind::Mask => limits.valid_mask = Some(Value::new(args)),
                ConstraintKind::Enum => limits.enum_values = values(args),
                ConstraintKind::Buffer => limits.size_param = Some(Value::new(args)),
                ConstraintKind::Alignment => limits.alignment = Some(Value::new(args)),
                ConstraintKind::UserString | ConstraintKind::UserPtr => {
                    limits.size = Some(Value::new(args))
                }
                ConstraintKind::Custom => limits.validator = Some(args.to_owned()),
                _ => wrong.push(format!("`{word}` takes no arguments")),
            }
        }
        if !word.is_empty() {
            limits.kind = Some(kind);
        }
    }
    if let Some(mask) = value("valid-mask") {
        limits.valid_mask = Some(mask);
    }
    if let Some(text) = block.sub("range") {
        limits.range = range(text);
    }
    if let Some(text) = block.sub("enum-values") {
        limits.enum_values = values(text);
    }
    limits.size = value("size").or(limits.size);
    limits.alignment = value("alignment").or(limits.alignment);
    limits.size_param = value("size-param").or(limits.size_param);
    limits.size_multiplier = value("size-multiplier");
    if let Some(text) = block.sub("validator") {
        limits.validator = Some(text.to_owned());
    }
    for sub in block.subs.iter().filter(|s| s.key == "arch-mask") {
        match sub.text.split_once('=') {
            Some((arch, bits)) => limits
                .arch_masks
                .push((arch.trim().to_owned(), Value::new(bits))),
            None => wrong.push(format!("`arch-mask: {}` is not `ARCH = BITS`", sub.text)),
        }
    }
    limits.text = block
        .sub("cdesc")
        .or_else(|| block.sub("constraint"))
        .unwrap_or_default()
        .to_owned();
    (limits, wrong)
}

/// Writes limits as subfields.
pub(super) fn write(limits: &Limits, out: &mut Out) {
    let mut left = limits.clone();
    if let Some(kind) = &limits.kind {
        let list = |values: &[Value]| {
            values
                .iter()
                .map(|v| v.text.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let args = match kind {
            ConstraintKind::Range => left.range.take().map(|r| format!("{}, {}", r.min, r.max)),
            ConstraintKind::Mask => left.valid_mask.take().map(|m| m.text),
            ConstraintKind::Enum => {
                Some(list(&std::mem::take(&mut left.enum_values))).filter(|t| !t.is_empty())
            }
            ConstraintKind::Buffer => left.size_param.take().map(|v| v.text),
            ConstraintKind::Alignment => left.alignment.take().map(|v| v.text),
            ConstraintKind::UserString | ConstraintKind::UserPtr => {
                left.size.take().map(|v| v.text)
            }
            ConstraintKind::Custom => left.validator.take(),
            _ => None,
        };
        out.sub(
            "constraint-type",
            &args.map_or_else(|| kind.word().to_owned(), |args| format!("{kind}({args})")),
        );
    }
    out.value("valid-mask", left.valid_mask.as_ref());
    if let Some(range) = &left.range {
        out.sub("range", &format!("{}, {}", range.min, range.max));
    }
    out.values("enum-values", &left.enum_values);
    out.value("size", left.size.as_ref());
    out.value("alignment", left.alignment.as_ref());
    out.value("size-param", left.size_param.as_ref());
    out.value("size-multiplier", left.size_multiplier.as_ref());
    if let Some(validator) = &left.validator {
        out.sub("validator", validator);
    }
    for (arch, mask) in &left.arch_masks {
        out.sub("arch-mask", &format!("{arch} = {mask}"));
    }
    out.text("cdesc", &left.text);
}
