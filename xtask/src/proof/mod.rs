//! Long runs, and what they prove: `cargo xtask nightly`, `evidence` and `steady`.

mod evidence;
mod nightly;
mod recipe;
mod scrub;
mod steady;

pub(crate) use evidence::Evidence;
pub(crate) use nightly::Nightly;
pub(crate) use steady::Steady;
