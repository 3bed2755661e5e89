//! Specifications for tests: random ones, one of our own, and the seed.
#![allow(
    dead_code,
    unused_macros,
    unused_imports,
    reason = "each test file uses some of it"
)]

mod inputs;
pub(crate) use inputs::*;

use kapi::ir::vocab::*;
use kapi::ir::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Texts with everything that could break a comment.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just(String::new()),
        4 => "[A-Za-z][a-z]{0,8}( [a-z(),.;=|&-]{1,9}){0,40}",
        2 => "([ -~\n\t]|é|desc: |param: |\n\n|[*]/|[|] |- |@){1,80}",
    ]
}

pub(crate) fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_]{0,12}"
}

/// Names that are not identifiers.
fn label() -> impl Strategy<Value = String> {
    "[a-zA-Z][a-zA-Z0-9_>-]{0,6}( [a-z]{1,5}){0,2}"
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        "-?[1-9][0-9]{0,9}".prop_map(|t| Value::new(&t)),
        Just(Value::new("MCL_CURRENT | MCL_FUTURE")),
        Just(Value::new("-EAGAIN")),
        Just(Value::new("UNKNOWN_THING << 3")),
        Just(Value::new("sizeof(struct foo)")),
        Just(Value::new("BIT(3) | 0x10")),
    ]
}

fn word<W: Word + 'static>() -> impl Strategy<Value = W> {
    prop_oneof![
        5 => proptest::sample::select(W::known().to_vec()),
        1 => "[A-Z]{3,6}_NEW".prop_map(|t| W::parse(&t)),
    ]
}

fn flags<W: Word + 'static>() -> impl Strategy<Value = Flags<W>> {
    vec(word::<W>(), 0..4).prop_map(|mut words| {
        let mut seen = Vec::new();
        words.retain(|w| {
            !seen.contains(w) && {
                seen.push(w.clone());
                true
            }
        });
        Flags(words)
    })
}

fn range() -> impl Strategy<Value = Range> {
    (value(), value()).prop_map(|(min, max)| Range { min, max })
}

fn limits() -> impl Strategy<Value = Limits> {
    (
        option::of(word::<ConstraintKind>()),
        option::of(range()),
        option::of(value()),
        vec((name(), value()), 0..2),
        vec(value(), 0..3),
        option::of(value()),
        option::of(value()),
        (
            option::of(value()),
            option::of(value()),
            option::of(name()),
            text(),
        ),
    )
        .prop_map(
            |(
                kind,
                range,
                valid_mask,
                arch_masks,
                enum_values,
                size,
                alignment,
                (size_param, size_multiplier, validator, text),
            )| Limits {
                kind,
                range,
                valid_mask,
                arch_masks,
                enum_values,
                size,
                alignment,
                size_param,
                size_multiplier,
                validator,
                text,
            },
        )
}

fn param() -> impl Strategy<Value = Param> {
    (
        name(),
        prop_oneof![
            Just(String::new()),
            Just("unsigned long".to_owned()),
            Just("const char __user *".to_owned())
        ],
        option::of(word::<TypeKind>()),
        flags(),
        text(),
        limits(),
    )
        .prop_map(
            |(name, type_name, kind, flags, description, limits)| Param {
                name,
                type_name,
                kind,
                flags,
                description,
                limits,
                span: Span::default(),
            },
        )
}

fn returns() -> impl Strategy<Value = Return> {
    (
        option::of(word()),
        text(),
        option::of(word()),
        option::of(value()),
        option::of(range()),
        vec(value(), 0..3),
        option::of(name()),
    )
        .prop_map(
            |(kind, description, check, success, success_range, error_values, validator)| Return {
                type_name: "long".into(),
                kind,
                description,
                check,
                success,
                success_range,
                error_values,
                validator,
                span: Span::default(),
            },
        )
}

fn error() -> impl Strategy<Value = ErrorSpec> {
    ("E[A-Z]{2,6}", option::of(value()), text(), text(), text()).prop_map(
        |(name, code, summary, condition, description)| ErrorSpec {
            code: Some(code.unwrap_or_else(|| Value::new(&format!("-{name}")))),
            name,
            summary,
            condition,
            description,
            span: Span::default(),
        },
    )
}

fn lock() -> impl Strategy<Value = Lock> {
    (label(), option::of(word()), any::<[bool; 4]>(), text()).prop_map(
        |(name, kind, [a, r, e, x], description)| Lock {
            name,
            kind,
            acquired: a,
            released: r,
            held_on_entry: e,
            held_on_exit: x,
            description,
            span: Span::default(),
        },
    )
}

fn signal() -> impl Strategy<Value = Signal> {
    (
        (
            label(),
            option::of(value()),
            flags(),
            option::of(word()),
            text(),
            text(),
            text(),
        ),
        (
            any::<bool>(),
            option::of(value()),
            option::of(value()),
            option::of(value()),
            option::of(value()),
        ),
        (
            option::of(word()),
            option::of(value()),
            any::<bool>(),
            option::of(word()),
            option::of(value()),
            option::of(value()),
        ),
    )
        .prop_map(
            |(
                (name, number, direction, action, target, condition, description),
                (restartable, sa_flags_required, sa_flags_forbidden, error, transform_to),
                (timing, priority, interruptible, queue, state_required, state_forbidden),
            )| Signal {
                name,
                number,
                direction,
                action,
                target,
                condition,
                description,
                restartable,
                sa_flags_required,
                sa_flags_forbidden,
                error,
                transform_to,
                timing,
                priority,
                interruptible,
                queue,
                state_required,
                state_forbidden,
                span: Span::default(),
            },
        )
}

fn structs() -> impl Strategy<Value = StructSpec> {
    let field = (
        name(),
        option::of(word()),
        flags(),
        text(),
        option::of(value()),
        limits(),
    )
        .prop_map(|(name, kind, flags, description, offset, limits)| Field {
            name,
            type_name: "u64".into(),
            kind,
            flags,
            description,
            offset,
            limits,
            span: Span::default(),
        });
    (
        name(),
        text(),
        option::of(value()),
        option::of(value()),
        vec(field, 0..3),
        option::of(value()),
    )
        .prop_map(
            |(name, description, size, alignment, fields, field_count)| StructSpec {
                name,
                description,
                size,
                alignment,
                fields,
                field_count,
                span: Span::default(),
            },
        )
}

fn capability() -> impl Strategy<Value = Capability> {
    (
        "CAP_[A-Z]{3,6}",
        option::of(value()),
        option::of(word()),
        text(),
        text(),
        text(),
        option::of(value()),
        vec(value(), 0..2),
    )
        .prop_map(
            |(name, capability, action, allows, without, condition, priority, alternatives)| {
                Capability {
                    capability: Some(capability.unwrap_or_else(|| Value::new(&name))),
                    name,
                    action,
                    allows,
                    without,
                    condition,
                    priority,
                    alternatives,
                    span: Span::default(),
                }
            },
        )
}

/// Any specification that the formats can say.
pub(crate) fn spec() -> impl Strategy<Value = Spec> {
    let effect = (
        flags(),
        text(),
        text(),
        text(),
        option::of(Just("vma->vm_flags |= VM_LOCKED".to_owned())),
        any::<bool>(),
    )
        .prop_map(
            |(effects, target, condition, description, expression, reversible)| SideEffect {
                effects,
                target,
                condition,
                description,
                expression,
                reversible,
                span: Span::default(),
            },
        );
    let transition = (text(), text(), text(), text(), text()).prop_map(
        |(object, from, to, condition, description)| StateTransition {
            object,
            from,
            to,
            condition,
            description,
            span: Span::default(),
        },
    );
    let mask =
        (label(), text(), vec(value(), 0..3)).prop_map(|(name, description, signals)| SignalMask {
            name,
            description,
            signals,
            span: Span::default(),
        });
    let constraint = (
        label(),
        text(),
        option::of("[a-z]{1,5} (=>|<=|&) [A-Z]{1,5}"),
    )
        .prop_map(|(name, description, expression)| Constraint {
            name,
            description,
            expression,
            span: Span::default(),
        });
    let unknown = (
        prop_oneof![Just(String::new()), Just("param 0".to_owned())],
        "KAPI_[A-Z]{2,8}",
        text(),
    )
        .prop_map(|(within, key, text)| Unknown {
            within,
            key,
            text,
            span: Span::default(),
        });
    let count = (
        proptest::sample::select(vec!["param", "error", "side-effect"]),
        0i64..40,
    )
        .prop_map(|(of, n)| Count {
            of: of.into(),
            value: Value::from_number(i128::from(n)),
            span: Span::default(),
        });
    let kinds = prop_oneof![
        4 => Just((SpecKind::Function, None, None)),
        1 => (value(), name()).prop_map(|(command, command_name)| (SpecKind::Ioctl, Some(Ioctl { command: Some(command), command_name, ..Ioctl::default() }), None)),
        1 => (value(), name()).prop_map(|(permissions, units)| (SpecKind::Sysfs, None, Some(Sysfs { permissions: Some(permissions), units, allowed: vec!["a".into(), "b".into()], ..Sysfs::default() }))),
    ];
    (
        (name(), kinds, text(), text(), flags()),
        (
            vec(param(), 0..3),
            option::of(returns()),
            vec(error(), 0..4),
            vec(lock(), 0..3),
            vec(signal(), 0..3),
        ),
        (
            vec(mask, 0..2),
            vec(effect, 0..3),
            vec(transition, 0..3),
            vec(capability(), 0..2),
            vec(constraint, 0..3),
            vec(structs(), 0..2),
        ),
        (
            text(),
            text(),
            text(),
            any::<bool>(),
            text(),
            option::of(count),
            vec(unknown, 0..2),
        ),
    )
        .prop_map(
            |(
                (name, (kind, ioctl, sysfs), description, long_description, contexts),
                (params, returns, errors, locks, signals),
                (signal_masks, side_effects, state_transitions, capabilities, constraints, structs),
                (examples, notes, since_version, deprecated, replacement, count, unknown),
            )| Spec {
                name,
                kind,
                span: Span::default(),
                description,
                long_description,
                contexts,
                params,
                returns,
                errors,
                locks,
                signals,
                signal_masks,
                side_effects,
                state_transitions,
                capabilities,
                constraints,
                structs,
                ioctl,
                sysfs,
                examples,
                notes,
                since_version,
                deprecated,
                replacement,
                counts: count.into_iter().collect(),
                unknown,
                signature: None,
            },
        )
}
