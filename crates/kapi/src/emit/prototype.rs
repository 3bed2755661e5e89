//! How a call is declared to programs, and which volume of the manual it belongs to.

use super::outline::synopsis;
use crate::consts;
use crate::ir::vocab::{ConstraintKind, Context, ParamFlag, TypeKind};
use crate::ir::{Param, Spec, SpecKind};

/// System calls that are many: each has a description of its own.
const MANY: [&str; 10] = [
    "arch_prctl",
    "bpf",
    "fcntl",
    "futex",
    "ioctl",
    "keyctl",
    "prctl",
    "ptrace",
    "quotactl",
    "seccomp",
];

/// The calls that the C library declares, by header.
const DECLARED: [(&str, &[&str]); 7] = [
    (
        "sys/mman.h",
        &[
            "madvise",
            "memfd_create",
            "mincore",
            "mlock",
            "mlock2",
            "mlockall",
            "mmap",
            "mprotect",
            "mremap",
            "msync",
            "munlock",
            "munlockall",
            "munmap",
            "process_madvise",
        ],
    ),
    (
        "sys/pidfd.h",
        &["pidfd_getfd", "pidfd_open", "pidfd_send_signal"],
    ),
    ("sys/prctl.h", &["prctl"]),
    ("sys/ioctl.h", &["ioctl"]),
    (
        "sys/epoll.h",
        &[
            "epoll_create",
            "epoll_create1",
            "epoll_ctl",
            "epoll_pwait",
            "epoll_wait",
        ],
    ),
    ("fcntl.h", &["creat", "fcntl", "open", "openat"]),
    (
        "unistd.h",
        &[
            "close", "dup", "dup2", "dup3", "fsync", "lseek", "pipe", "pread", "pwrite", "read",
            "write",
        ],
    ),
];

/// `prctl_set_name` whose option is always one constant → `("prctl", "PR_SET_NAME")`.
pub(super) fn one_of_many(spec: &Spec) -> Option<(&'static str, String)> {
    let name = spec.call_name();
    if consts::syscall_number(name).is_some() {
        return None;
    }
    let (base, rest) = MANY.iter().find_map(|base| {
        let rest = name.strip_prefix(base)?.strip_prefix('_')?;
        Some((*base, rest))
    })?;
    let constant = spec.params.iter().take(2).find_map(only_constant);
    Some((base, constant.unwrap_or(rest).to_owned()))
}

/// The one constant that a parameter may be.
fn only_constant(p: &Param) -> Option<&str> {
    match p.limits.enum_values.as_slice() {
        [one] if is_identifier(&one.text) => Some(&one.text),
        _ => None,
    }
}

pub(super) fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The volume: 2 for system calls and ioctl commands, 3 for functions of a library, 5 for sysfs
/// attributes, 9 for functions of the kernel.
pub(crate) fn volume(spec: &Spec) -> &'static str {
    match spec.kind {
        SpecKind::Ioctl => "2",
        SpecKind::Sysfs => "5",
        SpecKind::Function => {
            let declared = spec.signature.as_ref().map(|s| s.syscall);
            let no_process = [Context::Softirq, Context::Hardirq, Context::Nmi]
                .iter()
                .any(|c| spec.contexts.has(c));
            let call = spec.name != spec.call_name()
                || consts::syscall_number(spec.call_name()).is_some()
                || one_of_many(spec).is_some();
            // The kernel marks pointers of programs; a library has no others.
            let unmarked = spec.params.iter().any(|p| {
                p.flags.has(&ParamFlag::User)
                    && !p.type_name.is_empty()
                    && !p.type_name.contains("__user")
            });
            if call || declared == Some(true) || (declared.is_none() && !no_process) {
                "2"
            } else if unmarked {
                "3"
            } else {
                "9"
            }
        }
    }
}

/// What a program writes.
pub(super) struct Prototype {
    /// Names of headers.
    pub(super) headers: Vec<&'static str>,
    /// The declaration.
    pub(super) line: String,
    /// There is no function of this name in the C library.
    pub(super) bare: bool,
}

/// The declaration of `spec` for programs; that of the kernel in volume 9.
pub(super) fn prototype(spec: &Spec) -> Prototype {
    let as_is = |headers| Prototype {
        headers,
        line: synopsis(spec),
        bare: false,
    };
    if volume(spec) != "2" {
        return as_is(Vec::new());
    }
    if let Some(ioctl) = &spec.ioctl {
        let command = [
            ioctl.command_name.as_str(),
            ioctl.command.as_ref().map_or("", |c| c.text.as_str()),
            spec.name.as_str(),
        ];
        let name = command.into_iter().find(|c| !c.is_empty()).unwrap_or("cmd");
        let argument = match spec.structs.first() {
            Some(s) if !s.name.is_empty() => format!("struct {} *arg", s.name),
            _ if spec.params.is_empty() => "void *arg".to_owned(),
            _ => "void *argp".to_owned(),
        };
        return Prototype {
            headers: vec!["sys/ioctl.h"],
            line: format!("int ioctl(int fd, {name}, {argument});"),
            bare: false,
        };
    }
    let many = one_of_many(spec);
    let name = many.as_ref().map_or(spec.call_name(), |(base, _)| base);
    let mut params: Vec<String> = spec
        .params
        .iter()
        .map(|p| match (&many, only_constant(p)) {
            (Some(_), Some(constant)) => constant.to_owned(),
            (Some(_), None) if only_zero(p) => "0L".to_owned(),
            _ => declared(p),
        })
        .collect();
    let result = result(spec);
    let header = DECLARED
        .iter()
        .find(|(_, names)| names.contains(&name))
        .map(|(header, _)| *header);
    if let Some(header) = header {
        if params.is_empty() {
            params.push("void".to_owned());
        }
        return Prototype {
            headers: vec![header],
            line: format!("{result} {name}({});", params.join(", ")),
            bare: false,
        };
    }
    params.insert(0, format!("SYS_{name}"));
    Prototype {
        headers: vec!["sys/syscall.h", "unistd.h"],
        line: format!("long syscall({});", params.join(", ")),
        bare: true,
    }
}

fn only_zero(p: &Param) -> bool {
    p.limits
        .range
        .as_ref()
        .is_some_and(|r| (r.min.number, r.max.number) == (Some(0), Some(0)))
}

/// What the function of the C library returns: `int`, or a size.
fn result(spec: &Spec) -> &str {
    let Some(returns) = &spec.returns else {
        return "int";
    };
    let most = returns.success_range.as_ref().and_then(|r| r.max.number);
    match returns.type_name.as_str() {
        "" | "int" | "long" if most.is_some_and(|m| m >= 0x7fff_f000) => "ssize_t",
        "" | "long" | "asmlinkage long" => "int",
        other => other,
    }
}

/// A parameter as programs know it: no `__user`, no kernel types.
fn declared(p: &Param) -> String {
    let name = p.name.as_str();
    // An address is a number to the kernel only.
    let address = p.type_name == "unsigned long"
        && (p.limits.kind == Some(ConstraintKind::PageAligned)
            || ["addr", "address", "start"].contains(&name));
    if address {
        return format!("void *{name}");
    }
    if p.kind == Some(TypeKind::Fd) {
        return format!("int {name}");
    }
    let spaced = p.type_name.replace('*', " * ");
    let words: Vec<&str> = spaced
        .split_whitespace()
        .filter(|w| *w != "__user")
        .map(|word| match word {
            "u8" | "__u8" => "uint8_t",
            "u16" | "__u16" => "uint16_t",
            "u32" | "__u32" => "uint32_t",
            "u64" | "__u64" => "uint64_t",
            "s8" | "__s8" => "int8_t",
            "s16" | "__s16" => "int16_t",
            "s32" | "__s32" => "int32_t",
            "s64" | "__s64" => "int64_t",
            "umode_t" => "mode_t",
            "loff_t" => "off_t",
            word => word,
        })
        .collect();
    let kind = if words.is_empty() {
        if p.kind == Some(TypeKind::UserPtr) {
            "void *".to_owned()
        } else {
            "long".to_owned()
        }
    } else {
        words.join(" ").replace("* *", "**")
    };
    if kind.ends_with('*') {
        format!("{kind}{name}")
    } else {
        format!("{kind} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Source;
    use crate::front::kdoc;

    fn of(text: &str) -> Spec {
        kdoc::parse(&Source::new("t", text)).specs.remove(0)
    }

    #[test]
    fn programs_see_no_kernel_types() {
        let spec = of(
            "/**\n * pwritev9 - Write\n * @fd: f\n * @vec: v\n * @pos: p\n * contexts: process\n */\n\
             SYSCALL_DEFINE3(pwritev9, unsigned long, fd, const struct iovec __user *, vec, loff_t, pos);\n",
        );
        let made = prototype(&spec);
        assert_eq!(
            made.line,
            "long syscall(SYS_pwritev9, unsigned long fd, const struct iovec *vec, off_t pos);"
        );
        assert!(made.bare);
        assert_eq!(volume(&spec), "2");
    }

    #[test]
    fn a_function_of_the_kernel_is_in_volume_9() {
        let spec =
            of("/**\n * kfoo - Do\n * @n: n\n * contexts: process\n */\nvoid *kfoo(size_t n);\n");
        assert_eq!(volume(&spec), "9");
    }
}
