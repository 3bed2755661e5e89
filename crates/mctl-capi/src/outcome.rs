//! `struct mctl_outcome`.

use ::mctl::{Guarantee, Known, Mechanism, Note, Outcome, Reading};

use crate::constants::{self as c};

/// What an operation did to one process, and how surely it holds.
///
/// It may grow at its end. Set `size` to sizeof(struct mctl_outcome) before the call; afterwards
/// it says how many bytes this library filled in, and what is beyond is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawOutcome {
    /// In: the size of the structure. Out: how much of it was filled in.
    pub size: u32,
    /// MCTL_IS_EXACT, MCTL_HAS_CHANGED, MCTL_HAS_MAPPINGS.
    pub flags: u32,
    /// Over the mappings that exist: MCTL_ENFORCED, MCTL_SUPERVISED, MCTL_EVENTUAL,
    /// MCTL_NOT_COVERED or MCTL_EXCEEDS.
    pub now: u32,
    /// Over mappings to come.
    pub future: u32,
    /// In children.
    pub on_fork: u32,
    /// In programs that it executes.
    pub on_exec: u32,
    /// MCTL_BY_... bits.
    pub mechanisms: u32,
    /// MCTL_NOTE_... bits.
    pub notes: u32,
    /// PR_GET_THP_DISABLE before; -1 where it was not read.
    pub thp_before: i32,
    /// And after.
    pub thp_after: i32,
    /// PR_GET_MEMORY_MERGE before; -1 where it was not read.
    pub merge_before: i32,
    /// And after.
    pub merge_after: i32,
    /// How long one thread of the target was stopped in all, in nanoseconds.
    pub stopped_ns: u64,
    /// Stretches of neighbouring mappings that were advised.
    pub runs: u64,
    /// Mappings that were advised.
    pub changed: u64,
    /// Mappings that had the advice already.
    pub already: u64,
    /// Mappings left alone for the program's NOHUGEPAGE (thread stacks too).
    pub skipped_nohugepage: u64,
    /// File mappings left alone.
    pub skipped_file: u64,
    /// hugetlb, device and special mappings left alone.
    pub skipped_special: u64,
    /// Stretches that could not be advised.
    pub failed: u64,
    /// Mappings that keep advice that cannot be taken off.
    pub residual: u64,
    /// The policy record before, as MCTL_GET_POLICY returns it; -1 where the kernel keeps none, but
    /// for MCTL_GET_POLICY itself.
    pub policy_before: i32,
    /// And after.
    pub policy_after: i32,
}

/// The size of the structure's first version. No smaller one was ever published.
pub(crate) const FIRST_SIZE: usize = 120;
/// Its size here.
pub(crate) const SIZE: usize = size_of::<RawOutcome>();

impl RawOutcome {
    pub(crate) fn new(outcome: &Outcome) -> RawOutcome {
        let counts = outcome.mappings.clone().unwrap_or_default();
        let mut flags = 0;
        for (holds, bit) in [
            (outcome.is_exact(), c::MCTL_IS_EXACT),
            (outcome.changed(), c::MCTL_HAS_CHANGED),
            (outcome.mappings.is_some(), c::MCTL_HAS_MAPPINGS),
        ] {
            flags |= if holds { bit } else { 0 };
        }
        let residual = outcome.notes.iter().map(|note| match note {
            Note::Residual { mappings } => *mappings,
            _ => 0,
        });
        RawOutcome {
            size: u32::try_from(SIZE).unwrap_or(0),
            flags,
            now: guarantee(outcome.guarantees.now),
            future: guarantee(outcome.guarantees.future),
            on_fork: guarantee(outcome.guarantees.fork),
            on_exec: guarantee(outcome.guarantees.exec),
            mechanisms: outcome
                .mechanisms
                .iter()
                .fold(0, |bits, mechanism| bits | by(*mechanism)),
            notes: outcome.notes.iter().fold(0, |bits, n| bits | note(n)),
            thp_before: state(outcome.thp_disable_before),
            thp_after: state(outcome.thp_disable_after),
            merge_before: state(outcome.merge_before),
            merge_after: state(outcome.merge_after),
            stopped_ns: u64::try_from(outcome.stopped.as_nanos()).unwrap_or(u64::MAX),
            runs: counts.runs,
            changed: counts.changed,
            already: counts.already,
            skipped_nohugepage: counts.skipped_nohugepage,
            skipped_file: counts.skipped_file,
            skipped_special: counts.skipped_special,
            failed: counts.failed.len() as u64,
            residual: residual.sum(),
            policy_before: state(outcome.policy_before.map(i64::from)),
            policy_after: state(outcome.policy_after.map(i64::from)),
        }
    }

    /// Of MCTL_GET_POLICY: what was read stands both before and after.
    pub(crate) fn of_reading(mask: i32, reading: &Reading) -> RawOutcome {
        let thp = state(match reading.thp_disable {
            Known::Is(switch) => Some(switch.getter()),
            Known::Other(raw) => Some(raw),
            Known::Either(..) | Known::Unknown => None,
        });
        let merge = state(match reading.mergeable {
            Known::Is(on) => Some(i64::from(on)),
            Known::Other(raw) => Some(raw),
            Known::Either(..) | Known::Unknown => None,
        });
        RawOutcome {
            size: u32::try_from(SIZE).unwrap_or(0),
            thp_before: thp,
            thp_after: thp,
            merge_before: merge,
            merge_after: merge,
            stopped_ns: u64::try_from(reading.stopped.as_nanos()).unwrap_or(u64::MAX),
            policy_before: mask,
            policy_after: mask,
            ..RawOutcome::default()
        }
    }

    /// The structure as it lies in memory.
    pub(crate) fn to_bytes(self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let small = [
            self.size,
            self.flags,
            self.now,
            self.future,
            self.on_fork,
            self.on_exec,
            self.mechanisms,
            self.notes,
            self.thp_before.cast_unsigned(),
            self.thp_after.cast_unsigned(),
            self.merge_before.cast_unsigned(),
            self.merge_after.cast_unsigned(),
        ];
        let large = [
            self.stopped_ns,
            self.runs,
            self.changed,
            self.already,
            self.skipped_nohugepage,
            self.skipped_file,
            self.skipped_special,
            self.failed,
            self.residual,
        ];
        let record = [
            self.policy_before.cast_unsigned(),
            self.policy_after.cast_unsigned(),
        ];
        let small = small.iter().flat_map(|field| field.to_ne_bytes());
        let large = large.iter().flat_map(|field| field.to_ne_bytes());
        let record = record.iter().flat_map(|field| field.to_ne_bytes());
        for (to, from) in bytes.iter_mut().zip(small.chain(large).chain(record)) {
            *to = from;
        }
        bytes
    }
}

fn state(value: Option<i64>) -> i32 {
    value.and_then(|v| i32::try_from(v).ok()).unwrap_or(-1)
}

fn guarantee(guarantee: Guarantee) -> u32 {
    match guarantee {
        Guarantee::Enforced => c::MCTL_ENFORCED,
        Guarantee::Supervised => c::MCTL_SUPERVISED,
        Guarantee::Eventual => c::MCTL_EVENTUAL,
        Guarantee::NotCovered => c::MCTL_NOT_COVERED,
        Guarantee::Exceeds => c::MCTL_EXCEEDS,
    }
}

fn by(mechanism: Mechanism) -> u32 {
    match mechanism {
        Mechanism::NativeCall => c::MCTL_BY_NATIVE_CALL,
        Mechanism::InjectedNativeCall => c::MCTL_BY_INJECTED_NATIVE_CALL,
        Mechanism::OwnPrctl => c::MCTL_BY_OWN_PRCTL,
        Mechanism::InjectedPrctl => c::MCTL_BY_INJECTED_PRCTL,
        Mechanism::OwnMadvise => c::MCTL_BY_OWN_MADVISE,
        Mechanism::InjectedMadvise => c::MCTL_BY_INJECTED_MADVISE,
        Mechanism::Nothing => c::MCTL_BY_NOTHING,
    }
}

fn note(note: &Note) -> u32 {
    match note {
        Note::HoldsWhileHostKnob { .. } => c::MCTL_NOTE_HOST_KNOB,
        Note::SurvivesExec => c::MCTL_NOTE_SURVIVES_EXEC,
        Note::KeptForExec => c::MCTL_NOTE_SURVIVES_EXEC,
        Note::HostForbids { .. } => c::MCTL_NOTE_HOST_FORBIDS,
        Note::HeldBack => c::MCTL_NOTE_HELD_BACK,
        Note::BySwitch => c::MCTL_NOTE_BY_SWITCH,
        Note::FutureMappings => c::MCTL_NOTE_FUTURE_MAPPINGS,
        Note::LostAtExec => c::MCTL_NOTE_LOST_AT_EXEC,
        Note::PopulatedStaySmall => c::MCTL_NOTE_POPULATED,
        Note::Residual { .. } => c::MCTL_NOTE_RESIDUAL,
        Note::Overridden { .. } => c::MCTL_NOTE_OVERRIDDEN,
        Note::KsmNotRunning => c::MCTL_NOTE_KSM_NOT_RUNNING,
        Note::UnmergeWalks => c::MCTL_NOTE_UNMERGE_WALKS,
        Note::Disturbed { .. } => c::MCTL_NOTE_DISTURBED,
        _ => c::MCTL_NOTE_OTHER,
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{align_of, offset_of};

    use super::*;

    #[test]
    fn layout_is_the_published_one() {
        assert_eq!((SIZE, align_of::<RawOutcome>()), (128, 8));
        assert_eq!(
            offset_of!(RawOutcome, policy_before),
            FIRST_SIZE,
            "it grew at its end"
        );
        assert_eq!(offset_of!(RawOutcome, thp_before), 32);
        assert_eq!(offset_of!(RawOutcome, stopped_ns), 48);
        assert_eq!(offset_of!(RawOutcome, residual), 112);
    }

    #[test]
    fn bytes_are_where_the_fields_are() {
        let mut outcome = Outcome::new();
        outcome.thp_disable_before = Some(3);
        outcome.stopped = std::time::Duration::from_nanos(0x0102_0304_0506);
        outcome.notes = vec![Note::SurvivesExec, Note::Residual { mappings: 9 }];
        let bytes = RawOutcome::new(&outcome).to_bytes();
        let small = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let large = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!(small(offset_of!(RawOutcome, size)), 128);
        assert_eq!(small(offset_of!(RawOutcome, policy_after)), u32::MAX);
        assert_eq!(small(offset_of!(RawOutcome, on_exec)), c::MCTL_ENFORCED);
        assert_eq!(
            small(offset_of!(RawOutcome, notes)),
            c::MCTL_NOTE_SURVIVES_EXEC | c::MCTL_NOTE_RESIDUAL
        );
        assert_eq!(small(offset_of!(RawOutcome, thp_before)), 3);
        assert_eq!(small(offset_of!(RawOutcome, thp_after)), u32::MAX);
        assert_eq!(large(offset_of!(RawOutcome, stopped_ns)), 0x0102_0304_0506);
        assert_eq!(large(offset_of!(RawOutcome, residual)), 9);
    }
}
