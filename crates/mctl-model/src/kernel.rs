//! Where kernels differ, as facts that can be tried and not as version numbers.

use crate::knobs::HugeZeroWrite;

/// Something that a kernel does or has since some version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// `PR_THP_DISABLE_EXCEPT_ADVISED`.
    ExceptAdvised,
    /// `PR_SET_MEMORY_MERGE`, with CONFIG_KSM.
    MemoryMerge,
    /// `MADV_GUARD_INSTALL` and `MADV_GUARD_REMOVE` on anonymous memory.
    GuardRegions,
    /// process_madvise(2) takes any advice for the caller's own process.
    OwnAdvice,
    /// A descriptor's place is taken by `PIDFD_SELF_THREAD` and `PIDFD_SELF_THREAD_GROUP`.
    PidfdSelf,
    /// `PIDFD_THREAD`.
    ThreadPidfds,
    /// `MADV_DONTNEED` of whole blocks gives their empty page tables back too.
    TableReclaim,
    /// `MADV_COLLAPSE` of a range inside one block succeeds, and does nothing.
    PartialCollapse,
    /// `MADV_DOFORK` is refused on every special mapping, hugetlb's among them, and not on device memory alone.
    StrictDofork,
}

impl Feature {
    /// Every one.
    pub const ALL: [Feature; 9] = [
        Feature::ExceptAdvised,
        Feature::MemoryMerge,
        Feature::GuardRegions,
        Feature::OwnAdvice,
        Feature::PidfdSelf,
        Feature::ThreadPidfds,
        Feature::TableReclaim,
        Feature::PartialCollapse,
        Feature::StrictDofork,
    ];

    /// Its word in a scenario.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Feature::ExceptAdvised => "except-advised",
            Feature::MemoryMerge => "memory-merge",
            Feature::GuardRegions => "guard-regions",
            Feature::OwnAdvice => "own-advice",
            Feature::PidfdSelf => "pidfd-self",
            Feature::ThreadPidfds => "thread-pidfds",
            Feature::TableReclaim => "table-reclaim",
            Feature::PartialCollapse => "partial-collapse",
            Feature::StrictDofork => "strict-dofork",
        }
    }

    /// The feature with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Feature> {
        Feature::ALL
            .into_iter()
            .find(|feature| feature.word() == word)
    }

    /// What it is, in a few words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Feature::ExceptAdvised => "PR_THP_DISABLE_EXCEPT_ADVISED",
            Feature::MemoryMerge => "PR_SET_MEMORY_MERGE (CONFIG_KSM)",
            Feature::GuardRegions => "MADV_GUARD_INSTALL",
            Feature::OwnAdvice => "process_madvise(2) of any advice on oneself",
            Feature::PidfdSelf => "PIDFD_SELF in pidfd calls",
            Feature::ThreadPidfds => "PIDFD_THREAD",
            Feature::TableReclaim => "MADV_DONTNEED that frees page tables (CONFIG_PT_RECLAIM)",
            Feature::PartialCollapse => "MADV_COLLAPSE that succeeds inside one block",
            Feature::StrictDofork => "MADV_DOFORK that refuses hugetlb memory",
        }
    }

    /// The release that brought it, as (6, 18), and the function in the kernel's source.
    #[must_use]
    pub const fn since(self) -> ((u32, u32), &'static str) {
        match self {
            Feature::ExceptAdvised => ((6, 18), "prctl_set_thp_disable(), kernel/sys.c"),
            Feature::MemoryMerge => ((6, 4), "ksm_enable_merge_any(), mm/ksm.c"),
            Feature::GuardRegions => ((6, 13), "madvise_guard_install(), mm/madvise.c"),
            Feature::OwnAdvice => ((6, 13), "process_madvise_remote_valid(), mm/madvise.c"),
            Feature::PidfdSelf => ((6, 15), "pidfd_get_task(), kernel/pid.c"),
            Feature::ThreadPidfds => ((6, 9), "pidfd_open(), kernel/pid.c"),
            Feature::TableReclaim => ((6, 14), "try_to_free_pte(), mm/pt_reclaim.c"),
            Feature::PartialCollapse => ((7, 2), "madvise_collapse(), mm/khugepaged.c"),
            Feature::StrictDofork => ((7, 2), "madvise_vma_behavior(), mm/madvise.c"),
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// A set of features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(u16);

impl Features {
    /// None.
    pub const NONE: Features = Features(0);

    /// Whether a feature is in it.
    #[must_use]
    pub const fn has(self, feature: Feature) -> bool {
        self.0 & feature.bit() != 0
    }

    /// With one feature more.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Features {
        Features(self.0 | feature.bit())
    }

    /// Without those of another set.
    #[must_use]
    pub const fn without(self, other: Features) -> Features {
        Features(self.0 & !other.0)
    }

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Features) -> Features {
        Features(self.0 | other.0)
    }

    /// All that there is and this set has not.
    #[must_use]
    pub fn missing(self) -> Features {
        Feature::ALL
            .into_iter()
            .filter(|feature| !self.has(*feature))
            .collect()
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL
            .into_iter()
            .filter(move |feature| self.has(*feature))
    }
}

impl FromIterator<Feature> for Features {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Features {
        features.into_iter().fold(Features::NONE, Features::with)
    }
}

/// The kernel that the model plays unless told otherwise: what the contract describes.
pub const USUAL: (u32, u32) = (6, 18);

/// The kernels that the model can play, by the releases that the suite was run on.
pub const KERNELS: [(u32, u32); 4] = [(6, 1), (6, 12), USUAL, (7, 3)];

/// What a mainline kernel of a release does, with every option on that bears on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// What it has.
    pub features: Features,
    /// What a write to the huge zero page brings there.
    pub huge_zero_write: HugeZeroWrite,
}

impl Kernel {
    /// By its release.
    #[must_use]
    pub fn of(release: (u32, u32)) -> Kernel {
        let there = |feature: &Feature| feature.since().0 <= release;
        Kernel {
            features: Feature::ALL.into_iter().filter(there).collect(),
            huge_zero_write: if release < (6, 13) {
                HugeZeroWrite::Small
            } else {
                HugeZeroWrite::Huge
            },
        }
    }

    /// By its release as people write it, where it is one of [`KERNELS`].
    #[must_use]
    pub fn named(name: &str) -> Option<Kernel> {
        let found = KERNELS
            .iter()
            .find(|(major, minor)| name == format!("{major}.{minor}"));
        found.map(|release| Kernel::of(*release))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_has_a_word_and_a_bit_of_its_own() {
        let mut all = Features::NONE;
        for feature in Feature::ALL {
            assert!(!all.has(feature), "{feature:?}");
            assert_eq!(Feature::from_word(feature.word()), Some(feature));
            all = all.with(feature);
        }
        assert_eq!(all.iter().count(), Feature::ALL.len());
        assert_eq!(all.missing(), Features::NONE);
        assert_eq!(Feature::from_word("no such thing"), None);
    }

    #[test]
    fn a_later_kernel_has_what_an_earlier_one_had() {
        let mut before: Option<Features> = None;
        for (major, minor) in KERNELS {
            let kernel = Kernel::named(&format!("{major}.{minor}")).map(|k| k.features);
            assert_eq!(kernel, Some(Kernel::of((major, minor)).features));
            let earlier = before.unwrap_or_default();
            assert_eq!(
                earlier.without(kernel.unwrap_or_default()),
                Features::NONE,
                "{major}.{minor}"
            );
            assert_ne!(before, kernel, "{major}.{minor} is like the one before it");
            before = kernel;
        }
        assert_eq!(Kernel::named("5.10"), None);
    }
}
