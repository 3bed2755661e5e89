//! What the names of an expression are, and whether they are used as such.

use super::ast::{BinaryOp, Expr, UnaryOp};
use crate::consts;

/// The type of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A number or a set of bits; where a truth value is wanted it means "not 0".
    Int,
    /// True or false.
    Bool,
    /// What the call establishes; neither true nor false before it.
    Effect,
}

/// What an expression may speak of.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The parameters of the call.
    pub params: Vec<String>,
    /// Other names that are known (state of the system).
    pub state: Vec<String>,
}

/// Words for the state of the calling process that every specification may use.
pub(crate) const STATE: &[&str] = &[
    "total_vm",
    "locked_vm",
    "page_size",
    "task_size",
    "thp_disabled",
    "memory_merge",
    "pending_signals",
    "ret",
    "errno",
    "vm_lck",
    "caller_uid",
    "target_uid",
    "self",
    "nr_threads",
];
/// Predicates that the verifier can decide or bring about: `(name, number of arguments)`.
pub(crate) const PREDICATES: &[(&str, usize)] = &[
    ("mapped", 2),
    ("unmapped", 2),
    ("aligned", 2),
    ("readable", 2),
    ("writable", 2),
    ("is_pidfd", 1),
    ("open_fd", 1),
    ("alive", 1),
    ("may_ptrace", 1),
    ("may_signal", 1),
    ("overflows", 2),
    ("sealed", 2),
    ("kernel_has", 1),
    ("pid_exists", 1),
    ("is_leader", 1),
    ("file_backed", 2),
    ("own", 1),
    ("BIT", 1),
    ("BIT_ULL", 1),
    ("GENMASK", 2),
    ("GENMASK_ULL", 2),
    ("sizeof", 1),
    ("leads_group", 1),
    ("rounded", 2),
    ("old", 1),
    ("fork", 1),
    ("exec", 1),
];

/// State at another time: before the call, in a forked child, after exec.
pub(crate) const MOMENTS: [&str; 3] = ["old", "fork", "exec"];

/// Something that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeIssue {
    /// A constant that no table has: `(name)`.
    UnknownConstant(String),
    /// A name that is neither parameter nor state.
    UnknownName(String),
    /// A predicate that is not known.
    UnknownFunction(String),
    /// A known predicate with the wrong number of arguments: `(name, given, wanted)`.
    Arguments(String, usize, usize),
    /// An operand of the wrong type, usually C's `a & b == c` trap.
    Operand(String),
}

impl std::fmt::Display for TypeIssue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownConstant(name) => write!(f, "unknown constant `{name}`"),
            Self::UnknownName(name) => write!(f, "`{name}` is neither a parameter nor known state"),
            Self::UnknownFunction(name) => write!(f, "unknown predicate `{name}()`"),
            Self::Arguments(name, given, wanted) => {
                write!(f, "`{name}()` takes {wanted} arguments, not {given}")
            }
            Self::Operand(text) => f.write_str(text),
        }
    }
}

/// The type of `expr`, and everything that does not fit.
#[must_use]
pub fn check(expr: &Expr, scope: &Scope) -> (Type, Vec<TypeIssue>) {
    let mut issues = Vec::new();
    let found = visit(expr, scope, &mut issues);
    (found, issues)
}

fn visit(expr: &Expr, scope: &Scope, issues: &mut Vec<TypeIssue>) -> Type {
    match expr {
        Expr::Number(_) => Type::Int,
        Expr::Name(name) => name_type(name, scope, issues),
        Expr::Unary(op, inner) => {
            let found = visit(inner, scope, issues);
            match op {
                UnaryOp::Not => Type::Bool,
                UnaryOp::Neg | UnaryOp::BitNot => number(found, inner, issues),
            }
        }
        Expr::Binary(op, left, right) => {
            let (l, r) = (visit(left, scope, issues), visit(right, scope, issues));
            match op {
                BinaryOp::Implies => {
                    truth(l, left, issues);
                    if r == Type::Effect {
                        Type::Effect
                    } else {
                        Type::Bool
                    }
                }
                BinaryOp::Or | BinaryOp::And => {
                    truth(l, left, issues);
                    truth(r, right, issues);
                    Type::Bool
                }
                _ => {
                    // Equality of two truth values is sound; anything else wants numbers.
                    if !(l == Type::Bool && r == Type::Bool && op.is_comparison()) {
                        number(l, left, issues);
                        number(r, right, issues);
                    }
                    if op.is_comparison() {
                        Type::Bool
                    } else {
                        Type::Int
                    }
                }
            }
        }
        Expr::Call(name, args) => {
            for arg in args {
                visit(arg, scope, issues);
            }
            if name == "one_of" {
                if args.len() < 2 {
                    issues.push(TypeIssue::Arguments(name.clone(), args.len(), 2));
                }
                return Type::Bool;
            }
            match PREDICATES.iter().find(|(known, _)| known == name) {
                None => issues.push(TypeIssue::UnknownFunction(name.clone())),
                Some((_, wanted)) if *wanted != args.len() => {
                    issues.push(TypeIssue::Arguments(name.clone(), args.len(), *wanted));
                }
                Some(_) => {}
            }
            if name.chars().any(|c| c.is_ascii_lowercase())
                && !["sizeof", "rounded"].contains(&name.as_str())
                && !MOMENTS.contains(&name.as_str())
            {
                Type::Bool
            } else {
                Type::Int
            }
        }
        Expr::Establish(_, _, value) => {
            // The target is state of the system by its position; only the value is checked.
            visit(value, scope, issues);
            Type::Effect
        }
    }
}

fn name_type(name: &str, scope: &Scope, issues: &mut Vec<TypeIssue>) -> Type {
    let root = name.split(['-', '.', '[']).next().unwrap_or(name);
    if scope.params.iter().any(|p| p == root)
        || scope.state.iter().any(|s| s == name)
        || name != root
    {
        return Type::Int;
    }
    if consts::lookup(name).is_some() {
        return if name.starts_with("CAP_") {
            Type::Bool
        } else {
            Type::Int
        };
    }
    if STATE.contains(&name) || name.starts_with("VM_") {
        return Type::Int;
    }
    issues.push(if consts::looks_constant(name) {
        TypeIssue::UnknownConstant(name.to_owned())
    } else {
        TypeIssue::UnknownName(name.to_owned())
    });
    Type::Int
}

fn number(found: Type, expr: &Expr, issues: &mut Vec<TypeIssue>) -> Type {
    match found {
        Type::Int => {}
        Type::Bool => issues.push(TypeIssue::Operand(format!(
            "`{expr}` is true or false where a number is wanted (in C, `&` and `|` bind weaker than `==` and `<`)"
        ))),
        Type::Effect => issues.push(TypeIssue::Operand(format!("`{expr}` is an effect where a number is wanted"))),
    }
    Type::Int
}

fn truth(found: Type, expr: &Expr, issues: &mut Vec<TypeIssue>) {
    if found == Type::Effect {
        issues.push(TypeIssue::Operand(format!(
            "`{expr}` is an effect where true or false is wanted"
        )));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::parse;

    fn issues(text: &str) -> (Type, Vec<TypeIssue>) {
        check(
            &parse(text).unwrap(),
            &Scope {
                params: vec!["flags".into()],
                state: vec![],
            },
        )
    }

    #[test]
    fn the_seeds_expressions_are_sound() {
        assert_eq!(
            issues("(flags & MCL_CURRENT) => total_vm <= RLIMIT_MEMLOCK || CAP_IPC_LOCK"),
            (Type::Bool, vec![])
        );
        assert_eq!(
            issues("MCL_FUTURE => mm->def_flags |= VM_LOCKED"),
            (Type::Effect, vec![])
        );
    }

    #[test]
    fn cs_precedence_trap_and_unknown_names_are_found() {
        assert!(matches!(
            issues("flags & MCL_CURRENT == 1").1.as_slice(),
            [TypeIssue::Operand(_)]
        ));
        assert_eq!(
            issues("flags & MCL_NEVER").1,
            [TypeIssue::UnknownConstant("MCL_NEVER".into())]
        );
        assert_eq!(
            issues("flagz == 0").1,
            [TypeIssue::UnknownName("flagz".into())]
        );
        assert_eq!(
            issues("mapped(flags)").1,
            [TypeIssue::Arguments("mapped".into(), 1, 2)]
        );
        assert_eq!(
            issues("frobnicated(flags)").1,
            [TypeIssue::UnknownFunction("frobnicated".into())]
        );
    }
}
