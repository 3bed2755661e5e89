//! Collects the statements of one specification, with C's semantics: indexes place items, a
//! repeated index or field replaces the earlier one.

use std::collections::BTreeMap;

use super::args::Arg;
use super::{fields, set};
use crate::diag::{Severity, Source};
use crate::front::Parsed;
use crate::ir::{
    Capability, Constraint, Count, ErrorSpec, Field, Ioctl, Lock, Param, Return, SideEffect,
    Signal, SignalMask, Span, Spec, SpecKind, StateTransition, StructSpec, Sysfs, Unknown,
};

/// The item that fields go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    Spec,
    Param(u64),
    Return,
    Error(u64),
    Lock(u64),
    Signal(u64),
    Mask(u64),
    Effect(u64),
    Trans(u64),
    Cap(u64),
    Constraint(u64),
    Struct(u64),
    Field(u64, u64),
}

/// An item list keyed by index.
pub(super) type List<T> = BTreeMap<u64, T>;

#[derive(Default)]
pub(super) struct Lists {
    pub(super) params: List<Param>,
    pub(super) errors: List<ErrorSpec>,
    pub(super) locks: List<Lock>,
    pub(super) signals: List<Signal>,
    pub(super) masks: List<SignalMask>,
    pub(super) effects: List<SideEffect>,
    pub(super) transitions: List<StateTransition>,
    pub(super) capabilities: List<Capability>,
    pub(super) constraints: List<Constraint>,
    pub(super) structs: List<StructSpec>,
    pub(super) fields: BTreeMap<(u64, u64), Field>,
}

pub(super) struct Builder {
    pub(super) spec: Spec,
    pub(super) lists: Lists,
    pub(super) open: Open,
    /// Fields set in the open item, for the duplicate warning.
    seen: Vec<String>,
    seen_spec: Vec<String>,
}

impl Builder {
    pub(super) fn new(name: &str, kind: SpecKind, span: Span, header: &[Arg<'_>]) -> Self {
        let mut spec = Spec {
            name: name.to_owned(),
            kind,
            span,
            ..Spec::default()
        };
        match kind {
            SpecKind::Ioctl => {
                let text = |n: usize| header.get(n).map(Arg::text).unwrap_or_default();
                spec.ioctl = Some(Ioctl {
                    command: header.get(1).map(Arg::value),
                    command_name: text(2),
                    file_ops: text(3),
                    ..Ioctl::default()
                });
            }
            SpecKind::Sysfs => spec.sysfs = Some(Sysfs::default()),
            SpecKind::Function => {}
        }
        Self {
            spec,
            lists: Lists::default(),
            open: Open::Spec,
            seen: Vec::new(),
            seen_spec: Vec::new(),
        }
    }

    /// Whether `.field = {` opens an item.
    pub(super) fn opens(&self, field: &str) -> bool {
        fields::list_of(field, self.open, 0).is_some()
    }

    pub(super) fn open_raw(
        &mut self,
        field: &str,
        index: Option<u64>,
        span: Span,
        source: &Source<'_>,
        parsed: &mut Parsed,
    ) {
        if let Some(open) = fields::list_of(field, self.open, index.unwrap_or(0)) {
            self.start(open, span, source, parsed);
        }
    }

    /// `}` or a `*_END` macro.
    pub(super) fn close(&mut self) {
        self.open = match self.open {
            Open::Field(of, _) => Open::Struct(of),
            _ => Open::Spec,
        };
        self.seen.clear();
    }

    /// Opens an item; an index used before is a replacement, as in C, and worth a warning.
    pub(super) fn start(
        &mut self,
        open: Open,
        span: Span,
        source: &Source<'_>,
        parsed: &mut Parsed,
    ) {
        self.seen.clear();
        self.open = open;
        let lists = &mut self.lists;
        let at = span.clone();
        let replaced = match open {
            Open::Spec => false,
            Open::Return => self
                .spec
                .returns
                .replace(Return {
                    span,
                    ..Return::default()
                })
                .is_some(),
            Open::Param(n) => lists
                .params
                .insert(
                    n,
                    Param {
                        span,
                        ..Param::default()
                    },
                )
                .is_some(),
            Open::Error(n) => lists
                .errors
                .insert(
                    n,
                    ErrorSpec {
                        span,
                        ..ErrorSpec::default()
                    },
                )
                .is_some(),
            Open::Lock(n) => lists
                .locks
                .insert(
                    n,
                    Lock {
                        span,
                        ..Lock::default()
                    },
                )
                .is_some(),
            Open::Signal(n) => lists
                .signals
                .insert(
                    n,
                    Signal {
                        span,
                        ..Signal::default()
                    },
                )
                .is_some(),
            Open::Mask(n) => lists
                .masks
                .insert(
                    n,
                    SignalMask {
                        span,
                        ..SignalMask::default()
                    },
                )
                .is_some(),
            Open::Effect(n) => lists
                .effects
                .insert(
                    n,
                    SideEffect {
                        span,
                        ..SideEffect::default()
                    },
                )
                .is_some(),
            Open::Trans(n) => lists
                .transitions
                .insert(
                    n,
                    StateTransition {
                        span,
                        ..StateTransition::default()
                    },
                )
                .is_some(),
            Open::Cap(n) => lists
                .capabilities
                .insert(
                    n,
                    Capability {
                        span,
                        ..Capability::default()
                    },
                )
                .is_some(),
            Open::Constraint(n) => lists
                .constraints
                .insert(
                    n,
                    Constraint {
                        span,
                        ..Constraint::default()
                    },
                )
                .is_some(),
            Open::Struct(n) => lists
                .structs
                .insert(
                    n,
                    StructSpec {
                        span,
                        ..StructSpec::default()
                    },
                )
                .is_some(),
            Open::Field(s, n) => lists
                .fields
                .insert(
                    (s, n),
                    Field {
                        span,
                        ..Field::default()
                    },
                )
                .is_some(),
        };
        if replaced {
            let message = format!(
                "{} is given twice; the last one wins, as in C",
                describe(open)
            );
            parsed.diagnostics.push(source.diagnostic(
                Severity::Warning,
                "duplicate-index",
                message,
                at,
            ));
        }
    }

    /// One macro with its arguments.
    pub(super) fn statement(
        &mut self,
        name: &str,
        args: Vec<Arg<'_>>,
        span: Span,
        source: &Source<'_>,
        parsed: &mut Parsed,
    ) {
        if let Some(of) = fields::counted(name) {
            self.count(of, args.first(), span, source, parsed);
        } else if name.ends_with("_END") {
            if self.open == Open::Spec {
                let message = format!("`{name}` ends an item, but none is open");
                parsed.diagnostics.push(source.diagnostic(
                    Severity::Warning,
                    "syntax",
                    message,
                    span,
                ));
            }
            self.close();
        } else if let Some(make) = fields::opener(name, self.open) {
            let (open, rest) = if make.indexed {
                let index = args
                    .first()
                    .and_then(|a| a.value().number)
                    .and_then(|n| u64::try_from(n).ok());
                if index.is_none() {
                    let message = format!("`{name}` needs a number as its first argument");
                    parsed.diagnostics.push(
                        source
                            .diagnostic(Severity::Error, "syntax", message, span.clone())
                            .expected("an index such as 0"),
                    );
                }
                (
                    (make.open)(index.unwrap_or(u64::MAX)),
                    args.get(1..).unwrap_or_default(),
                )
            } else {
                ((make.open)(0), args.as_slice())
            };
            self.start(open, span.clone(), source, parsed);
            if rest.len() != make.inits.len() {
                let message = format!(
                    "`{name}` takes {} arguments, not {}",
                    make.inits.len() + usize::from(make.indexed),
                    args.len()
                );
                parsed.diagnostics.push(source.diagnostic(
                    Severity::Error,
                    "syntax",
                    message,
                    span.clone(),
                ));
            }
            for (field, arg) in make.inits.iter().zip(rest) {
                set::set(self, field, std::slice::from_ref(arg));
            }
            if make.closed {
                self.close();
            }
        } else if let Some(field) = fields::field_of_macro(name) {
            self.set(field, &args, span, source, parsed);
        } else {
            self.unknown(name, &args, span, source, parsed);
        }
    }

    /// `.field = value`, or the macro that stands for it.
    pub(super) fn set(
        &mut self,
        field: &str,
        args: &[Arg<'_>],
        span: Span,
        source: &Source<'_>,
        parsed: &mut Parsed,
    ) {
        if let Some(of) = fields::counted_field(field).filter(|_| self.open == Open::Spec) {
            return self.count(of, args.first(), span, source, parsed);
        }
        if !set::set(self, field, args) {
            return self.unknown(&format!(".{field}"), args, span, source, parsed);
        }
        let repeats = matches!(field, "mask_add");
        let seen = if self.open == Open::Spec {
            &mut self.seen_spec
        } else {
            &mut self.seen
        };
        if seen.iter().any(|have| have == field) && !repeats {
            let message = format!(
                "`{field}` of {} is set twice; the last one wins, as in C",
                describe(self.open)
            );
            parsed.diagnostics.push(source.diagnostic(
                Severity::Warning,
                "duplicate-field",
                message,
                span,
            ));
        } else {
            seen.push(field.to_owned());
        }
    }

    fn count(
        &mut self,
        of: &str,
        arg: Option<&Arg<'_>>,
        span: Span,
        source: &Source<'_>,
        parsed: &mut Parsed,
    ) {
        let Some(arg) = arg else { return };
        if let Some(have) = self.spec.counts.iter_mut().find(|c| c.of == of) {
            let message =
                format!("the count of `{of}` is stated twice; the last one wins, as in C");
            parsed.diagnostics.push(source.diagnostic(
                Severity::Warning,
                "duplicate-field",
                message,
                span.clone(),
            ));
            have.value = arg.value();
            have.span = span;
        } else {
            self.spec.counts.push(Count {
                of: of.to_owned(),
                value: arg.value(),
                span,
            });
        }
    }

    fn unknown(
        &mut self,
        key: &str,
        args: &[Arg<'_>],
        span: Span,
        source: &Source<'_>,
        parsed: &mut Parsed,
    ) {
        let text = args.iter().map(Arg::code).collect::<Vec<_>>().join(", ");
        let within = if self.open == Open::Spec {
            String::new()
        } else {
            describe(self.open)
        };
        let message = format!("`{key}` is not known here; it is kept as written");
        parsed.diagnostics.push(source.diagnostic(
            Severity::Warning,
            "unknown-item",
            message,
            span.clone(),
        ));
        self.spec.unknown.push(Unknown {
            within,
            key: key.to_owned(),
            text,
            span,
        });
    }

    pub(super) fn finish(self, source: &Source<'_>, parsed: &mut Parsed) -> Spec {
        let Self {
            mut spec, lists, ..
        } = self;
        let mut gap = |what: &str, indexes: Vec<u64>| {
            let missing = indexes
                .iter()
                .zip(0u64..)
                .find(|(have, want)| *have != want);
            if let Some((have, want)) = missing {
                let message = format!(
                    "{what} {want} is missing: the indexes of the {what} list jump to {have}"
                );
                parsed.diagnostics.push(source.diagnostic(
                    Severity::Error,
                    "index-gap",
                    message,
                    spec.span.clone(),
                ));
            }
        };
        gap("param", lists.params.keys().copied().collect());
        gap("error", lists.errors.keys().copied().collect());
        gap("lock", lists.locks.keys().copied().collect());
        gap("signal", lists.signals.keys().copied().collect());
        gap("side-effect", lists.effects.keys().copied().collect());
        gap("state-trans", lists.transitions.keys().copied().collect());
        gap("capability", lists.capabilities.keys().copied().collect());
        gap("constraint", lists.constraints.keys().copied().collect());
        spec.params = lists.params.into_values().collect();
        spec.errors = lists.errors.into_values().collect();
        spec.locks = lists.locks.into_values().collect();
        spec.signals = lists.signals.into_values().collect();
        spec.signal_masks = lists.masks.into_values().collect();
        spec.side_effects = lists.effects.into_values().collect();
        spec.state_transitions = lists.transitions.into_values().collect();
        spec.capabilities = lists.capabilities.into_values().collect();
        spec.constraints = lists.constraints.into_values().collect();
        let mut structs = lists.structs;
        for ((of, _), field) in lists.fields {
            structs.entry(of).or_default().fields.push(field);
        }
        spec.structs = structs.into_values().collect();
        spec
    }
}

/// The item in words: `param 0`.
pub(super) fn describe(open: Open) -> String {
    match open {
        Open::Spec => "the specification".to_owned(),
        Open::Return => "return".to_owned(),
        Open::Param(n) => format!("param {n}"),
        Open::Error(n) => format!("error {n}"),
        Open::Lock(n) => format!("lock {n}"),
        Open::Signal(n) => format!("signal {n}"),
        Open::Mask(n) => format!("signal-mask {n}"),
        Open::Effect(n) => format!("side-effect {n}"),
        Open::Trans(n) => format!("state-trans {n}"),
        Open::Cap(n) => format!("capability {n}"),
        Open::Constraint(n) => format!("constraint {n}"),
        Open::Struct(n) => format!("struct {n}"),
        Open::Field(s, n) => format!("struct {s} field {n}"),
    }
}
