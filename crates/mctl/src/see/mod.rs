//! What can be seen of a process: read from `/proc`, and nothing touched.

pub mod address_space;
pub mod coverage;
pub(crate) mod huge_zero;
pub mod pages;
pub(crate) mod policy;
pub mod reclaim;
pub mod why;
