//! The system's side of mctl. The only crate with `unsafe` code.

pub mod procfs;
