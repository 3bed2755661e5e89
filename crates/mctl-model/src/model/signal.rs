//! Exit, wait, kill.

use mctl_abi::Errno;

use super::Model;
use super::pidfd::Fd;
use crate::creds::Caps;
use crate::ids::TaskId;

/// What a task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// It can make system calls.
    Running,
    /// It waits in vfork(2) for its child.
    InVfork,
    /// It is dead and not yet waited for.
    Zombie,
}

/// `SIGKILL`.
const SIGKILL: i32 = 9;
/// `SIGTERM`, which the model's programs do not handle.
const SIGTERM: i32 = 15;

impl Model {
    /// What a task is doing; `None` where it is gone.
    #[must_use]
    pub fn state(&self, task: TaskId) -> Option<TaskState> {
        self.tasks.get(&task).map(|t| t.state)
    }

    /// A task's number, and the identity of that number.
    #[must_use]
    pub fn pid(&self, task: TaskId) -> Option<(u32, u64)> {
        self.tasks.get(&task).map(|t| (t.pid, t.inode))
    }

    /// The threads of a process that are not gone, by its first thread.
    pub(super) fn threads(&self, leader: TaskId) -> Vec<TaskId> {
        self.tasks
            .iter()
            .filter(|(_, t)| t.leader == leader)
            .map(|(id, _)| *id)
            .collect()
    }

    /// exit_group(2): the whole process ends.
    ///
    /// # Errors
    /// `ESRCH` where it is gone, `EBUSY` where it waits in vfork(2).
    pub fn exit(&mut self, task: TaskId) -> Result<(), Errno> {
        let leader = self.running(task)?.leader;
        self.end_group(leader);
        Ok(())
    }

    /// exit(2): one thread ends. A first thread stays a zombie while others run.
    ///
    /// # Errors
    /// As [`Model::exit`].
    pub fn exit_thread(&mut self, task: TaskId) -> Result<(), Errno> {
        let leader = self.running(task)?.leader;
        if self.live_threads(leader).len() <= 1 {
            self.end_group(leader);
        } else {
            self.end_thread(task, task != leader);
        }
        Ok(())
    }

    pub(super) fn live_threads(&self, leader: TaskId) -> Vec<TaskId> {
        self.threads(leader)
            .into_iter()
            .filter(|id| self.state(*id) != Some(TaskState::Zombie))
            .collect()
    }

    /// One thread leaves its address space; `forget` is whether its number is free at once.
    pub(super) fn end_thread(&mut self, task: TaskId, forget: bool) {
        self.release_parent(task);
        let mm = self.tasks.get_mut(&task).and_then(|t| {
            t.state = TaskState::Zombie;
            t.mm.take()
        });
        if let Some(mm) = mm {
            self.put_mm(mm);
        }
        if forget {
            self.forget(task);
        }
    }

    fn end_group(&mut self, leader: TaskId) {
        for thread in self.threads(leader) {
            self.end_thread(thread, thread != leader);
        }
        // Children go to init, which waits for them at once.
        let orphans: Vec<(TaskId, TaskState)> = self
            .tasks
            .iter()
            .filter(|(_, t)| t.parent == Some(leader))
            .map(|(id, t)| (*id, t.state))
            .collect();
        for (orphan, state) in orphans {
            if state == TaskState::Zombie {
                self.forget(orphan);
            } else if let Some(task) = self.tasks.get_mut(&orphan) {
                task.parent = None;
            }
        }
        if self.tasks.get(&leader).is_some_and(|t| t.parent.is_none()) {
            self.forget(leader);
        }
    }

    fn forget(&mut self, task: TaskId) {
        if let Some(gone) = self.tasks.remove(&task) {
            self.pids.free(gone.pid);
        }
    }

    /// Descriptors that named a first thread follow the one that took its place by exec.
    pub(super) fn follow_leader(&mut self, old: TaskId, new: TaskId) {
        for task in self.tasks.values_mut() {
            for fd in task.fds.values_mut() {
                if let Fd::Pidfd { task, .. } = fd
                    && *task == old
                {
                    *task = new;
                }
            }
        }
    }

    /// wait4(2) for one child by its number, which becomes free.
    ///
    /// # Errors
    /// `ECHILD` where the number is no child of the caller's process (a thread is nobody's child);
    /// `EAGAIN` where it still runs.
    pub fn wait(&mut self, caller: TaskId, pid: u32) -> Result<(), Errno> {
        let leader = self.running(caller)?.leader;
        // By number: a thread that execs takes its process's.
        let child = self.pids.get(pid).ok_or(Errno::ECHILD)?;
        let found = self.tasks.get(&child).ok_or(Errno::ECHILD)?;
        let parent = found.parent.and_then(|p| self.tasks.get(&p));
        if found.leader != child || parent.is_none_or(|p| p.leader != leader) {
            return Err(Errno::ECHILD);
        }
        if !self.live_threads(child).is_empty() {
            return Err(Errno::EAGAIN);
        }
        self.forget(child);
        Ok(())
    }

    /// kill(2) with `SIGKILL`, `SIGTERM` or 0.
    ///
    /// # Errors
    /// `EINVAL` for another signal (the model's programs handle none); `ESRCH`; `EPERM` unless
    /// the caller's real or effective user is the target's real or saved one, or it has
    /// `CAP_KILL` (`kill_ok_by_cred()`, kernel/signal.c).
    pub fn kill(&mut self, caller: TaskId, pid: u32, signal: i32) -> Result<(), Errno> {
        self.running(caller)?;
        if !matches!(signal, 0 | SIGTERM | SIGKILL) {
            return Err(Errno::EINVAL);
        }
        let target = self.pids.get(pid).ok_or(Errno::ESRCH)?;
        self.signal_task(caller, target, signal)
    }

    /// pidfd_send_signal(2), as [`Model::kill`].
    ///
    /// # Errors
    /// `EBADF` where the descriptor is no pidfd; else as [`Model::kill`].
    pub fn pidfd_kill(&mut self, caller: TaskId, fd: i32, signal: i32) -> Result<(), Errno> {
        let target = self.pidfd_target(caller, fd)?;
        if !matches!(signal, 0 | SIGTERM | SIGKILL) {
            return Err(Errno::EINVAL);
        }
        let target = target.ok_or(Errno::ESRCH)?;
        self.signal_task(caller, target, signal)
    }

    fn signal_task(&mut self, caller: TaskId, target: TaskId, signal: i32) -> Result<(), Errno> {
        let creds = self.running(caller)?.creds;
        let found = self.tasks.get(&target).ok_or(Errno::ESRCH)?;
        let theirs = found.creds;
        let leader = found.leader;
        let same = [creds.uid.effective, creds.uid.real]
            .iter()
            .any(|uid| *uid == theirs.uid.saved || *uid == theirs.uid.real);
        if !same && !self.ns_capable(&creds, theirs.ns, Caps::KILL) {
            return Err(Errno::EPERM);
        }
        if signal != 0 && !self.live_threads(leader).is_empty() {
            self.end_group(leader);
        }
        Ok(())
    }
}
