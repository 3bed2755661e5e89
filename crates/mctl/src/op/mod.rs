//! What can be done to a process, an operation a module: what it needs to know, and what it decides from that.

pub mod advice;
pub mod budget;
pub mod lock;
pub(crate) mod outcome;
pub(crate) mod permission;
pub(crate) mod policy;
pub mod restore;
pub mod split;
