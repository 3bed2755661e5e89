//! The header's constants that are not actions, one declaration each. The header generator
//! includes this file.

/// One constant of the header.
#[derive(Clone, Copy, Debug)]
pub struct Constant {
    /// Its name.
    pub name: &'static str,
    /// Its value, as the header spells it.
    pub text: &'static str,
    /// One line.
    pub summary: &'static str,
}

macro_rules! constants {
    ($($(#[doc = $group_doc:literal])+ $group:ident { $($name:ident = ($($value:tt)+) $summary:literal;)* })*) => {
        $(
            $(#[doc = $group_doc])+
            #[allow(dead_code, reason = "for the header generator")]
            pub const $group: &[Constant] = &[
                $(Constant {
                    name: stringify!($name),
                    text: concat!($(stringify!($value)),+),
                    summary: $summary,
                },)*
            ];
            $(
                #[doc = $summary]
                #[allow(dead_code, reason = "some are for C only")]
                pub const $name: u32 = $($value)+;
            )*
        )*
    };
}

constants! {
    /// Flags of mctl().
    FLAGS {
        MCTL_SET_DEFAULT_EXEC = (1) "the policy is also the default across exec";
    }
    /// Flags of mctl_process_madvise().
    PMADV {
        PMADV_SKIP_ERRORS = (1) "pass over a mapping that fails and go on";
        PMADV_NO_ERROR_ON_UNMAPPED = (2) "gaps are no error";
        PMADV_SET_FORK_EXEC_DEFAULT = (4) "also the default for the address space, across fork and exec";
        PMADV_ENTIRE_ADDRESS_SPACE = (8) "every mapping; vec is NULL, vlen (size_t)-1";
        PMADV_SET_DEFAULT = (16) "these three only all together:";
        PMADV_INHERIT_FORK = (32) "they are then";
        PMADV_INHERIT_EXEC = (64) "PMADV_SET_FORK_EXEC_DEFAULT";
    }
    /// Options of mctl_outcome().
    OPTIONS {
        MCTL_BEST_EFFORT = (1) "as much as can be done, instead of exactly or not at all";
        MCTL_OWNER_RULE = (2) "who may ptrace the target may, as with renice(1); else CAP_SYS_ADMIN";
        MCTL_OVERRIDE_ADVICE = (4) "NOHUGEPAGE mappings too; only with MCTL_BEST_EFFORT";
        MCTL_DRY_RUN = (8) "say what would be done and change nothing";
        MCTL_READ_IN_TARGET = (16) "MCTL_GET_POLICY: ask the process where /proc does not tell";
    }
    /// Options of mctl_tree() and mctl_cgroup(), besides those of mctl_outcome().
    GROUP_OPTIONS {
        MCTL_ATOMIC = (32) "put back what was changed where one process fails";
    }
    /// Options of mctl_coverage().
    COVERAGE_OPTIONS {
        MCTL_WHY = (64) "mctl_last_detail() says what keeps most of the rest small";
    }
    /// Bits of flags in struct mctl_group.
    GROUP_FACTS {
        MCTL_IS_COMPLETE = (1) "no process of the group is known to be left out";
    }
    /// Values of now, future, on_fork and on_exec in struct mctl_outcome.
    GUARANTEES {
        MCTL_ENFORCED = (1) "the kernel itself sees to it";
        MCTL_SUPERVISED = (2) "reserved: no version of this library says so yet";
        MCTL_EVENTUAL = (3) "reserved: no version of this library says so yet";
        MCTL_NOT_COVERED = (4) "it does not hold";
        MCTL_EXCEEDS = (5) "it reaches further than asked: it also survives exec";
    }
    /// Bits of mechanisms in struct mctl_outcome.
    MECHANISMS {
        MCTL_BY_OWN_PRCTL = (1) "prctl(2) by the process itself";
        MCTL_BY_INJECTED_PRCTL = (2) "prctl(2), run in the target";
        MCTL_BY_OWN_MADVISE = (4) "madvise(2) by the process itself";
        MCTL_BY_INJECTED_MADVISE = (8) "madvise(2), run in the target";
        MCTL_BY_NOTHING = (16) "nothing had to be done";
        MCTL_BY_NATIVE_CALL = (32) "the kernel's own mctl()";
        MCTL_BY_INJECTED_NATIVE_CALL = (64) "the kernel's own mctl(), run in the target";
        MCTL_BY_OTHER = (0x80000000) "a mechanism newer than this header";
    }
    /// Bits of flags in struct mctl_outcome.
    FACTS {
        MCTL_IS_EXACT = (1) "all four guarantees match the contract";
        MCTL_HAS_CHANGED = (2) "something was different afterwards";
        MCTL_HAS_MAPPINGS = (4) "the policy went by mapping: the counts are filled in";
    }
    /// Bits of notes in struct mctl_outcome.
    NOTES {
        MCTL_NOTE_HOST_KNOB = (1) "holds only while a knob of the host stays as it is";
        MCTL_NOTE_SURVIVES_EXEC = (2) "programs that it executes keep the policy";
        MCTL_NOTE_FUTURE_MAPPINGS = (4) "memory that it maps later is not covered";
        MCTL_NOTE_LOST_AT_EXEC = (8) "a program that it executes starts without it";
        MCTL_NOTE_POPULATED = (16) "pages that are there stay small until khugepaged comes by";
        MCTL_NOTE_RESIDUAL = (32) "mappings keep advice that madvise cannot take off";
        MCTL_NOTE_KSM_NOT_RUNNING = (64) "nothing is merged for now";
        MCTL_NOTE_UNMERGE_WALKS = (128) "one thread waits while its resident memory is walked";
        MCTL_NOTE_DISTURBED = (256) "a call of the target may be seen late or short";
        MCTL_NOTE_HOST_FORBIDS = (512) "no effect while the host forbids huge pages";
        MCTL_NOTE_HELD_BACK = (1024) "the process's PR_SET_THP_DISABLE is stricter";
        MCTL_NOTE_BY_SWITCH = (2048) "by prctl(2), though the kernel has mctl()";
        MCTL_NOTE_OVERRIDDEN = (4096) "mappings lost NOHUGEPAGE for good";
        MCTL_NOTE_OTHER = (0x80000000) "another one: see mctl_last_detail()";
    }
}
