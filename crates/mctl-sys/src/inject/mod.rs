//! The injector: runs system calls inside another process, which cannot tell.
//!
//! One thread of the target is stopped for some microseconds; the `syscall` instruction of its
//! vDSO is borrowed, so that nothing is written into the target; registers, signal mask and the
//! interrupted call are put back. The other threads run on.
//!
//! [`Prepared::look`] does what can be done before the stop: it refuses targets that must not be
//! touched and picks the threads that a stop disturbs least. [`run`] then does the rest in a
//! shield task for any number of targets.

pub mod blocked;
mod error;
mod frozen;
mod idle;
mod job;
mod pick;
pub(crate) mod runnable;
mod runs;
mod script;
mod shield;
mod vdso;

pub use error::{InjectError, Refusal};
pub use job::{Job, Limits, Report, run};
pub use pick::{Prepared, may_attach, read_small};
pub(crate) use pick::{call_of, may_stop};
pub use runs::{Bounds, RunResult, Runs};
pub use script::{ScriptCall, When};
