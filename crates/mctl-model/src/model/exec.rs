//! execve(2).

use mctl_abi::permission::Ids;
use mctl_abi::{Errno, Policy, PolicyKind};

use super::Model;
use super::signal::TaskState;
use crate::creds::{Caps, Creds};
use crate::ids::{NsId, TaskId};
use crate::knobs::Image;
use crate::mm::Mm;
use crate::mutant::Mutant;

/// A program file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The set-user-id bit, with the file's owner.
    pub set_uid: Option<u32>,
    /// File capabilities.
    pub caps: Caps,
    /// A script: the interpreter that its first line names is run instead, and the script's own
    /// set-id bit counts for nothing.
    pub interpreter: Option<Box<Program>>,
}

/// The arguments of execve(2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecArgs {
    /// What is run.
    pub program: Program,
    /// What it maps; `None` for the model's usual image.
    pub image: Option<Image>,
}

impl Model {
    /// Replaces the caller's image. Returns whether it was a secure exec: the new image has
    /// more rights than its starter (`AT_SECURE`).
    ///
    /// The policies whose exec bit is set survive, and `PR_SET_THP_DISABLE` does
    /// (`mm_init()`, kernel/fork.c: MMF_INIT_MASK); locks and lock mode do not. Nothing is
    /// wiped for a secure exec.
    ///
    /// # Errors
    /// `ELOOP` for interpreters nested deeper than four; `ESRCH` without an address space.
    pub fn exec(&mut self, caller: TaskId, args: &ExecArgs) -> Result<bool, Errno> {
        let task = self.running(caller)?.clone();
        let old = task.mm.ok_or(Errno::ESRCH)?;
        let mut program = &args.program;
        let mut depth = 0;
        while let Some(interpreter) = &program.interpreter {
            program = interpreter;
            depth += 1;
            if depth > 4 {
                return Err(Errno::ELOOP);
            }
        }
        let creds = new_creds(&task.creds, task.no_new_privs, program);
        let secure = creds.uid.effective != creds.uid.real
            || !task.creds.caps.has(creds.caps) && program.caps != Caps::NONE;
        self.leave_alone(caller);
        let mutant = self.knobs.mutant;
        let (policy, thp_disable, lock) = match self.mms.get(&old) {
            Some(mm) => {
                let policy = match mutant {
                    Some(Mutant::ExecKeepsAll) => mm.policy.on_fork(),
                    Some(Mutant::ExecKeepsFade) if mm.policy.has(PolicyKind::FadeOnDeath) => {
                        mm.policy
                    }
                    Some(Mutant::ExecEndsAll) => Policy::INHERIT,
                    Some(Mutant::SecureExecWipes) if secure => Policy::INHERIT,
                    _ => mm.policy.on_exec(),
                };
                (policy, mm.thp_disable, mm.def_lock)
            }
            None => return Err(Errno::ESRCH),
        };
        let image = args.image.clone().unwrap_or_else(|| self.image.clone());
        let family = self.next_id();
        let mut mm = Mm::from_image(&image, policy, thp_disable, creds.ns, family, mutant);
        mm.execed = true;
        if mutant == Some(Mutant::ExecKeepsLockMode) {
            mm.def_lock = lock;
        }
        mm.dumpable = creds.uid.effective == creds.uid.real;
        let new = self.add_mm(mm);
        self.release_vfork(caller);
        if let Some(task) = self.tasks.get_mut(&caller) {
            task.mm = Some(new);
            task.creds = creds;
            // pidfds are opened close-on-exec.
            task.fds.clear();
        }
        self.put_mm(old);
        Ok(secure)
    }

    /// `de_thread()`: the other threads die, and the caller takes the first thread's place and
    /// number.
    fn leave_alone(&mut self, caller: TaskId) {
        let Some(leader) = self.tasks.get(&caller).map(|t| t.leader) else {
            return;
        };
        for thread in self.threads(leader) {
            if thread != caller {
                self.end_thread(thread, leader != thread);
            }
        }
        if leader == caller {
            return;
        }
        let Some(old) = self.tasks.remove(&leader) else {
            return;
        };
        for task in self.tasks.values_mut() {
            if task.parent == Some(leader) {
                task.parent = Some(caller);
            }
        }
        let Some(task) = self.tasks.get_mut(&caller) else {
            return;
        };
        let own = task.pid;
        task.pid = old.pid;
        task.inode = old.inode;
        task.leader = caller;
        task.parent = old.parent;
        task.fds = old.fds;
        self.pids.free(own);
        self.pids.hand_over(old.pid, caller);
        self.follow_leader(leader, caller);
    }

    fn release_vfork(&mut self, child: TaskId) {
        let waiting = self.tasks.get_mut(&child).and_then(|t| t.frees.take());
        if let Some(parent) = waiting.and_then(|parent| self.tasks.get_mut(&parent))
            && parent.state == TaskState::InVfork
        {
            parent.state = TaskState::Running;
        }
    }

    pub(super) fn release_parent(&mut self, child: TaskId) {
        self.release_vfork(child);
    }
}

/// `bprm_fill_uid()` and `cap_bprm_creds_from_file()` for the capabilities that the model keeps:
/// a set-id bit counts unless no_new_privs; root has everything, others what the file gives.
fn new_creds(old: &Creds, no_new_privs: bool, program: &Program) -> Creds {
    let mut new = *old;
    let trusted = !no_new_privs && old.ns == NsId(0);
    if let Some(owner) = program.set_uid.filter(|_| trusted) {
        new.uid = Ids {
            real: old.uid.real,
            effective: owner,
            saved: owner,
            fs: owner,
        };
    } else {
        new.uid.saved = old.uid.effective;
        new.uid.fs = old.uid.effective;
    }
    // handle_privileged_root(): either number gives the permitted set, the effective one alone
    // raises it. Inside a namespace without a mapping there is no root.
    let first = old.ns == NsId(0);
    let root = |id: u32| first && id == 0;
    let (permitted, raised) = if root(new.uid.effective) || root(new.uid.real) {
        (Caps::FULL, root(new.uid.effective))
    } else if trusted {
        (program.caps, true)
    } else {
        (Caps::NONE, true)
    };
    new.permitted = permitted;
    if no_new_privs && !old.permitted.has(permitted) {
        // "they get no more than they had, and maybe less"
        new.permitted = permitted.common(old.permitted);
        new.uid.effective = new.uid.real;
        new.uid.saved = new.uid.real;
        new.uid.fs = new.uid.real;
    }
    new.caps = if raised { new.permitted } else { Caps::NONE };
    new
}
