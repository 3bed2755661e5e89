//! `specs-json/NAME`: numbers for symbols.

use serde_json::Value as Json;

use super::number;
use crate::consts;
use crate::front::Parsed;
use crate::ir::vocab::{CheckKind, SignalAction, Word};
use crate::ir::{
    Capability, Constraint, ErrorSpec, Field, Flags, Limits, Lock, Param, Range, Return,
    SideEffect, Signal, SignalMask, Span, Spec, StateTransition, StructSpec, Value,
};

struct Item<'a> {
    json: &'a Json,
    span: &'a Span,
}

impl<'a> Item<'a> {
    fn text(&self, key: &str) -> String {
        self.json
            .get(key)
            .and_then(Json::as_str)
            .unwrap_or_default()
            .to_owned()
    }
    fn number(&self, key: &str) -> Option<i128> {
        let value = self.json.get(key)?;
        value
            .as_i64()
            .map(i128::from)
            .or_else(|| value.as_u64().map(i128::from))
            .or_else(|| number(value.as_str()?))
    }
    /// A number that means something; 0 is the kernel's "not set".
    fn set(&self, key: &str) -> Option<Value> {
        self.number(key).filter(|n| *n != 0).map(Value::from_number)
    }
    fn bits<W: Word>(&self, key: &str) -> Flags<W> {
        self.number(key)
            .and_then(|n| u64::try_from(n).ok())
            .map(Flags::from_bits)
            .unwrap_or_default()
    }
    fn word<W: Word>(&self, key: &str) -> Option<W> {
        let text = self.text(key);
        if !text.is_empty() {
            return Some(W::parse(&text));
        }
        self.number(key)
            .and_then(|n| u64::try_from(n).ok())
            .and_then(W::from_number)
    }
    fn yes(&self, key: &str) -> bool {
        self.json.get(key).and_then(Json::as_bool).unwrap_or(false)
    }
    fn list(&self, key: &str) -> impl Iterator<Item = Item<'a>> + use<'a> {
        let span = self.span;
        self.json
            .get(key)
            .and_then(Json::as_array)
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .map(move |json| Item { json, span })
    }
    fn numbers(&self, key: &str) -> Vec<Value> {
        self.list(key)
            .filter_map(|i| i.json.as_i64())
            .map(|n| Value::from_number(n.into()))
            .collect()
    }
}

/// Reads `specs-json/NAME`, or a list of such.
#[must_use]
pub fn parse_json(name: &str, value: &Json) -> Parsed {
    let span = Span {
        file: name.into(),
        ..Span::default()
    };
    let one = |json: &Json| json_spec(&Item { json, span: &span });
    let specs = value
        .as_array()
        .map_or_else(|| vec![one(value)], |list| list.iter().map(one).collect());
    Parsed {
        specs,
        diagnostics: Vec::new(),
    }
}

fn json_limits(p: &Item<'_>) -> Limits {
    let (min, max) = (
        p.number("min_value").unwrap_or(0),
        p.number("max_value").unwrap_or(0),
    );
    let range = (min != 0 || max != 0).then(|| Range {
        min: Value::from_number(min),
        max: Value::from_number(max),
    });
    let text = p.text("enum_values");
    let enum_values = if text.is_empty() {
        p.numbers("enum_values")
    } else {
        text.split(',').map(Value::new).collect()
    };
    Limits {
        kind: p.word("constraint_type"),
        range,
        valid_mask: p.set("valid_mask"),
        enum_values,
        size: p.set("size"),
        alignment: p.set("alignment"),
        size_param: p.number("size_param_idx").map(Value::from_number),
        size_multiplier: p.set("size_multiplier"),
        text: p.text("constraint_desc"),
        ..Limits::default()
    }
}

fn json_spec(j: &Item<'_>) -> Spec {
    let span = j.span;
    let here = || span.clone();
    let mut spec = Spec {
        name: j.text("name"),
        span: here(),
        description: j.text("description"),
        long_description: j.text("long_description"),
        contexts: j.bits("context_flags"),
        examples: j.text("examples"),
        notes: j.text("notes"),
        since_version: j.text("since_version"),
        ..Spec::default()
    };
    spec.params = j
        .list("parameters")
        .map(|p| Param {
            name: p.text("name"),
            type_name: p.text("type"),
            kind: p.word("type_class"),
            flags: p.bits("flags"),
            description: p.text("description"),
            limits: json_limits(&p),
            span: here(),
        })
        .collect();
    if let Some(json) = j.json.get("return") {
        let r = Item { json, span };
        let check: Option<CheckKind> = r.word("check_type");
        let ranged = check == Some(CheckKind::Range);
        let range = || {
            Some(Range {
                min: Value::from_number(r.number("success_min")?),
                max: Value::from_number(r.number("success_max")?),
            })
        };
        spec.returns = Some(Return {
            type_name: r.text("type"),
            kind: r.word("type_class"),
            description: r.text("description"),
            success: if ranged {
                None
            } else {
                r.number("success_value").map(Value::from_number)
            },
            success_range: if ranged { range() } else { None },
            check,
            error_values: r.numbers("error_values"),
            validator: None,
            span: here(),
        });
    }
    spec.errors = j
        .list("errors")
        .map(|e| {
            let name = e.text("name");
            let code = e.number("code");
            // The number is this kernel's; the name says the same everywhere.
            let named = Value::new(&format!("-{}", name.trim_start_matches('-')));
            let code = if named.number.is_some() && named.number == code {
                Some(named)
            } else {
                code.map(Value::from_number)
            };
            ErrorSpec {
                code,
                name,
                summary: e.text("condition"),
                description: e.text("description"),
                span: here(),
                ..ErrorSpec::default()
            }
        })
        .collect();
    spec.locks = j
        .list("locks")
        .map(|l| {
            let mut lock = Lock {
                name: l.text("name"),
                kind: l.word("type"),
                description: l.text("description"),
                span: here(),
                ..Lock::default()
            };
            lock.set_scope(&l.text("scope"));
            lock
        })
        .collect();
    spec.capabilities = j
        .list("capabilities")
        .map(|c| Capability {
            capability: c.number("capability").map(|n| {
                consts::capability_name(n).map_or_else(|| Value::from_number(n), Value::new)
            }),
            name: c.text("name"),
            action: c.word("action"),
            allows: c.text("allows"),
            without: c.text("without_cap"),
            condition: c.text("check_condition"),
            priority: c.number("priority").map(Value::from_number),
            alternatives: c.numbers("alternatives"),
            span: here(),
        })
        .collect();
    spec.constraints = j
        .list("constraints")
        .map(|c| Constraint {
            name: c.text("name"),
            description: c.text("description"),
            expression: Some(c.text("expression")).filter(|t| !t.is_empty()),
            span: here(),
        })
        .collect();
    spec.signals = j
        .list("signals")
        .map(|s| Signal {
            name: s.text("signal_name"),
            number: s.set("signal_num"),
            direction: s.bits("direction"),
            action: s
                .number("action")
                .and_then(|n| u64::try_from(n).ok())
                .and_then(SignalAction::from_number),
            target: s.text("target"),
            condition: s.text("condition"),
            description: s.text("description"),
            restartable: s.yes("restartable"),
            sa_flags_required: s.set("sa_flags_required"),
            sa_flags_forbidden: s.set("sa_flags_forbidden"),
            error: s.number("error_on_signal").filter(|n| *n != 0).map(|n| {
                consts::errno_name(-n)
                    .map_or_else(|| Value::from_number(n), |e| Value::new(&format!("-{e}")))
            }),
            transform_to: s.set("transform_to"),
            timing: s.word("timing"),
            priority: s.set("priority"),
            interruptible: s.yes("interruptible"),
            queue: s.word("queue_behavior"),
            state_required: s.set("state_required"),
            state_forbidden: s.set("state_forbidden"),
            span: here(),
        })
        .collect();
    spec.side_effects = j
        .list("side_effects")
        .map(|e| SideEffect {
            effects: e.bits("type"),
            target: e.text("target"),
            condition: e.text("condition"),
            description: e.text("description"),
            // The kernel keeps no such text.
            expression: None,
            reversible: e.yes("reversible"),
            span: here(),
        })
        .collect();
    spec.state_transitions = j
        .list("state_transitions")
        .map(|t| StateTransition {
            object: t.text("object"),
            from: t.text("from_state"),
            to: t.text("to_state"),
            condition: t.text("condition"),
            description: t.text("description"),
            span: here(),
        })
        .collect();
    spec.signal_masks = j
        .list("signal_masks")
        .map(|m| SignalMask {
            name: m.text("name"),
            description: m.text("description"),
            signals: m.numbers("signals"),
            span: here(),
        })
        .collect();
    spec.structs = j
        .list("struct_specs")
        .map(|s| StructSpec {
            name: s.text("name"),
            description: s.text("description"),
            size: s.set("size"),
            alignment: s.set("alignment"),
            field_count: None,
            fields: s
                .list("fields")
                .map(|f| Field {
                    name: f.text("name"),
                    type_name: f.text("type"),
                    kind: f.word("type_class"),
                    flags: f.bits("flags"),
                    description: f.text("description"),
                    offset: f.number("offset").map(Value::from_number),
                    limits: json_limits(&f),
                    span: here(),
                })
                .collect(),
            span: here(),
        })
        .collect();
    spec
}
