//! The value of an expression, as far as it is known.

use std::collections::BTreeSet;

use super::ast::{BinaryOp, Expr, UnaryOp};
use super::types::MOMENTS;
use crate::consts;

/// What an expression came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A number.
    Int(i128),
    /// True or false.
    Bool(bool),
    /// Not decidable: these names (or reasons) are missing.
    Unknown(BTreeSet<String>),
}

impl Outcome {
    fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown(BTreeSet::from([why.into()]))
    }

    /// As a truth value: a number is true when it is not 0.
    #[must_use]
    pub fn truth(&self) -> Option<bool> {
        match self {
            Self::Int(n) => Some(*n != 0),
            Self::Bool(b) => Some(*b),
            Self::Unknown(_) => None,
        }
    }

    /// As a number; a truth value is 0 or 1.
    #[must_use]
    pub fn int(&self) -> Option<i128> {
        match self {
            Self::Int(n) => Some(*n),
            Self::Bool(b) => Some(i128::from(*b)),
            Self::Unknown(_) => None,
        }
    }
}

/// Where names get their values.
pub trait Bindings {
    /// The value of a parameter or of state.
    fn name(&self, name: &str) -> Option<i128>;
    /// The value of a predicate.
    fn call(&self, _name: &str, _args: &[i128]) -> Option<i128> {
        None
    }
    /// The value of state at another moment: `old`, `fork`, `exec`.
    fn at(&self, _moment: &str, _name: &str) -> Option<i128> {
        None
    }
    /// Whether `target = value`, `target |= value`, … was established by the call.
    fn established(&self, _target: &str, _op: Option<BinaryOp>, _value: i128) -> Option<bool> {
        None
    }
    /// The architecture whose numbers count.
    fn arch(&self) -> &str {
        "x86"
    }
}

/// Evaluates `expr`. Constants come from the tables, everything else from `bindings`, which also
/// wins over the tables; `CAP_*` and `RLIMIT_*` come from `bindings` only.
#[must_use]
pub fn eval(expr: &Expr, bindings: &dyn Bindings) -> Outcome {
    match expr {
        Expr::Number(n) => Outcome::Int(*n),
        Expr::Name(name) => bindings
            .name(name)
            .or_else(|| constant(name, bindings.arch()))
            .map_or_else(|| Outcome::unknown(name), Outcome::Int),
        Expr::Unary(op, inner) => unary(*op, eval(inner, bindings)),
        Expr::Binary(op, left, right) => binary(*op, left, right, bindings),
        Expr::Call(name, args) => call(name, args, bindings),
        Expr::Establish(target, op, value) => {
            let unknown = || Outcome::unknown(format!("{target} after the call"));
            match eval(value, bindings).int() {
                Some(value) => bindings
                    .established(target, *op, value)
                    .map_or_else(unknown, Outcome::Bool),
                None => unknown(),
            }
        }
    }
}

/// `CAP_*` and `RLIMIT_*` in a rule mean what the caller has, not the number of the name.
fn constant(name: &str, arch: &str) -> Option<i128> {
    if name.starts_with("CAP_") || name.starts_with("RLIMIT_") {
        return None;
    }
    consts::lookup_on(name, arch)
}

fn unary(op: UnaryOp, value: Outcome) -> Outcome {
    match (op, &value) {
        (_, Outcome::Unknown(_)) => value,
        (UnaryOp::Not, _) => value.truth().map_or(value, |b| Outcome::Bool(!b)),
        (UnaryOp::Neg, _) => value
            .int()
            .and_then(i128::checked_neg)
            .map_or_else(|| Outcome::unknown("overflow"), Outcome::Int),
        (UnaryOp::BitNot, _) => value.int().map_or(value, |n| Outcome::Int(!n)),
    }
}

fn binary(op: BinaryOp, left: &Expr, right: &Expr, bindings: &dyn Bindings) -> Outcome {
    let l = eval(left, bindings);
    // One side can decide alone, whatever the other is.
    let decided = match (op, l.truth()) {
        (BinaryOp::And, Some(false)) => Some(false),
        (BinaryOp::Or, Some(true)) | (BinaryOp::Implies, Some(false)) => Some(true),
        _ => None,
    };
    if let Some(truth) = decided {
        return Outcome::Bool(truth);
    }
    let r = eval(right, bindings);
    match (op, r.truth()) {
        (BinaryOp::And, Some(false)) => return Outcome::Bool(false),
        (BinaryOp::Or | BinaryOp::Implies, Some(true)) => return Outcome::Bool(true),
        _ => {}
    }
    match (&l, &r) {
        (Outcome::Unknown(a), Outcome::Unknown(b)) => {
            return Outcome::Unknown(a.union(b).cloned().collect());
        }
        (Outcome::Unknown(_), _) => return l,
        (_, Outcome::Unknown(_)) => return r,
        _ => {}
    }
    let (Some(a), Some(b)) = (l.int(), r.int()) else {
        return Outcome::unknown("no number");
    };
    if op.is_comparison() {
        return Outcome::Bool(match op {
            BinaryOp::Eq => a == b,
            BinaryOp::Ne => a != b,
            BinaryOp::Lt => a < b,
            BinaryOp::Le => a <= b,
            BinaryOp::Gt => a > b,
            _ => a >= b,
        });
    }
    let shift = || u32::try_from(b).ok().filter(|n| *n < 100);
    let number = match op {
        BinaryOp::And => return Outcome::Bool(a != 0 && b != 0),
        BinaryOp::Or => return Outcome::Bool(a != 0 || b != 0),
        BinaryOp::Implies => return Outcome::Bool(a == 0 || b != 0),
        BinaryOp::BitOr => Some(a | b),
        BinaryOp::BitXor => Some(a ^ b),
        BinaryOp::BitAnd => Some(a & b),
        BinaryOp::Shl => shift().and_then(|n| a.checked_mul(1i128.checked_shl(n)?)),
        BinaryOp::Shr => shift().map(|n| a >> n),
        BinaryOp::Add => a.checked_add(b),
        BinaryOp::Sub => a.checked_sub(b),
        BinaryOp::Mul => a.checked_mul(b),
        BinaryOp::Div => a.checked_div(b),
        _ => a.checked_rem(b),
    };
    number.map_or_else(
        || Outcome::unknown("overflow or division by 0"),
        Outcome::Int,
    )
}

fn call(name: &str, args: &[Expr], bindings: &dyn Bindings) -> Outcome {
    if MOMENTS.contains(&name) {
        let [Expr::Name(path)] = args else {
            return Outcome::unknown(format!("{name}() of something that is not state"));
        };
        return bindings
            .at(name, path)
            .map_or_else(|| Outcome::unknown(format!("{name}({path})")), Outcome::Int);
    }
    let mut values = Vec::with_capacity(args.len());
    for arg in args {
        match eval(arg, bindings) {
            Outcome::Unknown(why) => return Outcome::Unknown(why),
            known => values.push(known.int().unwrap_or_default()),
        }
    }
    let bit = |n: i128| {
        u32::try_from(n)
            .ok()
            .filter(|n| *n < 64)
            .map(|n| 1i128 << n)
    };
    let builtin = match (name, values.as_slice()) {
        ("BIT" | "BIT_ULL", [n]) => bit(*n),
        ("one_of", [value, rest @ ..]) => Some(i128::from(rest.contains(value))),
        ("GENMASK" | "GENMASK_ULL", [high, low]) if high >= low => {
            bit(*high).zip(bit(*low)).map(|(high, low)| high * 2 - low)
        }
        ("aligned", [value, to]) if *to > 0 => Some(i128::from(value % to == 0)),
        ("overflows", [start, length]) => Some(i128::from(start + length > i128::from(u64::MAX))),
        _ => bindings.call(name, &values),
    };
    match builtin {
        Some(n) if name.starts_with(|c: char| c.is_ascii_lowercase()) && name != "rounded" => {
            Outcome::Bool(n != 0)
        }
        Some(n) => Outcome::Int(n),
        None => Outcome::unknown(format!("{name}()")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::parse;

    struct Map(&'static [(&'static str, i128)]);
    impl Bindings for Map {
        fn name(&self, name: &str) -> Option<i128> {
            self.0
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| *value)
        }
    }

    fn value(text: &str, map: &'static [(&'static str, i128)]) -> Outcome {
        eval(&parse(text).unwrap(), &Map(map))
    }

    #[test]
    fn the_limit_rule_of_the_seed() {
        let rule = "(flags & MCL_CURRENT) => total_vm <= RLIMIT_MEMLOCK || CAP_IPC_LOCK";
        let base: &[(&str, i128)] = &[
            ("flags", 1),
            ("total_vm", 100),
            ("RLIMIT_MEMLOCK", 10),
            ("CAP_IPC_LOCK", 0),
        ];
        assert_eq!(value(rule, base), Outcome::Bool(false));
        assert_eq!(value(rule, &[("flags", 2)]), Outcome::Bool(true));
        assert_eq!(
            value(rule, &[("flags", 1), ("CAP_IPC_LOCK", 1)]),
            Outcome::Bool(true)
        );
        let Outcome::Unknown(missing) = value(rule, &[("flags", 1), ("CAP_IPC_LOCK", 0)]) else {
            panic!("must not be decided");
        };
        assert_eq!(
            missing,
            BTreeSet::from(["total_vm".to_owned(), "RLIMIT_MEMLOCK".to_owned()])
        );
    }

    #[test]
    fn numbers() {
        assert_eq!(
            value("MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT", &[]),
            Outcome::Int(7)
        );
        assert_eq!(value("-EINTR", &[]), Outcome::Int(-4));
        assert_eq!(value("GENMASK(3, 1) + BIT(4)", &[]), Outcome::Int(30));
        assert_eq!(value("1 << 63", &[]), Outcome::Int(1 << 63));
        assert!(matches!(value("1 / 0", &[]), Outcome::Unknown(_)));
        assert!(matches!(value("1 << 5000", &[]), Outcome::Unknown(_)));
        assert_eq!(value("aligned(4097, 4096)", &[]), Outcome::Bool(false));
    }
}
