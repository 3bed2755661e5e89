//! Which texts of a specification are machine-readable.

use crate::consts;
use crate::expr::{self, BinaryOp, Expr, Scope, UnaryOp};
use crate::ir::Spec;

use super::state;

/// The expression that `text` is, or none where it is prose: every name must be known, and there
/// must be an operator or a predicate, since a single word may be anything. A constant where a
/// truth value stands means that flag, or value, of the parameter that may have it.
pub(crate) fn typed(spec: &Spec, text: &str) -> Option<Expr> {
    let parsed = expr::parse(text).ok()?;
    let parsed = truth(spec, parsed);
    let scope = Scope {
        params: spec.params.iter().map(|p| p.name.clone()).collect(),
        state: Vec::new(),
    };
    let (_, issues) = expr::check(&parsed, &scope);
    let path_known = parsed.names().iter().all(|name| {
        !name.contains("->") && !name.contains('.') && !name.contains('[')
            || state::kind(name).is_some()
    });
    let plain = matches!(parsed, Expr::Number(_) | Expr::Name(_));
    let about = parsed.names().iter().any(|name| {
        scope.params.iter().any(|p| p == name)
            || state::kind(name).is_some()
            || name.starts_with("CAP_")
            || name.starts_with("RLIMIT_")
            || matches!(*name, "total_vm" | "locked_vm" | "page_size" | "ret")
    });
    (issues.is_empty() && path_known && !plain && about).then_some(parsed)
}

/// Whether the rule speaks of what holds after the call.
pub(super) fn speaks_of_effects(rule: &Expr) -> bool {
    let mut effect = false;
    rule.walk(&mut |e| {
        effect |= match e {
            Expr::Establish(..) => true,
            Expr::Call(name, _) => matches!(name.as_str(), "old" | "fork" | "exec"),
            _ => false,
        };
    });
    effect
}

/// The state paths in it, however they are asked for.
pub(super) fn paths(rule: &Expr) -> Vec<&str> {
    rule.names()
        .into_iter()
        .filter(|name| state::kind(name).is_some())
        .collect()
}

/// Constants that stand where a truth value is wanted become the flags that they name.
fn truth(spec: &Spec, expr: Expr) -> Expr {
    match expr {
        Expr::Name(name) => flag_of(spec, &name).unwrap_or(Expr::Name(name)),
        Expr::Unary(UnaryOp::Not, inner) => {
            Expr::Unary(UnaryOp::Not, Box::new(truth(spec, *inner)))
        }
        Expr::Binary(op @ (BinaryOp::And | BinaryOp::Or | BinaryOp::Implies), left, right) => {
            Expr::Binary(
                op,
                Box::new(truth(spec, *left)),
                Box::new(truth(spec, *right)),
            )
        }
        other => other,
    }
}

fn flag_of(spec: &Spec, name: &str) -> Option<Expr> {
    if name.starts_with("CAP_") || name.starts_with("RLIMIT_") {
        return None;
    }
    let number = consts::lookup(name).filter(|n| *n != 0)?;
    let with = |op, param: &str| {
        Expr::Binary(
            op,
            Box::new(Expr::Name(param.to_owned())),
            Box::new(Expr::Name(name.to_owned())),
        )
    };
    let mut found = spec.params.iter().filter_map(|p| {
        let limits = &p.limits;
        if limits
            .valid_mask
            .as_ref()
            .and_then(|m| m.number)
            .is_some_and(|mask| mask & number == number)
        {
            Some(with(BinaryOp::BitAnd, &p.name))
        } else if limits.enum_values.iter().any(|v| v.text == name) {
            Some(with(BinaryOp::Eq, &p.name))
        } else {
            None
        }
    });
    // Two parameters that may have it: which one is meant is not said.
    found.next().filter(|_| found.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Limits, Param, Value};

    #[test]
    fn prose_is_no_expression_and_a_bare_flag_is_that_flag() {
        let spec = Spec {
            params: vec![Param {
                name: "flags".into(),
                limits: Limits {
                    valid_mask: Some(Value::new("MCL_CURRENT | MCL_FUTURE")),
                    ..Limits::default()
                },
                ..Param::default()
            }],
            ..Spec::default()
        };
        let typed = |text: &str| typed(&spec, text).map(|e| e.to_string());
        for prose in [
            "MCL_CURRENT flag set",
            "interrupted",
            "flags",
            "no memory",
            "self",
            "size > limit",
            "mm->nobody_knows == 0",
            "1 + 1",
            "MCL_CURRENT without MCL_ONFAULT",
        ] {
            assert_eq!(typed(prose), None, "{prose}");
        }
        assert_eq!(typed("MCL_CURRENT").as_deref(), Some("flags & MCL_CURRENT"));
        assert_eq!(
            typed("MCL_FUTURE => mm->def_flags |= VM_LOCKED").as_deref(),
            Some("flags & MCL_FUTURE => mm->def_flags |= VM_LOCKED")
        );
        assert_eq!(
            typed("!(flags & MCL_CURRENT) && CAP_IPC_LOCK").as_deref(),
            Some("!(flags & MCL_CURRENT) && CAP_IPC_LOCK")
        );
    }
}
