//! The expression language of constraints and conditions: C's operators on integers, `=>`
//! (implies, weaker than `||`), and `target |= value` for "the call establishes".
//!
//! `(flags & MCL_CURRENT) => total_vm <= RLIMIT_MEMLOCK || CAP_IPC_LOCK`
//!
//! An expression is parsed ([`parse`]), type-checked against the names of its specification
//! ([`check`]) and evaluated over what is known ([`eval`]); what is not known makes the answer
//! unknown, never false.

mod ast;
mod eval;
mod lex;
mod mutate;
mod parse;
mod types;

pub use ast::{BinaryOp, Expr, UnaryOp};
pub use eval::{Bindings, Outcome, eval};
pub use mutate::{Use, mutants};
pub use parse::{ExprError, parse};
pub use types::{Scope, Type, TypeIssue, check};
