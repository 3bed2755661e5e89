//! ptrace(2) so that it cannot be misused: a tracee is a value that is consumed by each step, and
//! whose `Drop` restores and detaches.

mod borrowed;
pub(crate) mod carried;
pub(crate) mod entry;
mod filter;
mod past_filter;
pub(crate) mod raw;
mod rest;
pub(crate) mod tracee;
pub(crate) mod wait;
