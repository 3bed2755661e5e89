//! Why nothing was injected.

use mctl_abi::Errno;
use thiserror::Error;

use super::moment::Harm;
use crate::bounded::{PATIENCE_MS, Undone};

fn without_clock(errno: Option<Errno>) -> String {
    match errno {
        None => String::new(),
        Some(Errno::EACCES | Errno::EPERM) => {
            " (when it runs its own code cannot be told: kernel.perf_event_paranoid forbids it)"
                .to_owned()
        }
        Some(errno) => format!(" (when it runs its own code cannot be told: {errno})"),
    }
}

/// A target that must not, or cannot, be touched now. It has been left as it was.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Another tracer holds it: one tracer a task is all that the kernel allows.
    #[error("it is traced by process {tracer} ({name}); detach that first")]
    Traced {
        /// The tracer.
        tracer: i32,
        /// Its command name.
        name: String,
    },
    /// The Yama security module forbids attaching.
    #[error(
        "Yama forbids attaching (kernel.yama.ptrace_scope is {scope}): {}", yama(*.scope)
    )]
    Yama {
        /// The knob's value.
        scope: u32,
    },
    /// Another user's process, or one that is not dumpable.
    #[error("no ptrace access to it: that takes its user's own credentials, or CAP_SYS_PTRACE")]
    NotPermitted,
    /// A seccomp filter might kill the target for the call, and only an administrator may
    /// suspend the filter.
    #[error(
        "it runs under seccomp, whose filter might kill it for our call; \
         suspending the filter needs CAP_SYS_ADMIN, and no filter on the caller"
    )]
    Seccomp,
    /// Syscall User Dispatch would turn the call into SIGSYS.
    #[error("it uses Syscall User Dispatch, which would turn our call into SIGSYS")]
    SyscallUserDispatch,
    /// A SIGTRAP waits for it; a stop could be mistaken for it.
    #[error("a SIGTRAP is pending for it")]
    PendingSigtrap,
    /// It runs 32-bit code.
    #[error("it is a 32-bit process")]
    Bits32,
    /// It has ended and waits for its parent.
    #[error("it is a zombie: it has ended and has no memory any more")]
    Zombie,
    /// It has no memory of its own.
    #[error("it is a kernel thread")]
    KernelThread,
    /// Its cgroup is frozen.
    #[error("its cgroup is frozen; thaw it first")]
    Frozen,
    /// Its only thread waits in vfork for its child.
    #[error("it waits inside vfork for its child; try again when the child has called exec")]
    InVfork,
    /// No thread of it could be stopped in the time allowed.
    #[error("none of its threads could be stopped (uninterruptible sleep, or no processor for it)")]
    Unresponsive {
        /// How long one of them was given at least, in milliseconds.
        waited_ms: u64,
    },
    /// The kernel did not answer a look at it, or let us attach, in time.
    #[error(
        "the kernel did not answer about it within {PATIENCE_MS} ms: it executes or maps a file of a file \
         system that does not answer, or memory that nobody serves"
    )]
    NoAnswer,
    /// No thread of it could be stopped without something of it being seen.
    #[error("no harmless moment within {waited_ms} ms: its thread {tid} is in {call}; stopped there, {}{}", 
        harm.words(), without_clock(*no_clock))]
    NoHarmlessMoment {
        /// The thread that would have to be interrupted.
        tid: i32,
        /// What it is in.
        call: String,
        /// What an interruption would do.
        harm: Harm,
        /// How long was waited, in milliseconds.
        waited_ms: u64,
        /// Why it could not be seen when its threads run their own code.
        no_clock: Option<Errno>,
    },
    /// Neither its vDSO nor the interrupted call offered a `syscall` instruction.
    #[error("no system-call instruction to borrow was found in it (vDSO unmapped?)")]
    NoSyscallInstruction,
    /// None of its text holds the instructions that end a task, at which a carrier stands.
    #[error(
        "its program has no instructions that end a thread, where a task of ours could stand for a \
         long call"
    )]
    NoExitInstructions,
    /// Its next child would be the first process of another PID namespace.
    #[error(
        "its next child would begin a PID namespace of its own (unshare(CLONE_NEWPID)); try again \
         when it has made one"
    )]
    OtherPidNamespace,
    /// It changed the text that our task was to run.
    #[error(
        "it changed its program under our hands: our task in it was found elsewhere, and ended"
    )]
    ForeignText,
    /// Its thread did something else than our call: the code that the call goes through was changed meanwhile. What
    /// the thread was about to do was cancelled.
    #[error(
        "its thread ran other code in place of our call, which was cancelled: \
         the program changes the code that its system calls go through"
    )]
    Hostile,
    /// It has called exec since it was looked at: what was prepared concerns another program.
    #[error("it has executed another program meanwhile; try again")]
    Replaced,
    /// Inside a restartable sequence of an unknown kind when it was stopped.
    #[error("it was inside a restartable sequence (rseq) when it was stopped; try again")]
    InRseqSection,
}

/// What helps against Yama (security/yama/yama_lsm.c).
const fn yama(scope: u32) -> &'static str {
    match scope {
        1 => "it takes CAP_SYS_PTRACE, or being its ancestor",
        2 => "it takes CAP_SYS_PTRACE",
        _ => "nobody may until the next boot",
    }
}

impl Refusal {
    /// The errno of the contract for it.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Refusal::Yama { .. } | Refusal::NotPermitted | Refusal::Seccomp => Errno::EPERM,
            Refusal::Bits32
            | Refusal::NoSyscallInstruction
            | Refusal::NoExitInstructions
            | Refusal::Hostile
            | Refusal::ForeignText => Errno::EOPNOTSUPP,
            Refusal::Zombie | Refusal::KernelThread => Errno::ESRCH,
            Refusal::Traced { .. }
            | Refusal::SyscallUserDispatch
            | Refusal::PendingSigtrap
            | Refusal::Frozen
            | Refusal::InVfork
            | Refusal::Unresponsive { .. }
            | Refusal::NoAnswer
            | Refusal::NoHarmlessMoment { .. }
            | Refusal::Replaced
            | Refusal::OtherPidNamespace
            | Refusal::InRseqSection => Errno::EBUSY,
        }
    }
}

/// The step of [`InjectError::Os`] in which the task that does the work could not be started (`EAGAIN`): a limit on
/// the number of tasks.
pub const NO_TASK: &str = "starting the shield task";
/// The step in which a thread of the caller could not be started (`EAGAIN`): likewise.
pub const NO_THREAD: &str = "starting a thread";
/// The step in which the target could bear no carrier (`EAGAIN`): a limit on the tasks of the target.
pub const NO_CHILD: &str = "making a process in it";

/// Why an injection did not happen or did not finish.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum InjectError {
    /// The process has ended.
    #[error("the process has ended")]
    Gone,
    /// The target was left alone, for this reason.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// A call was turned into a signal in the target. It was not delivered.
    #[error("the kernel answered our call in it with signal {0}")]
    Signalled(i32),
    /// A step failed.
    #[error("{step}: {errno}")]
    Os {
        /// What was being done.
        step: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
}

impl InjectError {
    /// The errno of the contract for it.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            InjectError::Gone => Errno::ESRCH,
            InjectError::Refused(refusal) => refusal.errno(),
            InjectError::Signalled(_) => Errno::EBUSY,
            InjectError::Os { errno, .. } => *errno,
        }
    }
}

impl From<Undone> for InjectError {
    fn from(undone: Undone) -> InjectError {
        match undone {
            Undone::NoAnswer => Refusal::NoAnswer.into(),
            Undone::Interrupted | Undone::Killed => InjectError::Os {
                step: "looking at it",
                errno: undone.errno(),
            },
        }
    }
}
