//! The system's side of mctl: raw calls, `/proc` parsers and the injector.
//!
//! This is the only crate of the project with `unsafe` code. Each block says why it is sound.
//! Nothing here decides what should be done: that is the library's business (crate `mctl`).

pub mod arch;
pub mod bounded;
pub mod huge_zero;
pub mod inject;
pub mod proc_view;
pub mod procfs;
pub mod program;
mod ptrace;
pub mod raw;
pub mod raw_syscall;
pub mod remembered;
pub mod syscall_watch;
pub mod text;
mod time;

pub use inject::read_small;
