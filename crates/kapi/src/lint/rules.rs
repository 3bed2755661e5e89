//! Counts, expressions, masks, errors, and what should be there.

use super::Out;
use crate::consts;
use crate::expr::{self, BinaryOp, Expr, Scope};
use crate::ir::vocab::{
    CheckKind, ConstraintKind, ParamFlag, SignalAction, SignalDirection, TypeKind,
};
use crate::ir::{Param, Span, Spec, SpecKind};

pub(super) fn counts(spec: &Spec, out: &mut Out<'_>) {
    for count in &spec.counts {
        let (Some(real), Some(stated)) = (spec.real_count(&count.of), count.value.number) else {
            continue;
        };
        if i128::try_from(real).is_ok_and(|real| real != stated) {
            let message = format!(
                "`{}` states {stated} {} items, but lists {real}",
                spec.name, count.of
            );
            out.error("count-mismatch", &count.span, message).expected = Some(format!("{real}"));
        }
    }
    for s in &spec.structs {
        if let Some(stated) = s.field_count.as_ref().and_then(|c| c.number)
            && i128::try_from(s.fields.len()).is_ok_and(|real| real != stated)
        {
            out.error(
                "count-mismatch",
                &s.span,
                format!(
                    "struct {} states {stated} fields, but lists {}",
                    s.name,
                    s.fields.len()
                ),
            );
        }
    }
}

fn scope(spec: &Spec) -> Scope {
    Scope {
        params: spec.params.iter().map(|p| p.name.clone()).collect(),
        state: Vec::new(),
    }
}

/// The rules of the constraints and, where they are expressions, the conditions of the errors.
fn all_expressions(spec: &Spec) -> Vec<(String, &str, &Span, bool)> {
    let mut all: Vec<(String, &str, &Span, bool)> = Vec::new();
    for c in &spec.constraints {
        if let Some(text) = &c.expression {
            all.push((format!("rule of `{}`", c.name), text, &c.span, true));
        }
    }
    for e in &spec.errors {
        if !e.condition.is_empty() {
            all.push((
                format!("condition of {}", e.name),
                &e.condition,
                &e.span,
                false,
            ));
        }
    }
    all
}

pub(super) fn expressions(spec: &Spec, out: &mut Out<'_>) {
    let scope = scope(spec);
    for (what, text, span, strict) in all_expressions(spec) {
        match expr::parse(text) {
            Ok(parsed) => {
                let issues = expr::check(&parsed, &scope).1;
                if !strict && is_prose(&parsed, &issues) {
                    continue;
                }
                for issue in issues {
                    out.warn(
                        "expression-type",
                        span,
                        format!("{what}: {issue} in `{text}`"),
                    );
                }
            }
            // A condition may be prose; a rule may not.
            Err(error) if strict => {
                let marked = format!(
                    "{}⏵{}",
                    text.get(..error.offset).unwrap_or(text),
                    text.get(error.offset..).unwrap_or_default()
                );
                out.error(
                    "expression-syntax",
                    span,
                    format!("{what}: {} at `{marked}`", error.message),
                )
                .expected = Some(format!("expected {}", error.expected));
            }
            Err(_) => {}
        }
    }
}

/// Whether a condition that happens to be an expression was meant as words: a single one, or one
/// that speaks of what nobody has declared ("size > limit").
fn is_prose(parsed: &Expr, issues: &[expr::TypeIssue]) -> bool {
    matches!(parsed, Expr::Name(_) | Expr::Number(_))
        || issues
            .iter()
            .any(|issue| matches!(issue, expr::TypeIssue::UnknownName(_)))
}

/// Constants that `expr` tests against the parameter with `&`, `==` or `!=`.
fn tested<'e>(expr: &'e Expr, param: &str) -> Vec<(&'e str, bool)> {
    let mut found = Vec::new();
    expr.walk(&mut |node| {
        if let Expr::Binary(op @ (BinaryOp::BitAnd | BinaryOp::Eq | BinaryOp::Ne), left, right) =
            node
        {
            for (one, other) in [(left, right), (right, left)] {
                if matches!(&**one, Expr::Name(name) if name == param) {
                    // `flags & ~MASK` tests what is not allowed: no contradiction.
                    if !matches!(&**other, Expr::Unary(..)) {
                        found.extend(
                            other
                                .names()
                                .into_iter()
                                .map(|n| (n, *op == BinaryOp::BitAnd)),
                        );
                    }
                }
            }
        }
    });
    found
}

pub(super) fn masks(spec: &Spec, out: &mut Out<'_>) {
    for (what, text, span, _) in all_expressions(spec) {
        let Ok(parsed) = expr::parse(text) else {
            continue;
        };
        for param in &spec.params {
            for (name, bits) in tested(&parsed, &param.name) {
                let Some(number) = consts::lookup(name) else {
                    continue;
                };
                if let Some(mask) = param.limits.valid_mask.as_ref().filter(|_| bits)
                    && mask.number.is_some_and(|m| number & m == 0 && number != 0)
                {
                    let message = format!(
                        "{what} tests {name}, which the mask of `{}` ({mask}) does not allow",
                        param.name
                    );
                    out.error("mask-contradiction", span, message);
                }
                if !bits
                    && !param.limits.enum_values.is_empty()
                    && !param
                        .limits
                        .enum_values
                        .iter()
                        .any(|v| v.number == Some(number))
                {
                    let message = format!(
                        "{what} compares `{}` with {name}, which is none of its values",
                        param.name
                    );
                    out.error("mask-contradiction", span, message);
                }
            }
        }
    }
    for param in &spec.params {
        let limits = &param.limits;
        let lacks = match &limits.kind {
            Some(ConstraintKind::Mask) => limits.valid_mask.is_none(),
            Some(ConstraintKind::Range) => limits.range.is_none(),
            Some(ConstraintKind::Enum) => limits.enum_values.is_empty(),
            Some(ConstraintKind::Buffer) => limits.size_param.is_none(),
            _ => false,
        };
        if lacks {
            let kind = limits
                .kind
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            out.error(
                "missing-section",
                &param.span,
                format!(
                    "`{}` is limited by {kind}, but the values are not given",
                    param.name
                ),
            );
        }
        if let Some(index) = limits.size_param.as_ref().and_then(|v| v.number)
            && usize::try_from(index).map_or(true, |n| n >= spec.params.len())
        {
            out.error(
                "missing-section",
                &param.span,
                format!(
                    "`{}` is sized by parameter {index}, which is not there",
                    param.name
                ),
            );
        }
    }
}

/// What in the specification could make the call fail with `name`.
fn cause(spec: &Spec, name: &str) -> bool {
    let mentions = |text: &str| {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .any(|w| w == name)
    };
    let param = |test: &dyn Fn(&Param) -> bool| spec.params.iter().any(test);
    let limited = |p: &Param| {
        let l = &p.limits;
        l.valid_mask.is_some()
            || l.range.is_some()
            || !l.enum_values.is_empty()
            || l.alignment.is_some()
            || matches!(
                l.kind,
                Some(
                    ConstraintKind::PageAligned
                        | ConstraintKind::PowerOfTwo
                        | ConstraintKind::Nonzero
                        | ConstraintKind::Custom
                )
            )
    };
    let pointer = |p: &Param| {
        matches!(
            p.kind,
            Some(TypeKind::UserPtr | TypeKind::Ptr | TypeKind::Array | TypeKind::Path)
        ) || p.flags.has(&ParamFlag::User)
            || matches!(
                p.limits.kind,
                Some(
                    ConstraintKind::UserPtr
                        | ConstraintKind::UserString
                        | ConstraintKind::UserPath
                        | ConstraintKind::Buffer
                )
            )
    };
    let descriptor = |p: &Param| p.kind == Some(TypeKind::Fd);
    let by_kind = match name {
        "EINVAL" => param(&limited),
        "EFAULT" => param(&pointer),
        "EBADF" => param(&descriptor),
        "ESRCH" => param(&|p| descriptor(p) && p.name.contains("pid") || p.name == "pid"),
        "EPERM" | "EACCES" => !spec.capabilities.is_empty(),
        "EINTR" | "ERESTARTSYS" => spec
            .signals
            .iter()
            .any(|s| s.direction.has(&SignalDirection::Receive)),
        "ENOMEM" => spec.constraints.iter().any(|c| {
            c.expression
                .as_deref()
                .is_some_and(|e| e.contains("RLIMIT_") || e.contains("mapped"))
        }),
        "ENOSYS" | "EOPNOTSUPP" => false,
        _ => false,
    };
    by_kind
        || spec
            .constraints
            .iter()
            .any(|c| mentions(&c.description) || c.expression.as_deref().is_some_and(mentions))
        || spec
            .signals
            .iter()
            .any(|s| s.error.as_ref().is_some_and(|e| mentions(&e.text)))
        || spec.capabilities.iter().any(|c| mentions(&c.without))
        || spec.params.iter().any(|p| mentions(&p.limits.text))
}

pub(super) fn errors(spec: &Spec, out: &mut Out<'_>) {
    for e in &spec.errors {
        let named = consts::lookup(&e.name);
        if !consts::is_errno(&e.name) {
            out.error(
                "unknown-constant",
                &e.span,
                format!("`{}` is no error number", e.name),
            );
        } else if let Some(code) = e.code.as_ref().and_then(|c| c.number)
            && named.is_some_and(|n| -n != code)
        {
            out.error(
                "error-code",
                &e.span,
                format!(
                    "{} is {}, but its code is {code}",
                    e.name,
                    named.map_or(0, |n| -n)
                ),
            )
            .expected = Some(format!("-{}", e.name));
        }
        if e.condition.is_empty() && !cause(spec, &e.name) {
            let message = format!(
                "nothing in the specification of `{}` makes it fail with {}",
                spec.call_name(),
                e.name
            );
            out.warn("error-without-cause", &e.span, message).expected = Some(
                "a `condition:` that can be checked, or a constraint that names it".to_owned(),
            );
        }
    }
    // And the reverse: what is limited must have its error.
    let has = |name: &str| spec.errors.iter().any(|e| e.name == name);
    for p in &spec.params {
        let needs = match p.limits.kind {
            Some(ConstraintKind::Mask | ConstraintKind::Enum | ConstraintKind::Range) => {
                Some("EINVAL")
            }
            _ => None,
        };
        if let Some(error) = needs.filter(|e| !has(e))
            && spec.kind == SpecKind::Function
            && !spec.errors.is_empty()
        {
            out.warn(
                "missing-section",
                &p.span,
                format!(
                    "`{}` is limited, but {error} is not among the errors",
                    p.name
                ),
            );
        }
    }
}

pub(super) fn returns(spec: &Spec, out: &mut Out<'_>) {
    let Some(r) = &spec.returns else { return };
    match r.check {
        Some(CheckKind::Exact) if r.success.is_none() => {
            out.error(
                "return-check",
                &r.span,
                "success is one exact value, but the value is not given".to_owned(),
            );
        }
        Some(CheckKind::Range) if r.success_range.is_none() && r.success.is_none() => {
            out.error(
                "return-check",
                &r.span,
                "success is a range, but the range is not given".to_owned(),
            );
        }
        _ => {}
    }
    if let Some(range) = &r.success_range
        && let (Some(min), Some(max)) = (range.min.number, range.max.number)
        && min > max
    {
        out.error(
            "range",
            &r.span,
            format!(
                "the range of success {} to {} is empty",
                range.min, range.max
            ),
        );
    }
}

pub(super) fn signals(spec: &Spec, out: &mut Out<'_>) {
    for s in &spec.signals {
        if s.restartable
            && s.action == Some(SignalAction::Return)
            && s.direction.has(&SignalDirection::Receive)
        {
            let message = format!("`{}` makes the call return, and restarts it", s.name);
            out.warn("restart-contradiction", &s.span, message).expected =
                Some("either `action: restart` or not restartable".to_owned());
        }
        let number = s.number.as_ref().and_then(|n| n.number);
        if let (Some(number), Some(named)) = (number, consts::lookup(&s.name))
            && s.name.starts_with("SIG")
            && number != named
        {
            out.error(
                "unknown-constant",
                &s.span,
                format!("{} is {named}, not {number}", s.name),
            );
        }
    }
}

pub(super) fn capabilities(spec: &Spec, out: &mut Out<'_>) {
    for c in &spec.capabilities {
        let number = c.capability.as_ref().and_then(|n| n.number);
        if let (Some(number), Some(named)) = (number, consts::lookup(&c.name))
            && number != named
        {
            out.error(
                "capability-number",
                &c.span,
                format!("{} is {named}, not {number}", c.name),
            );
        }
    }
}

pub(super) fn sections(spec: &Spec, out: &mut Out<'_>) {
    let mut lacks = |missing: bool, span: &Span, what: &str| {
        if missing {
            out.warn(
                "missing-section",
                span,
                format!("`{}` has no {what}", spec.name),
            );
        }
    };
    lacks(spec.description.is_empty(), &spec.span, "description");
    lacks(
        spec.long_description.is_empty(),
        &spec.span,
        "long description",
    );
    lacks(
        spec.contexts.is_empty() && spec.kind == SpecKind::Function,
        &spec.span,
        "contexts",
    );
    lacks(
        spec.returns.is_none() && spec.kind == SpecKind::Function,
        &spec.span,
        "return value",
    );
    lacks(
        spec.errors.is_empty() && spec.kind == SpecKind::Function,
        &spec.span,
        "errors",
    );
    for p in &spec.params {
        lacks(
            p.description.is_empty(),
            &p.span,
            &format!("description of parameter `{}`", p.name),
        );
        lacks(
            p.kind.is_none(),
            &p.span,
            &format!("kind of parameter `{}`", p.name),
        );
    }
    for e in &spec.errors {
        lacks(
            e.description.is_empty() && e.summary.is_empty(),
            &e.span,
            &format!("text for {}", e.name),
        );
    }
    if spec.since_version.is_empty() && spec.span.line > 0 {
        out.note(
            "missing-section",
            &spec.span,
            format!("`{}` does not say since when it exists", spec.name),
        );
    }
    if spec.examples.is_empty() {
        out.note(
            "missing-section",
            &spec.span,
            format!("`{}` has no example", spec.name),
        );
    }
}
