//! The form of what `--json` prints, as types: docs/schema is made from them, and holds for what is printed.

#![allow(
    dead_code,
    reason = "the fields are read by the derive of the schema only"
)]

mod parts;
mod work;

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

use parts::{
    Address, Advised, Coverage, Error, Guarantee, Mapping, Mechanism, Outcome, Report, Why,
};

/// Every document: its name, the commands that print it, and its schema.
pub(crate) fn documents() -> Vec<(&'static str, &'static str, Schema)> {
    vec![
        document::<Get>("get", "get --json"),
        document::<Maps>("get-maps", "get --maps --json"),
        document::<Map>("map", "map --json"),
        document::<work::Change>("change", "set --json, clear --json"),
        document::<Restore>("restore", "restore --json"),
        document::<work::Advise>(
            "advise",
            "advise --json, cold --json, pageout --json, collapse --json",
        ),
        document::<work::Split>("split", "split --json"),
        document::<work::Lock>("lock", "lock --json, unlock --json"),
        document::<Probe>("probe", "probe --json"),
        document::<Explain>("explain", "explain --json"),
    ]
}

fn document<T: JsonSchema>(
    name: &'static str,
    commands: &'static str,
) -> (&'static str, &'static str, Schema) {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    (
        name,
        commands,
        settings.into_generator().into_root_schema_for::<T>(),
    )
}

/// Policy and coverage of processes; `mctl restore` takes it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Get {
    /// The version of the form.
    version: u32,
    /// One a process; those that could not be opened come first.
    processes: Vec<Process>,
}

/// What was read of a process, or why nothing was.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Process {
    Read(Box<Row>),
    Failed(Failed),
}

/// A process of which nothing was read.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Failed {
    pid: i32,
    error: Error,
}

/// The saved state, and a field for each of the columns that were chosen: the column's name in small letters, with the
/// unit where it has one. `null` is what is not known or not there.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Row {
    /// Process number.
    pid: i32,
    /// Inode of its pidfd, since Linux 6.9: never used again, unlike the number.
    inode: Option<u64>,
    /// Command name.
    name: String,
    /// When it started, in clock ticks since boot (proc_pid_stat(5)).
    start_time: u64,
    /// `PR_GET_THP_DISABLE`.
    thp_disable: Option<i64>,
    /// What governs huge pages, in a word.
    #[schemars(skip_serializing_if = "Option::is_none")]
    thp: Option<String>,
    /// `PR_GET_MEMORY_MERGE`.
    mergeable: Option<bool>,
    /// The policy record, as the mask of `MCTL_GET_POLICY`; only with the system call mctl(2).
    record: Option<u32>,
    /// What is not known, and why.
    #[schemars(skip_serializing_if = "Option::is_none")]
    missing: Option<Vec<Missing>>,
    /// How the coverage came about; with the columns ADVISED and WHY.
    #[schemars(skip_serializing_if = "Option::is_none")]
    report: Option<Report>,
    #[schemars(flatten)]
    columns: Columns,
}

#[derive(JsonSchema)]
struct Columns {
    /// `PID:INODE`.
    #[schemars(skip_serializing_if = "Option::is_none")]
    process: Option<String>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    /// The policies in force; empty: as the host says.
    #[schemars(skip_serializing_if = "Option::is_none")]
    policy: Option<Vec<String>>,
    /// Whether they survive exec.
    #[schemars(skip_serializing_if = "Option::is_none")]
    exec: Option<bool>,
    /// Real user.
    #[schemars(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    ppid: Option<i32>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    threads: Option<u64>,
    /// State of its first thread: the letter of proc_pid_stat(5).
    #[schemars(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// Bytes mapped, populated or not.
    #[schemars(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// Bytes on swap.
    #[schemars(skip_serializing_if = "Option::is_none")]
    swap: Option<u64>,
    /// Bytes present in memory.
    #[schemars(skip_serializing_if = "Option::is_none")]
    rss: Option<u64>,
    /// Anonymous bytes of it.
    #[schemars(skip_serializing_if = "Option::is_none")]
    anon: Option<u64>,
    /// Anonymous and shared bytes in huge pages.
    #[schemars(skip_serializing_if = "Option::is_none")]
    huge: Option<u64>,
    /// That part of the anonymous and shared memory.
    #[schemars(skip_serializing_if = "Option::is_none")]
    coverage_percent: Option<f64>,
    /// What was advised HUGEPAGE.
    #[schemars(skip_serializing_if = "Option::is_none")]
    advised: Option<Advised>,
    /// Bytes of shared memory.
    #[schemars(skip_serializing_if = "Option::is_none")]
    shmem: Option<u64>,
    /// Anonymous bytes in huge pages.
    #[schemars(skip_serializing_if = "Option::is_none")]
    anon_huge: Option<u64>,
    /// Shared bytes in huge pages.
    #[schemars(skip_serializing_if = "Option::is_none")]
    shmem_huge: Option<u64>,
    /// Bytes of files in huge pages.
    #[schemars(skip_serializing_if = "Option::is_none")]
    file_huge: Option<u64>,
    /// Bytes of hugetlb pages.
    #[schemars(skip_serializing_if = "Option::is_none")]
    hugetlb: Option<u64>,
    /// What keeps most of the rest small, in a few words.
    #[schemars(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Missing {
    /// What is not known: `policy` or `memory`.
    what: String,
    /// Why it could not be read.
    #[schemars(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
    /// Why the kernel does not show it.
    #[schemars(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// What stands in its place.
    #[schemars(skip_serializing_if = "Option::is_none")]
    shown: Option<String>,
}

/// Processes mapping by mapping.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Maps {
    version: u32,
    processes: Vec<MapsOf>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct MapsOf {
    pid: i32,
    /// What governs huge pages, in a word.
    #[schemars(skip_serializing_if = "Option::is_none")]
    thp: Option<String>,
    maps: Vec<MapsLine>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    total: Option<Coverage>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    advised: Option<Advised>,
    /// Why there are no mappings, or not all.
    #[schemars(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct MapsLine {
    #[schemars(flatten)]
    mapping: Mapping,
    why: Why,
}

/// An address space with the states of its pages.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Map {
    version: u32,
    pid: i32,
    inode: Option<u64>,
    name: String,
    /// The states are those of most of so many bytes.
    cell_bytes: u64,
    mappings: Vec<MapLine>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    total: Option<Coverage>,
    /// Why not all mappings are there.
    #[schemars(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct MapLine {
    #[schemars(flatten)]
    mapping: Mapping,
    source: Source,
    /// Neighbouring cells of one state, lowest address first.
    runs: Vec<Run>,
}

/// Where the states come from.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Source {
    /// The page tables.
    Pages,
    /// The counters of the mapping, spread evenly: only their sums are right.
    Proportions,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Run {
    start: Address,
    /// Bytes.
    size: u64,
    state: State,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum State {
    Huge,
    Small,
    Swapped,
    NotPresent,
}

/// What became of putting processes back to a saved state.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Restore {
    version: u32,
    /// `restore`.
    request: String,
    processes: Vec<Restored>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Restored {
    pid: i32,
    inode: Option<u64>,
    name: Option<String>,
    /// The state that was to be put back; `null` where none was saved.
    state: Option<Saved>,
    /// Whether anything is different now. Not in a dry run.
    #[schemars(skip_serializing_if = "Option::is_none")]
    changed: Option<bool>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
}

/// As `get` saved it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Saved {
    pid: i32,
    inode: Option<u64>,
    start_time: u64,
    name: String,
    thp_disable: Option<i64>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    thp: Option<String>,
    mergeable: Option<bool>,
    record: Option<u32>,
}

/// What this kernel can do, and what the caller may do.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Probe {
    version: u32,
    /// Each policy with and without `--inherit`.
    policies: Vec<Policy>,
    caller: Caller,
    kernel: Kernel,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Policy {
    policy: String,
    inherit: bool,
    /// Whether `--strict` accepts it.
    strict: bool,
    /// Whether `mctl run` can start a program under it.
    run: bool,
    /// By what part of a process's life: `now`, `future`, `fork`, `exec`.
    #[schemars(skip_serializing_if = "Option::is_none")]
    cells: Option<BTreeMap<String, Cell>>,
    /// Why it cannot be had at all.
    #[schemars(skip_serializing_if = "Option::is_none")]
    impossible: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Cell {
    guarantee: Guarantee,
    mechanisms: Vec<Mechanism>,
    reason: String,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Caller {
    uid: u32,
    effective_uid: u32,
    cap_sys_admin: bool,
    cap_sys_ptrace: bool,
    cap_sys_nice: bool,
    /// `kernel.yama.ptrace_scope`; `null` on a kernel without Yama.
    yama_scope: Option<u32>,
    /// Whether a system call filter of the target can be suspended (CAP_SYS_ADMIN and a kernel that lets one).
    suspends_seccomp: bool,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Kernel {
    /// `null` on a kernel without transparent huge pages.
    thp: Option<Thp>,
    /// Why the knobs could not be read.
    #[schemars(skip_serializing_if = "Option::is_none")]
    thp_hidden: Option<String>,
    /// `PR_SET_THP_DISABLE`.
    thp_disable: Support,
    /// `PR_THP_DISABLE_EXCEPT_ADVISED`.
    except_advised: Support,
    /// `PR_SET_MEMORY_MERGE`.
    memory_merge: Support,
    /// `/sys/kernel/mm/ksm/run`.
    ksm_run: Option<u64>,
    /// Any advice on oneself through process_madvise(2).
    vectored_advice: Support,
    /// The number of the system call mctl(2); `null` on a stock kernel.
    native: Option<i32>,
    /// `PID:INODE`.
    process_inodes: Support,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Thp {
    enabled: Knob,
    /// The sizes with knobs of their own, smallest first.
    sizes: Vec<ThpSize>,
    /// The size of a huge page.
    pmd_bytes: u64,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ThpSize {
    bytes: u64,
    knob: Knob,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Knob {
    Always,
    Madvise,
    Never,
    Inherit,
    /// A word that mctl does not know.
    Other(String),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Support {
    Yes,
    No,
    Unknown,
}

/// The rules behind an error.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Explain {
    version: u32,
    errno: String,
    command: Option<String>,
    /// In the order in which they are checked.
    clauses: Vec<Clause>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Clause {
    call: String,
    id: String,
    errno: String,
    summary: String,
    /// In the language of the specifications; empty where it cannot be said in it.
    condition: String,
    description: String,
}
