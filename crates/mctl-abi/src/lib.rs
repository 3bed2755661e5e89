//! The `mctl()` contract as pure code.
//!
//! Everything that the executable model, the stock-kernel engine and the native system call must
//! agree on lives here once: the [action table](mod@action), the [flags](Flags), the
//! [order of checks](mod@check), the [policy state machine](Policy), the
//! [permission rules](permission) and the [table of which memory may become huge](thp).
//!
//! The crate is compiled into the Linux kernel as it is. That is why it has no dependency, no
//! `alloc`, no `unsafe`, no arithmetic or indexing that can panic, and compiles as edition 2021.
//!
//! ```
//! use mctl_abi::{Action, Flags, Policy, Request};
//!
//! let request = Request::decode(3, 1)?; // MCTL_SET_NOHUGEPAGE, MCTL_SET_DEFAULT_EXEC
//! assert_eq!(request.action(), Action::SetNohugepage);
//! let policy = Policy::INHERIT.apply(request);
//! assert_eq!(policy.mask(), 1 << 1 | 1 << 9);
//! assert_eq!(policy.on_exec(), policy); // the exec bit carries it
//! # Ok::<(), mctl_abi::Errno>(())
//! ```

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod action;
pub mod check;
mod errno;
pub mod permission;
mod policy;
pub mod thp;

pub use action::{ACTIONS, Action, ActionInfo, Flags, PolicyKind, Verb};
pub use check::{Checks, Request, check};
pub use errno::Errno;
pub use policy::{Policy, Thp};

/// `PIDFD_SELF_THREAD`: the calling thread, without opening a descriptor
/// (include/uapi/linux/pidfd.h, Linux 6.14).
pub const PIDFD_SELF_THREAD: i32 = -10_000;
/// `PIDFD_SELF_THREAD_GROUP`: the calling process (Linux 6.14).
pub const PIDFD_SELF_THREAD_GROUP: i32 = -10_001;
/// `PIDFD_SELF`: an alias of [`PIDFD_SELF_THREAD`].
pub const PIDFD_SELF: i32 = PIDFD_SELF_THREAD;
/// `PIDFD_SELF_PROCESS`: an alias of [`PIDFD_SELF_THREAD_GROUP`].
pub const PIDFD_SELF_PROCESS: i32 = PIDFD_SELF_THREAD_GROUP;
