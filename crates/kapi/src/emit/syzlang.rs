//! syzkaller descriptions: a call line and the sets of flags that it uses.

use std::fmt::Write as _;

use crate::ir::vocab::{ConstraintKind, ParamFlag, TypeKind};
use crate::ir::{Param, Spec, SpecKind};

/// Descriptions of every system call; the rest is listed in comments.
pub(super) fn emit(specs: &[Spec]) -> String {
    let mut out = String::from("# Made from API specifications by kapi.\n\n");
    let mut sets = String::new();
    for spec in specs {
        if spec.kind != SpecKind::Function {
            let _ = writeln!(
                out,
                "# {}: a {} is not described here",
                spec.name,
                spec.kind.word()
            );
            continue;
        }
        let args: Vec<String> = spec
            .params
            .iter()
            .map(|p| format!("{} {}", identifier(&p.name), kind(spec, p, &mut sets)))
            .collect();
        let _ = writeln!(
            out,
            "{}({}){}",
            spec.call_name(),
            args.join(", "),
            result(spec)
        );
    }
    out.push('\n');
    out.push_str(&sets);
    out
}

fn result(spec: &Spec) -> &'static str {
    match spec.returns.as_ref().and_then(|r| r.check.as_ref()) {
        Some(crate::ir::vocab::CheckKind::Fd) => " fd",
        _ => "",
    }
}

/// Words that the language keeps for itself.
fn identifier(name: &str) -> String {
    const RESERVED: [&str; 6] = ["parent", "syscall", "opt", "proc", "csum", "text"];
    if RESERVED.contains(&name) {
        format!("{name}_")
    } else {
        name.to_owned()
    }
}

fn direction(param: &Param) -> &'static str {
    let both = param.flags.has(&ParamFlag::InOut);
    match (
        both || param.flags.has(&ParamFlag::In),
        both || param.flags.has(&ParamFlag::Out),
    ) {
        (true, true) => "inout",
        (false, true) => "out",
        _ => "in",
    }
}

fn width(param: &Param) -> &'static str {
    let name = param.type_name.as_str();
    if name.contains("char") || name.contains("u8") {
        "int8"
    } else if name.contains("short") || name.contains("u16") {
        "int16"
    } else if name.contains("long")
        || name.contains("size_t")
        || name.contains("64")
        || name.contains("off_t")
        || name.contains('*')
    {
        "intptr"
    } else {
        "int32"
    }
}

/// The type of a parameter; flag sets that it needs go to `sets`.
fn kind(spec: &Spec, param: &Param, sets: &mut String) -> String {
    let limits = &param.limits;
    let optional = if param.flags.has(&ParamFlag::Optional) {
        ", opt"
    } else {
        ""
    };
    let mut set = |values: Vec<String>| {
        let name = format!("kapi_{}_{}", spec.call_name(), param.name);
        let _ = writeln!(sets, "{name} = {}", values.join(", "));
        format!("flags[{name}, {}]", width(param))
    };
    // The length of another parameter.
    let index = spec
        .params
        .iter()
        .position(|p| std::ptr::eq(p, param))
        .and_then(|n| i128::try_from(n).ok());
    if let Some(sized) = spec.params.iter().find(|p| {
        p.limits
            .size_param
            .as_ref()
            .is_some_and(|v| v.number.is_some() && v.number == index)
    }) {
        return format!("len[{}]", identifier(&sized.name));
    }
    if !limits.enum_values.is_empty() {
        return set(limits.enum_values.iter().map(|v| v.text.clone()).collect());
    }
    if let Some(mask) = &limits.valid_mask {
        return set(mask.alternatives().into_iter().map(str::to_owned).collect());
    }
    match (&param.kind, &limits.kind) {
        (Some(TypeKind::Fd), _) => format!(
            "fd{optional}",
            optional = optional.replace(", ", "[").replace("opt", "opt]")
        ),
        (Some(TypeKind::Path), _) | (_, Some(ConstraintKind::UserPath)) => {
            "ptr[in, filename]".to_owned()
        }
        (_, Some(ConstraintKind::UserString)) => "ptr[in, string]".to_owned(),
        (_, Some(ConstraintKind::PageAligned))
            if !param.type_name.contains('*') && param.name != "len" =>
        {
            "vma".to_owned()
        }
        (Some(TypeKind::UserPtr | TypeKind::Ptr | TypeKind::Array | TypeKind::Struct), _) => {
            format!("ptr[{}, array[int8]{optional}]", direction(param))
        }
        _ => match &limits.range {
            Some(range) => match (range.min.number, range.max.number) {
                (Some(min), Some(max)) => format!("{}[{min}:{max}]", width(param)),
                _ => width(param).to_owned(),
            },
            None => width(param).to_owned(),
        },
    }
}
