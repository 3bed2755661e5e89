//! Which processes.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use mctl::tree::{members_of_cgroup, members_of_tree};
use mctl::{Error, ProcessSpec, Target};

use crate::fail::Fail;
use crate::{limits, words};

/// The arguments that name processes.
#[derive(Args, Debug)]
pub(crate) struct Who {
    /// The processes
    #[arg(value_name = "PID", allow_negative_numbers = true)]
    pids: Vec<OsString>,
    /// Name a process; may be repeated
    #[arg(short, long, value_name = "PID", allow_hyphen_values = true)]
    pid: Vec<OsString>,
    /// Include all descendants that the processes have now
    #[arg(long, conflicts_with = "cgroup")]
    tree: bool,
    /// Take every process that this cgroup and those below it have now
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::DirPath)]
    cgroup: Option<PathBuf>,
}

/// Processes held by pidfds, and those that could not be.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    pub(crate) targets: Vec<Target>,
    pub(crate) failed: Vec<(ProcessSpec, Error)>,
    /// Members that are not visible were left out, which was said.
    pub(crate) incomplete: bool,
    /// Members of a group may end before it is their turn; that is no failure.
    pub(crate) group: bool,
}

/// Either processes or a cgroup are named.
pub(crate) fn check(cgroup: Option<&Path>, specs: &[ProcessSpec]) -> Result<(), Fail> {
    match (cgroup, specs) {
        (None, []) => Err(Fail::Usage {
            why: "no process was named".to_owned(),
            hint: Some("give process numbers, or --cgroup PATH".to_owned()),
        }),
        (Some(_), [_, ..]) => Err(Fail::usage("name processes or a cgroup, not both at once")),
        _ => Ok(()),
    }
}

/// Opens processes, and so holds them, each once.
pub(crate) fn hold(
    specs: &[ProcessSpec],
    open: impl Fn(ProcessSpec) -> Result<Target, Error>,
) -> Opened {
    let mut opened = Opened::default();
    let mut seen = HashSet::with_capacity(specs.len());
    for spec in specs {
        match open(*spec) {
            // A process that was named twice is held already: it is the same one.
            Ok(target) if !seen.insert(target.pid()) => {}
            Ok(target) => opened.targets.push(target),
            Err(error) => opened.failed.push((*spec, error)),
        }
    }
    opened
}

impl Who {
    /// Opens all of them, each once, before the first is touched.
    pub(crate) fn open(&self) -> Result<Opened, Fail> {
        let specs = words::processes(&self.pids, &self.pid)?;
        check(self.cgroup.as_deref(), &specs)?;
        let group = self.tree || self.cgroup.is_some();
        limits::open_files_for(specs.len(), group);
        let mut opened = hold(&specs, Target::open);
        opened.group = group;
        let mut seen = HashSet::new();
        if let Some(path) = &self.cgroup {
            opened.take_members(members_of_cgroup(path)?.to_change(None), &mut seen);
        }
        if self.tree {
            for root in std::mem::take(&mut opened.targets) {
                match members_of_tree(&root) {
                    Ok(members) => opened.take_members(members.to_change(Some(&root)), &mut seen),
                    Err(error) => opened.failed.push((root.spec(), error)),
                }
            }
        }
        Ok(opened)
    }
}

impl Opened {
    fn take_members(&mut self, members: mctl::Members, seen: &mut HashSet<i32>) {
        self.incomplete |= crate::report::left_out(&members.left_out);
        let new = members.processes.into_iter();
        self.targets
            .extend(new.filter(|target| seen.insert(target.pid())));
    }
}
