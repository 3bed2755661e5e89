// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only

//! Who may act on whom: two rules, each a pure function over credentials.
//!
//! - [`admin`] is the proposal's rule. The C ABI and the native system call use it.
//! - [`owner`] is what the kernel's own mechanism asks of the caller. The command line uses it
//!   by default, so that a user can manage the user's own processes, as with renice(1).

use crate::action::Action;
use crate::check::Request;
use crate::errno::Errno;

/// Whose address space it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// The caller's own thread group.
    Own,
    /// Another process.
    Other,
}

/// Whether the caller holds a capability in the user namespace that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holds {
    /// Yes.
    Yes,
    /// No.
    No,
}

impl Holds {
    /// From a check's answer.
    #[must_use]
    pub const fn from_bool(holds: bool) -> Holds {
        if holds { Holds::Yes } else { Holds::No }
    }

    const fn yes(self) -> bool {
        matches!(self, Holds::Yes)
    }
}

/// Whether the admin rule asks for `CAP_SYS_ADMIN` here: for another process, and for
/// `MCTL_SET_DEFAULT_EXEC` on one's own.
#[must_use]
pub const fn admin_needs_capability(request: Request, relation: Relation) -> bool {
    matches!(relation, Relation::Other) || request.flags().default_exec()
}

/// The admin rule. `sys_admin` is `CAP_SYS_ADMIN` in the user namespace that the *address space*
/// was executed in (`mm->user_ns`), never in the task's current one: an unprivileged CLONE_VM
/// child that unshares its user namespace gains nothing over the memory it shares.
///
/// # Errors
/// `EPERM`.
pub const fn admin(request: Request, relation: Relation, sys_admin: Holds) -> Result<(), Errno> {
    if admin_needs_capability(request, relation) && !sys_admin.yes() {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// What a stock kernel does to carry a request out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// prctl(2) or madvise(2) by the process itself.
    OwnCall,
    /// A system call injected by ptrace(2): PTRACE_MODE_ATTACH_REALCREDS.
    Injection,
    /// process_madvise(2): PTRACE_MODE_READ_FSCREDS and CAP_SYS_NICE.
    RemoteAdvice,
    /// Reading /proc: PTRACE_MODE_READ_FSCREDS.
    Read,
}

/// User and group of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ids {
    /// Real.
    pub real: u32,
    /// Effective.
    pub effective: u32,
    /// Saved.
    pub saved: u32,
    /// File system.
    pub fs: u32,
}

impl Ids {
    /// The same number four times.
    #[must_use]
    pub const fn all(id: u32) -> Ids {
        Ids {
            real: id,
            effective: id,
            saved: id,
            fs: id,
        }
    }

    /// The kernel's same-owner test: the caller's one id against the target's three.
    const fn owned_by(self, id: u32) -> bool {
        self.real == id && self.effective == id && self.saved == id
    }
}

/// `/proc/sys/kernel/yama/ptrace_scope`; it restricts attaching only, not reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Yama {
    /// Not built in, or 0.
    Classic,
    /// 1: only a descendant, or whoever the target named by PR_SET_PTRACER.
    Restricted,
    /// 2: only with CAP_SYS_PTRACE.
    AdminOnly,
    /// 3: nobody.
    NoAttach,
}

impl Yama {
    /// The knob's number; one that nobody knows counts as the strictest.
    #[must_use]
    pub const fn from_scope(scope: u32) -> Yama {
        match scope {
            0 => Yama::Classic,
            1 => Yama::Restricted,
            2 => Yama::AdminOnly,
            _ => Yama::NoAttach,
        }
    }
}

/// The facts of the owner rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnerFacts {
    /// Own thread group or another process.
    pub relation: Relation,
    /// The caller's user ids.
    pub caller_uid: Ids,
    /// The caller's group ids.
    pub caller_gid: Ids,
    /// The target's user ids.
    pub target_uid: Ids,
    /// The target's group ids.
    pub target_gid: Ids,
    /// Whether the target may be dumped by its owner (PR_SET_DUMPABLE; off after a set-id exec).
    pub target_dumpable: Holds,
    /// Whether the caller's permitted capabilities include the target's.
    pub caps_cover_target: Holds,
    /// CAP_SYS_PTRACE in the target's user namespace.
    pub sys_ptrace: Holds,
    /// CAP_SYS_NICE (process_madvise(2) asks for it on any process but one's own).
    pub sys_nice: Holds,
    /// The Yama knob.
    pub yama: Yama,
    /// Whether Yama's restricted mode lets this caller attach: the target descends from it or
    /// named it.
    pub yama_related: Holds,
}

/// The owner rule: what the kernel's mechanism asks of the caller. It restates
/// `ptrace_may_access()` (kernel/ptrace.c), Yama, and process_madvise(2), so that a refusal can
/// be foretold and explained; other security modules are not modelled, and the kernel's own
/// answer at the call decides.
///
/// # Errors
/// `EPERM`.
pub const fn owner(facts: &OwnerFacts, mechanism: Mechanism) -> Result<(), Errno> {
    if matches!(facts.relation, Relation::Own) {
        return Ok(());
    }
    if matches!(mechanism, Mechanism::OwnCall) {
        // A process can make its own calls only on itself.
        return Err(Errno::EPERM);
    }
    let attach = matches!(mechanism, Mechanism::Injection);
    let (uid, gid) = if attach {
        (facts.caller_uid.real, facts.caller_gid.real)
    } else {
        (facts.caller_uid.fs, facts.caller_gid.fs)
    };
    let privileged = facts.sys_ptrace.yes();
    let same_owner = facts.target_uid.owned_by(uid) && facts.target_gid.owned_by(gid);
    if !same_owner && !privileged {
        return Err(Errno::EPERM);
    }
    if !facts.target_dumpable.yes() && !privileged {
        return Err(Errno::EPERM);
    }
    if !facts.caps_cover_target.yes() && !privileged {
        return Err(Errno::EPERM);
    }
    if attach {
        let allowed = match facts.yama {
            Yama::Classic => true,
            Yama::Restricted => facts.yama_related.yes() || privileged,
            Yama::AdminOnly => privileged,
            Yama::NoAttach => false,
        };
        if !allowed {
            return Err(Errno::EPERM);
        }
    }
    if matches!(mechanism, Mechanism::RemoteAdvice) && !facts.sys_nice.yes() {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// Whether an action changes anything. GET needs what reading needs.
#[must_use]
pub const fn is_read(action: Action) -> bool {
    action.info().effect.is_none()
}
