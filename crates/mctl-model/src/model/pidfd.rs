//! pidfds: descriptors that name a process and never another one.

use mctl_abi::{Errno, PIDFD_SELF_THREAD, PIDFD_SELF_THREAD_GROUP};

use super::Model;
use super::signal::TaskState;
use crate::ids::TaskId;
use crate::kernel::Feature;
use crate::mutant::Mutant;

/// How `mctl_process_madvise` names its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdType {
    /// `P_PID`: a number, with the identity that it must have if the caller gave one.
    Pid {
        /// The identity (pidfs inode) after the colon of `PID:INODE`.
        inode: Option<u64>,
    },
    /// `P_PIDFD`.
    Pidfd,
    /// Anything else: `EINVAL`.
    Other,
}

/// An open descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fd {
    /// A process, or with `thread` one thread.
    Pidfd {
        task: TaskId,
        pid: u32,
        inode: u64,
        thread: bool,
    },
    /// Anything else.
    Other,
}

/// `PIDFD_THREAD` (`O_EXCL`).
pub(crate) const PIDFD_THREAD: u32 = 0x80;
/// `PIDFD_NONBLOCK` (`O_NONBLOCK`).
const PIDFD_NONBLOCK: u32 = 0x800;

impl Model {
    /// pidfd_open(2). Order of checks: the system call and `pidfd_prepare()` (kernel/fork.c).
    ///
    /// # Errors
    /// `EINVAL` for an unknown flag or a number below 1; `ESRCH` where nobody has it; `ENOENT`
    /// (Linux 6.15; `EINVAL` before) for a thread without `PIDFD_THREAD`.
    pub fn pidfd_open(&mut self, caller: TaskId, pid: i64, flags: u32) -> Result<i32, Errno> {
        self.running(caller)?;
        let thread = if self.knobs.features.has(Feature::ThreadPidfds) {
            PIDFD_THREAD
        } else {
            0
        };
        if flags & !(thread | PIDFD_NONBLOCK) != 0 || pid <= 0 {
            return Err(Errno::EINVAL);
        }
        let task = u32::try_from(pid)
            .ok()
            .and_then(|pid| self.pids.get(pid))
            .ok_or(Errno::ESRCH)?;
        let found = self.tasks.get(&task).ok_or(Errno::ESRCH)?;
        let thread = flags & PIDFD_THREAD != 0;
        if !thread && found.leader != task {
            return Err(Errno::ENOENT);
        }
        let fd = Fd::Pidfd {
            task,
            pid: found.pid,
            inode: found.inode,
            thread,
        };
        self.open(caller, fd)
    }

    /// Opens something that is no pidfd.
    ///
    /// # Errors
    /// `ESRCH` where the caller is gone.
    pub fn open_other(&mut self, caller: TaskId) -> Result<i32, Errno> {
        self.open(caller, Fd::Other)
    }

    fn open(&mut self, caller: TaskId, fd: Fd) -> Result<i32, Errno> {
        let leader = self.running(caller)?.leader;
        let task = self.tasks.get_mut(&leader).ok_or(Errno::ESRCH)?;
        let number = (3..)
            .find(|n| !task.fds.contains_key(n))
            .ok_or(Errno::EMFILE)?;
        task.fds.insert(number, fd);
        Ok(number)
    }

    /// close(2).
    ///
    /// # Errors
    /// `EBADF`.
    pub fn close(&mut self, caller: TaskId, fd: i32) -> Result<(), Errno> {
        let leader = self.running(caller)?.leader;
        let task = self.tasks.get_mut(&leader).ok_or(Errno::ESRCH)?;
        task.fds.remove(&fd).map(|_| ()).ok_or(Errno::EBADF)
    }

    /// The task that a descriptor names, or `None` where that one has been reaped.
    pub(super) fn pidfd_target(&self, caller: TaskId, fd: i32) -> Result<Option<TaskId>, Errno> {
        let leader = self.running(caller)?.leader;
        match fd {
            PIDFD_SELF_THREAD => return Ok(Some(caller)),
            PIDFD_SELF_THREAD_GROUP => return Ok(Some(leader)),
            _ => {}
        }
        let owner = self.tasks.get(&leader).ok_or(Errno::ESRCH)?;
        match owner.fds.get(&fd) {
            Some(Fd::Pidfd { pid, .. })
                if self.knobs.mutant == Some(Mutant::PidfdFollowsNumber) =>
            {
                Ok(self.pids.get(*pid))
            }
            Some(Fd::Pidfd { task, inode, .. }) => Ok(self
                .tasks
                .get(task)
                .filter(|found| found.inode == *inode)
                .map(|_| *task)),
            Some(Fd::Other) | None => Err(Errno::EBADF),
        }
    }

    /// The task that a number names now.
    ///
    /// # Errors
    /// `ESRCH` where nobody has the number, or where who has it is not who was meant.
    pub fn resolve_pid(&self, pid: u32, inode: Option<u64>) -> Result<TaskId, Errno> {
        let task = self.pids.get(pid).ok_or(Errno::ESRCH)?;
        let found = self.tasks.get(&task).ok_or(Errno::ESRCH)?;
        match inode {
            Some(_) if self.knobs.mutant == Some(Mutant::InodeIgnored) => Ok(task),
            Some(wanted) if wanted != found.inode => Err(Errno::ESRCH),
            _ => Ok(task),
        }
    }

    /// Sets where the search for the next free number begins (ns_last_pid).
    pub fn set_last_pid(&mut self, pid: u32) {
        self.pids.set_last(pid);
    }

    /// A task of the process that has the address space: itself, or where it is a first thread
    /// that has exited, one that still runs (`find_lock_task_mm()`).
    pub(super) fn with_address_space(&self, task: TaskId) -> Result<TaskId, Errno> {
        let leader = self.tasks.get(&task).ok_or(Errno::ESRCH)?.leader;
        std::iter::once(task)
            .chain(self.threads(leader))
            .find(|id| {
                self.tasks
                    .get(id)
                    .is_some_and(|t| t.mm.is_some() && t.state != TaskState::Zombie)
            })
            .ok_or(Errno::ESRCH)
    }
}
