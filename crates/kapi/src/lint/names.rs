//! Names, words and constants.

use std::collections::HashMap;

use super::Out;
use crate::ir::vocab::Word;
use crate::ir::{Flags, Limits, Span, Spec, Value};

pub(super) fn duplicate_specs(specs: &[Spec], out: &mut Out<'_>) {
    let mut seen: HashMap<&str, &Spec> = HashMap::new();
    for spec in specs {
        if let Some(first) = seen.get(spec.call_name()) {
            out.warn(
                "duplicate-spec",
                &spec.span,
                format!("`{}` is specified twice", spec.call_name()),
            )
            .expected = Some(format!("the other is at {}", first.span));
        } else {
            seen.insert(spec.call_name(), spec);
        }
    }
}

pub(super) fn duplicates(spec: &Spec, out: &mut Out<'_>) {
    let mut list = |what: &str, names: Vec<(&str, &Span)>| {
        let mut seen = std::collections::HashSet::new();
        for (name, span) in names {
            if !seen.insert(name) {
                out.warn(
                    "duplicate-name",
                    span,
                    format!("{what} `{name}` of {} is described twice", spec.name),
                );
            }
        }
    };
    list(
        "parameter",
        spec.params
            .iter()
            .map(|p| (p.name.as_str(), &p.span))
            .collect(),
    );
    list(
        "error",
        spec.errors
            .iter()
            .map(|e| (e.name.as_str(), &e.span))
            .collect(),
    );
    list(
        "lock",
        spec.locks
            .iter()
            .map(|l| (l.name.as_str(), &l.span))
            .collect(),
    );
    list(
        "signal",
        spec.signals
            .iter()
            .map(|s| (s.name.as_str(), &s.span))
            .collect(),
    );
    list(
        "capability",
        spec.capabilities
            .iter()
            .map(|c| (c.name.as_str(), &c.span))
            .collect(),
    );
    list(
        "constraint",
        spec.constraints
            .iter()
            .map(|c| (c.name.as_str(), &c.span))
            .collect(),
    );
}

fn word<W: Word + 'static>(word: Option<&W>, span: &Span, out: &mut Out<'_>) {
    if let Some(word) = word.filter(|w| w.number().is_none()) {
        let known: Vec<&str> = W::known().iter().map(Word::word).collect();
        let message = format!("`{word}` is not a word of {}…", W::PREFIX);
        out.error("unknown-word", span, message).expected =
            Some(format!("one of {}", known.join(", ")));
    }
}

fn words<W: Word + 'static>(flags: &Flags<W>, span: &Span, out: &mut Out<'_>) {
    for one in &flags.0 {
        word(Some(one).filter(|w| !w.word().starts_with("0x")), span, out);
    }
}

pub(super) fn unknown_words(spec: &Spec, out: &mut Out<'_>) {
    words(&spec.contexts, &spec.span, out);
    for p in &spec.params {
        word(p.kind.as_ref(), &p.span, out);
        words(&p.flags, &p.span, out);
        word(p.limits.kind.as_ref(), &p.span, out);
    }
    if let Some(r) = &spec.returns {
        word(r.kind.as_ref(), &r.span, out);
        word(r.check.as_ref(), &r.span, out);
    }
    for l in &spec.locks {
        word(l.kind.as_ref(), &l.span, out);
    }
    for s in &spec.signals {
        words(&s.direction, &s.span, out);
        word(s.action.as_ref(), &s.span, out);
        word(s.timing.as_ref(), &s.span, out);
        word(s.queue.as_ref(), &s.span, out);
    }
    for e in &spec.side_effects {
        words(&e.effects, &e.span, out);
    }
    for c in &spec.capabilities {
        word(c.action.as_ref(), &c.span, out);
    }
    for f in spec.structs.iter().flat_map(|s| &s.fields) {
        word(f.kind.as_ref(), &f.span, out);
        words(&f.flags, &f.span, out);
        word(f.limits.kind.as_ref(), &f.span, out);
    }
    for unknown in &spec.unknown {
        out.note(
            "unknown-item",
            &unknown.span,
            format!("`{}` is kept, but not understood", unknown.key),
        );
    }
}

fn value(value: &Value, span: &Span, out: &mut Out<'_>) {
    for symbol in value.unknown_symbols() {
        let sized = value.text.contains("sizeof");
        if !sized {
            out.warn(
                "unknown-constant",
                span,
                format!("`{symbol}` has no known number"),
            );
        }
    }
}

fn limits(limits: &Limits, span: &Span, out: &mut Out<'_>) {
    let all = limits
        .range
        .iter()
        .flat_map(|r| [&r.min, &r.max])
        .chain(&limits.valid_mask)
        .chain(&limits.enum_values)
        .chain(&limits.size)
        .chain(&limits.alignment);
    for one in all.chain(limits.arch_masks.iter().map(|(_, mask)| mask)) {
        value(one, span, out);
    }
    if let Some(range) = &limits.range
        && let (Some(min), Some(max)) = (range.min.number, range.max.number)
        && min > max
    {
        out.error(
            "range",
            span,
            format!("the range {} to {} is empty", range.min, range.max),
        );
    }
}

pub(super) fn constants(spec: &Spec, out: &mut Out<'_>) {
    for p in &spec.params {
        limits(&p.limits, &p.span, out);
    }
    for f in spec.structs.iter().flat_map(|s| &s.fields) {
        limits(&f.limits, &f.span, out);
    }
    if let Some(r) = &spec.returns {
        r.error_values
            .iter()
            .chain(r.success_range.iter().flat_map(|r| [&r.min, &r.max]))
            .for_each(|v| value(v, &r.span, out));
    }
    for e in &spec.errors {
        e.code.iter().for_each(|v| value(v, &e.span, out));
    }
    for s in &spec.signals {
        s.number
            .iter()
            .chain(&s.error)
            .chain(&s.transform_to)
            .for_each(|v| value(v, &s.span, out));
    }
    for m in &spec.signal_masks {
        m.signals.iter().for_each(|v| value(v, &m.span, out));
    }
    for c in &spec.capabilities {
        c.capability
            .iter()
            .chain(&c.alternatives)
            .for_each(|v| value(v, &c.span, out));
    }
}
