//! Mappings (VMAs): their flags, what is behind them, and which neighbours merge.

use std::fmt;
use std::ops::{BitAnd, BitOr, Not};

use mctl_abi::thp::Advice;

use crate::PAGE;
use crate::tree::Item;

/// A set of VMA flags. The names are the two letters of `VmFlags:` in `/proc/PID/smaps`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VmFlags(u32);

macro_rules! vm_flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal $letters:literal;)*) => {
        impl VmFlags {
            $($(#[$doc])* pub const $name: VmFlags = VmFlags(1 << $bit);)*

            /// Every flag with its two letters.
            pub const ALL: &[(VmFlags, &'static str)] = &[$((VmFlags::$name, $letters),)*];
        }
    };
}

vm_flags! {
    /// Readable.
    READ = 0 "rd";
    /// Writable.
    WRITE = 1 "wr";
    /// Executable.
    EXEC = 2 "ex";
    /// Shared.
    SHARED = 3 "sh";
    /// May be made writable.
    MAYWRITE = 4 "mw";
    /// Grows towards lower addresses when it is touched below its start.
    GROWSDOWN = 5 "gd";
    /// Locked in memory.
    LOCKED = 6 "lo";
    /// Locked page by page when touched; only together with `LOCKED`.
    LOCKONFAULT = 7 "lf";
    /// `MADV_SEQUENTIAL`.
    SEQ = 8 "sr";
    /// `MADV_RANDOM`.
    RAND = 9 "rr";
    /// `MADV_DONTFORK`.
    DONTCOPY = 10 "dc";
    /// May not be resized by mremap(2).
    DONTEXPAND = 11 "de";
    /// Counts against the commit limit.
    ACCOUNT = 12 "ac";
    /// `MAP_NORESERVE`.
    NORESERVE = 13 "nr";
    /// hugetlbfs memory.
    HUGETLB = 14 "ht";
    /// `MADV_WIPEONFORK`.
    WIPEONFORK = 15 "wf";
    /// `MADV_DONTDUMP`.
    DONTDUMP = 16 "dd";
    /// `MADV_HUGEPAGE`.
    HUGEPAGE = 17 "hg";
    /// `MADV_NOHUGEPAGE`, or a mapping made with `MAP_STACK`.
    NOHUGEPAGE = 18 "nh";
    /// `MADV_MERGEABLE`, or the merging policy.
    MERGEABLE = 19 "mg";
    /// Memory of a device.
    IO = 20 "io";
    /// A raw page-frame mapping.
    PFNMAP = 21 "pf";
    /// Mapped as shared (`SHARED` is missing where the file was opened read-only).
    MAYSHARE = 22 "ms";
}

impl VmFlags {
    /// No flag.
    pub const NONE: VmFlags = VmFlags(0);
    /// Read, write, execute.
    pub const ACCESS: VmFlags = VmFlags(0b111);
    /// `LOCKED` and `LOCKONFAULT`.
    pub const LOCK_MASK: VmFlags = VmFlags(1 << 6 | 1 << 7);
    /// Mappings that the kernel leaves out of locking and merging (`VM_SPECIAL`).
    pub const SPECIAL: VmFlags = VmFlags(1 << 11 | 1 << 20 | 1 << 21);

    /// The bits, for marks and hashing.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether every flag of `other` is set.
    #[must_use]
    pub const fn has(self, other: VmFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any flag of `other` is set.
    #[must_use]
    pub const fn any(self, other: VmFlags) -> bool {
        self.0 & other.0 != 0
    }

    /// Without the flags of `other`.
    #[must_use]
    pub const fn without(self, other: VmFlags) -> VmFlags {
        VmFlags(self.0 & !other.0)
    }

    /// The flag with these two letters.
    #[must_use]
    pub fn from_letters(letters: &str) -> Option<VmFlags> {
        VmFlags::ALL
            .iter()
            .find(|(_, name)| *name == letters)
            .map(|(flag, _)| *flag)
    }

    /// The huge-page advice among the flags.
    #[must_use]
    pub const fn advice(self) -> Advice {
        if self.has(VmFlags::NOHUGEPAGE) {
            Advice::Nohugepage
        } else if self.has(VmFlags::HUGEPAGE) {
            Advice::Hugepage
        } else {
            Advice::None
        }
    }
}

impl BitOr for VmFlags {
    type Output = VmFlags;
    fn bitor(self, other: VmFlags) -> VmFlags {
        VmFlags(self.0 | other.0)
    }
}

impl BitAnd for VmFlags {
    type Output = VmFlags;
    fn bitand(self, other: VmFlags) -> VmFlags {
        VmFlags(self.0 & other.0)
    }
}

impl Not for VmFlags {
    type Output = VmFlags;
    fn not(self) -> VmFlags {
        VmFlags(!self.0)
    }
}

impl fmt::Debug for VmFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for VmFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (flag, letters) in VmFlags::ALL {
            if self.has(*flag) {
                if !first {
                    f.write_str(" ")?;
                }
                f.write_str(letters)?;
                first = false;
            }
        }
        Ok(())
    }
}

/// A file, or the object behind a shared anonymous mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub(crate) u32);

/// What is behind a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backing {
    /// Private anonymous memory.
    Anon,
    /// A file or a shared-memory object.
    File(FileId),
    /// hugetlbfs pages.
    Hugetlb,
    /// The kernel's own mappings (`[vdso]`, `[vvar]`).
    Special,
}

/// One mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vma {
    /// First address, in bytes, a multiple of the page size.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Flags.
    pub flags: VmFlags,
    /// What is behind it.
    pub backing: Backing,
    /// Offset in pages: into the file, or for anonymous memory the page number at which it was
    /// first mapped. Only mappings whose offsets continue each other merge.
    pub(crate) offset: u64,
    /// The anonymous reverse map's identity (`anon_vma`); 0 until the first anonymous fault.
    pub(crate) anon: u32,
    /// The address space's fork generation when `anon` was given out.
    pub(crate) epoch: u32,
}

/// Set in `anon` of the pieces of a mapping that came by fork: they merge with each other only.
pub(crate) const INHERITED: u32 = 1 << 31;

/// The mark of mappings with a file behind them, beside the flags' bits.
pub(crate) const MARK_FILE: u32 = 1 << 31;

/// The flags by which mappings are looked for; the others stay out of the tree's sums, so that
/// changing them is cheap.
const MARKED: VmFlags = VmFlags(1 << 6 | 1 << 7 | 1 << 10 | 1 << 15);

impl Item for Vma {
    fn start(&self) -> u64 {
        self.start
    }
    fn end(&self) -> u64 {
        self.end
    }
    fn weights(&self) -> [u64; 2] {
        let pages = self.pages();
        [
            pages,
            if self.flags.has(VmFlags::LOCKED) {
                pages
            } else {
                0
            },
        ]
    }
    fn marks(&self) -> u32 {
        let file = if matches!(self.backing, Backing::File(_)) {
            MARK_FILE
        } else {
            0
        };
        (self.flags & MARKED).bits() | file
    }
}

impl Vma {
    /// Size in pages.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        (self.end - self.start) / PAGE
    }

    /// Private anonymous memory (`vma_is_anonymous`).
    #[must_use]
    pub const fn is_anon(&self) -> bool {
        matches!(self.backing, Backing::Anon)
    }

    /// What mlock(2) leaves alone: VM_SPECIAL and hugetlb mappings
    /// (`vma_supports_mlock()`, mm/mlock.c).
    #[must_use]
    pub fn supports_mlock(&self) -> bool {
        !self.flags.any(VmFlags::SPECIAL | VmFlags::HUGETLB)
            && !matches!(self.backing, Backing::Special)
    }

    /// What KSM takes (`vma_ksm_compatible()`, mm/ksm.c).
    #[must_use]
    pub fn ksm_compatible(&self) -> bool {
        !self
            .flags
            .any(VmFlags::SHARED | VmFlags::MAYSHARE | VmFlags::SPECIAL | VmFlags::HUGETLB)
            && !matches!(self.backing, Backing::Special)
    }

    /// The 2 MiB-aligned block around `address`, if the mapping holds all of it.
    #[must_use]
    pub const fn huge_block(&self, address: u64) -> Option<u64> {
        let block = address & !(crate::HUGE - 1);
        if block >= self.start && block + crate::HUGE <= self.end {
            Some(block)
        } else {
            None
        }
    }

    /// Whether it holds an aligned 2 MiB block at all; of an object, one that is aligned in the
    /// object too (`thp_vma_suitable_order()`).
    #[must_use]
    pub const fn holds_block(&self) -> bool {
        let shift = (self.start / PAGE).wrapping_sub(self.offset);
        if matches!(self.backing, Backing::File(_)) && !shift.is_multiple_of(crate::HUGE / PAGE) {
            return false;
        }
        match self.end.checked_sub(crate::HUGE) {
            Some(last) => self.huge_block(last).is_some(),
            None => false,
        }
    }

    /// The part `start..end`, which lies inside.
    pub(crate) fn part(mut self, start: u64, end: u64) -> Vma {
        self.offset += (start - self.start) / PAGE;
        self.start = start;
        self.end = end;
        self
    }

    /// Whether `self` and the mapping right above it become one. `epoch` is the address space's
    /// fork generation: an `anon_vma` that came by a fork never merges with another
    /// (`is_mergeable_anon_vma()`, mm/vma.c).
    pub(crate) fn merges_with(&self, above: &Vma, epoch: u32) -> bool {
        self.end == above.start
            && self.flags == above.flags
            && self.backing == above.backing
            && !matches!(self.backing, Backing::Special | Backing::Hugetlb)
            && !self.flags.any(VmFlags::SPECIAL)
            && self.offset + self.pages() == above.offset
            && match (self.anon, above.anon) {
                (0, 0) => true,
                (a, b) if a == b => self.epoch == epoch && above.epoch == epoch,
                (0, _) => above.owns_anon(epoch),
                (_, 0) => self.owns_anon(epoch),
                _ => false,
            }
    }

    /// Whether its `anon_vma` is its address space's own, not shared with a parent by fork
    /// (`vma_had_uncowed_parents()`, mm/vma.c).
    pub(crate) fn owns_anon(&self, epoch: u32) -> bool {
        self.anon != 0 && self.anon & INHERITED == 0 && self.epoch == epoch
    }

    /// Whether a fresh anonymous fault here may use the neighbour's `anon_vma`
    /// (`anon_vma_compatible()`, mm/vma.c: access flags may differ).
    pub(crate) fn anon_compatible(&self, above: &Vma) -> bool {
        self.end == above.start
            && self.flags.without(VmFlags::ACCESS) == above.flags.without(VmFlags::ACCESS)
            && self.backing == above.backing
            && self.offset + self.pages() == above.offset
    }
}
