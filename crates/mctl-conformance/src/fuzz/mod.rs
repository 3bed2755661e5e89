//! Differential fuzzing: random histories run on two backends side by side, and everything that
//! can be seen is compared after every step.

mod generate;
mod run;
mod shrink;

pub use generate::{History, Menu};
pub(crate) use run::compare_task;
pub use run::{Disagreement, FuzzOptions, FuzzReport, compare_history, fuzz};
pub use shrink::shrink;
