//! Faults on purpose: the controls of whoever uses the model as an oracle.
//!
//! A suite that holds on the model must differ on each of these, at the sentence of the contract
//! that it breaks. [`Knobs::mutant`](crate::Knobs::mutant) selects one at run time; the model as it
//! is meant to be has none.

macro_rules! mutants {
    ($($(#[doc = $doc:literal])* $name:ident $sentence:literal;)*) => {
        /// One fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Mutant {
            $($(#[doc = $doc])* $name,)*
        }

        impl Mutant {
            /// Every fault.
            pub const ALL: &'static [Mutant] = &[$(Mutant::$name,)*];

            /// The anchor of the contract's sentence that it breaks.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Mutant::$name => $sentence,)*
                }
            }

            /// What is wrong, in a few words.
            #[must_use]
            pub fn words(self) -> String {
                let text = match self {
                    $(Mutant::$name => concat!($($doc,)*),)*
                };
                text.trim().trim_end_matches('.').to_owned()
            }
        }
    };
}

mutants! {
    /// SET leaves the exec bit of an earlier SET standing.
    SetKeepsExecBit "last-call-wins";
    /// SET of a THP policy is ignored while another one stands.
    SetKeepsOther "set-replaces";
    /// CLEAR does nothing.
    ClearDoesNothing "clear-returns";
    /// CLEAR of a THP policy clears whichever stands.
    ClearTakesAny "clear-idempotent";
    /// A THP action drops the merging policy.
    ThpDropsMergeable "policies-apart";
    /// A THP action drops fade.
    ThpDropsFade "policies-apart";
    /// SET NOHUGEPAGE rewrites the advice of every mapping.
    SetRewritesAdvice "advice-stays";
    /// SET NOHUGEPAGE splits the huge pages that are there.
    SetSplits "no-split";
    /// Never does not hold back a huge page.
    NeverIgnored "thp-never";
    /// Advised allows what nobody advised.
    AdvisedIgnored "thp-advised";
    /// Always is taken for Inherit.
    AlwaysIgnored "thp-always";
    /// Always allows huge pages where the host says never.
    AlwaysOverHost "thp-always";
    /// Always allows huge pages where the program said NOHUGEPAGE.
    AlwaysOverAdvice "nohugepage-stands";
    /// PR_SET_THP_DISABLE holds nothing back.
    DisableIgnored "thp-disable-is-stricter";
    /// EXCEPT_ADVISED holds Always back.
    ExceptHoldsAlways "except-advised-and-always";
    /// SET and CLEAR write PR_SET_THP_DISABLE.
    CallWritesDisable "call-leaves-thp-disable";
    /// A write to the huge zero page brings a huge page whatever the policy has become.
    HugeZeroStays "never-stands";
    /// Shared memory follows the knob for anonymous memory.
    ShmemFollowsThp "thp-shmem";
    /// MADV_COLLAPSE does not ask the policy.
    CollapseIgnoresPolicy "collapse-is-an-ask";
    /// MADV_COLLAPSE is refused where the host says never.
    CollapseAsksHost "collapse-is-an-ask";
    /// Merging leaves out what is mapped already.
    MergeLaterOnly "merge-everything";
    /// Merging leaves out what is mapped later.
    MergeNowOnly "merge-everything";
    /// CLEAR MERGEABLE leaves the mappings mergeable.
    ClearLeavesFlags "merge-clear";
    /// A second SET MERGEABLE flags again what the program took out.
    SecondSetFlags "unmergeable-stands";
    /// PR_SET_MEMORY_MERGE sets no exec bit.
    MergePrctlWithoutExec "merge-own-prctl";
    /// fork: the child starts without a policy.
    ForkForgetsPolicy "fork-policy";
    /// fork: the child's mappings have lost their advice.
    ForkForgetsAdvice "fork-advice";
    /// fork: the child fades too.
    ForkKeepsFade "fork-fade";
    /// A CLONE_VM child gets a copy.
    VmChildCopies "threads-share";
    /// A vfork child gets a copy.
    VforkCopies "threads-share";
    /// exec keeps every policy.
    ExecKeepsAll "exec-bit";
    /// exec ends every policy.
    ExecEndsAll "exec-bit";
    /// exec keeps fade.
    ExecKeepsFade "exec-fade";
    /// exec keeps the policy on the record alone: new mappings do not follow it.
    ExecForgetsMappings "exec-new-image";
    /// exec of a set-id program wipes the policy.
    SecureExecWipes "inv-secure-exec";
    /// exec keeps the lock mode.
    ExecKeepsLockMode "ground-lock-inheritance";
    /// fork hands the lock mode on.
    ForkKeepsLockMode "ground-lock-inheritance";
    /// A zombie's address space is still there.
    ZombieAnswers "check-gone";
    /// Permission is asked before it is known whether the process lives.
    PermissionFirst "check-order";
    /// PID:INODE does not look at the inode.
    InodeIgnored "pmadv-pid-inode";
    /// A descriptor follows its number to whoever has it next.
    PidfdFollowsNumber "check-gone";
    /// The admin rule lets everybody act on everybody.
    AdminLetsAll "perm-admin";
    /// DEFAULT_EXEC asks for nothing on oneself.
    DefaultExecFree "perm-admin";
    /// CAP_SYS_ADMIN counts in the task's own namespace.
    NamespaceOfTask "perm-namespace";
    /// Whoever shares the memory counts as oneself.
    OwnIsSameMemory "perm-own";
    /// The owner rule does not ask for the user.
    OwnerAnyUser "perm-owner";
    /// The owner rule does not ask whether the target is dumpable.
    OwnerIgnoresDumpable "perm-owner";
    /// The owner rule does not ask Yama.
    OwnerIgnoresYama "perm-owner";
    /// A gap is no error.
    GapIsNoError "pmadv-gap";
    /// A gap at the end of an entry goes unnoticed.
    TrailingGapMissed "pmadv-gap";
    /// SKIP_ERRORS stops at the first error.
    SkipStops "pmadv-skip-errors";
    /// SKIP_ERRORS counts entries in which something was skipped.
    SkipCountsAll "pmadv-skip-count";
    /// Destructive advice on another process needs no override.
    DestructiveFree "pmadv-destructive";
    /// SET_FORK_EXEC_DEFAULT needs no capability.
    DefaultFree "pmadv-default";
    /// SET_FORK_EXEC_DEFAULT sets no default.
    DefaultNotSet "pmadv-default";
    /// ENTIRE_ADDRESS_SPACE stops at special mappings.
    EntireMeetsSpecial "pmadv-entire-apart";
    /// ENTIRE_ADDRESS_SPACE returns the bytes of the range.
    EntireCountsRange "pmadv-entire-returns";
    /// MADV_REMOVE takes the pages from the caller's mapping alone.
    RemoveIsLocal "ground-madvise-pages";
    /// MADV_WIPEONFORK memory is copied.
    WipeOnForkCopies "ground-madvise-fork";
    /// mlock counts twice what is locked twice.
    LockCountsTwice "ground-mlock";
    /// An address space that fades promotes what it used.
    FadePromotes "fade-not-promoted";
    /// Fade leaves what only it had mapped where it is.
    FadeLeavesPlace "fade-tail";
    /// Fade moves what others map, too.
    FadeMovesShared "fade-survivors";
    /// Fade acts at the death of any user.
    FadeAtAnyDeath "fade-last-user";
    /// Fade drops dirty folios.
    FadeDropsDirty "fade-dirty";
    /// Fade acts where nobody asked for it.
    FadeAlways "fade-opt-in";
}
