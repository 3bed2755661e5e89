//! The single statements of a specification, each with an identifier made of its own words, which
//! no neighbour changes, and a hash of its content: the unit of requirements, verification, tracing
//! and comparison.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::ir::vocab::Word as _;
use crate::ir::{Param, Return, Span, Spec};
use crate::verify::typed;

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

/// What a statement is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// In codes, masks, ranges, enumerations or expressions: calls can bear it out or contradict it.
    Machine,
    /// In words, or of something that no call shows: somebody has to read it.
    Prose,
}

/// One statement.
#[derive(Clone, Debug, Serialize)]
pub struct Clause {
    /// `MLOCKALL-ERR-EINVAL-BAD-FLAGS`: the call, the kind, the name and, where a name may stand more
    /// than once, what tells it from the others.
    pub id: String,
    /// The identifier without the last part: `MLOCKALL-ERR-EINVAL`.
    #[serde(skip)]
    pub base: String,
    /// What a verdict could rest on.
    pub basis: Basis,
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
    };
    if !spec.contexts.is_empty() {
        list.add(
            ClauseKind::Context,
            0,
            Named::only("", Basis::Prose),
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
            Named::only(&p.name, basis(limited(p))),
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
            Named::only("", basis(checked(r))),
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
        let own = [&e.summary, &e.condition, &e.description];
        let named = Named {
            name: &e.name,
            own: own.into_iter().find(|t| !t.is_empty()).cloned(),
            basis: basis(typed(spec, &e.condition).is_some()),
        };
        list.add(ClauseKind::Error, n, named, &e.name, text, e, &e.span);
    }
    for (n, c) in spec.constraints.iter().enumerate() {
        let rule = c.expression.as_deref().and_then(|e| typed(spec, e));
        let rule = rule.is_some();
        let text = format!(
            "{}{}",
            sentence(&c.description),
            labelled("Rule: ", c.expression.as_deref().unwrap_or_default())
        );
        list.add(
            ClauseKind::Constraint,
            n,
            Named::only(&c.name, basis(rule)),
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
            Named {
                name: &c.name,
                own: c.action.as_ref().map(|a| a.word().to_owned()),
                basis: basis(c.capability.as_ref().is_some_and(|v| v.number.is_some())),
            },
            &c.name,
            text,
            c,
            &c.span,
        );
    }
    for (n, e) in spec.side_effects.iter().enumerate() {
        let rule = e.expression.as_deref().and_then(|e| typed(spec, e));
        let text = format!(
            "{}{}",
            sentence(&e.description),
            labelled("When: ", &e.condition)
        );
        list.add(
            ClauseKind::SideEffect,
            n,
            Named {
                name: &e.target,
                own: Some(e.description.clone()),
                basis: basis(!e.effects.is_empty() || rule.is_some()),
            },
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
            Named {
                name: &t.object,
                own: Some(format!("{} to {}", t.from, t.to)),
                basis: basis(typed(spec, &t.from).zip(typed(spec, &t.to)).is_some()),
            },
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
        let named = Named {
            name: &s.name,
            own: Some(s.direction.short()),
            basis: Basis::Prose,
        };
        list.add(ClauseKind::Signal, n, named, &s.name, text, s, &s.span);
    }
    for (n, l) in spec.locks.iter().enumerate() {
        let scope = l.scope().unwrap_or("other");
        list.add(
            ClauseKind::Lock,
            n,
            Named::only(&l.name, Basis::Prose),
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
            Named::only(&s.name, Basis::Prose),
            &format!("struct {}", s.name),
            sentence(&s.description),
            s,
            &s.span,
        );
    }
    list.finish()
}

fn basis(machine: bool) -> Basis {
    if machine {
        Basis::Machine
    } else {
        Basis::Prose
    }
}

/// Whether the values of a parameter are limited by more than words.
fn limited(p: &Param) -> bool {
    use crate::ir::vocab::ConstraintKind as Kind;
    let l = &p.limits;
    l.range.is_some()
        || l.valid_mask.is_some()
        || !l.enum_values.is_empty()
        || l.alignment.is_some()
        || l.size_param.is_some()
        || matches!(
            l.kind,
            Some(Kind::PageAligned | Kind::PowerOfTwo | Kind::Nonzero)
        )
        || p.kind == Some(crate::ir::vocab::TypeKind::Fd)
}

/// Whether success is told by more than words.
fn checked(r: &Return) -> bool {
    use crate::ir::vocab::CheckKind as Kind;
    r.success.is_some()
        || r.success_range.is_some()
        || matches!(r.check, Some(Kind::Fd | Kind::ErrorCheck))
}

/// What an identifier is made of.
struct Named<'a> {
    name: &'a str,
    /// What tells it from others of the name; `None` where names stand once.
    own: Option<String>,
    basis: Basis,
}

impl<'a> Named<'a> {
    fn only(name: &'a str, basis: Basis) -> Self {
        Self {
            name,
            own: None,
            basis,
        }
    }
}

struct List {
    call: String,
    clauses: Vec<Clause>,
}

impl List {
    #[allow(clippy::too_many_arguments, reason = "one row of a table")]
    fn add(
        &mut self,
        kind: ClauseKind,
        index: usize,
        named: Named<'_>,
        title: &str,
        text: String,
        content: &impl Serialize,
        span: &Span,
    ) {
        let name = slug(named.name);
        let base = if name.is_empty() {
            format!("{}-{}", self.call, kind.tag())
        } else {
            format!("{}-{}-{name}", self.call, kind.tag())
        };
        let own = named.own.as_deref().map(own_words).unwrap_or_default();
        let id = if own.is_empty() {
            base.clone()
        } else {
            format!("{base}-{own}")
        };
        self.clauses.push(Clause {
            id,
            base,
            basis: named.basis,
            kind,
            index,
            title: title.to_owned(),
            text: text.trim().to_owned(),
            hash: content_hash(content),
            span: span.clone(),
        });
    }

    /// Those that say the same under one name are told apart by their hashes; exact copies are
    /// counted, and nothing else is.
    fn finish(mut self) -> Vec<Clause> {
        use std::collections::HashMap;
        let mut times: HashMap<String, usize> = HashMap::new();
        for clause in &self.clauses {
            *times.entry(clause.id.clone()).or_default() += 1;
        }
        let mut copies: HashMap<String, usize> = HashMap::new();
        for clause in &mut self.clauses {
            if times.get(&clause.id).copied().unwrap_or(0) < 2 {
                continue;
            }
            let mark: String = clause.hash.chars().take(6).collect();
            clause.id = format!("{}.{mark}", clause.id);
            let copy = copies.entry(clause.id.clone()).or_default();
            *copy += 1;
            if *copy > 1 {
                clause.id = format!("{}.{copy}", clause.id);
            }
        }
        self.clauses
    }
}

/// The slug of a text; the hash of the whole text is behind it where it is cut.
fn own_words(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let whole = slug(&text);
    let longest = text.chars().filter(char::is_ascii_alphanumeric).count();
    if whole.len() < 40 && whole.chars().filter(char::is_ascii_alphanumeric).count() == longest {
        return whole;
    }
    let cut = match whole.rfind('-') {
        Some(at) if whole.len() >= 40 => &whole[..at],
        _ => &whole,
    };
    let hash = content_hash(&text);
    format!("{cut}-{}", hash[..4].to_ascii_uppercase())
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
            ("X-EFFECT-VMA-FLAGS-A", "X-EFFECT-VMA-FLAGS-B")
        );
        assert_ne!(one[2].1, one[3].1);
    }

    #[test]
    fn a_neighbour_changes_no_identifier() {
        let error = |summary: &str, condition: &str| ErrorSpec {
            name: "EINVAL".into(),
            summary: summary.into(),
            condition: condition.into(),
            ..ErrorSpec::default()
        };
        let long = "the range wraps around the end of the address space, or is empty";
        let all = [
            error("Bad flags", ""),
            error("", "flags & 8"),
            error(long, ""),
            error(&format!("{long} altogether"), ""),
        ];
        let ids = |errors: &[ErrorSpec]| {
            let spec = Spec {
                name: "sys_x".into(),
                errors: errors.to_vec(),
                ..Spec::default()
            };
            clauses(&spec).into_iter().map(|c| c.id).collect::<Vec<_>>()
        };
        let together = ids(&all);
        assert_eq!(
            together[..2],
            ["X-ERR-EINVAL-BAD-FLAGS", "X-ERR-EINVAL-FLAGS-8"]
        );
        assert_ne!(together[2], together[3]);
        for (n, one) in all.iter().enumerate() {
            assert_eq!(ids(std::slice::from_ref(one))[0], together[n]);
        }
        // Nothing but the condition tells these apart.
        let same = ids(&[error("Same", "flags & 1"), error("Same", "flags & 2")]);
        let turned = ids(&[error("Same", "flags & 2"), error("Same", "flags & 1")]);
        assert_ne!(same[0], same[1]);
        assert_eq!((&same[0], &same[1]), (&turned[1], &turned[0]));
    }

    #[test]
    fn words_are_no_machine_readable_part() {
        let error = |condition: &str| ErrorSpec {
            name: "EINVAL".into(),
            condition: condition.into(),
            ..ErrorSpec::default()
        };
        let spec = Spec {
            name: "sys_x".into(),
            params: vec![Param {
                name: "flags".into(),
                ..Param::default()
            }],
            errors: vec![error("flags & 8"), error("the flags are wrong")],
            ..Spec::default()
        };
        let basis: Vec<Basis> = clauses(&spec).iter().map(|c| c.basis).collect();
        assert_eq!(basis, [Basis::Prose, Basis::Machine, Basis::Prose]);
    }
}
