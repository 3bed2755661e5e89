//! From tokens to a tree.

use super::ast::{BinaryOp, Expr, UnaryOp};
use super::lex::{Tok, lex};

/// Nesting beyond this is refused, so that no input can exhaust the stack.
const MAX_DEPTH: usize = 64;
/// Text longer than this is refused.
const MAX_LENGTH: usize = 16 * 1024;

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}; expected {expected}")]
pub struct ExprError {
    /// Byte offset in the expression.
    pub offset: usize,
    /// Length in bytes of what is wrong.
    pub length: usize,
    /// What is wrong.
    pub message: String,
    /// What was expected there.
    pub expected: String,
}

impl ExprError {
    pub(super) fn new(
        offset: usize,
        length: usize,
        message: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            offset,
            length,
            message: message.into(),
            expected: expected.into(),
        }
    }
}

/// Parses one expression.
///
/// # Errors
///
/// [`ExprError`] with the place and what was expected there.
pub fn parse(text: &str) -> Result<Expr, ExprError> {
    if text.len() > MAX_LENGTH {
        return Err(ExprError::new(
            0,
            text.len(),
            "the expression is too long",
            format!("at most {MAX_LENGTH} bytes"),
        ));
    }
    let mut parser = Parser {
        tokens: lex(text)?,
        at: 0,
        depth: 0,
    };
    let expr = parser.statement()?;
    match parser.peek() {
        Tok::End => Ok(expr),
        _ => Err(parser.unexpected("an operator or the end")),
    }
}

struct Parser<'a> {
    tokens: Vec<(usize, Tok<'a>)>,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> &Tok<'a> {
        self.tokens
            .get(self.at)
            .map_or(&Tok::End, |(_, token)| token)
    }

    fn next(&mut self) -> Tok<'a> {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn take(&mut self, op: &str) -> bool {
        let found = matches!(self.peek(), Tok::Op(have) if *have == op);
        if found {
            self.at += 1;
        }
        found
    }

    fn unexpected(&self, expected: &str) -> ExprError {
        let offset = self
            .tokens
            .get(self.at)
            .or(self.tokens.last())
            .map_or(0, |(offset, _)| *offset);
        let (what, length) = match self.peek() {
            Tok::Number(n) => (format!("`{n}`"), 1),
            Tok::Name(name) => (format!("`{name}`"), name.len()),
            Tok::Op(op) => (format!("`{op}`"), op.len()),
            Tok::End => ("the end".to_owned(), 0),
        };
        ExprError::new(offset, length, format!("unexpected {what}"), expected)
    }

    fn deeper(&mut self) -> Result<(), ExprError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            Err(self.unexpected("fewer than 64 nested levels"))
        } else {
            Ok(())
        }
    }

    fn statement(&mut self) -> Result<Expr, ExprError> {
        self.binary(1)
    }

    fn binary(&mut self, at_least: u8) -> Result<Expr, ExprError> {
        self.deeper()?;
        let mut left = self.unary()?;
        loop {
            if let Some(op) = self.establishing().filter(|_| at_least <= 1) {
                let Expr::Name(target) = left else {
                    return Err(self.unexpected("a name or path before an assignment"));
                };
                self.at += 1;
                left = Expr::Establish(target, op, Box::new(self.binary(2)?));
                continue;
            }
            let Some(op) = self.operator() else { break };
            let strength = op.strength();
            if strength < at_least {
                break;
            }
            self.at += 1;
            let right = self.binary(if op == BinaryOp::Implies {
                strength
            } else {
                strength + 1
            })?;
            left = Expr::Binary(op, Box::new(left), Box::new(right));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn establishing(&self) -> Option<Option<BinaryOp>> {
        let Tok::Op(op) = self.peek() else {
            return None;
        };
        Some(match *op {
            "=" => None,
            "|=" => Some(BinaryOp::BitOr),
            "&=" => Some(BinaryOp::BitAnd),
            "^=" => Some(BinaryOp::BitXor),
            "+=" => Some(BinaryOp::Add),
            "-=" => Some(BinaryOp::Sub),
            _ => return None,
        })
    }

    fn operator(&self) -> Option<BinaryOp> {
        let Tok::Op(op) = self.peek() else {
            return None;
        };
        Some(match *op {
            "=>" | "->" => BinaryOp::Implies,
            "||" => BinaryOp::Or,
            "&&" => BinaryOp::And,
            "|" => BinaryOp::BitOr,
            "^" => BinaryOp::BitXor,
            "&" => BinaryOp::BitAnd,
            "==" => BinaryOp::Eq,
            "!=" => BinaryOp::Ne,
            "<" => BinaryOp::Lt,
            "<=" => BinaryOp::Le,
            ">" => BinaryOp::Gt,
            ">=" => BinaryOp::Ge,
            "<<" => BinaryOp::Shl,
            ">>" => BinaryOp::Shr,
            "+" => BinaryOp::Add,
            "-" => BinaryOp::Sub,
            "*" => BinaryOp::Mul,
            "/" => BinaryOp::Div,
            "%" => BinaryOp::Rem,
            _ => return None,
        })
    }

    fn unary(&mut self) -> Result<Expr, ExprError> {
        self.deeper()?;
        let expr = match self.peek().clone() {
            Tok::Op(op @ ("-" | "~" | "!" | "+")) => {
                self.at += 1;
                let inner = self.unary()?;
                match op {
                    "-" => Expr::Unary(UnaryOp::Neg, Box::new(inner)),
                    "~" => Expr::Unary(UnaryOp::BitNot, Box::new(inner)),
                    "!" => Expr::Unary(UnaryOp::Not, Box::new(inner)),
                    _ => inner,
                }
            }
            Tok::Op("(") => {
                self.at += 1;
                let inner = self.statement()?;
                if !self.take(")") {
                    return Err(self.unexpected("`)`"));
                }
                inner
            }
            Tok::Number(n) => {
                self.at += 1;
                Expr::Number(n)
            }
            Tok::Name(name) => {
                self.at += 1;
                if self.take("(") {
                    Expr::Call(name.to_owned(), self.arguments()?)
                } else {
                    Expr::Name(name.to_owned())
                }
            }
            _ => return Err(self.unexpected("a name, a number or `(`")),
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, ExprError> {
        let mut args = Vec::new();
        if self.take(")") {
            return Ok(args);
        }
        loop {
            args.push(self.statement()?);
            match self.next() {
                Tok::Op(",") => {}
                Tok::Op(")") => return Ok(args),
                _ => {
                    self.at -= 1;
                    return Err(self.unexpected("`,` or `)`"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_is_cs_and_implication_is_weakest() {
        let cases = [
            (
                "(flags & MCL_CURRENT) => total_vm <= RLIMIT_MEMLOCK || CAP_IPC_LOCK",
                "flags & MCL_CURRENT => total_vm <= RLIMIT_MEMLOCK || CAP_IPC_LOCK",
            ),
            (
                "MCL_FUTURE => mm->def_flags |= VM_LOCKED",
                "MCL_FUTURE => mm->def_flags |= VM_LOCKED",
            ),
            ("a => b => c", "a => b => c"),
            ("(a => b) => c", "(a => b) => c"),
            ("a - (b - c)", "a - (b - c)"),
            ("a & (b == c)", "a & b == c"),
            ("(a & b) == c", "(a & b) == c"),
            ("~(A|B)", "~(A | B)"),
            ("- 1", "-1"),
            ("x[3].y->z + f(1, 0x10)", "x[3].y->z + f(1, 16)"),
        ];
        for (text, wanted) in cases {
            let expr = parse(text).unwrap();
            assert_eq!(expr.to_string(), wanted);
            assert_eq!(parse(&expr.to_string()).unwrap(), expr, "{text}");
        }
    }

    #[test]
    fn errors_say_where_and_what_was_expected() {
        let error = parse("flags & => 3").unwrap_err();
        assert_eq!((error.offset, error.length), (8, 2));
        assert_eq!(error.expected, "a name, a number or `(`");
        assert_eq!(parse("(a").unwrap_err().expected, "`)`");
        assert_eq!(parse("a b").unwrap_err().offset, 2);
        assert_eq!(parse("9z").unwrap_err().offset, 0);
        assert!(parse("").is_err());
    }

    #[test]
    fn deep_nesting_is_refused_not_fatal() {
        assert!(parse(&"(".repeat(100_000)).is_err());
        assert!(parse(&"!".repeat(10_000)).is_err());
        assert!(parse(&format!("{}1", "1 => ".repeat(3_000))).is_err());
    }
}
