//! mctl(): the contract's call. What it does is `mctl_abi`'s; the model supplies the facts.

use mctl_abi::permission::{self, Holds, Mechanism, OwnerFacts, Relation, Yama};
use mctl_abi::{Action, Checks, Errno, Request, check};

use super::Model;
use super::signal::TaskState;
use crate::creds::{Caps, Creds};
use crate::ids::TaskId;
use crate::knobs::Limits;
use crate::mutant::Mutant;

/// Which permission rule the caller wants (docs/CONTRACT.md#perm-admin, #perm-owner).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// The C ABI's and the native call's.
    #[default]
    Admin,
    /// The command line's: what the kernel's own mechanism asks.
    Owner,
}

/// Whose address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A descriptor, or `PIDFD_SELF_THREAD` / `PIDFD_SELF_THREAD_GROUP`.
    Fd(i32),
    /// A number, as the command line takes it, with the identity it must have.
    Pid(u32, Option<u64>),
}

/// The facts of one call, found out one after the other.
struct Facts<'a> {
    model: &'a Model,
    caller: TaskId,
    target: Target,
    rule: Rule,
    named: Option<TaskId>,
    reached: Option<TaskId>,
}

impl Checks for Facts<'_> {
    fn pidfd(&mut self) -> Result<(), Errno> {
        self.named = match self.target {
            Target::Fd(fd) => self.model.pidfd_target(self.caller, fd)?,
            Target::Pid(pid, inode) => Some(self.model.resolve_pid(pid, inode)?),
        };
        Ok(())
    }

    fn address_space(&mut self) -> Result<(), Errno> {
        let named = match (self.named, self.model.knobs.mutant) {
            // Whoever may not act is told so although nobody is there.
            (None, Some(Mutant::PermissionFirst)) => {
                let creds = self.model.running(self.caller)?.creds;
                let admin = self.model.capable(&creds, Caps::SYS_ADMIN);
                return Err(if admin { Errno::ESRCH } else { Errno::EPERM });
            }
            (Some(named), Some(Mutant::PermissionFirst))
                if self.model.with_address_space(named).is_err() =>
            {
                let creds = self.model.running(self.caller)?.creds;
                let admin = self.model.capable(&creds, Caps::SYS_ADMIN);
                return Err(if admin { Errno::ESRCH } else { Errno::EPERM });
            }
            (Some(named), Some(Mutant::ZombieAnswers))
                if self.model.state(named) == Some(TaskState::Zombie) =>
            {
                self.reached = Some(self.caller);
                return Ok(());
            }
            (named, _) => named.ok_or(Errno::ESRCH)?,
        };
        self.reached = Some(self.model.with_address_space(named)?);
        Ok(())
    }

    fn permission(&mut self, request: Request) -> Result<(), Errno> {
        let target = self.reached.ok_or(Errno::ESRCH)?;
        match self.rule {
            Rule::Admin => {
                let relation = self.model.relation(self.caller, target);
                let holds = match self.model.knobs.mutant {
                    Some(Mutant::AdminLetsAll) if relation == Relation::Other => Holds::Yes,
                    Some(Mutant::DefaultExecFree) if relation == Relation::Own => Holds::Yes,
                    _ => self.model.admin_of(self.caller, target)?,
                };
                permission::admin(request, relation, holds)
            }
            Rule::Owner => {
                let mechanism = if permission::is_read(request.action()) {
                    Mechanism::Read
                } else {
                    Mechanism::Injection
                };
                self.model.owner_of(self.caller, target, mechanism)
            }
        }
    }

    fn ability(&mut self, _request: Request) -> Result<(), Errno> {
        Ok(())
    }

    fn reach(&mut self) -> Result<(), Errno> {
        Ok(())
    }
}

impl Model {
    /// `mctl()` on the model's own kernel, which can do everything exactly.
    ///
    /// Returns 0, or for `MCTL_GET_POLICY` the mask.
    ///
    /// # Errors
    /// `EINVAL`, `EBADF`, `ESRCH`, `EPERM`, in that order (docs/CONTRACT.md#check-order).
    pub fn mctl(
        &mut self,
        caller: TaskId,
        target: Target,
        action: i32,
        flags: u32,
        rule: Rule,
    ) -> Result<u32, Errno> {
        let (reached, request) = self.mctl_checked(caller, target, action, flags, rule)?;
        let mm = self
            .tasks
            .get(&reached)
            .and_then(|t| t.mm)
            .ok_or(Errno::ESRCH)?;
        self.on_mm(mm, Limits::default(), Caps::FULL, |mm, _| {
            mm.apply(request);
            if request.action() == Action::GetPolicy {
                mm.policy.mask()
            } else {
                0
            }
        })
    }

    /// The checks of `mctl()` alone: whom it reaches, and what is asked.
    ///
    /// # Errors
    /// As [`Model::mctl`].
    pub fn mctl_checked(
        &self,
        caller: TaskId,
        target: Target,
        action: i32,
        flags: u32,
        rule: Rule,
    ) -> Result<(TaskId, Request), Errno> {
        self.running(caller)?;
        let mut facts = Facts {
            model: self,
            caller,
            target,
            rule,
            named: None,
            reached: None,
        };
        let request = check(action, flags, &mut facts)?;
        Ok((facts.reached.ok_or(Errno::ESRCH)?, request))
    }

    /// Whether two tasks are of one process.
    #[must_use]
    pub fn same_process(&self, a: TaskId, b: TaskId) -> bool {
        self.relation(a, b) == Relation::Own
    }

    pub(super) fn relation(&self, caller: TaskId, target: TaskId) -> Relation {
        let leader = |task| self.tasks.get(&task).map(|t| t.leader);
        if self.knobs.mutant == Some(Mutant::OwnIsSameMemory) && self.same_mm(caller, target) {
            return Relation::Own;
        }
        if leader(caller).is_some() && leader(caller) == leader(target) {
            Relation::Own
        } else {
            Relation::Other
        }
    }

    /// `CAP_SYS_ADMIN` in the namespace that the target's address space was executed in.
    pub(super) fn admin_of(&self, caller: TaskId, target: TaskId) -> Result<Holds, Errno> {
        let creds = self.running(caller)?.creds;
        let mm = self.mm(target).ok_or(Errno::ESRCH)?;
        let ns = match self.knobs.mutant {
            Some(Mutant::NamespaceOfTask) => creds.ns,
            _ => mm.user_ns,
        };
        Ok(Holds::from_bool(self.ns_capable(
            &creds,
            ns,
            Caps::SYS_ADMIN,
        )))
    }

    pub(super) fn owner_of(
        &self,
        caller: TaskId,
        target: TaskId,
        mechanism: Mechanism,
    ) -> Result<(), Errno> {
        let mut own = self.running(caller)?.creds;
        let mutant = self.knobs.mutant;
        let theirs = self.tasks.get(&target).ok_or(Errno::ESRCH)?.creds;
        let mm = self.mm(target).ok_or(Errno::ESRCH)?;
        let relation = self.relation(caller, target);
        // The one question that is asked in the namespace of the memory; the others are asked in
        // the task's (`__ptrace_may_access()`).
        if mutant == Some(Mutant::OwnerAnyUser) {
            (own.uid, own.gid) = (theirs.uid, theirs.gid);
        }
        let seen = mm.dumpable
            || mutant == Some(Mutant::OwnerIgnoresDumpable)
            || self.ns_capable(&own, mm.user_ns, Caps::SYS_PTRACE);
        if relation == Relation::Other && !seen {
            return Err(Errno::EPERM);
        }
        let facts = OwnerFacts {
            relation,
            caller_uid: own.uid,
            caller_gid: own.gid,
            target_uid: theirs.uid,
            target_gid: theirs.gid,
            target_dumpable: Holds::Yes,
            caps_cover_target: Holds::from_bool(self.covers(&own, &theirs)),
            sys_ptrace: Holds::from_bool(self.ns_capable(&own, theirs.ns, Caps::SYS_PTRACE)),
            sys_nice: Holds::from_bool(self.capable(&own, Caps::SYS_NICE)),
            yama: match mutant {
                Some(Mutant::OwnerIgnoresYama) => Yama::Classic,
                _ => self.knobs.yama,
            },
            yama_related: Holds::from_bool(
                self.knobs.yama == Yama::Classic || self.descends(target, caller),
            ),
        };
        permission::owner(&facts, mechanism)
    }

    /// `cap_ptrace_access_check()`: in one namespace the target's capabilities are a subset;
    /// across namespaces only `CAP_SYS_PTRACE` helps.
    fn covers(&self, own: &Creds, theirs: &Creds) -> bool {
        own.ns == theirs.ns && own.caps.has(theirs.permitted)
    }

    fn descends(&self, task: TaskId, ancestor: TaskId) -> bool {
        let mut at = Some(task);
        // A task is younger than its parent, so the walk ends.
        while let Some(id) = at {
            if id == ancestor {
                return true;
            }
            at = self.tasks.get(&id).and_then(|t| t.parent);
        }
        false
    }
}
