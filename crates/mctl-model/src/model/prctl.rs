//! The prctl(2) calls that bear on memory policy.

use mctl_abi::thp::ThpDisable;
use mctl_abi::{Action, Errno, Flags, PolicyKind, Request};

use super::Model;
use crate::ids::TaskId;
use crate::kernel::Feature;
use crate::mutant::Mutant;

/// `PR_THP_DISABLE_EXCEPT_ADVISED`.
const EXCEPT_ADVISED: u64 = 2;

impl Model {
    /// `PR_SET_THP_DISABLE` with its four arguments (kernel/sys.c, `prctl_set_thp_disable()`).
    ///
    /// # Errors
    /// `EINVAL` for an unknown flag, for flags with 0, and for a stray argument.
    pub fn set_thp_disable(&mut self, task: TaskId, args: [u64; 4]) -> Result<(), Errno> {
        let [on, flags, fourth, fifth] = args;
        let known = if self.knobs.features.has(Feature::ExceptAdvised) {
            EXCEPT_ADVISED
        } else {
            0
        };
        self.running(task)?;
        if flags & !known != 0 || fourth != 0 || fifth != 0 || (on == 0 && flags != 0) {
            return Err(Errno::EINVAL);
        }
        self.with_mm(task, |mm, _| {
            mm.thp_disable = match (on, flags) {
                (0, _) => ThpDisable::Off,
                (_, 0) => ThpDisable::Full,
                _ => ThpDisable::ExceptAdvised,
            };
        })
    }

    /// `PR_GET_THP_DISABLE`: 0, 1 or 3.
    ///
    /// # Errors
    /// `EINVAL` for a stray argument.
    pub fn get_thp_disable(&mut self, task: TaskId, args: [u64; 4]) -> Result<i64, Errno> {
        self.running(task)?;
        if args != [0; 4] {
            return Err(Errno::EINVAL);
        }
        self.with_mm(task, |mm, _| mm.thp_disable.getter())
    }

    /// `PR_SET_MEMORY_MERGE`: equals SET MERGEABLE with DEFAULT_EXEC, or CLEAR.
    ///
    /// # Errors
    /// `EINVAL` for a stray argument, and where the kernel does not have it.
    pub fn set_memory_merge(&mut self, task: TaskId, args: [u64; 4]) -> Result<(), Errno> {
        self.running(task)?;
        let [on, third, fourth, fifth] = args;
        let known = self.knobs.features.has(Feature::MemoryMerge);
        if !known || third != 0 || fourth != 0 || fifth != 0 {
            return Err(Errno::EINVAL);
        }
        let request = if on == 0 {
            Request::new(Action::ClearMergeable, Flags::NONE)?
        } else {
            let exec = self.knobs.mutant != Some(Mutant::MergePrctlWithoutExec);
            let flags = if exec {
                Flags::DEFAULT_EXEC
            } else {
                Flags::NONE
            };
            Request::new(Action::SetMergeable, flags)?
        };
        self.with_mm(task, |mm, _| mm.apply(request))
    }

    /// `PR_GET_MEMORY_MERGE`.
    ///
    /// # Errors
    /// `EINVAL` for a stray argument, and where the kernel does not have it.
    pub fn get_memory_merge(&mut self, task: TaskId, args: [u64; 4]) -> Result<i64, Errno> {
        self.running(task)?;
        if args != [0; 4] || !self.knobs.features.has(Feature::MemoryMerge) {
            return Err(Errno::EINVAL);
        }
        self.with_mm(task, |mm, _| {
            i64::from(mm.policy.has(PolicyKind::Mergeable))
        })
    }

    /// `PR_SET_NO_NEW_PRIVS`: only on, and only with clean arguments.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn set_no_new_privs(&mut self, task: TaskId, args: [u64; 4]) -> Result<(), Errno> {
        self.running(task)?;
        if args != [1, 0, 0, 0] {
            return Err(Errno::EINVAL);
        }
        self.tasks.get_mut(&task).ok_or(Errno::ESRCH)?.no_new_privs = true;
        Ok(())
    }

    /// `PR_GET_NO_NEW_PRIVS`.
    ///
    /// # Errors
    /// `EINVAL` for a stray argument.
    pub fn get_no_new_privs(&mut self, task: TaskId, args: [u64; 4]) -> Result<i64, Errno> {
        let found = self.running(task)?;
        if args != [0; 4] {
            return Err(Errno::EINVAL);
        }
        Ok(i64::from(found.no_new_privs))
    }

    /// `PR_SET_DUMPABLE`: whether the program's owner may look into it.
    ///
    /// # Errors
    /// `EINVAL` for anything but 0 and 1.
    pub fn set_dumpable(&mut self, task: TaskId, value: u64) -> Result<(), Errno> {
        self.running(task)?;
        let on = match value {
            0 => false,
            1 => true,
            _ => return Err(Errno::EINVAL),
        };
        self.with_mm(task, |mm, _| mm.dumpable = on)
    }
}
