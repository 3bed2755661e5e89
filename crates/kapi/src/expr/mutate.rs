//! Expressions that differ from another in one place: what a test of it must be able to tell.

use super::ast::{BinaryOp, Expr, UnaryOp};

/// How an expression is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Something happens when it is true, and only then.
    Exactly,
    /// It is always true. Mutants that only say less are left out: they are true as well.
    Always,
    /// The contrary of [`Use::Always`], inside a negation.
    Never,
}

impl Use {
    fn inverse(self) -> Self {
        match self {
            Self::Exactly => Self::Exactly,
            Self::Always => Self::Never,
            Self::Never => Self::Always,
        }
    }
}

/// Every expression that differs from `expr` in one operator, operand or truth value. They are
/// chosen so that each means something else wherever the original is used with care; `x <= 0` for
/// an unsigned `x` is the kind of sameness that is left out.
#[must_use]
pub fn mutants(expr: &Expr, used: Use) -> Vec<Expr> {
    let mut all = Vec::new();
    truth(expr, used, &mut |mutant| {
        if mutant != *expr && !all.contains(&mutant) {
            all.push(mutant);
        }
    });
    all
}

fn not(expr: &Expr) -> Expr {
    match expr {
        Expr::Unary(UnaryOp::Not, inner) => (**inner).clone(),
        other => Expr::Unary(UnaryOp::Not, Box::new(other.clone())),
    }
}

/// An expression where a truth value is wanted.
fn truth(expr: &Expr, used: Use, add: &mut dyn FnMut(Expr)) {
    // What is true more often says less of what is always true, and more of what never is.
    let (wider, narrower) = (used != Use::Always, used != Use::Never);
    match expr {
        Expr::Binary(op @ (BinaryOp::And | BinaryOp::Or | BinaryOp::Implies), left, right) => {
            let with = |op: BinaryOp, l: Expr, r: Expr| Expr::Binary(op, Box::new(l), Box::new(r));
            let (l, r) = ((**left).clone(), (**right).clone());
            match op {
                BinaryOp::And if wider => {
                    add(l.clone());
                    add(r.clone());
                    add(with(BinaryOp::Or, l, r));
                }
                BinaryOp::Or if narrower => {
                    add(l.clone());
                    add(r.clone());
                    add(with(BinaryOp::And, l, r));
                }
                BinaryOp::Implies if narrower => add(r),
                _ => {}
            }
            let premise = if *op == BinaryOp::Implies {
                used.inverse()
            } else {
                used
            };
            truth(left, premise, &mut |l| add(with(*op, l, (**right).clone())));
            truth(right, used, &mut |r| add(with(*op, (**left).clone(), r)));
        }
        Expr::Binary(op, left, right) if op.is_comparison() => {
            let with = |op: BinaryOp| Expr::Binary(op, left.clone(), right.clone());
            let (edge, contrary) = match op {
                BinaryOp::Eq => (None, BinaryOp::Ne),
                BinaryOp::Ne => (None, BinaryOp::Eq),
                BinaryOp::Lt => (Some(BinaryOp::Le).filter(|_| wider), BinaryOp::Ge),
                BinaryOp::Le => (Some(BinaryOp::Lt).filter(|_| narrower), BinaryOp::Gt),
                BinaryOp::Gt => (Some(BinaryOp::Ge).filter(|_| wider), BinaryOp::Le),
                _ => (Some(BinaryOp::Gt).filter(|_| narrower), BinaryOp::Lt),
            };
            edge.into_iter().chain([contrary]).map(with).for_each(add);
        }
        Expr::Unary(UnaryOp::Not, inner) => {
            add((**inner).clone());
            truth(inner, used.inverse(), &mut |i| {
                add(Expr::Unary(UnaryOp::Not, Box::new(i)));
            });
        }
        Expr::Establish(target, op, value) => establish(expr, target, *op, value, add),
        Expr::Binary(BinaryOp::BitAnd, left, right) => {
            add(not(expr));
            // A set without a member meets less, the complement of one more.
            let complement = matches!(**right, Expr::Unary(UnaryOp::BitNot, _));
            if if complement { wider } else { narrower } {
                bits(right, &mut |r| {
                    add(Expr::Binary(BinaryOp::BitAnd, left.clone(), Box::new(r)));
                });
            }
        }
        other => add(not(other)),
    }
}

/// One member less of a set of bits.
fn bits(expr: &Expr, add: &mut dyn FnMut(Expr)) {
    match expr {
        Expr::Binary(BinaryOp::BitOr, left, right) => {
            add((**left).clone());
            add((**right).clone());
            bits(left, &mut |l| {
                add(Expr::Binary(BinaryOp::BitOr, Box::new(l), right.clone()));
            });
            bits(right, &mut |r| {
                add(Expr::Binary(BinaryOp::BitOr, left.clone(), Box::new(r)));
            });
        }
        Expr::Unary(UnaryOp::BitNot, inner) => bits(inner, &mut |i| {
            add(Expr::Unary(UnaryOp::BitNot, Box::new(i)));
        }),
        _ => {}
    }
}

/// The other direction.
fn establish(
    expr: &Expr,
    target: &str,
    op: Option<BinaryOp>,
    value: &Expr,
    add: &mut dyn FnMut(Expr),
) {
    let with = |op, value: Expr| Expr::Establish(target.to_owned(), op, Box::new(value));
    let flipped = || match value {
        Expr::Unary(UnaryOp::BitNot, inner) => (**inner).clone(),
        other => Expr::Unary(UnaryOp::BitNot, Box::new(other.clone())),
    };
    match op {
        Some(BinaryOp::BitOr) => add(with(Some(BinaryOp::BitAnd), flipped())),
        Some(BinaryOp::BitAnd) => add(with(Some(BinaryOp::BitOr), flipped())),
        Some(BinaryOp::Add) => add(with(Some(BinaryOp::Sub), value.clone())),
        Some(BinaryOp::Sub) => add(with(Some(BinaryOp::Add), value.clone())),
        _ => add(not(expr)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::parse;

    fn of(text: &str, used: Use) -> Vec<String> {
        mutants(&parse(text).unwrap(), used)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn one_place_at_a_time() {
        assert_eq!(
            of(
                "flags & MCL_CURRENT => total_vm <= RLIMIT_MEMLOCK",
                Use::Exactly
            ),
            [
                "total_vm <= RLIMIT_MEMLOCK",
                "!(flags & MCL_CURRENT) => total_vm <= RLIMIT_MEMLOCK",
                "flags & MCL_CURRENT => total_vm < RLIMIT_MEMLOCK",
                "flags & MCL_CURRENT => total_vm > RLIMIT_MEMLOCK",
            ]
        );
        assert_eq!(
            of("MCL_FUTURE => mm->def_flags |= VM_LOCKED", Use::Always),
            [
                "mm->def_flags |= VM_LOCKED",
                "!MCL_FUTURE => mm->def_flags |= VM_LOCKED",
                "MCL_FUTURE => mm->def_flags &= ~VM_LOCKED",
            ]
        );
        assert!(of("flags & ~(A | B)", Use::Exactly).contains(&"flags & ~A".to_owned()));
        assert_eq!(of("!mapped(a, b)", Use::Exactly)[0], "mapped(a, b)");
    }

    #[test]
    fn what_only_says_less_is_no_mutant_of_what_is_always_true() {
        assert_eq!(
            of("a < 3 && b", Use::Always),
            ["a >= 3 && b", "a < 3 && !b"]
        );
        assert_eq!(
            of("a || b == 1", Use::Always),
            ["a", "b == 1", "a && b == 1", "!a || b == 1", "a || b != 1"]
        );
        // A premise is the other way round.
        assert!(of("a && b => c == 1", Use::Always).contains(&"a => c == 1".to_owned()));
        assert!(!of("a || b => c == 1", Use::Always).contains(&"a => c == 1".to_owned()));
    }

    #[test]
    fn every_one_reads_back() {
        for text in ["a == 0 || b < 3 && !(c & 1) => d > 4", "x += 3", "x &= ~Y"] {
            for mutant in of(text, Use::Exactly) {
                assert_eq!(parse(&mutant).unwrap().to_string(), mutant);
                assert_ne!(mutant, text);
            }
        }
    }
}
