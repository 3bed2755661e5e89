//! From a specification to a comment.

use super::limits;
use super::text::{encode, encode_code, escape, is_plain, key_of};
use crate::ir::vocab::{ParamFlag, Word};
use crate::ir::{Flags, Param, Spec, SpecKind, Value};

/// The comment, and the declaration after it where it is known.
#[must_use]
pub fn write(spec: &Spec) -> String {
    let mut out = Out { lines: Vec::new() };
    let summary = &spec.description;
    if is_plain(summary) {
        out.lines.push(format!("{} - {summary}", spec.name));
    } else {
        out.lines.push(spec.name.clone());
    }
    for param in spec.params.iter().filter(|p| above(spec, p)) {
        out.lines
            .push(format!("@{}: {}", param.name, param.description));
    }
    out.lines.push(String::new());
    if !is_plain(summary) {
        out.block_text("short-desc", summary);
    }
    out.head("contexts", &spec.contexts.short());
    out.gap();
    out.block_text("long-desc", &spec.long_description);
    details(spec, &mut out);
    params(spec, &mut out);
    returns(spec, &mut out);
    items(spec, &mut out);
    rest(spec, &mut out);
    let mut text = String::from("/**\n");
    while out.lines.last().is_some_and(String::is_empty) {
        out.lines.pop();
    }
    for line in &out.lines {
        if line.is_empty() {
            text.push_str(" *\n");
        } else {
            text.push_str(" * ");
            text.push_str(&escape(line));
            text.push('\n');
        }
    }
    text.push_str(" */\n");
    if let Some(signature) = &spec.signature {
        let mut args: Vec<String> = Vec::new();
        if signature.syscall {
            args.push(signature.name.clone());
            args.extend(
                signature
                    .args
                    .iter()
                    .flat_map(|(kind, name)| [kind.clone(), name.clone()]),
            );
            let arity = signature.arity.unwrap_or_default();
            text.push_str(&format!("SYSCALL_DEFINE{arity}({});\n", args.join(", ")));
        } else {
            args.extend(signature.args.iter().map(|(kind, name)| {
                format!("{kind}{}{name}", if kind.ends_with('*') { "" } else { " " })
            }));
            let kind = spec.returns.as_ref().map_or("long", |r| {
                if r.type_name.is_empty() {
                    "long"
                } else {
                    r.type_name.as_str()
                }
            });
            let args = if args.is_empty() {
                "void".to_owned()
            } else {
                args.join(", ")
            };
            text.push_str(&format!("{kind} {}({args});\n", signature.name));
        }
    }
    text
}

/// Whether a description goes on a `@name:` line: short, and of the only parameter of that name.
fn above(spec: &Spec, param: &Param) -> bool {
    is_plain(&param.description)
        && param.description.chars().count() <= 100
        && spec.params.iter().filter(|p| p.name == param.name).count() == 1
}

/// The lines of the comment, without its marks.
pub(super) struct Out {
    lines: Vec<String>,
}

impl Out {
    fn head(&mut self, key: &str, text: &str) {
        self.lines
            .push(format!("{key}: {text}").trim_end().to_owned());
    }

    fn gap(&mut self) {
        self.lines.push(String::new());
    }

    fn push(&mut self, key: &str, lines: Vec<String>, indent: usize, below: usize) {
        let mut lines = lines.into_iter();
        let Some(first) = lines.next() else { return };
        self.lines.push(
            format!("{}{key}: {first}", " ".repeat(indent))
                .trim_end()
                .to_owned(),
        );
        for line in lines {
            self.lines.push(if line.is_empty() {
                line
            } else {
                format!("{}{line}", " ".repeat(below))
            });
        }
    }

    /// A key of the specification with a text.
    fn block_text(&mut self, key: &str, text: &str) {
        let lines = if key == "examples" {
            encode_code(text)
        } else {
            encode(text, key.len() + 2)
        };
        if !lines.is_empty() {
            self.push(key, lines, 0, 2);
            self.gap();
        }
    }

    /// A subfield with a text.
    pub(super) fn text(&mut self, key: &str, text: &str) {
        self.push(key, encode(text, key.len() + 4), 2, 4);
    }

    /// A subfield on one line.
    pub(super) fn sub(&mut self, key: &str, text: &str) {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if !text.is_empty() {
            self.lines.push(format!("  {key}: {text}"));
        }
    }

    pub(super) fn value(&mut self, key: &str, value: Option<&Value>) {
        if let Some(value) = value {
            self.sub(key, &value.text);
        }
    }

    pub(super) fn values(&mut self, key: &str, values: &[Value]) {
        self.sub(
            key,
            &values
                .iter()
                .map(|v| v.text.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        );
    }

    fn yes(&mut self, key: &str, flag: bool) {
        if flag {
            self.sub(key, "yes");
        }
    }

    fn word<W: Word>(&mut self, key: &str, word: Option<&W>) {
        if let Some(word) = word {
            self.sub(key, word.word());
        }
    }
}

fn details(spec: &Spec, out: &mut Out) {
    if spec.kind != SpecKind::Function {
        out.head("kind", spec.kind.word());
    }
    let mut line = |key: &str, text: &str| {
        if !text.is_empty() {
            out.head(key, text);
        }
    };
    let value = |v: &Option<Value>| v.as_ref().map(|v| v.text.clone()).unwrap_or_default();
    if let Some(ioctl) = &spec.ioctl {
        line("ioctl-cmd", &value(&ioctl.command));
        line("ioctl-cmd-name", &ioctl.command_name);
        line("ioctl-input-size", &value(&ioctl.input_size));
        line("ioctl-output-size", &value(&ioctl.output_size));
        line("ioctl-file-ops", &ioctl.file_ops);
    }
    if let Some(sysfs) = &spec.sysfs {
        line("sysfs-path", &sysfs.path);
        line("sysfs-permissions", &value(&sysfs.permissions));
        line("sysfs-default", &sysfs.default);
        line("sysfs-units", &sysfs.units);
        line("sysfs-step", &value(&sysfs.step));
        line("sysfs-allowed", &sysfs.allowed.join(", "));
    }
    if spec.kind != SpecKind::Function {
        out.gap();
    }
}

fn type_line(kind: Option<&str>, flags: &Flags<ParamFlag>, out: &mut Out) {
    let words: Vec<&str> = flags
        .0
        .iter()
        .map(|flag| match flag {
            ParamFlag::In => "input",
            ParamFlag::Out => "output",
            other => other.word(),
        })
        .collect();
    match kind {
        Some(kind) => out.sub(
            "type",
            &std::iter::once(kind)
                .chain(words)
                .collect::<Vec<_>>()
                .join(", "),
        ),
        None => out.sub("flags", &words.join(", ")),
    }
}

fn params(spec: &Spec, out: &mut Out) {
    for param in &spec.params {
        out.head("param", &param.name);
        let declared = spec
            .signature
            .as_ref()
            .and_then(|s| s.args.iter().find(|(_, name)| *name == param.name));
        type_line(param.kind.as_ref().map(Word::word), &param.flags, out);
        if declared.is_none_or(|(kind, _)| *kind != param.type_name) {
            out.sub("c-type", &param.type_name);
        }
        if !above(spec, param) {
            out.text("desc", &param.description);
        }
        limits::write(&param.limits, out);
        out.gap();
    }
}

fn returns(spec: &Spec, out: &mut Out) {
    let Some(item) = &spec.returns else { return };
    out.head("return", "");
    out.word("type", item.kind.as_ref());
    out.sub("c-type", &item.type_name);
    out.word("check-type", item.check.as_ref());
    out.value("success", item.success.as_ref());
    if let Some(range) = &item.success_range {
        out.sub("success-range", &format!("{}, {}", range.min, range.max));
    }
    out.values("error-values", &item.error_values);
    out.sub("validator", item.validator.as_deref().unwrap_or_default());
    out.text("desc", &item.description);
    out.gap();
}

fn items(spec: &Spec, out: &mut Out) {
    for item in &spec.errors {
        let inline = is_plain(&item.summary) && key_of(&item.summary).is_none();
        out.head(
            "error",
            &if inline {
                format!("{}, {}", item.name, item.summary)
            } else {
                item.name.clone()
            },
        );
        if !inline {
            out.text("summary", &item.summary);
        }
        if item
            .code
            .as_ref()
            .is_some_and(|c| c.text != format!("-{}", item.name))
        {
            out.value("code", item.code.as_ref());
        }
        out.text("condition", &item.condition);
        out.text("desc", &item.description);
        out.gap();
    }
    for item in &spec.locks {
        out.head("lock", &item.name);
        out.word("type", item.kind.as_ref());
        match item.scope() {
            Some(scope) => out.sub("scope", scope),
            None => {
                out.yes("acquired", item.acquired);
                out.yes("released", item.released);
                out.yes("held-on-entry", item.held_on_entry);
                out.yes("held-on-exit", item.held_on_exit);
            }
        }
        out.text("desc", &item.description);
        out.gap();
    }
    for item in &spec.signals {
        out.head("signal", &item.name);
        out.value("number", item.number.as_ref());
        out.sub("direction", &item.direction.short());
        out.word("action", item.action.as_ref());
        out.text("target", &item.target);
        out.text("condition", &item.condition);
        out.text("desc", &item.description);
        out.value("errno", item.error.as_ref());
        out.word("timing", item.timing.as_ref());
        out.value("priority", item.priority.as_ref());
        out.yes("restartable", item.restartable);
        out.yes("interruptible", item.interruptible);
        out.word("queue", item.queue.as_ref());
        out.value("transform-to", item.transform_to.as_ref());
        out.value("sa-flags-required", item.sa_flags_required.as_ref());
        out.value("sa-flags-forbidden", item.sa_flags_forbidden.as_ref());
        out.value("state-required", item.state_required.as_ref());
        out.value("state-forbidden", item.state_forbidden.as_ref());
        out.gap();
    }
    for item in &spec.signal_masks {
        out.head("signal-mask", &item.name);
        out.values("signals", &item.signals);
        out.text("desc", &item.description);
        out.gap();
    }
    for item in &spec.side_effects {
        out.head("side-effect", &item.effects.short());
        out.text("target", &item.target);
        out.text("condition", &item.condition);
        out.text("desc", &item.description);
        out.text("expr", item.expression.as_deref().unwrap_or_default());
        out.yes("reversible", item.reversible);
        out.gap();
    }
    for item in &spec.state_transitions {
        let inline = is_plain(&item.object);
        out.head("state-trans", if inline { &item.object } else { "" });
        if !inline {
            out.text("object", &item.object);
        }
        out.text("from", &item.from);
        out.text("to", &item.to);
        out.text("condition", &item.condition);
        out.text("desc", &item.description);
        out.gap();
    }
}

fn rest(spec: &Spec, out: &mut Out) {
    for item in &spec.capabilities {
        out.head("capability", &item.name);
        if item
            .capability
            .as_ref()
            .is_some_and(|c| c.text != item.name)
        {
            out.value("number", item.capability.as_ref());
        }
        out.word("type", item.action.as_ref());
        out.text("allows", &item.allows);
        out.text("without", &item.without);
        out.text("condition", &item.condition);
        out.value("priority", item.priority.as_ref());
        out.values("alternatives", &item.alternatives);
        out.gap();
    }
    for item in &spec.constraints {
        out.head("constraint", &item.name);
        out.text("desc", &item.description);
        out.text("expr", item.expression.as_deref().unwrap_or_default());
        out.gap();
    }
    for item in &spec.structs {
        out.head("struct", &item.name);
        out.value("size", item.size.as_ref());
        out.value("alignment", item.alignment.as_ref());
        out.value("field-count", item.field_count.as_ref());
        out.text("desc", &item.description);
        for field in &item.fields {
            out.head("struct-field", &field.name);
            type_line(field.kind.as_ref().map(Word::word), &field.flags, out);
            out.sub("c-type", &field.type_name);
            out.value("offset", field.offset.as_ref());
            out.text("desc", &field.description);
            limits::write(&field.limits, out);
        }
        out.gap();
    }
    out.block_text("examples", &spec.examples);
    out.block_text("notes", &spec.notes);
    out.block_text("since-version", &spec.since_version);
    if spec.deprecated {
        out.head("deprecated", "yes");
    }
    out.block_text("replacement", &spec.replacement);
    for count in &spec.counts {
        out.head(&format!("{}-count", count.of), &count.value.text);
    }
    for item in &spec.unknown {
        out.gap();
        out.head("unknown", &item.key);
        out.sub("within", &item.within);
        out.text("text", &item.text);
    }
}
