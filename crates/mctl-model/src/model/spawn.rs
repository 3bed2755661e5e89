//! Starting a process out of nothing, as a test's harness does.

use std::collections::BTreeMap;

use mctl_abi::permission::Ids;
use mctl_abi::thp::ThpDisable;
use mctl_abi::{Errno, Policy};

use super::signal::TaskState;
use super::{Model, Task};
use crate::creds::{Caps, Creds};
use crate::ids::{NsId, TaskId};
use crate::knobs::Limits;
use crate::mm::Mm;

/// Who the new process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpawnArgs {
    /// User and group id.
    pub uid: u32,
    /// Capabilities in the first user namespace.
    pub caps: Caps,
    /// Resource limits.
    pub limits: Limits,
    /// A kernel thread: it has no address space.
    pub kernel_thread: bool,
}

impl Default for SpawnArgs {
    /// Root with every capability.
    fn default() -> SpawnArgs {
        SpawnArgs {
            uid: 0,
            caps: Caps::FULL,
            limits: Limits::default(),
            kernel_thread: false,
        }
    }
}

impl Model {
    /// Starts a process with a fresh image.
    ///
    /// # Errors
    /// `EAGAIN` where no PID is free.
    pub fn spawn(&mut self, args: &SpawnArgs) -> Result<TaskId, Errno> {
        let id = TaskId(self.next_id());
        let (pid, inode) = self.pids.take(id)?;
        let mm = if args.kernel_thread {
            None
        } else {
            let family = self.next_id();
            let mut mm = Mm::from_image(
                &self.image,
                Policy::INHERIT,
                ThpDisable::Off,
                NsId(0),
                family,
                self.knobs.mutant,
            );
            mm.dumpable = true;
            Some(self.add_mm(mm))
        };
        self.tasks.insert(
            id,
            Task {
                pid,
                inode,
                leader: id,
                mm,
                creds: Creds {
                    uid: Ids::all(args.uid),
                    gid: Ids::all(args.uid),
                    caps: args.caps,
                    permitted: args.caps,
                    ns: NsId(0),
                },
                limits: args.limits,
                no_new_privs: false,
                parent: None,
                state: TaskState::Running,
                frees: None,
                fds: BTreeMap::new(),
            },
        );
        Ok(id)
    }

    /// Sets the resource limits of a task's process.
    ///
    /// # Errors
    /// `ESRCH` where it is gone.
    pub fn set_limits(&mut self, task: TaskId, limits: Limits) -> Result<(), Errno> {
        let leader = self.tasks.get(&task).ok_or(Errno::ESRCH)?.leader;
        for thread in self.tasks.values_mut().filter(|t| t.leader == leader) {
            thread.limits = limits;
        }
        Ok(())
    }

    /// A task's resource limits.
    #[must_use]
    pub fn limits(&self, task: TaskId) -> Option<Limits> {
        self.tasks.get(&task).map(|t| t.limits)
    }

    /// Replaces a task's user and group ids and its capabilities, as setresuid(2) and capset(2)
    /// by a privileged task do. Changing ids turns dumpable off (`commit_creds()`).
    ///
    /// # Errors
    /// `ESRCH` where it is gone; `EINVAL` in a user namespace without a mapping; `EPERM` where it
    /// would gain.
    pub fn set_ids(&mut self, task: TaskId, uid: u32, caps: Caps) -> Result<(), Errno> {
        let old = self.running(task)?.creds;
        if old.ns != NsId(0) {
            // No user has a number in a namespace without a mapping (make_kuid(), make_kgid()).
            return Err(Errno::EINVAL);
        }
        let gains =
            !old.permitted.has(caps) || (uid != old.uid.real && !old.caps.has(Caps::SETUID));
        if gains {
            return Err(Errno::EPERM);
        }
        let mm = self.running(task)?.mm;
        if old.uid != Ids::all(uid)
            && let Some(mm) = mm.and_then(|mm| self.mms.get_mut(&mm))
        {
            mm.dumpable = false;
        }
        let found = self.tasks.get_mut(&task).ok_or(Errno::ESRCH)?;
        found.creds.uid = Ids::all(uid);
        found.creds.gid = Ids::all(uid);
        found.creds.caps = caps;
        found.creds.permitted = caps;
        Ok(())
    }
}
