//! The tree of an expression.

use std::fmt;

/// An operator with one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    /// `-`
    Neg,
    /// `~`
    BitNot,
    /// `!`
    Not,
}

/// An operator with two operands, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are C's")]
pub enum BinaryOp {
    Implies,
    Or,
    And,
    BitOr,
    BitXor,
    BitAnd,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Shl,
    Shr,
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}

impl BinaryOp {
    /// How tightly it binds; more is tighter.
    #[must_use]
    pub fn strength(self) -> u8 {
        match self {
            Self::Implies => 1,
            Self::Or => 2,
            Self::And => 3,
            Self::BitOr => 4,
            Self::BitXor => 5,
            Self::BitAnd => 6,
            Self::Eq | Self::Ne => 7,
            Self::Lt | Self::Le | Self::Gt | Self::Ge => 8,
            Self::Shl | Self::Shr => 9,
            Self::Add | Self::Sub => 10,
            Self::Mul | Self::Div | Self::Rem => 11,
        }
    }

    /// As written in C.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Implies => "=>",
            Self::Or => "||",
            Self::And => "&&",
            Self::BitOr => "|",
            Self::BitXor => "^",
            Self::BitAnd => "&",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Shl => "<<",
            Self::Shr => ">>",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Rem => "%",
        }
    }

    /// Whether the result is a truth value.
    #[must_use]
    pub fn is_truth(self) -> bool {
        matches!(self, Self::Implies | Self::Or | Self::And) || self.is_comparison()
    }

    /// Whether it compares numbers.
    #[must_use]
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge
        )
    }
}

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// A number.
    Number(i128),
    /// A name or a path: `flags`, `MCL_CURRENT`, `mm->def_flags`.
    Name(String),
    /// One operand.
    Unary(UnaryOp, Box<Expr>),
    /// Two operands.
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `BIT(3)`, `mapped(addr, len)`.
    Call(String, Vec<Expr>),
    /// `target = value`, `target |= value`, `target &= value`: what holds after the call. The
    /// operator is the part before `=`.
    Establish(String, Option<BinaryOp>, Box<Expr>),
}

impl Expr {
    /// Every name in it, in order of appearance, each once.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.walk(&mut |expr| {
            let name = match expr {
                Self::Name(name) | Self::Establish(name, ..) => name.as_str(),
                _ => return,
            };
            if !names.contains(&name) {
                names.push(name);
            }
        });
        names
    }

    /// Calls `visit` on this expression and everything in it.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        visit(self);
        match self {
            Self::Number(_) | Self::Name(_) => {}
            Self::Unary(_, inner) | Self::Establish(_, _, inner) => inner.walk(visit),
            Self::Binary(_, left, right) => {
                left.walk(visit);
                right.walk(visit);
            }
            Self::Call(_, args) => args.iter().for_each(|arg| arg.walk(visit)),
        }
    }

    /// The same with every name that has a number replaced by it.
    #[must_use]
    pub fn with_numbers(&self, number: &dyn Fn(&str) -> Option<i128>) -> Self {
        let inside = |expr: &Self| Box::new(expr.with_numbers(number));
        match self {
            Self::Number(n) => Self::Number(*n),
            Self::Name(name) => number(name).map_or_else(|| self.clone(), Self::Number),
            Self::Unary(op, inner) => Self::Unary(*op, inside(inner)),
            Self::Binary(op, left, right) => Self::Binary(*op, inside(left), inside(right)),
            Self::Call(name, args) => {
                let args = args.iter().map(|arg| arg.with_numbers(number)).collect();
                Self::Call(name.clone(), args)
            }
            Self::Establish(target, op, value) => {
                Self::Establish(target.clone(), *op, inside(value))
            }
        }
    }

    fn strength(&self) -> u8 {
        match self {
            Self::Establish(..) => 1,
            Self::Binary(op, ..) => op.strength(),
            Self::Number(n) if *n < 0 => 12,
            Self::Unary(..) => 12,
            _ => 13,
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, at_least: u8) -> fmt::Result {
        let paren = self.strength() < at_least;
        if paren {
            f.write_str("(")?;
        }
        match self {
            Self::Number(n) => write!(f, "{n}")?,
            Self::Name(name) => f.write_str(name)?,
            Self::Unary(op, inner) => {
                f.write_str(match op {
                    UnaryOp::Neg => "-",
                    UnaryOp::BitNot => "~",
                    UnaryOp::Not => "!",
                })?;
                inner.write(f, 13)?;
            }
            Self::Binary(op, left, right) => {
                let own = op.strength();
                // `=>` groups to the right, the others to the left.
                let (l, r) = if *op == BinaryOp::Implies {
                    (own + 1, own)
                } else {
                    (own, own + 1)
                };
                left.write(f, l)?;
                write!(f, " {} ", op.symbol())?;
                right.write(f, r)?;
            }
            Self::Call(name, args) => {
                write!(f, "{name}(")?;
                for (i, arg) in args.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    arg.write(f, 0)?;
                }
                f.write_str(")")?;
            }
            Self::Establish(target, op, value) => {
                write!(f, "{target} {}= ", op.map_or("", BinaryOp::symbol))?;
                value.write(f, 0)?;
            }
        }
        if paren {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}
