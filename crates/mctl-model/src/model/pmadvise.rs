//! process_madvise(2) as the kernel has it, and `mctl_process_madvise` as the contract extends
//! it (docs/CONTRACT.md#3-process_madvise-extended).

use mctl_abi::permission::{Holds, Mechanism, Relation};
use mctl_abi::{Action, Errno, Flags, PIDFD_SELF_THREAD, PIDFD_SELF_THREAD_GROUP, Request};

use super::Model;
use super::entries::{advise_entire, advise_entries};
use super::mctl::Rule;
use super::pidfd::IdType;
use crate::TASK_SIZE;
use crate::creds::Caps;
use crate::ids::TaskId;
use crate::kernel::Feature;
use crate::knobs::Limits;
use crate::madv::{Madvise, Pmadv};
use crate::mutant::Mutant;

/// One entry: a range in the target's address space, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoVec {
    /// First address.
    pub start: u64,
    /// Size.
    pub len: u64,
}

/// The `vec` and `vlen` arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WholeOrVec {
    /// `vec` NULL, with this `vlen`.
    Null(u64),
    /// Entries.
    Vec(Vec<IoVec>),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PmadviseOutcome {
    /// The call's return value: bytes of the entries that count.
    pub bytes: u64,
    /// Each entry that was looked at: its bytes, or the first error inside.
    pub entries: Vec<Result<u64, Errno>>,
}

/// How many entries the kernel takes at once (`UIO_MAXIOV`).
const MAX_ENTRIES: usize = 1024;

impl Model {
    /// process_madvise(2) by descriptor, flags 0. Order of checks: mm/madvise.c; since
    /// Linux 6.13 any advice is taken for oneself, without `CAP_SYS_NICE`.
    ///
    /// # Errors
    /// `EINVAL` for a flag, too many entries, or an advice not allowed remotely; `EBADF`;
    /// `ESRCH`; `EACCES` without read access; `EPERM` without `CAP_SYS_NICE`; or the first
    /// entry's own error.
    pub fn process_madvise(
        &mut self,
        caller: TaskId,
        fd: i32,
        vec: &[IoVec],
        advice: Madvise,
        flags: u32,
    ) -> Result<u64, Errno> {
        let creds = self.running(caller)?.creds;
        // import_iovec(): a length that is negative as a ssize_t is refused before all else.
        let negative = vec.iter().any(|entry| i64::try_from(entry.len).is_err());
        if flags != 0 || vec.len() > MAX_ENTRIES || negative {
            return Err(Errno::EINVAL);
        }
        let vec = imported(vec)?;
        let features = self.knobs.features;
        let sentinel = matches!(fd, PIDFD_SELF_THREAD | PIDFD_SELF_THREAD_GROUP);
        if sentinel && !features.has(Feature::PidfdSelf) {
            return Err(Errno::EBADF);
        }
        let target = self.pidfd_target(caller, fd)?.ok_or(Errno::ESRCH)?;
        let own_is_free = features.has(Feature::OwnAdvice);
        if !own_is_free && !advice.is_remote() {
            return Err(Errno::EINVAL);
        }
        // pidfd_get_task(), mm_access(): the named task's own address space.
        let target = self
            .tasks
            .get(&target)
            .map(|_| target)
            .ok_or(Errno::ESRCH)?;
        let mm = self
            .tasks
            .get(&target)
            .and_then(|t| t.mm)
            .ok_or(Errno::ESRCH)?;
        let own = self.same_mm(caller, target);
        if !own {
            self.owner_of(caller, target, Mechanism::Read)
                .map_err(|_| Errno::EACCES)?;
            if !advice.is_remote() {
                return Err(Errno::EINVAL);
            }
        }
        let free = own && own_is_free;
        if !free && !self.capable(&creds, Caps::SYS_NICE) {
            return Err(Errno::EPERM);
        }
        self.on_mm(mm, Limits::default(), Caps::FULL, |mm, cx| {
            let mut bytes = 0;
            for entry in &vec {
                match mm.madvise(cx, entry.start, entry.len, advice) {
                    Ok(()) => bytes += entry.len,
                    Err(error) if bytes == 0 => return Err(error),
                    Err(_) => break,
                }
            }
            Ok(bytes)
        })?
    }

    /// `mctl_process_madvise()`. `destructive` is the caller's explicit override.
    ///
    /// # Errors
    /// `EINVAL`, `EBADF`, `ESRCH`, `EPERM` before anything is done, in that order; or the first
    /// entry's error where nothing was done.
    #[expect(clippy::too_many_arguments, reason = "the call's own arguments")]
    pub fn mctl_process_madvise(
        &mut self,
        caller: TaskId,
        idtype: IdType,
        id: i64,
        vec: &WholeOrVec,
        advice: Madvise,
        flags: u32,
        destructive: bool,
    ) -> Result<PmadviseOutcome, Errno> {
        self.running(caller)?;
        let (flags, entries) = decode(idtype, vec, advice, flags)?;
        let named = self.name_target(caller, idtype, id)?;
        let target = self.with_address_space(named)?;
        self.may_advise(caller, target, advice, flags, destructive)?;
        let mm = self.tasks.get(&target).and_then(|t| t.mm);
        let (outcome, failed) = self.on_mm(
            mm.ok_or(Errno::ESRCH)?,
            Limits::default(),
            Caps::FULL,
            |mm, cx| match &entries {
                Some(entries) => advise_entries(mm, cx, entries, advice, flags),
                None => advise_entire(mm, cx, advice, flags),
            },
        )?;
        if let Some(error) = failed {
            return Err(error);
        }
        // Last: a call that fails changes no default.
        if flags.has(Pmadv::SET_FORK_EXEC_DEFAULT)
            && self.knobs.mutant != Some(Mutant::DefaultNotSet)
        {
            let action = if advice == Madvise::HUGEPAGE {
                Action::SetHugepage
            } else {
                Action::SetNohugepage
            };
            let request = Request::new(action, Flags::DEFAULT_EXEC)?;
            let mm = self.tasks.get(&target).and_then(|t| t.mm);
            self.on_mm(
                mm.ok_or(Errno::ESRCH)?,
                Limits::default(),
                Caps::FULL,
                |mm, _| {
                    mm.apply(request);
                },
            )?;
        }
        Ok(outcome)
    }

    /// A number is resolved once, at entry.
    fn name_target(&self, caller: TaskId, idtype: IdType, id: i64) -> Result<TaskId, Errno> {
        match idtype {
            IdType::Pid { inode } => {
                let pid = u32::try_from(id).map_err(|_| Errno::ESRCH)?;
                self.resolve_pid(pid, inode)
            }
            IdType::Pidfd => {
                let fd = i32::try_from(id).map_err(|_| Errno::EBADF)?;
                self.pidfd_target(caller, fd)?.ok_or(Errno::ESRCH)
            }
            IdType::Other => Err(Errno::EINVAL),
        }
    }

    fn may_advise(
        &self,
        caller: TaskId,
        target: TaskId,
        advice: Madvise,
        flags: Pmadv,
        destructive: bool,
    ) -> Result<(), Errno> {
        if self.relation(caller, target) == Relation::Other {
            // Where the kernel's own call is not allowed, the target makes it itself.
            let remotely = advice.is_remote()
                && self
                    .owner_of(caller, target, Mechanism::RemoteAdvice)
                    .is_ok();
            if !remotely {
                self.owner_of(caller, target, Mechanism::Injection)?;
            }
            let free = self.knobs.mutant == Some(Mutant::DestructiveFree);
            if advice.is_destructive() && !destructive && !free {
                return Err(Errno::EPERM);
            }
        }
        let whole = flags.has(Pmadv::ENTIRE_ADDRESS_SPACE) && advice != Madvise::GUARD_REMOVE;
        if self.relation(caller, target) == Relation::Own && advice.is_destructive() && whole {
            return Err(Errno::EPERM);
        }
        let free = self.knobs.mutant == Some(Mutant::DefaultFree);
        if flags.has(Pmadv::SET_FORK_EXEC_DEFAULT)
            && !free
            && self.admin_of(caller, target)? != Holds::Yes
        {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// The rule that the C ABI uses.
    #[must_use]
    pub const fn default_rule() -> Rule {
        Rule::Admin
    }
}

/// `import_iovec()` and the walk over what it made: every entry's address is looked at, no more
/// than `MAX_RW_COUNT` bytes are taken, and empty entries are passed over, but for the first of
/// several.
fn imported(vec: &[IoVec]) -> Result<Vec<IoVec>, Errno> {
    const MAX_RW_COUNT: u64 = 0x7fff_f000;
    let lone = vec.len() == 1;
    let mut left = MAX_RW_COUNT;
    let mut taken = Vec::with_capacity(vec.len());
    for (at, entry) in vec.iter().enumerate() {
        let len = entry.len.min(left);
        let reaches = if lone { len } else { entry.len };
        if entry
            .start
            .checked_add(reaches)
            .is_none_or(|end| end > TASK_SIZE)
        {
            return Err(Errno::EFAULT);
        }
        left -= len;
        if len > 0 || at == 0 {
            taken.push(IoVec {
                start: entry.start,
                len,
            });
        }
    }
    if left == MAX_RW_COUNT {
        taken.clear();
    }
    Ok(taken)
}

/// The checks that need only the arguments: `EINVAL`. No entries: the entire address space.
fn decode(
    idtype: IdType,
    vec: &WholeOrVec,
    advice: Madvise,
    flags: u32,
) -> Result<(Pmadv, Option<Vec<IoVec>>), Errno> {
    if idtype == IdType::Other {
        return Err(Errno::EINVAL);
    }
    let flags = Pmadv::from_bits(flags).ok_or(Errno::EINVAL)?;
    if advice.word().is_none() {
        return Err(Errno::EINVAL);
    }
    if flags.has(Pmadv::SET_FORK_EXEC_DEFAULT)
        && !matches!(advice, Madvise::HUGEPAGE | Madvise::NOHUGEPAGE)
    {
        return Err(Errno::EINVAL);
    }
    let entire = flags.has(Pmadv::ENTIRE_ADDRESS_SPACE);
    let entries = match (vec, entire) {
        (WholeOrVec::Null(u64::MAX), true) => None,
        (WholeOrVec::Null(0), false) => Some(Vec::new()),
        (WholeOrVec::Vec(entries), false) => Some(entries.clone()),
        // Nothing can be read at NULL; no address space has (size_t)-1 entries.
        (WholeOrVec::Null(count), false) if *count != u64::MAX => return Err(Errno::EFAULT),
        _ => return Err(Errno::EINVAL),
    };
    Ok((flags, entries))
}
