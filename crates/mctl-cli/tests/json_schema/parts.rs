//! What several documents hold.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

/// An address.
pub(super) struct Address;

impl JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An address, as hexadecimal text: the highest ones do not fit a double.",
            "type": "string",
            "pattern": "^0x[0-9a-f]+$",
        })
    }
}

/// Why something failed.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Error {
    /// The name of the errno.
    errno: String,
    message: String,
    /// The way out, where there is one.
    hint: Option<String>,
}

/// What else is to be known. The data of the code stand beside it.
#[derive(JsonSchema)]
pub(super) struct Note {
    /// For programs.
    code: String,
    /// For people.
    text: String,
    #[schemars(flatten)]
    data: BTreeMap<String, Value>,
}

/// How surely something holds.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum Guarantee {
    Enforced,
    Supervised,
    Eventual,
    NotCovered,
    Exceeds,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Guarantees {
    now: Guarantee,
    future: Guarantee,
    fork: Guarantee,
    exec: Guarantee,
}

/// By what something is done.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum Mechanism {
    NativeCall,
    InjectedNativeCall,
    OwnPrctl,
    InjectedPrctl,
    OwnMadvise,
    InjectedMadvise,
    Nothing,
}

/// What a change of policy did to one process, or would do.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Outcome {
    guarantees: Guarantees,
    mechanisms: Vec<Mechanism>,
    /// `PR_GET_THP_DISABLE`; `null` where it was not read.
    thp_disable_before: Option<i64>,
    thp_disable_after: Option<i64>,
    /// `PR_GET_MEMORY_MERGE`; `null` where it was not read.
    merge_before: Option<i64>,
    merge_after: Option<i64>,
    /// The mask of `MCTL_GET_POLICY`; `null` without the system call mctl(2).
    policy_before: Option<u32>,
    policy_after: Option<u32>,
    /// Where the policy goes by mapping.
    mappings: Option<MappingCounts>,
    /// How long one thread stood still, in all.
    stopped_ns: u64,
    notes: Vec<Note>,
}

/// Runs of neighbouring mappings.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct MappingCounts {
    runs: u64,
    changed: u64,
    already: u64,
    skipped_nohugepage: u64,
    skipped_file: u64,
    skipped_special: u64,
    failed: Vec<Passed>,
}

/// A stretch of memory that was passed over.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Passed {
    start: Address,
    /// Bytes.
    len: u64,
    errno: String,
}

/// How much memory there is, and how much of it is huge, in bytes.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Coverage {
    /// Mapped, populated or not.
    size: u64,
    /// Present; hugetlb pages are not counted.
    rss: u64,
    anonymous: u64,
    anon_huge: u64,
    shmem: u64,
    shmem_huge: u64,
    file_huge: u64,
    hugetlb: u64,
    swap: u64,
}

/// The mappings that ask for huge pages.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Advised {
    mappings: u64,
    bytes: u64,
}

/// Why memory is not huge, in bytes.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Why {
    /// Of anonymous memory.
    anon: Vec<Share>,
    /// Of shared memory.
    shmem: Vec<Share>,
    /// On swap.
    swapped: u64,
    /// Anonymous memory that was never written, or was given back.
    unpopulated: u64,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Share {
    reason: String,
    bytes: u64,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Report {
    coverage: Coverage,
    why: Why,
    /// How many there are.
    mappings: u64,
    advised: Advised,
    /// The knob that decides for all; `null` in a kernel without transparent huge pages.
    knob: Option<HostKnob>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct HostKnob {
    path: String,
    value: Value,
}

/// A mapping.
#[derive(JsonSchema)]
pub(super) struct Mapping {
    start: Address,
    end: Address,
    kind: Kind,
    /// As in `/proc/PID/maps`.
    perms: String,
    /// In the file; hexadecimal text too.
    offset: Address,
    /// With control characters and what is not UTF-8 escaped.
    name: String,
    advice: Option<Advice>,
    /// `THPeligible`; `null` where the kernel does not say, or says something new.
    thp_eligible: Option<bool>,
    /// `VmFlags`.
    flags: String,
    coverage: Coverage,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Kind {
    Anonymous,
    Shmem,
    File,
    Hugetlb,
    Special,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Advice {
    Hugepage,
    Nohugepage,
}
