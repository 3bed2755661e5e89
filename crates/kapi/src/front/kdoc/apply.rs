//! From blocks to a specification.

use super::doc::{Block, Sub, counted, subfields};
use super::limits::{self, split, values};
use super::read::Doc;
use crate::diag::{Severity, Source};
use crate::front::Parsed;
use crate::ir::vocab::{ParamFlag, TypeKind, Word};
use crate::ir::{
    Capability, Constraint, Count, ErrorSpec, Field, Flags, Ioctl, Lock, Param, Return, SideEffect,
    Signal, SignalMask, Span, Spec, SpecKind, StateTransition, StructSpec, Sysfs, Unknown, Value,
};

pub(super) fn apply(doc: Doc, source: &Source<'_>, parsed: &mut Parsed) -> Spec {
    let span = source.span(doc.name_at.0, doc.name_at.1);
    let mut maker = Maker {
        spec: Spec {
            name: doc.name,
            description: doc.summary,
            long_description: doc.body,
            span,
            ..Spec::default()
        },
        source,
        parsed,
        last: BlockId::None,
    };
    for block in &doc.blocks {
        let span = source.span(block.from, block.to);
        for pair in repeated(block) {
            maker.warn(
                "duplicate-field",
                format!(
                    "`{}` is given twice in `{}: {}`; the last one wins",
                    pair.key, block.key, block.head
                ),
                source.span(pair.from, pair.to),
            );
        }
        for odd in &block.odd {
            maker.keep(block, &odd.key, &odd.text, source.span(odd.from, odd.to));
        }
        if !maker.block(block, &span) && !maker.plain(block, &span) {
            let message = format!("`{}:` is not known; it is kept as written", block.key);
            maker.warn("unknown-item", message, span.clone());
            maker.spec.unknown.push(Unknown {
                within: String::new(),
                key: block.key.clone(),
                text: block.head.clone(),
                span,
            });
        }
    }
    let mut spec = maker.spec;
    describe_params(&mut spec, &doc.params, source);
    spec
}

fn repeated(block: &Block) -> Vec<&Sub> {
    let mut seen = std::collections::HashSet::new();
    block
        .subs
        .iter()
        .filter(|sub| sub.key != "arch-mask" && !seen.insert(sub.key.as_str()))
        .collect()
}

/// `@name: text` describes the parameter; without `param:` blocks it is the parameter.
fn describe_params(spec: &mut Spec, described: &[Sub], source: &Source<'_>) {
    let no_blocks = spec.params.is_empty();
    let mut index: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    for (n, param) in spec.params.iter().enumerate() {
        index.entry(param.name.clone()).or_insert(n);
    }
    for sub in described {
        let span = source.span(sub.from, sub.to);
        match index.get(&sub.key).and_then(|n| spec.params.get_mut(*n)) {
            Some(param) if param.description.is_empty() => param.description.clone_from(&sub.text),
            Some(_) => {}
            None if no_blocks => {
                index.insert(sub.key.clone(), spec.params.len());
                spec.params.push(Param {
                    name: sub.key.clone(),
                    description: sub.text.clone(),
                    span,
                    ..Param::default()
                });
            }
            None => spec.unknown.push(Unknown {
                within: String::new(),
                key: format!("@{}", sub.key),
                text: sub.text.clone(),
                span,
            }),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BlockId {
    None,
    Struct,
}

struct Maker<'s, 'p> {
    spec: Spec,
    source: &'s Source<'s>,
    parsed: &'p mut Parsed,
    last: BlockId,
}

/// `yes`, `true`, `1`.
fn truth(text: &str) -> bool {
    matches!(
        text.trim().to_ascii_lowercase().as_str(),
        "yes" | "true" | "1" | ""
    )
}

fn value(text: Option<&str>) -> Option<Value> {
    text.filter(|t| !t.is_empty()).map(Value::new)
}

fn expression(block: &Block) -> Option<String> {
    block
        .sub("expr")
        .filter(|t| !t.is_empty())
        .map(str::to_owned)
}

/// `uint, input` → the kind and the flags; either spelling, also `input | user`.
fn type_and_flags(block: &Block) -> (Option<TypeKind>, Flags<ParamFlag>) {
    let mut kind = None;
    let mut flags: Vec<ParamFlag> = Vec::new();
    let mut flag = |text: &str| {
        let word = match text.to_ascii_lowercase().as_str() {
            "input" => ParamFlag::In,
            "output" => ParamFlag::Out,
            _ => ParamFlag::parse(text),
        };
        if !flags.contains(&word) {
            flags.push(word);
        }
    };
    for (n, part) in block
        .sub("type")
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|p| !p.is_empty())
        .enumerate()
    {
        if n == 0 {
            kind = Some(TypeKind::parse(part))
        } else {
            flag(part)
        }
    }
    for part in block
        .sub("flags")
        .unwrap_or_default()
        .split([',', '|'])
        .map(str::trim)
        .filter(|p| !p.is_empty())
    {
        flag(part);
    }
    (kind, Flags(flags))
}

impl Maker<'_, '_> {
    fn warn(&mut self, code: &'static str, message: String, span: Span) {
        self.parsed.diagnostics.push(self.source.diagnostic(
            Severity::Warning,
            code,
            message,
            span,
        ));
    }

    /// Keeps what has no place, and says so.
    fn keep(&mut self, block: &Block, key: &str, text: &str, span: Span) {
        let within = format!("{} {}", block.key, block.head).trim().to_owned();
        let message = format!("`{key}:` is no part of `{within}`; it is kept as written");
        self.warn("unknown-item", message, span.clone());
        self.spec.unknown.push(Unknown {
            within,
            key: key.to_owned(),
            text: text.to_owned(),
            span,
        });
    }

    /// A subfield that is yes or no. Anything else is kept as it was, and means neither.
    fn truth(&mut self, block: &Block, key: &str) -> bool {
        let Some(sub) = block.subs.iter().rev().find(|s| s.key == key) else {
            return false;
        };
        let lower = sub.text.trim().to_ascii_lowercase();
        if truth(&lower) {
            return true;
        }
        if !matches!(lower.as_str(), "no" | "false" | "0") {
            let span = self.source.span(sub.from, sub.to);
            self.keep(block, key, &sub.text, span);
        }
        false
    }

    fn limits(&mut self, block: &Block, span: &Span) -> crate::ir::Limits {
        let (limits, wrong) = limits::read(block);
        for message in wrong {
            self.parsed.diagnostics.push(self.source.diagnostic(
                Severity::Error,
                "syntax",
                message,
                span.clone(),
            ));
        }
        limits
    }

    /// Blocks with subfields.
    fn block(&mut self, block: &Block, span: &Span) -> bool {
        if subfields(&block.key).is_none_or(<[&str]>::is_empty) {
            return false;
        }
        let text = |key: &str| block.sub(key).unwrap_or_default().to_owned();
        let span = span.clone();
        let head = block.head.clone();
        let was = std::mem::replace(&mut self.last, BlockId::None);
        match block.key.as_str() {
            "param" => {
                let (kind, flags) = type_and_flags(block);
                let limits = self.limits(block, &span);
                let (name, rest) = head
                    .split_once(',')
                    .map_or((head.as_str(), ""), |(a, b)| (a.trim(), b.trim()));
                let description = block.sub("desc").unwrap_or(rest).to_owned();
                self.spec.params.push(Param {
                    name: name.to_owned(),
                    type_name: text("c-type"),
                    kind,
                    flags,
                    description,
                    limits,
                    span,
                });
            }
            "return" => {
                let description = block.sub("desc").map_or(head, str::to_owned);
                self.spec.returns = Some(Return {
                    type_name: text("c-type"),
                    kind: block.sub("type").map(TypeKind::parse),
                    description,
                    check: block.sub("check-type").map(Word::parse),
                    success: value(block.sub("success")),
                    success_range: block.sub("success-range").and_then(limits::range),
                    error_values: values(&text("error-values")),
                    validator: block.sub("validator").map(str::to_owned),
                    span,
                });
            }
            "error" => {
                let (name, summary) = head
                    .split_once(',')
                    .map_or((head.as_str(), ""), |(a, b)| (a.trim(), b.trim()));
                let name = name.trim_start_matches('-').to_owned();
                let code =
                    value(block.sub("code")).or_else(|| Some(Value::new(&format!("-{name}"))));
                let summary = block.sub("summary").unwrap_or(summary).to_owned();
                self.spec.errors.push(ErrorSpec {
                    code,
                    summary,
                    condition: text("condition"),
                    description: text("desc"),
                    name,
                    span,
                });
            }
            "lock" => {
                let mut lock = Lock {
                    name: head,
                    kind: block.sub("type").map(Word::parse),
                    description: text("desc"),
                    span,
                    ..Lock::default()
                };
                if let Some(scope) = block.sub("scope")
                    && !lock.set_scope(scope)
                {
                    let message = format!("`{scope}` is no scope of a lock");
                    let diagnostic = self.source.diagnostic(
                        Severity::Error,
                        "syntax",
                        message,
                        lock.span.clone(),
                    );
                    self.parsed.diagnostics.push(
                        diagnostic.expected("expected internal, acquires, releases or caller_held"),
                    );
                }
                for (key, flag) in [
                    ("acquired", &mut lock.acquired),
                    ("released", &mut lock.released),
                    ("held-on-entry", &mut lock.held_on_entry),
                    ("held-on-exit", &mut lock.held_on_exit),
                ] {
                    if block.sub(key).is_some() {
                        *flag = self.truth(block, key);
                    }
                }
                self.spec.locks.push(lock);
            }
            "signal" => {
                let restartable = self.truth(block, "restartable");
                let interruptible = self.truth(block, "interruptible");
                self.spec.signals.push(Signal {
                    name: head,
                    number: value(block.sub("number")),
                    direction: Flags::parse(&text("direction")),
                    action: block.sub("action").map(Word::parse),
                    target: text("target"),
                    condition: text("condition"),
                    description: text("desc"),
                    restartable,
                    sa_flags_required: value(block.sub("sa-flags-required")),
                    sa_flags_forbidden: value(block.sub("sa-flags-forbidden")),
                    error: value(block.sub("errno").or_else(|| block.sub("error"))),
                    transform_to: value(block.sub("transform-to")),
                    timing: block.sub("timing").map(Word::parse),
                    priority: value(block.sub("priority")),
                    interruptible,
                    queue: block.sub("queue").map(Word::parse),
                    state_required: value(
                        block
                            .sub("state-required")
                            .or_else(|| block.sub("state-req")),
                    ),
                    state_forbidden: value(
                        block
                            .sub("state-forbidden")
                            .or_else(|| block.sub("state-forbid")),
                    ),
                    span,
                });
            }
            "signal-mask" => {
                self.spec.signal_masks.push(SignalMask {
                    name: head,
                    description: text("desc"),
                    signals: values(&text("signals")),
                    span,
                });
            }
            "side-effect" => {
                let reversible = self.truth(block, "reversible");
                self.spec.side_effects.push(SideEffect {
                    effects: Flags::parse(&head),
                    target: text("target"),
                    description: text("desc"),
                    condition: text("condition"),
                    expression: expression(block),
                    reversible,
                    span,
                });
            }
            "state-trans" => self.spec.state_transitions.push(StateTransition {
                object: block.sub("object").map_or(head, str::to_owned),
                from: text("from"),
                to: text("to"),
                condition: text("condition"),
                description: text("desc"),
                span,
            }),
            "capability" => {
                // Some revisions say in one text what it allows.
                let described = block.sub("desc").filter(|_| block.sub("allows").is_some());
                if let Some(text) = described {
                    self.keep(block, "desc", text, span.clone());
                }
                let allows = block.sub("allows").or_else(|| block.sub("desc"));
                self.spec.capabilities.push(Capability {
                    capability: value(block.sub("number")).or_else(|| Some(Value::new(&head))),
                    name: head,
                    action: block.sub("type").map(Word::parse),
                    allows: allows.unwrap_or_default().to_owned(),
                    without: text("without"),
                    condition: text("condition"),
                    priority: value(block.sub("priority")),
                    alternatives: values(&text("alternatives")),
                    span,
                });
            }
            "constraint" => {
                self.spec.constraints.push(Constraint {
                    name: head,
                    description: text("desc"),
                    expression: expression(block),
                    span,
                });
            }
            "struct" => {
                self.last = BlockId::Struct;
                self.spec.structs.push(StructSpec {
                    name: head,
                    description: text("desc"),
                    size: value(block.sub("size")),
                    alignment: value(block.sub("alignment")),
                    field_count: value(block.sub("field-count")),
                    fields: Vec::new(),
                    span,
                });
            }
            "struct-field" | "field" => {
                self.last = BlockId::Struct;
                let (kind, flags) = type_and_flags(block);
                let limits = self.limits(block, &span);
                let parts = split(&head);
                let part = |n: usize| parts.get(n).copied().unwrap_or_default().to_owned();
                let described = parts.get(2..).unwrap_or_default().join(", ");
                let field = Field {
                    name: part(0),
                    type_name: block.sub("c-type").map_or_else(|| part(1), str::to_owned),
                    kind,
                    flags,
                    description: block.sub("desc").map_or(described, str::to_owned),
                    offset: value(block.sub("offset")),
                    limits,
                    span: span.clone(),
                };
                if was == BlockId::None {
                    self.spec.structs.push(StructSpec {
                        span,
                        ..StructSpec::default()
                    });
                }
                if let Some(last) = self.spec.structs.last_mut() {
                    last.fields.push(field);
                }
            }
            "unknown" => self.spec.unknown.push(Unknown {
                within: text("within"),
                key: head,
                text: text("text"),
                span,
            }),
            _ => return false,
        }
        true
    }

    /// Keys with a text only.
    fn plain(&mut self, block: &Block, span: &Span) -> bool {
        let text = block.head.clone();
        let spec = &mut self.spec;
        self.last = BlockId::None;
        if let Some(of) = counted(&block.key) {
            spec.counts.push(Count {
                of: of.to_owned(),
                value: Value::new(&text),
                span: span.clone(),
            });
            return true;
        }
        let ioctl =
            |spec: &mut Spec, set: &dyn Fn(&mut Ioctl)| set(spec.ioctl.get_or_insert_default());
        let sysfs =
            |spec: &mut Spec, set: &dyn Fn(&mut Sysfs)| set(spec.sysfs.get_or_insert_default());
        match block.key.as_str() {
            "contexts" | "context-flags" | "context" => spec.contexts = Flags::parse(&text),
            "long-desc" if spec.long_description.is_empty() => spec.long_description = text,
            "long-desc" => {
                // Free text before the blocks is part of the description, too.
                spec.long_description.push_str("\n\n");
                spec.long_description.push_str(&text);
            }
            "short-desc" => spec.description = text,
            "examples" | "example" => spec.examples = text,
            "notes" => spec.notes = text,
            "since-version" | "since" => spec.since_version = text,
            "deprecated" => spec.deprecated = truth(&text),
            "replacement" => spec.replacement = text,
            "kind" => match text.as_str() {
                "ioctl" => {
                    spec.kind = SpecKind::Ioctl;
                    spec.ioctl.get_or_insert_default();
                }
                "sysfs" => {
                    spec.kind = SpecKind::Sysfs;
                    spec.sysfs.get_or_insert_default();
                }
                _ => spec.kind = SpecKind::Function,
            },
            "ioctl-cmd" => ioctl(spec, &|i| i.command = Some(Value::new(&text))),
            "ioctl-cmd-name" => ioctl(spec, &|i| i.command_name.clone_from(&text)),
            "ioctl-input-size" => ioctl(spec, &|i| i.input_size = Some(Value::new(&text))),
            "ioctl-output-size" => ioctl(spec, &|i| i.output_size = Some(Value::new(&text))),
            "ioctl-file-ops" => ioctl(spec, &|i| i.file_ops.clone_from(&text)),
            "sysfs-path" => sysfs(spec, &|s| s.path.clone_from(&text)),
            "sysfs-permissions" => sysfs(spec, &|s| s.permissions = Some(Value::new(&text))),
            "sysfs-default" => sysfs(spec, &|s| s.default.clone_from(&text)),
            "sysfs-units" => sysfs(spec, &|s| s.units.clone_from(&text)),
            "sysfs-step" => sysfs(spec, &|s| s.step = Some(Value::new(&text))),
            "sysfs-allowed" => sysfs(spec, &|s| {
                s.allowed = split(&text).into_iter().map(str::to_owned).collect()
            }),
            // Plain kerneldoc's own sections.
            "Return" | "Returns" => {
                let returns = spec.returns.get_or_insert_with(|| Return {
                    span: span.clone(),
                    ..Return::default()
                });
                if returns.description.is_empty() {
                    returns.description = text;
                }
            }
            _ => return false,
        }
        true
    }
}
