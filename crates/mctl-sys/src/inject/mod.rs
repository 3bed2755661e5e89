//! The injector: runs system calls inside another process, which cannot tell.
//!
//! One thread of the target is stopped for some microseconds; the `syscall` instruction of its
//! vDSO is borrowed, so that nothing is written into the target; registers, signal mask and the
//! interrupted call are put back. The other threads run on.
//!
//! [`Prepared::look`] does what can be done before the stop: it refuses targets that must not be
//! touched and picks the threads that a stop disturbs least. [`run`] then does the rest in a
//! shield task for any number of targets.

mod allowed;
pub mod blocked;
mod carrier;
mod error;
mod files;
pub(crate) mod filtered;
mod frozen;
mod idle;
mod job;
mod let_go;
mod look;
mod memory;
pub mod moment;
mod pick;
mod remaining;
mod rights;
pub(crate) mod runnable;
mod runs;
mod script;
mod shield;
mod user_mode;
mod vdso;
mod waits_on;
mod witness;

pub use carrier::{CARRIER_NAME, CarriedCall, Carrier, CarrierReport, Undone, is_carrier};
pub use error::{InjectError, NO_CHILD, NO_TASK, NO_THREAD, Refusal};
pub(crate) use files::read_status;
pub(crate) use files::{call_of, path_of};
pub use files::{is_ending, read_small};
pub use job::{Disturbed, Job, Limits, Report, for_now, run};
pub use look::Prepared;
pub(crate) use look::may_stop;
pub use memory::Memory;
pub use rights::may_attach;
pub use runs::{Bounds, RunResult, Runs};
pub use script::{ScriptCall, When};
pub(crate) use shield::{NameLent as ShieldName, begin as shield_begins};
