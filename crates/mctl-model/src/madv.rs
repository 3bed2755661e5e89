//! Advice numbers and process_madvise flags.

use std::fmt;

macro_rules! advices {
    ($($name:ident = $number:literal $word:literal $kind:ident;)*) => {
        impl Madvise {
            $(
                #[doc = concat!("`MADV_", stringify!($name), "`.")]
                pub const $name: Madvise = Madvise($number);
            )*

            /// Every advice with its word in scenarios.
            pub const ALL: &[(Madvise, &'static str)] = &[$((Madvise::$name, $word),)*];

            /// Whether data may be lost: asked of another process it needs an explicit override.
            #[must_use]
            pub const fn is_destructive(self) -> bool {
                matches!(self.kind(), Kind::Destructive)
            }

            const fn kind(self) -> Kind {
                match self {
                    $(Madvise::$name => Kind::$kind,)*
                    _ => Kind::Plain,
                }
            }
        }
    };
}

#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Destructive,
    Remote,
}

/// An advice of madvise(2), by its number on every architecture but alpha, parisc and xtensa.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Madvise(i32);

advices! {
    NORMAL = 0 "normal" Plain;
    RANDOM = 1 "random" Plain;
    SEQUENTIAL = 2 "sequential" Plain;
    WILLNEED = 3 "willneed" Remote;
    DONTNEED = 4 "dontneed" Destructive;
    FREE = 8 "free" Destructive;
    REMOVE = 9 "remove" Destructive;
    DONTFORK = 10 "dontfork" Destructive;
    DOFORK = 11 "dofork" Plain;
    MERGEABLE = 12 "mergeable" Plain;
    UNMERGEABLE = 13 "unmergeable" Plain;
    HUGEPAGE = 14 "hugepage" Plain;
    NOHUGEPAGE = 15 "nohugepage" Plain;
    DONTDUMP = 16 "dontdump" Plain;
    DODUMP = 17 "dodump" Plain;
    WIPEONFORK = 18 "wipeonfork" Destructive;
    KEEPONFORK = 19 "keeponfork" Plain;
    COLD = 20 "cold" Remote;
    PAGEOUT = 21 "pageout" Remote;
    POPULATE_READ = 22 "populate-read" Plain;
    POPULATE_WRITE = 23 "populate-write" Plain;
    DONTNEED_LOCKED = 24 "dontneed-locked" Destructive;
    COLLAPSE = 25 "collapse" Remote;
    HWPOISON = 100 "hwpoison" Destructive;
    SOFT_OFFLINE = 101 "soft-offline" Destructive;
    GUARD_INSTALL = 102 "guard-install" Destructive;
    GUARD_REMOVE = 103 "guard-remove" Destructive;
}

impl Madvise {
    /// The advice with this number, known or not.
    #[must_use]
    pub const fn from_raw(number: i32) -> Madvise {
        Madvise(number)
    }

    /// The number.
    #[must_use]
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// The word in scenarios; `None` for a number that no kernel knows.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        Madvise::ALL
            .iter()
            .find(|(advice, _)| *advice == self)
            .map(|(_, word)| *word)
    }

    /// The advice with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Madvise> {
        Madvise::ALL
            .iter()
            .find(|(_, w)| *w == word)
            .map(|(advice, _)| *advice)
    }

    /// Whether the kernel takes it for another process
    /// (`process_madvise_remote_valid()`, mm/madvise.c).
    #[must_use]
    pub const fn is_remote(self) -> bool {
        matches!(self.kind(), Kind::Remote)
    }
}

impl fmt::Debug for Madvise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Madvise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.word() {
            Some(word) => f.write_str(word),
            None => write!(f, "{}", self.0),
        }
    }
}

/// The flags of `mctl_process_madvise` (docs/CONTRACT.md#pmadv-flags).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pmadv(u32);

impl Pmadv {
    /// None.
    pub const NONE: Pmadv = Pmadv(0);
    /// Pass over a mapping that fails.
    pub const SKIP_ERRORS: Pmadv = Pmadv(1);
    /// A gap is no error.
    pub const NO_ERROR_ON_UNMAPPED: Pmadv = Pmadv(1 << 1);
    /// Also the default across fork and exec.
    pub const SET_FORK_EXEC_DEFAULT: Pmadv = Pmadv(1 << 2);
    /// Every mapping there is.
    pub const ENTIRE_ADDRESS_SPACE: Pmadv = Pmadv(1 << 3);
    /// The review's finer trio, which is accepted only all together.
    pub const TRIO: Pmadv = Pmadv(0b111 << 4);

    /// The flags with these bits.
    ///
    /// `None` for an unknown bit, or for part of the trio. The whole trio becomes
    /// `SET_FORK_EXEC_DEFAULT`.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Pmadv> {
        let trio = bits & Pmadv::TRIO.0;
        if bits & !0x7f != 0 || (trio != 0 && trio != Pmadv::TRIO.0) {
            return None;
        }
        let mut known = bits & 0xf;
        if trio != 0 {
            known |= Pmadv::SET_FORK_EXEC_DEFAULT.0;
        }
        Some(Pmadv(known))
    }

    /// Whether every flag of `other` is set.
    #[must_use]
    pub const fn has(self, other: Pmadv) -> bool {
        self.0 & other.0 == other.0
    }
}
