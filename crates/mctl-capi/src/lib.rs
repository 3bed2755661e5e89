//! libmctl: the C ABI of mctl.
//!
//! Every exported function is a thin skin: it takes C's arguments without trusting a pointer, calls
//! the Rust library, and answers as a system call does: -1 and errno, which is left alone on
//! success. No panic gets out. `include/mctl.h` is made from these sources and the action table by
//! `cargo run -p mctl-capi --example gen_header`.

pub mod calls;
pub mod constants;
pub mod coverage;
mod detail;
pub mod group;
mod guard;
pub mod outcome;
pub mod saved;
mod user;
