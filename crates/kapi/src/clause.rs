//! The single statements of a specification, each with an identifier that survives reordering and
//! a hash of its content: the unit of requirements, verification, tracing and comparison.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::ir::{Span, Spec};

/// What a clause speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClauseKind {
    /// A parameter and its limits.
    Param,
    /// The return value.
    Return,
    /// An error.
    Error,
    /// A rule over the call.
    Constraint,
    /// A capability.
    Capability,
    /// A side effect.
    SideEffect,
    /// A change of state.
    StateTrans,
    /// A signal.
    Signal,
    /// A lock.
    Lock,
    /// A structure.
    Struct,
    /// The contexts.
    Context,
}

impl ClauseKind {
    /// The part of the identifier.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::Param => "PARAM",
            Self::Return => "RETURN",
            Self::Error => "ERR",
            Self::Constraint => "RULE",
            Self::Capability => "CAP",
            Self::SideEffect => "EFFECT",
            Self::StateTrans => "STATE",
            Self::Signal => "SIG",
            Self::Lock => "LOCK",
            Self::Struct => "STRUCT",
            Self::Context => "CTX",
        }
    }
}

/// One statement.
#[derive(Clone, Debug, Serialize)]
pub struct Clause {
    /// `MLOCKALL-ERR-EINVAL`.
    pub id: String,
    /// What it speaks of.
    pub kind: ClauseKind,
    /// Its position in its list.
    pub index: usize,
    /// A line.
    pub title: String,
    /// The whole statement in words.
    pub text: String,
    /// SHA-256 over the content without its place, 16 hexadecimal digits.
    pub hash: String,
    /// Where it is written.
    pub span: Span,
}

/// Every clause of `spec`, in a fixed order.
#[must_use]
pub fn clauses(spec: &Spec) -> Vec<Clause> {
    let mut list = List {
        call: slug(spec.call_name()),
        clauses: Vec::new(),
        seen: std::collections::HashMap::new(),
    };
    if !spec.contexts.is_empty() {
        list.add(
            ClauseKind::Context,
            0,
            "",
            "contexts",
            format!("May be called in: {}.", spec.contexts.short()),
            &spec.contexts,
            &spec.span,
        );
    }
    for (n, p) in spec.params.iter().enumerate() {
        let mut text = sentence(&p.description);
        text.push_str(&limits_text(&p.limits));
        list.add(
            ClauseKind::Param,
            n,
            &p.name,
            &format!("parameter {}", p.name),
            text,
            p,
            &p.span,
        );
    }
    if let Some(r) = &spec.returns {
        list.add(
            ClauseKind::Return,
            0,
            "",
            "return value",
            sentence(&r.description),
            r,
            &r.span,
        );
    }
    for (n, e) in spec.errors.iter().enumerate() {
        let text = format!(
            "{}{}{}",
            sentence(&e.summary),
            labelled("When: ", &e.condition),
            sentence(&e.description)
        );
        list.add(ClauseKind::Error, n, &e.name, &e.name, text, e, &e.span);
    }
    for (n, c) in spec.constraints.iter().enumerate() {
        let text = format!(
            "{}{}",
            sentence(&c.description),
            labelled("Rule: ", c.expression.as_deref().unwrap_or_default())
        );
        list.add(
            ClauseKind::Constraint,
            n,
            &c.name,
            &c.name,
            text,
            c,
            &c.span,
        );
    }
    for (n, c) in spec.capabilities.iter().enumerate() {
        let text = format!(
            "{}{}{}",
            labelled("Allows: ", &c.allows),
            labelled("Without it: ", &c.without),
            labelled("Checked: ", &c.condition)
        );
        list.add(
            ClauseKind::Capability,
            n,
            &c.name,
            &c.name,
            text,
            c,
            &c.span,
        );
    }
    for (n, e) in spec.side_effects.iter().enumerate() {
        let text = format!(
            "{}{}",
            sentence(&e.description),
            labelled("When: ", &e.condition)
        );
        list.add(
            ClauseKind::SideEffect,
            n,
            &e.target,
            &format!("{}: {}", e.target, e.effects.short()),
            text,
            e,
            &e.span,
        );
    }
    for (n, t) in spec.state_transitions.iter().enumerate() {
        let text = format!(
            "{}{}",
            sentence(&t.description),
            labelled("When: ", &t.condition)
        );
        list.add(
            ClauseKind::StateTrans,
            n,
            &t.object,
            &format!("{}: {} → {}", t.object, t.from, t.to),
            text,
            t,
            &t.span,
        );
    }
    for (n, s) in spec.signals.iter().enumerate() {
        let text = format!(
            "{}{}",
            sentence(&s.description),
            labelled("When: ", &s.condition)
        );
        list.add(ClauseKind::Signal, n, &s.name, &s.name, text, s, &s.span);
    }
    for (n, l) in spec.locks.iter().enumerate() {
        let scope = l.scope().unwrap_or("other");
        list.add(
            ClauseKind::Lock,
            n,
            &l.name,
            &format!("{} ({scope})", l.name),
            sentence(&l.description),
            l,
            &l.span,
        );
    }
    for (n, s) in spec.structs.iter().enumerate() {
        list.add(
            ClauseKind::Struct,
            n,
            &s.name,
            &format!("struct {}", s.name),
            sentence(&s.description),
            s,
            &s.span,
        );
    }
    list.clauses
}

struct List {
    call: String,
    clauses: Vec<Clause>,
    seen: std::collections::HashMap<String, usize>,
}

impl List {
    #[allow(clippy::too_many_arguments, reason = "one row of a table")]
    fn add(
        &mut self,
        kind: ClauseKind,
        index: usize,
        name: &str,
        title: &str,
        text: String,
        content: &impl Serialize,
        span: &Span,
    ) {
        let name = slug(name);
        let base = if name.is_empty() {
            format!("{}-{}", self.call, kind.tag())
        } else {
            format!("{}-{}-{name}", self.call, kind.tag())
        };
        // The same name twice: by order, which is all there is.
        let seen = self.seen.entry(base.clone()).or_default();
        let same = *seen;
        *seen += 1;
        let id = if same == 0 {
            base
        } else {
            format!("{base}.{}", same + 1)
        };
        self.clauses.push(Clause {
            id,
            kind,
            index,
            title: title.to_owned(),
            text: text.trim().to_owned(),
            hash: content_hash(content),
            span: span.clone(),
        });
    }
}

/// Upper-case words joined by `-`, at most 40 characters.
fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || c == '_' {
            out.push(c.to_ascii_uppercase());
        } else if !out.ends_with('-') && !out.is_empty() {
            out.push('-');
        }
        if out.len() >= 40 {
            break;
        }
    }
    out.trim_end_matches('-').to_owned()
}

fn sentence(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.chars().last() {
        None => text,
        Some('.' | '!' | '?') => format!("{text} "),
        Some(_) => format!("{text}. "),
    }
}

fn labelled(label: &str, text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("{label}{}", sentence(text))
    }
}

/// The limits of a parameter in words.
#[must_use]
pub fn limits_text(limits: &crate::ir::Limits) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let number = |v: &crate::ir::Value| match v.number {
        Some(n) if v.text != n.to_string() => format!("{} ({n:#x})", v.text),
        _ => v.text.clone(),
    };
    let mut add = |label: &str, text: String| {
        let _ = write!(out, "{label}{text}. ");
    };
    if let Some(range) = &limits.range {
        add(
            "Range: ",
            format!("{} to {}", number(&range.min), number(&range.max)),
        );
    }
    if let Some(mask) = &limits.valid_mask {
        add("Valid bits: ", number(mask));
        for (arch, value) in &mask.per_arch {
            add(&format!("On {arch}: "), format!("{value:#x}"));
        }
    }
    for (arch, mask) in &limits.arch_masks {
        add(&format!("Only on {arch}: "), number(mask));
    }
    if !limits.enum_values.is_empty() {
        add(
            "One of: ",
            limits
                .enum_values
                .iter()
                .map(|v| v.text.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        );
    }
    if let Some(size) = &limits.size {
        add("Size: ", number(size));
    }
    if let Some(alignment) = &limits.alignment {
        add("Alignment: ", number(alignment));
    }
    if let Some(size) = &limits.size_param {
        add("Sized by parameter ", number(size));
    }
    match &limits.kind {
        Some(kind) if out.is_empty() => {
            let _ = write!(out, "Constraint: {kind}. ");
        }
        _ => {}
    }
    if let Some(validator) = &limits.validator {
        let _ = write!(out, "Checked by {validator}(). ");
    }
    out + &sentence(&limits.text)
}

/// SHA-256 over the JSON of `content` without spans.
#[must_use]
pub fn content_hash(content: &impl Serialize) -> String {
    let mut value = serde_json::to_value(content).unwrap_or_default();
    strip_spans(&mut value);
    let digest = Sha256::digest(value.to_string().as_bytes());
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn strip_spans(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            map.remove("span");
            map.values_mut().for_each(strip_spans);
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(strip_spans),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{ErrorSpec, SideEffect};

    #[test]
    fn identifiers_and_hashes_do_not_depend_on_order_or_place() {
        let error = |name: &str, line| ErrorSpec {
            name: name.into(),
            span: Span {
                line,
                ..Span::default()
            },
            ..ErrorSpec::default()
        };
        let effect = |text: &str| SideEffect {
            target: "VMA flags".into(),
            description: text.into(),
            ..SideEffect::default()
        };
        let one = Spec {
            name: "sys_x".into(),
            errors: vec![error("EINVAL", 3), error("EPERM", 4)],
            side_effects: vec![effect("a"), effect("b")],
            ..Spec::default()
        };
        let two = Spec {
            name: "x".into(),
            errors: vec![error("EPERM", 9), error("EINVAL", 8)],
            ..Spec::default()
        };
        let ids = |spec| {
            clauses(spec)
                .into_iter()
                .map(|c| (c.id, c.hash))
                .collect::<Vec<_>>()
        };
        let (one, two) = (ids(&one), ids(&two));
        assert_eq!(
            (one[0].clone(), one[1].clone()),
            (two[1].clone(), two[0].clone())
        );
        assert_eq!(one[0].0, "X-ERR-EINVAL");
        assert_eq!(
            (one[2].0.as_str(), one[3].0.as_str()),
            ("X-EFFECT-VMA-FLAGS", "X-EFFECT-VMA-FLAGS.2")
        );
        assert_ne!(one[2].1, one[3].1);
    }
}
