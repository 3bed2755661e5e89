//! Kernel API specifications: read, check, publish, and verify on the running kernel.
//!
//! A specification says of a system call what its parameters may be, how it succeeds and fails,
//! what it changes and who may make it. This crate reads specifications from wherever they are
//! kept, into one typed form whose values keep their symbols, and does with them what one would
//! otherwise do by hand.
//!
//! ```text
//!  C macros   kerneldoc   ELF (.kapi_specs, BTF)   debugfs   JSON
//!        \        |                |                /        /
//!         └──────────────►  ir::Spec  ◄──────────────────────┘
//!                              │
//!     emit (10 formats) ── lint ── diff ── verify (live) ── trace
//! ```
//!
//! - [`ir`]: the form itself. An unknown constant is never 0: the symbol stays. Every item knows
//!   where it was written.
//! - [`front`]: the readers. Errors name file, line and column and show the line; the rest of the
//!   input is still read. No input panics.
//! - [`expr`]: the language of rules, `(flags & MCL_CURRENT) => total_vm <= RLIMIT_MEMLOCK`.
//! - [`clause`]: single statements with stable identifiers and content hashes.
//! - [`emit`], [`lint`], [`diff`](mod@diff): publishing and checking.
//! - [`verify`](mod@verify): makes the calls in throw-away processes and compares.
//! - [`mutate`](mod@mutate): specifications that are wrong in one place, to try the verifier on.
//! - [`trace`]: watches a program and reports calls that a specification does not allow.
//! - [`specs`]: this project's own specifications.
//!
//! # Examples
//!
//! ```
//! use kapi::diag::Source;
//! use kapi::front::macros;
//!
//! let text = r#"
//! DEFINE_KERNEL_API_SPEC(sys_example)
//!     KAPI_ERROR(0, -EAGAIN, "EAGAIN", "Not now", "Try again.")
//! KAPI_END_SPEC;
//! "#;
//! let parsed = macros::parse(&Source::new("example.c", text));
//! let code = parsed.specs[0].errors[0].code.as_ref();
//! assert_eq!(code.and_then(|c| c.number), Some(-11));
//! assert_eq!(code.and_then(|c| c.on("alpha")), Some(-35));
//! ```
//!
//! What it does not do: it never changes a call or its error number, it does not run calls that
//! may harm others unless told to, and it does not say "confirmed" of what it could not see.
#![forbid(unsafe_code)]

pub mod clause;
pub mod consts;
pub mod diag;
pub mod diff;
pub mod emit;
pub mod expr;
pub mod front;
pub mod ir;
pub mod lint;
pub mod mutate;
pub mod specs;
pub mod trace;
pub mod verify;
