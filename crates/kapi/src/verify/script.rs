//! What a throw-away process is told to do, and what it answers. JSON on pipes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An argument of the call, by what it means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arg {
    /// This number.
    Number(i128),
    /// The start of the mapped region, plus so many bytes.
    Mapped(i64),
    /// The length of the mapped region, plus so many bytes.
    Length(i64),
    /// A page-aligned address where nothing is mapped.
    Unmapped,
    /// The last page of the mapped region, so that a longer range has a hole behind it.
    BeforeHole,
    /// The address of a buffer that may be written.
    Buffer,
    /// An address that no process can use.
    BadPointer,
    /// A file descriptor of a regular file.
    File,
    /// A descriptor number that is not open.
    Closed,
    /// A pidfd of this process.
    PidfdSelf,
    /// A pidfd of a living child.
    PidfdChild,
    /// A pidfd of a child that is gone.
    PidfdDead,
    /// The PID of this process.
    PidSelf,
    /// The PID of a living child.
    PidChild,
    /// A PID that no process has.
    PidDead,
    /// An `iovec[1]` over the mapped region.
    Iovec,
    /// An `iovec[1]` whose base is not mapped.
    IovecUnmapped,
    /// What the call under test returned.
    Returned,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Give these capabilities up, by number.
    DropCapabilities(Vec<u32>),
    /// Set the soft limit of a resource (by number) to so many bytes; none is the hard limit.
    Limit(u32, Option<u64>),
    /// Let the soft limit of a resource go as high as one likes, where that is allowed.
    Raise(u32),
    /// Set the soft RLIMIT_MEMLOCK to the size of the address space, exactly.
    LimitToSize,
    /// Map an untouched region under this name.
    Map(String),
    /// Map a region whose memory cannot be had (a file that was cut off behind its back).
    MapBroken(String),
    /// Map a file privately under this name.
    MapFile(String),
    /// Get these arguments ready (children, descriptors), as long as that is possible.
    Prepare(Vec<Arg>),
    /// Become this user, without privileges.
    User(u32),
    /// Make the call.
    Call {
        /// Its number.
        number: u32,
        /// Its arguments.
        args: Vec<Arg>,
        /// The name of the result.
        name: String,
    },
    /// Note memory, flags and limits under this name.
    Look(String),
    /// Do these steps in a forked child.
    Fork(Vec<Step>),
    /// Replace the program by a fresh agent that does these steps.
    Exec(Vec<Step>),
}

/// What a region looks like in smaps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Where it starts.
    pub start: u64,
    /// Size in kB.
    pub size_kb: u64,
    /// Resident kB.
    pub rss_kb: u64,
    /// `VmFlags`, unknown ones included.
    pub flags: Vec<String>,
}

/// The key of the number of open descriptors in [`View::status`], which the kernel has no field for.
pub const DESCRIPTORS: &str = "open descriptors";
/// The same for the pending signals, a set of bits.
pub const PENDING: &str = "pending signals";
/// The same for what PR_GET_THP_DISABLE answers.
pub const THP: &str = "PR_GET_THP_DISABLE";
/// The same for what PR_GET_MEMORY_MERGE answers.
pub const MERGE: &str = "PR_GET_MEMORY_MERGE";

/// What could be seen at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Number fields of `/proc/self/status` (`VmLck`, `VmSize`, …), in kB where they have a unit.
    pub status: BTreeMap<String, u64>,
    /// Regions by name.
    pub regions: BTreeMap<String, Region>,
    /// Effective capabilities, as bits.
    pub capabilities: u64,
    /// Soft limits by resource number; `u64::MAX` for none.
    pub limits: BTreeMap<u32, u64>,
}

/// The outcome of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What the arguments became.
    pub args: Vec<u64>,
    /// Bytes of address space right before the call; none where it could not be read.
    pub total_vm: Option<u64>,
    /// The soft RLIMIT_MEMLOCK right before the call; `u64::MAX` for none.
    pub memlock: u64,
    /// The value, where it succeeded.
    pub value: Option<i64>,
    /// The error number, where it failed.
    pub errno: Option<i32>,
}

/// A line that the agent writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// The script with this number starts.
    Begin(usize),
    /// The named call was made.
    Called(String, Outcome),
    /// The named look was taken.
    Seen(String, View),
    /// A step could not be done, and why; the rest is left out.
    Failed(String),
    /// Everything was done.
    Done,
}
