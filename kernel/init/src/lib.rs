//! What the host and its guest tell each other: the list of jobs one way, result lines the other.

#![forbid(unsafe_code)]

mod plan;
mod result;

pub use plan::{Job, Plan};
pub use result::{Line, Outcome, Totals, Verdict, parse};

/// The word on the kernel's command line that makes a machine one of our guests. Tests that act on
/// the whole machine ask for it.
pub const MARKER: &str = "mctl.guest=1";

/// The folder, inside the guest, that host and guest share for writing.
pub const SHARE: &str = "/run/mctl-guest";

/// The list of jobs, in the shared folder.
pub const PLAN_FILE: &str = "plan.json";

/// The folder, in the shared one, in which a guest makes a folder with a job's name when it begins it: of several
/// guests with the same list, one can. The host makes it anew for each run.
pub const TAKEN: &str = "taken";
