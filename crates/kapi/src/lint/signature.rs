//! The specification against the declaration in the same tree.

use super::Out;
use crate::ir::{Signature, Spec, SpecKind};

fn plain(kind: &str) -> String {
    let words: Vec<&str> = kind
        .split_whitespace()
        .filter(|w| !matches!(*w, "__user" | "const" | "struct" | "enum"))
        .collect();
    words.join(" ").replace(" *", "*").replace("* ", "*")
}

/// Declarations by their names.
pub(super) type ByName<'a> = std::collections::HashMap<&'a str, Vec<&'a Signature>>;

pub(super) fn by_name(syscalls: &[Signature]) -> ByName<'_> {
    let mut all = ByName::new();
    for signature in syscalls {
        all.entry(&signature.name).or_default().push(signature);
    }
    all
}

pub(super) fn check(spec: &Spec, syscalls: &ByName<'_>, out: &mut Out<'_>) {
    if spec.kind != SpecKind::Function {
        return;
    }
    let elsewhere = |s: &&Signature| {
        spec.signature
            .as_ref()
            .is_none_or(|own| own.span.file != s.span.file)
    };
    let named = syscalls.get(spec.call_name());
    let all: Vec<&Signature> = spec
        .signature
        .iter()
        .chain(named.into_iter().flatten().copied().filter(elsewhere))
        .collect();
    if all.is_empty() && spec.span.line > 0 {
        let message = format!(
            "no SYSCALL_DEFINEn or prototype of `{}` was seen",
            spec.call_name()
        );
        out.note("no-declaration", &spec.span, message);
    }
    for declared in all {
        compare(spec, declared, out);
    }
}

fn compare(spec: &Spec, declared: &Signature, out: &mut Out<'_>) {
    if let Some(arity) = declared.arity
        && usize::try_from(arity).is_ok_and(|n| n != declared.args.len())
    {
        out.error(
            "arity",
            &declared.span,
            format!(
                "SYSCALL_DEFINE{arity}({}) lists {} arguments",
                declared.name,
                declared.args.len()
            ),
        );
    }
    if spec.params.len() != declared.args.len() {
        let names: Vec<&str> = declared
            .args
            .iter()
            .map(|(_, name)| name.as_str())
            .collect();
        let message = format!(
            "`{}` is specified with {} parameters, but declared with {}",
            spec.name,
            spec.params.len(),
            declared.args.len()
        );
        out.error("arity", &spec.span, message).expected =
            Some(format!("({}) as at {}", names.join(", "), declared.span));
        return;
    }
    for (n, (param, (kind, name))) in spec.params.iter().zip(&declared.args).enumerate() {
        if param.name != *name && !name.is_empty() {
            out.error(
                "arity",
                &param.span,
                format!(
                    "parameter {n} is `{}` here, but declared as `{name}`",
                    param.name
                ),
            )
            .expected = Some(format!("`{name}` as at {}", declared.span));
        }
        if !param.type_name.is_empty() && plain(&param.type_name) != plain(kind) {
            out.error(
                "arity",
                &param.span,
                format!(
                    "`{}` is `{}` here, but declared as `{kind}`",
                    param.name, param.type_name
                ),
            )
            .expected = Some(format!("`{kind}` as at {}", declared.span));
        }
    }
}
