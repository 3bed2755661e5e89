//! fork(2), vfork(2), clone(2) and unshare(CLONE_NEWUSER).

use std::collections::BTreeMap;

use mctl_abi::Errno;

use super::signal::TaskState;
use super::{Model, Task};
use crate::creds::{Caps, UserNs};
use crate::ids::{NsId, TaskId};
use crate::mutant::Mutant;

/// What the new task shares with its maker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloneKind {
    /// fork(2): a copy of the address space.
    Fork,
    /// vfork(2): the address space itself, while the parent waits.
    Vfork,
    /// clone(CLONE_VM): a process of its own in the same address space.
    Vm,
    /// A thread.
    Thread,
}

/// The arguments of a clone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloneArgs {
    /// What is shared.
    pub kind: CloneKind,
}

impl Model {
    /// Makes a task.
    ///
    /// # Errors
    /// `EAGAIN` where no PID is free; `ESRCH` where the caller has no address space.
    pub fn clone_task(&mut self, caller: TaskId, args: CloneArgs) -> Result<TaskId, Errno> {
        let parent = self.running(caller)?.clone();
        let mm = parent.mm.ok_or(Errno::ESRCH)?;
        let id = TaskId(self.next_id());
        let (pid, inode) = self.pids.take(id)?;
        let copies = matches!(
            (self.knobs.mutant, args.kind),
            (_, CloneKind::Fork)
                | (Some(Mutant::VmChildCopies), CloneKind::Vm)
                | (Some(Mutant::VforkCopies), CloneKind::Vfork)
        );
        let child_mm = if copies {
            let copy = match self.mms.get(&mm) {
                Some(found) => found.fork(&mut self.cache),
                None => return Err(Errno::ESRCH),
            };
            self.add_mm(copy)
        } else {
            if let Some(found) = self.mms.get_mut(&mm) {
                found.users += 1;
            }
            mm
        };
        let thread = args.kind == CloneKind::Thread;
        let fds = if thread {
            BTreeMap::new()
        } else {
            self.tasks
                .get(&parent.leader)
                .map(|leader| leader.fds.clone())
                .unwrap_or_default()
        };
        let leader = if thread { parent.leader } else { id };
        let vfork = args.kind == CloneKind::Vfork;
        self.tasks.insert(
            id,
            Task {
                pid,
                inode,
                leader,
                mm: Some(child_mm),
                // Children belong to the process: a thread's death leaves them with the others.
                parent: Some(parent.leader),
                state: TaskState::Running,
                frees: vfork.then_some(caller),
                fds,
                ..parent
            },
        );
        if vfork && let Some(waiting) = self.tasks.get_mut(&caller) {
            waiting.state = TaskState::InVfork;
        }
        Ok(id)
    }

    /// unshare(CLONE_NEWUSER): every capability, in a namespace of one's own.
    ///
    /// # Errors
    /// `EINVAL` for a thread among others (`check_unshare_flags()`); `EPERM` inside a namespace
    /// that has no mapping.
    pub fn unshare_user(&mut self, caller: TaskId) -> Result<NsId, Errno> {
        let creds = self.running(caller)?.creds;
        let leader = self.running(caller)?.leader;
        let threads = self.threads(leader).len();
        if threads > 1 {
            return Err(Errno::EINVAL);
        }
        // create_user_ns(): who has no number in its own namespace cannot own another, and the
        // model's namespaces have no mappings.
        if creds.ns != NsId(0) {
            return Err(Errno::EPERM);
        }
        let ns = NsId(u32::try_from(self.spaces.len()).map_err(|_| Errno::ENOSPC)?);
        self.spaces.push(UserNs {
            parent: Some(creds.ns),
            owner: creds.uid.effective,
        });
        let task = self.tasks.get_mut(&caller).ok_or(Errno::ESRCH)?;
        task.creds.ns = ns;
        task.creds.caps = Caps::FULL;
        task.creds.permitted = Caps::FULL;
        Ok(ns)
    }
}
