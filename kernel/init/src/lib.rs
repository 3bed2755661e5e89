//! What the host and its guest tell each other: the list of jobs one way, result lines the other.

#![forbid(unsafe_code)]

mod plan;
mod result;

pub use plan::{Job, Machine, Plan};
pub use result::{Line, Outcome, Totals, Verdict, parse};

/// The word on the kernel's command line that makes a machine one of our guests. Tests that act on
/// the whole machine ask for it.
pub const MARKER: &str = "mctl.guest=1";

/// The folder, inside the guest, that host and guest share for writing.
pub const SHARE: &str = "/run/mctl-guest";

/// The knobs that are put back after each job, as folders and files: jobs turn them.
pub const KNOBS: [&str; 9] = [
    // Huge pages and khugepaged, KSM, the reclaim's generations.
    "/sys/kernel/mm/transparent_hugepage",
    "/sys/kernel/mm/ksm",
    "/sys/kernel/mm/lru_gen",
    "/proc/sys/vm/swappiness",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/compact_unevictable_allowed",
    "/proc/sys/vm/max_map_count",
    "/proc/sys/vm/nr_hugepages",
    "/proc/sys/kernel/yama/ptrace_scope",
];

/// The list of jobs, in the shared folder.
pub const PLAN_FILE: &str = "plan.json";

/// The folder, in the shared one, in which a guest makes a folder with a job's name when it begins it: of several
/// guests with the same list, one can. The host makes it anew for each run.
pub const TAKEN: &str = "taken";
