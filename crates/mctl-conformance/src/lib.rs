//! One suite that holds the model, the stock-kernel engine and the native kernel to the same
//! contract.
//!
//! - [`lang`]: scenarios, in a small text language.
//! - [`backend`]: who can run them: the executable model, and this kernel by real processes.
//! - [`contract`]: the sentences, and which cases show them.
//! - [`run`](mod@run): running one and holding it to what it must come to.
//! - [`machine`]: the policy machine, written out whole.
//! - [`matrix`]: the page of all kernels, row by row.
//! - [`report`]: what came of every sentence; [`draw`]: traces; [`repl`](mod@repl): by hand;
//!   [`explain`](mod@explain): why memory may become huge.
//! - [`control`]: faults on purpose, which the suite has to notice.
//! - [`fuzz`](mod@fuzz): random histories on two backends side by side; [`side`]: one scenario so.

#![forbid(unsafe_code)]

pub mod backend;
pub mod call;
pub mod contract;
pub mod control;
pub mod draw;
pub mod explain;
pub mod fuzz;
pub mod lang;
pub mod machine;
pub mod matrix;
pub mod repl;
pub mod report;
pub mod run;
pub mod side;
pub mod view;
