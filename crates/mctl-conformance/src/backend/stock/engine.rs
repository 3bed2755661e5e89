//! Who carries `mctl` out on this kernel.
//!
//! The suite asks an [`Engine`]. [`OwnPrctl`] is the smallest one: it does, by prctl(2) inside
//! the calling process, what a process can do exactly to itself, and answers `EOPNOTSUPP` for
//! everything else, as the contract's strict callers want it. The engine crate takes its place
//! for the rest.

use mctl_abi::permission::{Holds, Relation, admin};
use mctl_abi::{Action, Checks, Errno, PolicyKind, Request, Verb, check};
use mctl_model::Madvise;

use super::proc;
use crate::backend::{Answer, Trouble};

/// Whom a call names, found out before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineTarget {
    /// The caller's own process.
    Own,
    /// Another process, by its number; the suite holds it alive.
    Process {
        /// Its PID.
        pid: u32,
        /// Whether the number was given with an identity that is not its own.
        wrong_identity: bool,
    },
    /// A pidfd of a process that is gone.
    Dead,
    /// No pidfd.
    NotPidfd,
}

/// One `mctl` call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineCall {
    /// The calling process.
    pub caller: u32,
    /// Whom it names.
    pub target: EngineTarget,
    /// The action's number.
    pub action: i32,
    /// The flags.
    pub flags: u32,
    /// The owner rule rather than the admin rule.
    pub owner_rule: bool,
}

/// One `mctl_process_madvise` call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineAdvice {
    /// The calling process.
    pub caller: u32,
    /// Whom it names.
    pub target: EngineTarget,
    /// By number (`P_PID`) rather than by descriptor (`P_PIDFD`).
    pub by_number: bool,
    /// Ranges; `Err(vlen)` for NULL with that count.
    pub entries: Result<Vec<(u64, u64)>, u64>,
    /// The advice.
    pub advice: Madvise,
    /// The PMADV flags.
    pub flags: u32,
    /// The explicit override for destructive advice.
    pub destructive: bool,
}

/// The calling process, which can be made to call the kernel on itself.
pub trait OwnProcess {
    /// One system call by number; the result, or a negative error number.
    ///
    /// # Errors
    /// Where the process is not there.
    fn syscall(&mut self, nr: u64, args: [u64; 6]) -> Result<i64, Trouble>;
}

/// Carries `mctl` out. Strict: what cannot be had exactly is `EOPNOTSUPP`, nothing changed.
pub trait Engine {
    /// The call. For `MCTL_GET_POLICY` the answer is the mask.
    ///
    /// # Errors
    /// `NotPossible` where this engine has no way; an error of the call is an answer.
    fn mctl(&mut self, call: &EngineCall, own: &mut dyn OwnProcess) -> Result<Answer, Trouble>;

    /// The contract's process_madvise.
    ///
    /// # Errors
    /// As [`Engine::mctl`].
    fn process_madvise(
        &mut self,
        call: &EngineAdvice,
        own: &mut dyn OwnProcess,
    ) -> Result<Answer, Trouble>;
}

/// What a process can do to itself by prctl(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnPrctl;

const PRCTL: u64 = 157;
const PR_SET_THP_DISABLE: u64 = 41;
const PR_GET_THP_DISABLE: u64 = 42;
const PR_SET_MEMORY_MERGE: u64 = 67;
const PR_GET_MEMORY_MERGE: u64 = 68;
const CAP_SYS_ADMIN: u32 = 21;

struct Facts<'a> {
    call: &'a EngineCall,
    life: Option<Trouble>,
}

impl Checks for Facts<'_> {
    fn pidfd(&mut self) -> Result<(), Errno> {
        match self.call.target {
            EngineTarget::NotPidfd => Err(Errno::EBADF),
            _ => Ok(()),
        }
    }

    fn address_space(&mut self) -> Result<(), Errno> {
        match self.call.target {
            EngineTarget::Dead
            | EngineTarget::Process {
                wrong_identity: true,
                ..
            } => Err(Errno::ESRCH),
            EngineTarget::Process { pid, .. } if !proc::has_living_thread(pid) => Err(Errno::ESRCH),
            _ => Ok(()),
        }
    }

    fn permission(&mut self, request: Request) -> Result<(), Errno> {
        let relation = match self.call.target {
            EngineTarget::Own => Relation::Own,
            _ => Relation::Other,
        };
        if self.call.owner_rule {
            if relation == Relation::Other {
                let why = "the built-in engine knows the owner rule only for one's own process";
                self.life = Some(Trouble::NotPossible(why.to_owned()));
            }
            return Ok(());
        }
        let holds = proc::has_capability(self.call.caller, CAP_SYS_ADMIN);
        admin(request, relation, Holds::from_bool(holds))
    }

    fn ability(&mut self, request: Request) -> Result<(), Errno> {
        if self.call.target != EngineTarget::Own {
            let why = "the built-in engine reaches only the caller's own process";
            self.life = Some(Trouble::NotPossible(why.to_owned()));
            return Err(Errno::EOPNOTSUPP);
        }
        let exec = request.flags().default_exec();
        match request.action().info().effect {
            None => Ok(()),
            Some((Verb::Set, PolicyKind::Nohugepage | PolicyKind::HugepageAdvised))
            | Some((Verb::Set, PolicyKind::Mergeable))
                if exec =>
            {
                Ok(())
            }
            Some((Verb::Clear, PolicyKind::Hugepage | PolicyKind::FadeOnDeath)) => Ok(()),
            Some((Verb::Clear, _)) => Ok(()),
            // Without DEFAULT_EXEC the kernel's inheritance reaches further than was asked;
            // Always and fade it does not have.
            Some((Verb::Set, _)) => Err(Errno::EOPNOTSUPP),
        }
    }

    fn reach(&mut self) -> Result<(), Errno> {
        Ok(())
    }
}

fn prctl(own: &mut dyn OwnProcess, option: u64, args: [u64; 2]) -> Result<i64, Trouble> {
    own.syscall(PRCTL, [option, args[0], args[1], 0, 0, 0])
}

fn answer(result: i64) -> Answer {
    if result < 0 {
        Err(Errno::from_raw(i32::try_from(-result).unwrap_or(i32::MAX)))
    } else {
        Ok(result)
    }
}

/// What the kernel can show of the policy: prctl is inherited over exec, so the exec bit is set.
fn shown(own: &mut dyn OwnProcess) -> Result<u32, Trouble> {
    let both = |kind: PolicyKind| kind.bit() | kind.exec_bit();
    let mut mask = match prctl(own, PR_GET_THP_DISABLE, [0, 0])? {
        1 => both(PolicyKind::Nohugepage),
        3 => both(PolicyKind::HugepageAdvised),
        _ => 0,
    };
    if prctl(own, PR_GET_MEMORY_MERGE, [0, 0])? == 1 {
        mask |= both(PolicyKind::Mergeable);
    }
    Ok(mask)
}

impl Engine for OwnPrctl {
    fn mctl(&mut self, call: &EngineCall, own: &mut dyn OwnProcess) -> Result<Answer, Trouble> {
        let mut facts = Facts { call, life: None };
        let request = match check(call.action, call.flags, &mut facts) {
            Ok(request) => request,
            Err(errno) => return facts.life.map_or(Ok(Err(errno)), Err),
        };
        let now = shown(own)?;
        let Some((verb, kind)) = request.action().info().effect else {
            debug_assert_eq!(request.action(), Action::GetPolicy, "the only getter");
            return Ok(Ok(i64::from(now)));
        };
        if verb == Verb::Clear && now & kind.bit() == 0 {
            return Ok(Ok(0));
        }
        let on = u64::from(verb == Verb::Set);
        let result = match kind {
            PolicyKind::Nohugepage => prctl(own, PR_SET_THP_DISABLE, [on, 0])?,
            PolicyKind::HugepageAdvised => prctl(own, PR_SET_THP_DISABLE, [on, on * 2])?,
            PolicyKind::Mergeable => prctl(own, PR_SET_MEMORY_MERGE, [on, 0])?,
            PolicyKind::Hugepage | PolicyKind::FadeOnDeath => 0,
        };
        Ok(answer(result))
    }

    fn process_madvise(
        &mut self,
        _call: &EngineAdvice,
        _own: &mut dyn OwnProcess,
    ) -> Result<Answer, Trouble> {
        Err(Trouble::NotPossible(
            "the built-in engine does not extend process_madvise".to_owned(),
        ))
    }
}
