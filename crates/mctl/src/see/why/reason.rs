//! The reasons.

use std::fmt;

use serde::Serialize;

/// Declares [`Reason`], its table, its phrases and its sentences.
macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident $phrase:literal $sentence:literal,)*) => {
        /// Why memory is not in huge pages.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
        }

        impl Reason {
            /// Every reason. Of equal shares the earlier one is named.
            pub const ALL: &[Reason] = &[$(Reason::$variant,)*];

            /// In a few words, for the column of a table.
            #[must_use]
            pub const fn phrase(self) -> &'static str {
                match self { $(Reason::$variant => $phrase,)* }
            }

            /// In one sentence, with what would change it.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Reason::$variant => $sentence,)* }
            }
        }
    };
}

reasons! {
    /// The kernel has no transparent huge pages.
    NoThp "host: no huge pages"
        "this kernel has no transparent huge pages (CONFIG_TRANSPARENT_HUGEPAGE)",
    /// The host's knob says never, or a word that mctl does not know.
    HostNever "host: never"
        "the host's knob forbids huge pages",
    /// The process policy is "never".
    PolicyNever "policy: never"
        "the process policy forbids huge pages: mctl clear nohugepage",
    /// The mapping is advised NOHUGEPAGE: by the program, or by the kernel because it is a thread
    /// stack.
    AdviceNohugepage "advice: nohugepage"
        "the program advised NOHUGEPAGE, or it is a thread stack, which the kernel maps so",
    /// The process policy is "only where advised", and it is not advised.
    PolicyAdvised "policy: advised, not advised"
        "the process policy allows huge pages only where the program advises them",
    /// The host's knob says madvise, and it is not advised.
    HostMadvise "host: madvise, not advised"
        "the host gives huge pages only where they are advised: mctl set hugepage",
    /// The knob or mount option for shared memory says no.
    HostShmem "host: not for shmem"
        "shmem_enabled, or the mount option huge=, gives this shared memory no huge pages",
    /// userfaultfd fills the mapping, page by page.
    Userfaultfd "userfaultfd"
        "userfaultfd fills or tracks this memory page by page",
    /// It is eligible, but was populated in small pages before it was, or where no huge page was
    /// to be had. khugepaged will collapse it in its own time; `MADV_COLLAPSE` at once.
    NotCollapsed "not collapsed yet"
        "eligible, but populated in small pages: khugepaged collapses it in time, MADV_COLLAPSE at once",
    /// The kernel says it is not eligible, and nothing that can be seen says why. Where the
    /// policy could not be read, it may be that.
    Unexplained "kernel: not eligible"
        "the kernel says that it is not eligible (THPeligible); the reason cannot be seen",
    /// No aligned range of the size of a huge page lies in the mapping.
    TooSmall "too small"
        "no aligned range of the size of a huge page lies in the mapping",
    /// What lies before the first and behind the last aligned huge page of a larger mapping.
    Edges "unaligned edges"
        "it lies before the first or behind the last aligned huge page of its mapping",
    /// Private copies of the pages of a file.
    PrivateCopies "copies of file pages"
        "private copies of file pages are always small",
    /// hugetlb memory.
    Hugetlb "hugetlb"
        "hugetlb pages are no transparent huge pages",
    /// Device memory and the like.
    Special "special mapping"
        "device memory and the kernel's own mappings have no huge pages of this kind",
}

impl Reason {
    /// Whether it is the host's doing: the knob is worth naming then.
    #[must_use]
    pub const fn is_host(self) -> bool {
        matches!(
            self,
            Reason::NoThp | Reason::HostNever | Reason::HostMadvise
        )
    }

    /// Whether no setting could change it.
    #[must_use]
    pub const fn is_structural(self) -> bool {
        matches!(
            self,
            Reason::TooSmall
                | Reason::Edges
                | Reason::PrivateCopies
                | Reason::Hugetlb
                | Reason::Special
        )
    }
}

/// The phrase.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.phrase())
    }
}
