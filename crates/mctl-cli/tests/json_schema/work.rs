//! What is printed of work on processes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

use super::parts::{Address, Coverage, Error, Outcome, Passed};

/// What became of a change of policy.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Change {
    version: u32,
    /// What was asked, in words.
    request: String,
    processes: Vec<Changed>,
    /// Members of a tree or cgroup that ended before they could be treated.
    ended: u64,
    /// Whether everything that was named was reached.
    complete: bool,
    left_out: LeftOut,
    /// With `--atomic`, where one failed.
    #[schemars(skip_serializing_if = "Option::is_none")]
    rollback: Option<Rollback>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Changed {
    pid: i32,
    inode: Option<u64>,
    name: Option<String>,
    /// Whether it matches the contract in full.
    #[schemars(skip_serializing_if = "Option::is_none")]
    exact: Option<bool>,
    /// Whether anything is different now. Not in a dry run.
    #[schemars(skip_serializing_if = "Option::is_none")]
    changed: Option<bool>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    /// Of a dry run.
    #[schemars(skip_serializing_if = "Option::is_none")]
    plan: Option<Plan>,
    /// Bytes in huge pages once the policy is in force.
    #[schemars(skip_serializing_if = "Option::is_none")]
    still_huge: Option<u64>,
    /// With `--split`.
    #[schemars(skip_serializing_if = "Option::is_none")]
    split: Option<SplitResult>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Plan {
    /// In order: `step` says which, its data stand beside it.
    steps: Vec<Step>,
    promised: Outcome,
}

#[derive(JsonSchema)]
struct Step {
    step: String,
    #[schemars(flatten)]
    data: BTreeMap<String, Value>,
}

/// What of a tree or cgroup is known not to have been reached.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct LeftOut {
    /// Members of the cgroup in another PID namespace, or hidden by /proc.
    invisible: u64,
    /// A cgroup of version 1, which does not list those.
    uncounted: bool,
    /// Processes without a parent that may be of the tree.
    orphans: Vec<i32>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Rollback {
    restored: u64,
    failed: u64,
}

/// What became of advice.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Advise {
    version: u32,
    advice: String,
    processes: Vec<AdvisedProcess>,
    ended: u64,
    /// Left undone by Ctrl-C.
    not_begun: u64,
    interrupted: bool,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct AdvisedProcess {
    pid: i32,
    inode: Option<u64>,
    name: Option<String>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    advised: Option<Summary>,
    /// The memory before and after.
    #[schemars(skip_serializing_if = "Option::is_none")]
    change: Option<Seen>,
    /// Of a dry run.
    #[schemars(skip_serializing_if = "Option::is_none")]
    plan: Option<AdvicePlan>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Summary {
    /// What the system call returns.
    bytes: u64,
    /// Bytes of address space that were advised.
    advised: u64,
    complete: bool,
    way: Way,
    /// The errno that ended it.
    error: Option<String>,
    /// Where that happened.
    #[schemars(skip_serializing_if = "Option::is_none")]
    failed_in: Option<Span>,
    /// Mappings that were passed over.
    skipped_total: u64,
    skipped_why: Vec<SkippedWhy>,
    /// The first thousand of them.
    skipped: Vec<Passed>,
    batches: u64,
    bounds: Bounds,
    cancelled: bool,
    ended: Option<String>,
    /// Bytes of other processes' or a server's memory that were left alone.
    left_to_server: u64,
    note: Option<String>,
    longest_stop_us: u64,
    stopped_us: u64,
    took_us: u64,
}

/// Who makes the call.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Way {
    Own,
    Remote,
    Injected,
    Carrier,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Span {
    start: Address,
    /// Bytes.
    len: u64,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct SkippedWhy {
    errno: String,
    why: String,
    mappings: u64,
    bytes: u64,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct AdvicePlan {
    mappings: u64,
    bytes: u64,
    ranges: Vec<Span>,
    left_to_server: u64,
    bounds: Bounds,
}

/// What bounds advice, besides errors.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Bounds {
    cost: Option<Cost>,
    /// Blocks that are too empty for a huge page.
    sparse: Option<BTreeMap<String, u64>>,
    /// Mappings that are too small for one.
    too_small: Option<BTreeMap<String, u64>>,
    /// What has no swap to go to.
    left_out: Option<Value>,
    ended: Option<String>,
}

/// What would come in, and what it is compared with, in bytes.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Cost {
    bytes: u64,
    shared: u64,
    room: Room,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Room {
    host: Level,
    cgroups: Vec<Level>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Level {
    cgroup: Option<String>,
    limit: u64,
    available: u64,
    reserve: u64,
    /// What the processes before it would bring in.
    #[schemars(skip_serializing_if = "Option::is_none")]
    ahead: Option<u64>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Seen {
    before: Look,
    after: Look,
    left_memory: u64,
    went_to_swap: u64,
    became_huge: u64,
    huge_percent_before: Option<f64>,
    huge_percent_after: Option<f64>,
    /// What changed on the whole host meanwhile, by whomever.
    host_wide: Host,
    major_faults: Option<u64>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Look {
    memory: Coverage,
    host: Host,
}

/// Counters of `/proc/vmstat`, in pages.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Host {
    refault_anon: Option<u64>,
    refault_file: Option<u64>,
    swap_in: Option<u64>,
    swap_out: Option<u64>,
}

/// What became of splitting huge pages.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Split {
    version: u32,
    /// `split`.
    request: String,
    processes: Vec<SplitProcess>,
    ended: u64,
    not_begun: u64,
    interrupted: bool,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct SplitProcess {
    pid: i32,
    inode: Option<u64>,
    name: Option<String>,
    #[schemars(flatten)]
    result: SplitFields,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct SplitResult {
    #[schemars(flatten)]
    result: SplitFields,
}

#[derive(JsonSchema)]
struct SplitFields {
    #[schemars(skip_serializing_if = "Option::is_none")]
    split: Option<SplitDone>,
    /// Of a dry run.
    #[schemars(skip_serializing_if = "Option::is_none")]
    plan: Option<HugePages>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
}

/// Huge pages by whether they can be split, in bytes.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct HugePages {
    eligible: u64,
    locked: u64,
    userfaultfd: u64,
    shared: u64,
    other: u64,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct SplitDone {
    huge: HugePages,
    /// How many.
    split: u64,
    stayed_huge: u64,
    gone: u64,
    /// Bytes.
    given_back: u64,
    before: Coverage,
    /// `null` where it ended meanwhile.
    after: Option<Coverage>,
    may_become_huge_again: bool,
    way: Way,
    cancelled: bool,
    longest_stop_us: u64,
    took_us: u64,
}

/// What became of locking or unlocking.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Lock {
    version: u32,
    /// `lock` or `unlock`.
    request: String,
    /// The flags of mlockall(2).
    #[schemars(skip_serializing_if = "Option::is_none")]
    what: Option<LockFlags>,
    processes: Vec<LockProcess>,
    /// Members of a group that ended before their turn.
    ended: u64,
    /// Left undone by Ctrl-C.
    not_begun: u64,
    interrupted: bool,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct LockFlags {
    current: bool,
    future: bool,
    on_fault: bool,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct LockProcess {
    pid: i32,
    inode: Option<u64>,
    name: Option<String>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    locked: Option<Locked>,
    /// Of a dry run.
    #[schemars(skip_serializing_if = "Option::is_none")]
    allowance: Option<Allowance>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    left_to_server: Option<u64>,
    /// Of a dry run, where something would come in.
    #[schemars(skip_serializing_if = "Option::is_none")]
    cost: Option<Cost>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Locked {
    way: Way,
    /// Bytes.
    before: u64,
    /// Bytes.
    after: u64,
    longest_stop_us: u64,
    stopped_us: u64,
    left_to_server: u64,
    failed: u64,
    cancelled: bool,
    notes: Vec<String>,
}

/// `RLIMIT_MEMLOCK` and what counts against it, in bytes.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Allowance {
    /// `null`: no limit.
    limit: Option<u64>,
    /// Whether it has CAP_IPC_LOCK, so that the limit does not hold.
    capable: bool,
    size: u64,
    locked: u64,
}
