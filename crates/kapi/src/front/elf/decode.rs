//! From memory to a specification, field by field, by name.

use super::image::Image;
use super::layout::{Kind, Layout};
use crate::consts;
use crate::ir::vocab::{CheckKind, ConstraintKind, Word};
use crate::ir::{
    Capability, Constraint, ErrorSpec, Field, Flags, Ioctl, Limits, Lock, Param, Range, Return,
    SideEffect, Signal, SignalMask, Span, Spec, SpecKind, StateTransition, StructSpec, Value,
};

/// No text of a specification is longer.
const LONGEST: usize = 64 * 1024;

/// What an item of a list costs in memory, about.
const ITEM: usize = 1024;

/// A structure at an address.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) image: &'a Image<'a>,
    pub(super) layout: &'a Layout,
    pub(super) name: &'a str,
    pub(super) at: u64,
}

impl<'a> Item<'a> {
    fn place(&self, field: &str) -> Option<(u64, &'a Kind)> {
        let place = self.layout.structs.get(self.name)?.fields.get(field)?;
        Some((self.at.checked_add(place.offset)?, &place.kind))
    }

    pub(super) fn text(&self, field: &str) -> String {
        let found = self.place(field).and_then(|(at, kind)| match kind {
            Kind::Text(size) => self
                .image
                .string(at, usize::try_from(*size).unwrap_or(LONGEST).min(LONGEST)),
            Kind::Pointer => self
                .image
                .string(self.image.address(at).filter(|a| *a != 0)?, LONGEST),
            _ => None,
        });
        found.unwrap_or_default()
    }

    pub(super) fn number(&self, field: &str) -> Option<i128> {
        match self.place(field)? {
            (at, Kind::Int { size, signed }) => self.image.int(at, *size, *signed),
            (at, Kind::Pointer) => self.image.int(at, self.image.pointer, false),
            _ => None,
        }
    }

    /// A number that is set; 0 is "not set" in C.
    fn set(&self, field: &str) -> Option<Value> {
        self.number(field)
            .filter(|n| *n != 0)
            .map(Value::from_number)
    }

    fn yes(&self, field: &str) -> bool {
        self.number(field).is_some_and(|n| n != 0)
    }

    fn word<W: Word>(&self, field: &str) -> Option<W> {
        let n = u64::try_from(self.number(field)?).ok()?;
        Some(W::from_number(n).unwrap_or_else(|| W::parse(&n.to_string())))
    }

    fn flags<W: Word>(&self, field: &str) -> Flags<W> {
        self.number(field)
            .and_then(|n| u64::try_from(n).ok())
            .map(Flags::from_bits)
            .unwrap_or_default()
    }

    /// The first `count` members of an array of structures.
    fn list(&self, field: &str, count: &str) -> Vec<Self> {
        let Some((at, Kind::Array(element, length))) = self.place(field) else {
            return Vec::new();
        };
        let Kind::Struct(name) = element.as_ref() else {
            return Vec::new();
        };
        let size = self.layout.size_of(name);
        let count = self
            .number(count)
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(0)
            .min(*length);
        (0..count)
            .take_while(|_| self.image.take(ITEM))
            .filter_map(|n| {
                Some(Self {
                    name: name.as_str(),
                    at: at.checked_add(n.checked_mul(size)?)?,
                    ..*self
                })
            })
            .collect()
    }

    /// Numbers in an array inside, or behind a pointer.
    fn numbers(&self, field: &str, count: &str) -> Vec<Value> {
        let count = self
            .number(count)
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(0)
            .min(1024);
        let (start, size) = match self.place(field) {
            Some((at, Kind::Array(element, length))) => match element.as_ref() {
                Kind::Int { size, .. } if count <= *length => (at, *size),
                _ => return Vec::new(),
            },
            Some((at, Kind::Pointer)) => match self.image.address(at) {
                Some(to) if to != 0 => (to, 8),
                _ => return Vec::new(),
            },
            _ => return Vec::new(),
        };
        (0..count)
            .filter_map(|n| self.image.int(start.checked_add(n * size)?, size, true))
            .map(Value::from_number)
            .collect()
    }

    fn limits(&self) -> Limits {
        let (min, max) = (
            self.number("min_value").unwrap_or(0),
            self.number("max_value").unwrap_or(0),
        );
        let range = (min != 0 || max != 0).then(|| Range {
            min: Value::from_number(min),
            max: Value::from_number(max),
        });
        let mut kind: Option<ConstraintKind> = self.word("constraint_type");
        if self.layout.old_constraints && kind == Some(ConstraintKind::Alignment) {
            // The older series had `custom` where the newer has `alignment`.
            kind = Some(ConstraintKind::Custom);
        }
        let from = i128::from(self.layout.size_param_from_1);
        let size_param = self
            .number("size_param_idx")
            .map(|n| n - from)
            .filter(|n| *n >= 0);
        let sized = size_param.filter(|n| {
            *n > 0 || self.layout.size_param_from_1 || kind == Some(ConstraintKind::Buffer)
        });
        let enumerated = self.text("enum_values");
        let enum_values = if self.place("enum_count").is_some() {
            self.numbers("enum_values", "enum_count")
        } else {
            enumerated
                .split(',')
                .filter(|t| !t.trim().is_empty())
                .map(Value::new)
                .collect()
        };
        Limits {
            kind,
            range,
            valid_mask: self.set("valid_mask"),
            enum_values,
            size: self.set("size"),
            alignment: self.set("alignment"),
            size_param: sized.map(Value::from_number),
            size_multiplier: self.set("size_multiplier"),
            text: self.text("constraints"),
            ..Limits::default()
        }
    }
}

/// The specification at an address.
pub(super) fn spec(root: &Item<'_>, span: &Span) -> Spec {
    let here = || span.clone();
    // Where this is refused, whoever asks for soundness hears of it.
    root.image.take(ITEM);
    let kind = match root.number("api_type") {
        Some(1) => SpecKind::Ioctl,
        Some(2) => SpecKind::Sysfs,
        _ => SpecKind::Function,
    };
    let ioctl = root.number("cmd").filter(|n| *n != 0).map(|n| Ioctl {
        command: Some(Value::from_number(n)),
        command_name: root.text("cmd_name"),
        input_size: root.set("input_size"),
        output_size: root.set("output_size"),
        file_ops: root.text("file_ops_name"),
    });
    let mut spec = Spec {
        name: root.text("name"),
        kind: if ioctl.is_some() {
            SpecKind::Ioctl
        } else {
            kind
        },
        span: here(),
        description: root.text("description"),
        long_description: root.text("long_description"),
        contexts: root.flags("context_flags"),
        examples: root.text("examples"),
        notes: root.text("notes"),
        since_version: root.text("since_version"),
        deprecated: root.yes("deprecated"),
        replacement: root.text("replacement"),
        ioctl,
        ..Spec::default()
    };
    let list = |field: &str, count: &str| root.list(field, count).into_iter();
    spec.params = list("params", "param_count")
        .map(|p| Param {
            name: p.text("name"),
            type_name: p.text("type_name"),
            kind: p.word("type"),
            flags: p.flags("flags"),
            description: p.text("description"),
            limits: p.limits(),
            span: here(),
        })
        .collect();
    spec.returns = returns(root, span);
    spec.errors = list("errors", "error_count")
        .map(|e| error(&e, span))
        .collect();
    spec.locks = list("locks", "lock_count")
        .map(|l| lock(&l, span))
        .collect();
    spec.constraints = list("constraints", "constraint_count")
        .map(|c| Constraint {
            name: c.text("name"),
            description: c.text("description"),
            expression: Some(c.text("expression")).filter(|t| !t.is_empty()),
            span: here(),
        })
        .collect();
    spec.signals = list("signals", "signal_count")
        .map(|s| signal(&s, span))
        .collect();
    spec.signal_masks = list("signal_masks", "signal_mask_count")
        .map(|m| SignalMask {
            name: m.text("mask_name"),
            description: m.text("description"),
            signals: m.numbers("signals", "signal_count"),
            span: here(),
        })
        .collect();
    spec.structs = list("struct_specs", "struct_spec_count")
        .map(|s| structure(&s, span))
        .collect();
    spec.side_effects = list("side_effects", "side_effect_count")
        .map(|e| SideEffect {
            effects: e.flags("type"),
            target: e.text("target"),
            condition: e.text("condition"),
            description: e.text("description"),
            // The kernel keeps no such text.
            expression: None,
            reversible: e.yes("reversible"),
            span: here(),
        })
        .collect();
    spec.state_transitions = list("state_transitions", "state_trans_count")
        .map(|t| StateTransition {
            object: t.text("object"),
            from: t.text("from_state"),
            to: t.text("to_state"),
            condition: t.text("condition"),
            description: t.text("description"),
            span: here(),
        })
        .collect();
    spec.capabilities = list("capabilities", "capability_count")
        .map(|c| Capability {
            capability: c.number("capability").map(|n| {
                consts::capability_name(n).map_or_else(|| Value::from_number(n), Value::new)
            }),
            name: c.text("cap_name"),
            action: c.word("action"),
            allows: c.text("allows"),
            without: c.text("without_cap"),
            condition: c.text("check_condition"),
            priority: c.number("priority").map(Value::from_number),
            alternatives: c.numbers("alternative", "alternative_count"),
            span: here(),
        })
        .collect();
    spec
}

fn returns(root: &Item<'_>, span: &Span) -> Option<Return> {
    let (at, Kind::Struct(name)) = root.place("return_spec")? else {
        return None;
    };
    let r = Item { name, at, ..*root };
    let check: Option<CheckKind> = r.word("check_type");
    let (type_name, description) = (r.text("type_name"), r.text("description"));
    if type_name.is_empty() && description.is_empty() {
        return None;
    }
    let (min, max) = (
        r.number("success_min").unwrap_or(0),
        r.number("success_max").unwrap_or(0),
    );
    let range = (min != 0 || max != 0 || check == Some(CheckKind::Range)).then(|| Range {
        min: Value::from_number(min),
        max: Value::from_number(max),
    });
    let exact = matches!(check, Some(CheckKind::Exact | CheckKind::ErrorCheck));
    Some(Return {
        type_name,
        kind: r.word("type"),
        description,
        success: if exact {
            r.number("success_value").map(Value::from_number)
        } else {
            r.set("success_value")
        },
        success_range: range,
        error_values: r.numbers("error_values", "error_count"),
        check,
        validator: None,
        span: span.clone(),
    })
}

fn error(e: &Item<'_>, span: &Span) -> ErrorSpec {
    let name = e.text("name");
    let number = e.number("error_code");
    let named = Value::new(&format!("-{name}"));
    let code = if named.number.is_some() && named.number == number {
        Some(named)
    } else {
        number.map(Value::from_number)
    };
    ErrorSpec {
        name,
        code,
        summary: e.text("condition"),
        condition: String::new(),
        description: e.text("description"),
        span: span.clone(),
    }
}

fn lock(l: &Item<'_>, span: &Span) -> Lock {
    let mut lock = Lock {
        name: l.text("lock_name"),
        kind: l.word("lock_type"),
        acquired: l.yes("acquired"),
        released: l.yes("released"),
        held_on_entry: l.yes("held_on_entry"),
        held_on_exit: l.yes("held_on_exit"),
        description: l.text("description"),
        span: span.clone(),
    };
    if let Some(scope) = l.number("scope") {
        const SCOPES: [&str; 4] = ["internal", "acquires", "releases", "caller_held"];
        if let Some(word) = usize::try_from(scope).ok().and_then(|n| SCOPES.get(n)) {
            lock.set_scope(word);
        }
    }
    lock
}

fn signal(s: &Item<'_>, span: &Span) -> Signal {
    let text_word = |field: &str| Some(s.text(field)).filter(|t| !t.is_empty());
    let error = s.number("error_on_signal").filter(|n| *n != 0);
    Signal {
        name: s.text("signal_name"),
        number: s.set("signal_num"),
        direction: s.flags("direction"),
        action: s.word("action"),
        target: s.text("target"),
        condition: s.text("condition"),
        description: s.text("description"),
        restartable: s.yes("restartable"),
        sa_flags_required: s.set("sa_flags_required"),
        sa_flags_forbidden: s.set("sa_flags_forbidden"),
        error: error.map(|n| {
            consts::errno_name(-n)
                .map_or_else(|| Value::from_number(n), |e| Value::new(&format!("-{e}")))
        }),
        transform_to: s.set("transform_to"),
        timing: text_word("timing").map(|t| Word::parse(&t)),
        priority: s.set("priority"),
        interruptible: s.yes("interruptible"),
        queue: text_word("queue_behavior").map(|t| Word::parse(&t)),
        state_required: s.set("state_required"),
        state_forbidden: s.set("state_forbidden"),
        span: span.clone(),
    }
}

fn structure(s: &Item<'_>, span: &Span) -> StructSpec {
    StructSpec {
        name: s.text("name"),
        description: s.text("description"),
        size: s.set("size"),
        alignment: s.set("alignment"),
        field_count: s.set("field_count"),
        fields: s
            .list("fields", "field_count")
            .into_iter()
            .map(|f| Field {
                name: f.text("name"),
                type_name: f.text("type_name"),
                kind: f.word("type"),
                flags: f.flags("flags"),
                description: f.text("description"),
                offset: f.number("offset").map(Value::from_number),
                limits: f.limits(),
                span: span.clone(),
            })
            .collect(),
        span: span.clone(),
    }
}
