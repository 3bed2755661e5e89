//! The macro dialect, as C that compiles with `kapi.h` (and reads back as what it was).

use std::fmt::Write as _;

use crate::front::macros::quote;
use crate::ir::vocab::{ConstraintKind, SignalQueue, SignalTiming, Word};
use crate::ir::{Limits, Spec, SpecKind, Value};

struct Out(String);

impl Out {
    fn line(&mut self, depth: usize, text: &str) {
        let _ = writeln!(self.0, "{}{text}", "\t".repeat(depth));
    }
    fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.line(2, &format!("{name}({})", quote(text)));
        }
    }
    fn top(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.line(1, &format!("{name}({})", quote(text)));
        }
    }
    fn value(&mut self, name: &str, value: Option<&Value>) {
        if let Some(value) = value {
            self.line(2, &format!("{name}({})", value.text));
        }
    }
    fn field(&mut self, name: &str, value: Option<&Value>) {
        if let Some(value) = value {
            self.line(2, &format!(".{name} = {},", value.text));
        }
    }
    fn flag(&mut self, name: &str, flag: bool) {
        if flag {
            self.line(2, name);
        }
    }
}

fn list(values: &[Value]) -> String {
    values
        .iter()
        .map(|v| v.text.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

/// One specification.
pub(super) fn emit(spec: &Spec) -> String {
    let mut out = Out(String::new());
    let open = match spec.kind {
        SpecKind::Function => "DEFINE_KERNEL_API_SPEC",
        SpecKind::Ioctl => "DEFINE_KAPI_IOCTL_SPEC",
        SpecKind::Sysfs => "DEFINE_SYSFS_API_SPEC",
    };
    out.line(0, &format!("{open}({})", spec.name));
    out.top("KAPI_DESCRIPTION", &spec.description);
    out.top("KAPI_LONG_DESC", &spec.long_description);
    if !spec.contexts.is_empty() {
        out.line(1, &format!("KAPI_CONTEXT({})", spec.contexts.c_text()));
    }
    params(spec, &mut out);
    errors_and_signals(spec, &mut out);
    effects(spec, &mut out);
    rest(spec, &mut out);
    out.line(0, "KAPI_END_SPEC;");
    out.0
}

fn params(spec: &Spec, out: &mut Out) {
    for (n, p) in spec.params.iter().enumerate() {
        out.line(
            1,
            &format!(
                "KAPI_PARAM({n}, {}, {}, {})",
                quote(&p.name),
                quote(&p.type_name),
                quote(&p.description)
            ),
        );
        if let Some(kind) = &p.kind {
            out.line(2, &format!("KAPI_PARAM_TYPE({})", kind.c_name()));
        }
        if !p.flags.is_empty() {
            out.line(2, &format!("KAPI_PARAM_FLAGS({})", p.flags.c_text()));
        }
        limits(&p.limits, out);
        out.line(1, "KAPI_PARAM_END");
    }
    if let Some(r) = &spec.returns {
        out.line(
            1,
            &format!(
                "KAPI_RETURN({}, {})",
                quote(&r.type_name),
                quote(&r.description)
            ),
        );
        if let Some(kind) = &r.kind {
            out.line(2, &format!("KAPI_RETURN_TYPE({})", kind.c_name()));
        }
        if let Some(check) = &r.check {
            out.line(2, &format!("KAPI_RETURN_CHECK_TYPE({})", check.c_name()));
        }
        // A comparison (`>= 0`) is no C expression; the check type says it.
        out.value(
            "KAPI_RETURN_SUCCESS",
            r.success
                .as_ref()
                .filter(|v| crate::expr::parse(&v.text).is_ok()),
        );
        if let Some(range) = &r.success_range {
            out.line(
                2,
                &format!("KAPI_RETURN_SUCCESS_RANGE({}, {})", range.min, range.max),
            );
        }
        if !r.error_values.is_empty() {
            out.line(
                2,
                &format!(
                    ".error_values = (const s64[]){{ {} }},",
                    list(&r.error_values)
                ),
            );
            out.line(2, &format!(".error_count = {},", r.error_values.len()));
        }
        if let Some(validator) = &r.validator {
            out.line(2, &format!(".is_success = {validator},"));
        }
        out.line(1, "KAPI_RETURN_END");
    }
}

fn limits(limits: &Limits, out: &mut Out) {
    if let Some(kind) = &limits.kind {
        out.line(2, &format!("KAPI_PARAM_CONSTRAINT_TYPE({})", kind.c_name()));
    }
    out.field("valid_mask", limits.valid_mask.as_ref());
    if let Some(range) = &limits.range {
        out.line(
            2,
            &format!("KAPI_PARAM_RANGE({}, {})", range.min, range.max),
        );
    }
    if !limits.enum_values.is_empty() {
        out.line(
            2,
            &format!(
                ".enum_values = (const s64[]){{ {} }},",
                list(&limits.enum_values)
            ),
        );
        out.line(2, &format!(".enum_count = {},", limits.enum_values.len()));
    }
    out.field("size", limits.size.as_ref());
    out.field("alignment", limits.alignment.as_ref());
    out.field("size_param_idx", limits.size_param.as_ref());
    out.field("size_multiplier", limits.size_multiplier.as_ref());
    if let Some(validator) = limits
        .validator
        .as_ref()
        .filter(|_| limits.kind == Some(ConstraintKind::Custom))
    {
        out.line(2, &format!(".validate = {validator},"));
    }
    out.text("KAPI_PARAM_CONSTRAINT", &limits.text);
}

fn errors_and_signals(spec: &Spec, out: &mut Out) {
    for (n, e) in spec.errors.iter().enumerate() {
        let code = e.code.as_ref().map_or("0", |c| c.text.as_str());
        out.line(
            1,
            &format!(
                "KAPI_ERROR({n}, {code}, {}, {}, {})",
                quote(&e.name),
                quote(&e.summary),
                quote(&e.description)
            ),
        );
    }
    for (n, s) in spec.signals.iter().enumerate() {
        let number = s.number.as_ref().map_or("0", |v| v.text.as_str());
        let direction = if s.direction.is_empty() {
            "0".to_owned()
        } else {
            s.direction.c_text()
        };
        let action = s
            .action
            .as_ref()
            .map_or_else(|| "0".to_owned(), Word::c_name);
        out.line(
            1,
            &format!(
                "KAPI_SIGNAL({n}, {number}, {}, {direction}, {action})",
                quote(&s.name)
            ),
        );
        out.text("KAPI_SIGNAL_TARGET", &s.target);
        out.text("KAPI_SIGNAL_CONDITION", &s.condition);
        out.text("KAPI_SIGNAL_DESC", &s.description);
        out.flag("KAPI_SIGNAL_RESTARTABLE", s.restartable);
        out.value("KAPI_SIGNAL_SA_FLAGS_REQ", s.sa_flags_required.as_ref());
        out.value("KAPI_SIGNAL_SA_FLAGS_FORBID", s.sa_flags_forbidden.as_ref());
        out.value("KAPI_SIGNAL_ERROR", s.error.as_ref());
        out.value("KAPI_SIGNAL_TRANSFORM", s.transform_to.as_ref());
        out.text(
            "KAPI_SIGNAL_TIMING",
            s.timing
                .as_ref()
                .map(SignalTiming::word)
                .unwrap_or_default(),
        );
        out.value("KAPI_SIGNAL_PRIORITY", s.priority.as_ref());
        out.flag("KAPI_SIGNAL_INTERRUPTIBLE", s.interruptible);
        out.text(
            "KAPI_SIGNAL_QUEUE",
            s.queue.as_ref().map(SignalQueue::word).unwrap_or_default(),
        );
        out.value("KAPI_SIGNAL_STATE_REQ", s.state_required.as_ref());
        out.value("KAPI_SIGNAL_STATE_FORBID", s.state_forbidden.as_ref());
        out.line(1, "KAPI_SIGNAL_END");
    }
    for (n, m) in spec.signal_masks.iter().enumerate() {
        out.line(
            1,
            &format!(
                "KAPI_SIGNAL_MASK({n}, {}, {})",
                quote(&m.name),
                quote(&m.description)
            ),
        );
        if !m.signals.is_empty() {
            out.line(2, &format!(".signals = {{ {} }},", list(&m.signals)));
            out.line(2, &format!(".signal_count = {},", m.signals.len()));
        }
        out.line(1, "KAPI_SIGNAL_MASK_END");
    }
}

fn effects(spec: &Spec, out: &mut Out) {
    for (n, e) in spec.side_effects.iter().enumerate() {
        let kinds = if e.effects.is_empty() {
            "0".to_owned()
        } else {
            e.effects.c_text()
        };
        out.line(
            1,
            &format!(
                "KAPI_SIDE_EFFECT({n}, {kinds}, {}, {})",
                quote(&e.target),
                quote(&e.description)
            ),
        );
        out.flag("KAPI_EFFECT_REVERSIBLE", e.reversible);
        out.text("KAPI_EFFECT_CONDITION", &e.condition);
        out.text(
            "KAPI_EFFECT_EXPR",
            e.expression.as_deref().unwrap_or_default(),
        );
        out.line(1, "KAPI_SIDE_EFFECT_END");
    }
    for (n, t) in spec.state_transitions.iter().enumerate() {
        out.line(
            1,
            &format!(
                "KAPI_STATE_TRANS({n}, {}, {}, {}, {})",
                quote(&t.object),
                quote(&t.from),
                quote(&t.to),
                quote(&t.description)
            ),
        );
        out.text("KAPI_STATE_TRANS_COND", &t.condition);
        out.line(1, "KAPI_STATE_TRANS_END");
    }
    for (n, l) in spec.locks.iter().enumerate() {
        out.line(
            1,
            &format!(
                "KAPI_LOCK({n}, {}, {})",
                quote(&l.name),
                l.kind
                    .as_ref()
                    .map_or_else(|| "KAPI_LOCK_NONE".to_owned(), Word::c_name)
            ),
        );
        out.flag("KAPI_LOCK_ACQUIRED", l.acquired);
        out.flag("KAPI_LOCK_RELEASED", l.released);
        out.flag("KAPI_LOCK_HELD_ENTRY", l.held_on_entry);
        out.flag("KAPI_LOCK_HELD_EXIT", l.held_on_exit);
        out.text("KAPI_LOCK_DESC", &l.description);
        out.line(1, "KAPI_LOCK_END");
    }
}

fn rest(spec: &Spec, out: &mut Out) {
    for (n, c) in spec.capabilities.iter().enumerate() {
        let number = c
            .capability
            .as_ref()
            .map_or(c.name.as_str(), |v| v.text.as_str());
        let action = c
            .action
            .as_ref()
            .map_or_else(|| "0".to_owned(), Word::c_name);
        out.line(
            1,
            &format!(
                "KAPI_CAPABILITY({n}, {number}, {}, {action})",
                quote(&c.name)
            ),
        );
        out.text("KAPI_CAP_ALLOWS", &c.allows);
        out.text("KAPI_CAP_WITHOUT", &c.without);
        out.text("KAPI_CAP_CONDITION", &c.condition);
        out.value("KAPI_CAP_PRIORITY", c.priority.as_ref());
        if !c.alternatives.is_empty() {
            out.line(
                2,
                &format!(".alternative = {{ {} }},", list(&c.alternatives)),
            );
            out.line(
                2,
                &format!(".alternative_count = {},", c.alternatives.len()),
            );
        }
        out.line(1, "KAPI_CAPABILITY_END");
    }
    for (n, c) in spec.constraints.iter().enumerate() {
        out.line(
            1,
            &format!(
                "KAPI_CONSTRAINT({n}, {}, {})",
                quote(&c.name),
                quote(&c.description)
            ),
        );
        out.text(
            "KAPI_CONSTRAINT_EXPR",
            c.expression.as_deref().unwrap_or_default(),
        );
        out.line(1, "KAPI_CONSTRAINT_END");
    }
    if let Some(ioctl) = &spec.ioctl {
        out.value("KAPI_IOCTL_CMD", ioctl.command.as_ref());
        out.text("KAPI_IOCTL_CMD_NAME", &ioctl.command_name);
        out.value("KAPI_IOCTL_INPUT_SIZE", ioctl.input_size.as_ref());
        out.value("KAPI_IOCTL_OUTPUT_SIZE", ioctl.output_size.as_ref());
        out.text("KAPI_IOCTL_FILE_OPS_NAME", &ioctl.file_ops);
    }
    if let Some(sysfs) = &spec.sysfs {
        out.text("KAPI_PATH", &sysfs.path);
        out.value("KAPI_PERMISSIONS", sysfs.permissions.as_ref());
        out.text("KAPI_DEFAULT", &sysfs.default);
        out.text("KAPI_UNITS", &sysfs.units);
        out.value("KAPI_STEP", sysfs.step.as_ref());
    }
    out.top("KAPI_EXAMPLES", &spec.examples);
    out.top("KAPI_NOTES", &spec.notes);
    out.top("KAPI_SINCE_VERSION", &spec.since_version);
    if spec.deprecated {
        out.line(1, "KAPI_DEPRECATED");
    }
    out.top("KAPI_REPLACEMENT", &spec.replacement);
    for (of, name) in [
        ("param", "PARAM"),
        ("error", "ERROR"),
        ("signal", "SIGNAL"),
        ("signal-mask", "SIGNAL_MASK"),
        ("side-effect", "SIDE_EFFECT"),
        ("state-trans", "STATE_TRANS"),
        ("lock", "LOCK"),
        ("capability", "CAPABILITY"),
        ("constraint", "CONSTRAINT"),
    ] {
        if let Some(n) = spec.real_count(of).filter(|n| *n > 0) {
            out.line(1, &format!("KAPI_{name}_COUNT({n})"));
        }
    }
}
