//! Real processes for tests: small C programs that notice when they are disturbed, and the harness
//! that starts them, waits until they are blocked, ends them and collects their verdict.
//!
//! ```no_run
//! use std::time::Duration;
//! use mctl_testkit::Fixture;
//!
//! # fn main() -> Result<(), mctl_testkit::KitError> {
//! let fixture = Fixture::start("epoll_wait", &["every=20"])?;
//! fixture.wait_blocked(Duration::from_secs(2))?;
//! // … do something to fixture.pid() that it must not notice …
//! let verdict = fixture.finish()?;
//! verdict.assert_clean(1);
//! # Ok(())
//! # }
//! ```
//!
//! The programs are in `programs/`; `programs/fixture.h` states the protocol. They are compiled at
//! first use with `$CC` (or `cc`). The harness signals only processes that it started itself.

mod cgroup;
mod compile;
mod ends;
mod error;
mod fixture;
mod proc;
mod skip;
mod verdict;

pub use cgroup::{CpuCgroup, MemoryCgroup};
pub use compile::{compile, heeding_signals, program_names, run_tool, slower};
pub use ends::SetOnDrop;
pub use error::KitError;
pub use fixture::{Builder, Fixture, Progress, spawn_tree};
pub use proc::{Task, has_native_call, is_never, tasks};
pub use skip::{is_root, may_skip, note_skip};
pub use verdict::{Verdict, Violation};
