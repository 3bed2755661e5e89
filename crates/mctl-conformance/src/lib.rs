//! One suite that holds the model, the stock-kernel engine and the native kernel to the same
//! contract.
//!
//! - [`lang`]: scenarios, in a small text language.
//! - [`backend`]: who can run them: the executable model, and this kernel by real processes.
//! - [`run`](mod@run): running one and holding it to what it must come to.
//! - [`fuzz`](mod@fuzz): random histories on two backends side by side.

#![forbid(unsafe_code)]

pub mod backend;
pub mod call;
pub mod fuzz;
pub mod lang;
pub mod run;
pub mod view;
