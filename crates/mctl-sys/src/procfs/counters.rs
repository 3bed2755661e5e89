//! The counters of a smaps entry.
//!
//! Source: `proc_pid_smaps(5)`; `show_smap()` and `__show_smap()` in `fs/proc/task_mmu.c`.

/// Declares [`Counter`] and everything that follows from the list: name, table, accessor.
macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident $method:ident $key:literal,)*) => {
        /// A counter of a smaps entry. All are in kB, that is 1,024 bytes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Counter {
            $($(#[$doc])* $variant,)*
        }

        impl Counter {
            /// Every counter, in the kernel's order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The counter's name in the file, without the colon.
            #[must_use]
            pub const fn key(self) -> &'static str {
                match self { $(Self::$variant => $key,)* }
            }

            /// The counter with this name in the file.
            #[must_use]
            pub fn from_key(key: &[u8]) -> Option<Self> {
                // `match` on byte literals needs patterns, and `concat_bytes!` is unstable.
                std::str::from_utf8(key).ok().and_then(|key| match key {
                    $($key => Some(Self::$variant),)*
                    _ => None,
                })
            }
        }

        impl Counters {
            $($(#[$doc])* ///
            /// In kB; 0 where the kernel does not write it or it was not asked for.
            #[must_use]
            pub const fn $method(&self) -> u64 {
                self.values[Counter::$variant as usize]
            })*
        }
    };
}

counters! {
    /// The mapping's size.
    Size size "Size",
    /// The page size that the mapping was made with; larger than the base page in hugetlb only.
    KernelPageSize kernel_page_size "KernelPageSize",
    /// The page size that the MMU uses.
    MmuPageSize mmu_page_size "MMUPageSize",
    /// What is present in memory.
    Rss rss "Rss",
    /// What is present, each page divided by the number of processes that map it.
    Pss pss "Pss",
    /// The dirty part of `Pss`. Since Linux 6.0.
    PssDirty pss_dirty "Pss_Dirty",
    /// The anonymous part of `Pss`; in smaps_rollup only.
    PssAnon pss_anon "Pss_Anon",
    /// The file part of `Pss`; in smaps_rollup only.
    PssFile pss_file "Pss_File",
    /// The shmem part of `Pss`; in smaps_rollup only.
    PssShmem pss_shmem "Pss_Shmem",
    /// Clean pages that others map too.
    SharedClean shared_clean "Shared_Clean",
    /// Dirty pages that others map too.
    SharedDirty shared_dirty "Shared_Dirty",
    /// Clean pages that only this process maps.
    PrivateClean private_clean "Private_Clean",
    /// Dirty pages that only this process maps.
    PrivateDirty private_dirty "Private_Dirty",
    /// What has been used lately.
    Referenced referenced "Referenced",
    /// Pages that belong to no file, in private file mappings too.
    Anonymous anonymous "Anonymous",
    /// Pages merged by KSM; the zero page is not counted. Since Linux 6.8.
    Ksm ksm "KSM",
    /// Pages that MADV_FREE has marked.
    LazyFree lazy_free "LazyFree",
    /// Anonymous memory that is mapped by a PMD: in a huge page of the full size.
    AnonHugePages anon_huge_pages "AnonHugePages",
    /// Shmem and tmpfs memory that is mapped by a PMD.
    ShmemPmdMapped shmem_pmd_mapped "ShmemPmdMapped",
    /// Memory of other files that is mapped by a PMD.
    FilePmdMapped file_pmd_mapped "FilePmdMapped",
    /// Hugetlb pages that others map too. They are not in `Rss`.
    SharedHugetlb shared_hugetlb "Shared_Hugetlb",
    /// Hugetlb pages that only this process maps. They are not in `Rss`.
    PrivateHugetlb private_hugetlb "Private_Hugetlb",
    /// Anonymous memory that is out on swap.
    Swap swap "Swap",
    /// What is on swap, each page divided by the number of its users.
    SwapPss swap_pss "SwapPss",
    /// The locked part of `Pss`.
    Locked locked "Locked",
}

/// How many counters there are.
const COUNT: usize = Counter::ALL.len();

/// A set of counters, for readers that need only some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Want(u32);

impl Want {
    /// No counter: the header, the flags and THPeligible only.
    pub const NONE: Self = Self(0);
    /// Every counter.
    pub const ALL: Self = Self(u32::MAX);

    /// This set and one more counter.
    #[must_use]
    pub const fn and(self, counter: Counter) -> Self {
        Self(self.0 | 1 << counter as u32)
    }

    /// Whether the counter is in the set.
    #[must_use]
    #[inline]
    pub const fn has(self, counter: Counter) -> bool {
        self.0 >> counter as u32 & 1 != 0
    }
}

impl Default for Want {
    fn default() -> Self {
        Self::ALL
    }
}

/// The values of one entry's counters in kB. A counter that the kernel does not write is told
/// apart from one that is 0: see [`Counters::get`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    values: [u64; COUNT],
    present: u32,
}

impl Counters {
    /// No counter present.
    pub const EMPTY: Self = Self {
        values: [0; COUNT],
        present: 0,
    };

    /// The value in kB, or `None` where this kernel does not write it or it was not asked for.
    #[must_use]
    #[inline]
    pub const fn get(&self, counter: Counter) -> Option<u64> {
        if self.present >> counter as u32 & 1 != 0 {
            Some(self.values[counter as usize])
        } else {
            None
        }
    }

    #[inline]
    pub(super) fn set(&mut self, counter: Counter, kb: u64) {
        self.values[counter as usize] = kb;
        self.present |= 1 << counter as u32;
    }

    /// Everything that is mapped by a PMD: anonymous, shmem and file, in kB.
    #[must_use]
    pub const fn pmd_mapped(&self) -> u64 {
        self.anon_huge_pages()
            .saturating_add(self.shmem_pmd_mapped())
            .saturating_add(self.file_pmd_mapped())
    }

    /// The counters that are present, in the kernel's order.
    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> + '_ {
        Counter::ALL
            .iter()
            .filter_map(|&counter| Some((counter, self.get(counter)?)))
    }

    /// Adds another entry's counters. A counter is present in the sum if it is in either.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.values.iter_mut().zip(other.values) {
            *mine = mine.saturating_add(theirs);
        }
        self.present |= other.present;
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::EMPTY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lead_back_to_their_counter() {
        // The set of present counters is a 32-bit word.
        const { assert!(COUNT <= 32) };
        for (place, &counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(counter as usize, place);
            assert_eq!(Counter::from_key(counter.key().as_bytes()), Some(counter));
        }
        assert_eq!(Counter::from_key(b"Rs"), None);
        assert_eq!(Counter::from_key(b"\xffss"), None);
    }

    #[test]
    fn absent_is_not_zero() {
        let mut counters = Counters::EMPTY;
        assert_eq!(counters.get(Counter::Ksm), None);
        assert_eq!(counters.ksm(), 0);
        counters.set(Counter::Ksm, 0);
        assert_eq!(counters.get(Counter::Ksm), Some(0));
        assert_eq!(counters.iter().collect::<Vec<_>>(), [(Counter::Ksm, 0)]);
    }

    #[test]
    fn sums_saturate() {
        let mut one = Counters::EMPTY;
        one.set(Counter::AnonHugePages, u64::MAX);
        let mut other = Counters::EMPTY;
        other.set(Counter::AnonHugePages, 2048);
        other.set(Counter::ShmemPmdMapped, 4096);
        assert_eq!(other.pmd_mapped(), 6144);
        one.add(&other);
        assert_eq!(one.anon_huge_pages(), u64::MAX);
        assert_eq!(one.get(Counter::ShmemPmdMapped), Some(4096));
        assert_eq!(one.pmd_mapped(), u64::MAX);
    }

    #[test]
    fn want_is_a_set() {
        let want = Want::NONE.and(Counter::Rss).and(Counter::Locked);
        assert!(want.has(Counter::Rss) && want.has(Counter::Locked));
        assert!(!want.has(Counter::Pss));
        assert!(Counter::ALL.iter().all(|&counter| Want::ALL.has(counter)));
    }
}
