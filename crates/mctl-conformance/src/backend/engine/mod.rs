//! Who carries `mctl` and the extended process_madvise out for real processes.
//!
//! The backend of real processes asks an [`Engine`]: [`Library`] is the `mctl` crate, run by a
//! deputy with the credentials of the process that calls; [`Native`] is the system call of a
//! patched kernel, made by that process itself.

mod control;
mod library;
mod native;
mod wire;

use mctl::Guarantee;
use mctl_model::Madvise;

pub use control::{Claiming, Idle};
pub use library::{DEPUTY, Library, deputy};
pub use native::{Native, announced};

use super::{Answer, Trouble};
use crate::call::How;

/// How a call names its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineTarget {
    /// `PIDFD_SELF_THREAD` or `PIDFD_SELF_THREAD_GROUP`.
    Own(i32),
    /// A descriptor of the caller.
    Fd(i32),
    /// A number, with the identity that was given with it.
    Pid {
        /// The number.
        pid: u32,
        /// The inode of a pidfd.
        inode: u64,
    },
}

/// The task that calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its process.
    pub pid: u32,
    /// Itself.
    pub tid: u32,
}

/// One `mctl` call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineCall {
    /// Who calls.
    pub caller: Caller,
    /// Whom it names.
    pub target: EngineTarget,
    /// The action's number.
    pub action: i32,
    /// The flags.
    pub flags: u32,
    /// How it is asked for.
    pub how: How,
}

/// One `mctl_process_madvise` call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineAdvice {
    /// Who calls.
    pub caller: Caller,
    /// Whom it names.
    pub target: EngineTarget,
    /// Ranges; `Err(vlen)` for NULL with that count.
    pub entries: Result<Vec<(u64, u64)>, u64>,
    /// The advice.
    pub advice: Madvise,
    /// The PMADV flags.
    pub flags: u32,
    /// The explicit override for destructive advice.
    pub destructive: bool,
}

/// The calling process, which can be made to call the kernel.
pub trait OwnProcess {
    /// One system call by number; the result, or a negative error number.
    ///
    /// # Errors
    /// Where the process is not there.
    fn syscall(&mut self, nr: u64, args: [u64; 6]) -> Result<i64, Trouble>;

    /// Writes words to the start of its scratch memory, and says where that is.
    ///
    /// # Errors
    /// Where the process is not there.
    fn put(&mut self, words: &[u64]) -> Result<u64, Trouble>;
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Its result.
    pub answer: Answer,
    /// What the engine says about it: why it failed, or where it is less than was asked.
    pub said: Option<String>,
    /// Where it is less than was asked.
    pub short: Short,
    /// The outcome, where the engine tells one.
    pub told: Option<Told>,
}

/// What an outcome says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Now, future, fork, exec.
    pub guarantees: [Guarantee; 4],
    /// Whether it matches the contract exactly.
    pub exact: bool,
}

impl Told {
    /// All four enforced.
    pub const ENFORCED: Told = Told {
        guarantees: [Guarantee::Enforced; 4],
        exact: true,
    };
}

/// Where an outcome is less, or more, than what was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Short {
    /// Nowhere.
    #[default]
    Nowhere,
    /// Only in what becomes of it at exec.
    AtExec,
    /// Elsewhere too.
    Elsewhere,
}

impl Done {
    fn plain(answer: Answer) -> Done {
        Done {
            answer,
            said: None,
            short: Short::Nowhere,
            told: None,
        }
    }
}

/// Carries `mctl` out.
pub trait Engine {
    /// The backend's name in reports.
    fn name(&self) -> &'static str;

    /// A history begins; nothing of the one before is left. `best_effort`: what cannot be had
    /// exactly is done as far as it can be, where the engine knows such a thing.
    fn begin(&mut self, best_effort: bool);

    /// Whether it can do less than was asked and say so.
    fn knows_best_effort(&self) -> bool;

    /// The call. For `MCTL_GET_POLICY` the answer is the mask.
    ///
    /// # Errors
    /// `NotPossible` where this engine has no way; an error of the call is an answer.
    fn mctl(&mut self, call: &EngineCall, own: &mut dyn OwnProcess) -> Result<Done, Trouble>;

    /// The contract's process_madvise.
    ///
    /// # Errors
    /// As [`Engine::mctl`].
    fn process_madvise(
        &mut self,
        call: &EngineAdvice,
        own: &mut dyn OwnProcess,
    ) -> Result<Done, Trouble>;

    /// The policy of a task as an observer sees it, where this engine has such a look; else the
    /// task is asked by `MCTL_GET_POLICY`.
    ///
    /// # Errors
    /// What cannot be read.
    fn observed_policy(&mut self, _tid: u32) -> Result<Option<u32>, Trouble> {
        Ok(None)
    }
}

/// A raw result as an answer.
pub(super) fn answer(result: i64) -> Answer {
    super::stock::answer(result)
}
