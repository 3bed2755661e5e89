use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a guest is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Folders of the host that a mount of the guest's own (on `/tmp`, say) would hide.
    pub keep: Vec<PathBuf>,
    /// Folders of the host that the guest needs to write to: it gets a copy on its disk.
    pub copy: Vec<PathBuf>,
    /// How the machine is set up before the first job.
    #[serde(default)]
    pub machine: Machine,
    /// The jobs, in order.
    pub jobs: Vec<Job>,
}

/// A machine that differs from the usual guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Files of `/proc` and `/sys`, and what is written to them.
    pub write: BTreeMap<String, String>,
    /// MiB of swap.
    pub swap: u32,
    /// Who runs the jobs; root where it is not said.
    pub user: Option<u32>,
}

/// One program to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// No white space and no slash: a word of the result line, and the name of the log.
    pub name: String,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Where it starts.
    pub cwd: PathBuf,
    /// What it finds in its environment besides what every job does.
    pub env: BTreeMap<String, String>,
    /// It, and all that it started, is killed after so many seconds.
    pub seconds: u64,
    /// An exit status that says "cannot be done here"; the kernel's selftests use 4.
    pub skip_status: Option<i32>,
}
