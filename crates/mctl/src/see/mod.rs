//! What can be seen of a process: read from `/proc`, and nothing touched.

pub mod address_space;
pub mod coverage;
pub(crate) mod huge_zero;
pub(crate) mod mappings;
pub mod pages;
pub(crate) mod policy;
pub mod process;
pub mod reclaim;
pub mod why;
