//! A step of a plan: what it is, and how it is shown.

use mctl_abi::thp::ThpDisable;
use mctl_sys::raw::madvise::Range;
use serde::Serialize;

use super::CalledBy;

/// One step. In a target other than ourselves each is run inside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// mctl(2), where the kernel has it.
    Call {
        /// The action and its flags.
        #[serde(flatten, serialize_with = "action_and_flags")]
        call: mctl_abi::Request,
        /// Who calls.
        by: CalledBy,
    },
    /// `PR_SET_MEMORY_MERGE`, where it is not so already.
    SetMerge {
        /// On or off.
        on: bool,
    },
    /// `PR_SET_THP_DISABLE`, where it is not so already.
    SetThpDisable {
        /// The new state.
        #[serde(serialize_with = "state_word")]
        to: ThpDisable,
        /// Only if this is the state now.
        #[serde(serialize_with = "opt_state_word")]
        only_from: Option<ThpDisable>,
    },
    /// madvise(2) over runs of memory.
    Advise {
        /// The advice.
        advice: i32,
        /// The runs.
        #[serde(serialize_with = "count_runs")]
        runs: Vec<Range>,
        /// Whether to look again for what the target maps meanwhile.
        #[serde(skip)]
        follow: Follow,
    },
}

/// What the target maps while its runs are advised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Is advised as well.
    New,
    /// Is none of this step's business: the kernel's policy covers it.
    Nothing,
}

fn word(state: ThpDisable) -> &'static str {
    match state {
        ThpDisable::Off => "off",
        ThpDisable::Full => "full",
        ThpDisable::ExceptAdvised => "except-advised",
    }
}

fn action_and_flags<S: serde::Serializer>(
    call: &mctl_abi::Request,
    s: S,
) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap;
    let mut map = s.serialize_map(Some(2))?;
    map.serialize_entry("action", call.action().info().c_name)?;
    map.serialize_entry("flags", &call.flags().bits())?;
    map.end()
}

fn state_word<S: serde::Serializer>(state: &ThpDisable, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(word(*state))
}

fn opt_state_word<S: serde::Serializer>(
    state: &Option<ThpDisable>,
    s: S,
) -> Result<S::Ok, S::Error> {
    s.serialize_some(&state.map(word))
}

fn count_runs<S: serde::Serializer>(runs: &[Range], s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u64(runs.len() as u64)
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::Call { call, by } => {
                let whose = match by {
                    CalledBy::Us => "PIDFD",
                    CalledBy::Target => "PIDFD_SELF",
                };
                let flags = if call.flags().default_exec() {
                    "MCTL_SET_DEFAULT_EXEC"
                } else {
                    "0"
                };
                write!(f, "mctl({whose}, {}, {flags})", call.action())
            }
            Step::SetMerge { on } => write!(f, "prctl(PR_SET_MEMORY_MERGE, {})", u8::from(*on)),
            Step::SetThpDisable { to, only_from } => {
                let (disable, flags) = to.setter();
                write!(f, "prctl(PR_SET_THP_DISABLE, {disable}, {flags})")?;
                match only_from {
                    Some(from) => write!(f, " if it returns {} now", from.getter()),
                    None => Ok(()),
                }
            }
            Step::Advise { runs, .. } => {
                let bytes = runs
                    .iter()
                    .fold(0u64, |sum, run| sum.saturating_add(run.len));
                write!(
                    f,
                    "madvise(MADV_HUGEPAGE) on {} runs, {} MiB of address space",
                    runs.len(),
                    bytes >> 20
                )
            }
        }
    }
}

impl Step {
    /// Whether the step is run inside the target, one of whose threads is stopped for it.
    #[must_use]
    pub fn is_injected(&self) -> bool {
        !matches!(
            self,
            Step::Call {
                by: CalledBy::Us,
                ..
            }
        )
    }
}
