//! What was really done, and what is guaranteed of it.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::see::mappings::MappingCounts;

/// How surely the policy holds over one stretch of the target's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// The kernel itself sees to it; not against the program itself, which may undo its own
    /// policy by prctl(2) at any time.
    Enforced,
    /// A supervisor sees to it while it lives.
    Supervised,
    /// It follows within a bounded, stated time.
    Eventual,
    /// It does not hold.
    NotCovered,
    /// It reaches further than was asked: it also survives exec.
    Exceeds,
}

impl Guarantee {
    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Guarantee::Enforced => "enforced",
            Guarantee::Supervised => "supervised",
            Guarantee::Eventual => "eventual",
            Guarantee::NotCovered => "not-covered",
            Guarantee::Exceeds => "exceeds",
        }
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// The four guarantees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Guarantees {
    /// Mappings that exist.
    pub now: Guarantee,
    /// Mappings to come.
    pub future: Guarantee,
    /// Children.
    pub fork: Guarantee,
    /// New images.
    pub exec: Guarantee,
}

impl Guarantees {
    /// All four enforced.
    pub const ENFORCED: Guarantees = Guarantees {
        now: Guarantee::Enforced,
        future: Guarantee::Enforced,
        fork: Guarantee::Enforced,
        exec: Guarantee::Enforced,
    };

    /// Whether all four match the contract (docs/CONTRACT.md#outcome-exact).
    #[must_use]
    pub fn all_enforced(self) -> bool {
        self == Guarantees::ENFORCED
    }
}

/// By what a policy was put in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// The mctl() system call of a kernel that has it.
    NativeCall,
    /// The same, run in the target, where the caller may act on it but not as an administrator.
    InjectedNativeCall,
    /// prctl(2) by the process itself.
    OwnPrctl,
    /// prctl(2), run in the target.
    InjectedPrctl,
    /// madvise(2) by the process itself.
    OwnMadvise,
    /// madvise(2), run in the target.
    InjectedMadvise,
    /// Nothing had to be done.
    Nothing,
}

impl Mechanism {
    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Mechanism::NativeCall => "native-call",
            Mechanism::InjectedNativeCall => "injected-native-call",
            Mechanism::OwnPrctl => "own-prctl",
            Mechanism::InjectedPrctl => "injected-prctl",
            Mechanism::OwnMadvise => "own-madvise",
            Mechanism::InjectedMadvise => "injected-madvise",
            Mechanism::Nothing => "nothing",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Why a guarantee is less than the contract's, or what else a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "code")]
#[non_exhaustive]
pub enum Note {
    /// It holds only while this knob of the host stays as it is.
    HoldsWhileHostKnob {
        /// The knob.
        knob: String,
        /// Its value.
        value: String,
    },
    /// The policy is in force, but the host allows nobody huge pages.
    HostForbids {
        /// The knob.
        knob: String,
    },
    /// The policy is in force, but the program's own PR_SET_THP_DISABLE is stricter.
    HeldBack,
    /// The policy is put in force by PR_SET_THP_DISABLE or PR_SET_MEMORY_MERGE, though the kernel
    /// has mctl(): that call wants CAP_SYS_ADMIN here.
    BySwitch,
    /// Programs that the target executes keep the policy.
    SurvivesExec,
    /// The same, where the policy had to survive the exec that starts the program.
    KeptForExec,
    /// Mappings that the target makes later are not advised.
    FutureMappings,
    /// A program that the target executes starts without the policy.
    LostAtExec,
    /// Pages that are populated already stay small until khugepaged comes by.
    PopulatedStaySmall,
    /// Memory that was read before and never written holds the huge zero page, and this kernel
    /// does not ask again at the first write.
    MayTurnHuge {
        /// Bytes of it.
        bytes: u64,
    },
    /// Advice cannot be taken off a mapping again.
    Residual {
        /// How many mappings keep it.
        mappings: u64,
    },
    /// The program's NOHUGEPAGE was overridden, for good.
    Overridden {
        /// On how many mappings.
        mappings: u64,
    },
    /// The first stack of a program that the target executes is mapped before the policy comes.
    NotTheStackAfterExec,
    /// ksmd does not run: pages are mergeable, but nobody merges them.
    KsmNotRunning,
    /// Unmerging walks all resident memory with the address space locked; one thread waits for
    /// it in the call.
    UnmergeWalks,
    /// What is put back was inherit or hugepage-advised; which of the two was not known.
    WasEither,
    /// The thread that was stopped was in a call whose timeout started afresh, or whose result
    /// may have come short.
    Disturbed {
        /// What may be seen of it.
        what: String,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::HoldsWhileHostKnob { knob, value } => {
                write!(f, "holds only while {knob} says '{value}'")
            }
            Note::HostForbids { knob } => write!(
                f,
                "it has no effect while the host forbids huge pages: {knob} says 'never'"
            ),
            Note::HeldBack => f.write_str(
                "the process still has PR_SET_THP_DISABLE, which is stricter and which mctl() \
                 leaves alone: no huge pages",
            ),
            Note::BySwitch => f.write_str(
                "put in force by prctl(2) instead of mctl(), which wants CAP_SYS_ADMIN for a \
                 policy that survives exec",
            ),
            Note::SurvivesExec => f.write_str(
                "programs that it executes keep the policy too: this kernel cannot stop at exec",
            ),
            Note::KeptForExec => f.write_str(
                "programs that it executes keep the policy too: it had to survive the exec that \
                 starts the program",
            ),
            Note::FutureMappings => f.write_str(
                "memory that it maps later is not covered: this kernel has no such policy",
            ),
            Note::LostAtExec => f.write_str("a program that it executes starts without it"),
            Note::PopulatedStaySmall => f.write_str(
                "pages that are there already stay small until khugepaged collapses them",
            ),
            Note::MayTurnHuge { bytes } => write!(
                f,
                "{} may still turn huge at the first write: the program has only read it so far, \
                 and this kernel does not ask again",
                crate::see::coverage::Bytes(*bytes)
            ),
            Note::Residual { mappings } => write!(
                f,
                "{mappings} mappings keep their HUGEPAGE advice: madvise cannot take it off again"
            ),
            Note::Overridden { mappings } => write!(
                f,
                "{mappings} mappings have HUGEPAGE advice now in the place of NOHUGEPAGE: clearing \
                 the policy does not bring that back"
            ),
            Note::NotTheStackAfterExec => f.write_str(
                "the stack of a program that it executes is not mergeable: the kernel maps it \
                 before the policy comes",
            ),
            Note::KsmNotRunning => f.write_str(
                "ksmd does not run (/sys/kernel/mm/ksm/run is not 1): nothing is merged for now",
            ),
            Note::UnmergeWalks => f.write_str(
                "where it was mergeable, its resident memory is walked to unmerge: a carrier does \
                 that in pieces, about 13 ms a GiB, and its own threads go on",
            ),
            Note::WasEither => f.write_str(
                "it was inherit or hugepage-advised, and is inherit now; as the host is set the \
                 two come to the same",
            ),
            Note::Disturbed { what } => f.write_str(what),
        }
    }
}

/// What an operation did to one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// How surely it holds.
    pub guarantees: Guarantees,
    /// By what.
    pub mechanisms: Vec<Mechanism>,
    /// The state before: `PR_GET_THP_DISABLE`, where it was read.
    pub thp_disable_before: Option<i64>,
    /// The state after.
    pub thp_disable_after: Option<i64>,
    /// `PR_GET_MEMORY_MERGE` before, where it was read.
    pub merge_before: Option<i64>,
    /// And after.
    pub merge_after: Option<i64>,
    /// The policy record before, as the mask of `MCTL_GET_POLICY`: only with the native call.
    pub policy_before: Option<u32>,
    /// And after.
    pub policy_after: Option<u32>,
    /// Mappings, where the policy went by mapping.
    pub mappings: Option<MappingCounts>,
    /// How long one thread of the target was stopped, in all.
    #[serde(rename = "stopped_ns", serialize_with = "nanoseconds")]
    pub stopped: Duration,
    /// What else is to be known. In JSON each has a `code`, its data and a `text` for people.
    #[serde(serialize_with = "with_text")]
    pub notes: Vec<Note>,
}

fn with_text<S: serde::Serializer>(notes: &[Note], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct WithText<'a> {
        #[serde(flatten)]
        note: &'a Note,
        text: String,
    }
    serializer.collect_seq(notes.iter().map(|note| WithText {
        note,
        text: note.to_string(),
    }))
}

fn nanoseconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

impl Outcome {
    /// Nothing done yet, everything enforced.
    #[must_use]
    pub fn new() -> Outcome {
        Outcome {
            guarantees: Guarantees::ENFORCED,
            mechanisms: Vec::new(),
            thp_disable_before: None,
            thp_disable_after: None,
            merge_before: None,
            merge_after: None,
            policy_before: None,
            policy_after: None,
            mappings: None,
            stopped: Duration::ZERO,
            notes: Vec::new(),
        }
    }

    /// Whether it matches the contract: all four guarantees, and no condition on the host's knobs.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        let conditional = self
            .notes
            .iter()
            .any(|note| matches!(note, Note::HoldsWhileHostKnob { .. }));
        self.guarantees.all_enforced() && !conditional
    }

    /// Whether anything was different afterwards.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.thp_disable_before != self.thp_disable_after
            || self.merge_before != self.merge_after
            || self.policy_before != self.policy_after
            || self.mappings.as_ref().is_some_and(|m| m.changed > 0)
    }
}

impl Default for Outcome {
    fn default() -> Outcome {
        Outcome::new()
    }
}
