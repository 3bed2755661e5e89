//! Every advice of madvise(2), one declaration each.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// What an advice does to the contents of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Contents and access stay as they are.
    Keeps,
    /// Contents may be lost, access may be taken away, or a child may find less than its parent
    /// had. Refused on other processes unless explicitly allowed.
    Destructive,
}

/// Who may give an advice to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// process_madvise(2) takes it for other processes (mm/madvise.c,
    /// `process_madvise_remote_valid()`).
    Remote,
    /// Only the process itself: it is run in the target.
    OwnOnly,
}

/// An advice of madvise(2). A number that is not in the table can be held too; it counts as
/// destructive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Advice(i32);

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdviceInfo {
    /// The advice.
    pub advice: Advice,
    /// Its name in the C header.
    pub name: &'static str,
    /// Its word on the command line.
    pub word: &'static str,
    /// What it does to contents.
    pub effect: Effect,
    /// By whom it is taken.
    pub reach: Reach,
    /// Whether it works on pages one by one and may take long.
    pub long: bool,
    /// One line.
    pub summary: &'static str,
}

macro_rules! advices {
    ($($number:literal $name:ident $word:literal $effect:ident $reach:ident $long:literal $summary:literal;)*) => {
        /// The table, by number.
        pub const ADVICES: &[AdviceInfo] = &[
            $(AdviceInfo {
                advice: Advice($number),
                name: concat!("MADV_", stringify!($name)),
                word: $word,
                effect: Effect::$effect,
                reach: Reach::$reach,
                long: $long,
                summary: $summary,
            },)*
        ];

        impl Advice {
            $(
                #[doc = concat!("`MADV_", stringify!($name), "`: ", $summary, ".")]
                pub const $name: Advice = Advice($number);
            )*
        }
    };
}

advices! {
    0 NORMAL "normal" Keeps OwnOnly false "no special treatment";
    1 RANDOM "random" Keeps OwnOnly false "expect references in random order";
    2 SEQUENTIAL "sequential" Keeps OwnOnly false "expect references in sequential order";
    3 WILLNEED "willneed" Keeps Remote true "read ahead, swap in";
    4 DONTNEED "dontneed" Destructive OwnOnly false "drop the pages: anonymous contents are lost";
    8 FREE "free" Destructive OwnOnly false "contents may be dropped under memory pressure";
    9 REMOVE "remove" Destructive OwnOnly false "punch a hole in the shared memory or file behind it";
    10 DONTFORK "dontfork" Destructive OwnOnly false "children do not get the mapping";
    11 DOFORK "dofork" Keeps OwnOnly false "undo dontfork";
    12 MERGEABLE "mergeable" Keeps OwnOnly false "KSM may merge equal pages";
    13 UNMERGEABLE "unmergeable" Keeps OwnOnly true "undo mergeable, and unmerge";
    14 HUGEPAGE "hugepage" Keeps OwnOnly false "huge pages welcome";
    15 NOHUGEPAGE "nohugepage" Keeps OwnOnly false "no huge pages";
    16 DONTDUMP "dontdump" Keeps OwnOnly false "leave it out of core dumps";
    17 DODUMP "dodump" Keeps OwnOnly false "undo dontdump";
    18 WIPEONFORK "wipeonfork" Destructive OwnOnly false "children find zeroes";
    19 KEEPONFORK "keeponfork" Keeps OwnOnly false "undo wipeonfork";
    20 COLD "cold" Keeps Remote true "reclaim these pages first";
    21 PAGEOUT "pageout" Keeps Remote true "reclaim these pages now";
    22 POPULATE_READ "populate-read" Keeps OwnOnly true "fault pages in for reading";
    23 POPULATE_WRITE "populate-write" Keeps OwnOnly true "fault pages in for writing";
    24 DONTNEED_LOCKED "dontneed-locked" Destructive OwnOnly false "dontneed, locked pages too";
    25 COLLAPSE "collapse" Keeps Remote true "make huge pages of the pages there now";
    100 HWPOISON "hwpoison" Destructive OwnOnly false "treat the pages as broken hardware";
    101 SOFT_OFFLINE "soft-offline" Destructive OwnOnly false "take the page frames out of use";
    102 GUARD_INSTALL "guard-install" Destructive OwnOnly false "drop the pages; access kills";
    103 GUARD_REMOVE "guard-remove" Destructive OwnOnly false "undo guard-install";
}

impl Advice {
    /// Any number.
    #[must_use]
    pub const fn from_number(number: i32) -> Advice {
        Advice(number)
    }

    /// The number that the kernel takes.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }

    /// The advice's row; `None` for a number that is not in the table.
    #[must_use]
    pub fn info(self) -> Option<&'static AdviceInfo> {
        ADVICES.iter().find(|info| info.advice == self)
    }

    /// What it does to contents. Nothing good is assumed of an unknown one.
    #[must_use]
    pub fn effect(self) -> Effect {
        self.info().map_or(Effect::Destructive, |info| info.effect)
    }

    /// By whom it is taken.
    #[must_use]
    pub fn reach(self) -> Reach {
        self.info().map_or(Reach::OwnOnly, |info| info.reach)
    }

    /// Whether it works page by page and may fail at one: the others of the mapping are then given
    /// a chance of their own. Any other advice fails for a mapping as a whole.
    #[must_use]
    pub(crate) fn fails_by_page(self) -> bool {
        matches!(
            self,
            Advice::COLLAPSE
                | Advice::POPULATE_READ
                | Advice::POPULATE_WRITE
                | Advice::HWPOISON
                | Advice::SOFT_OFFLINE
        )
    }

    /// Whether it changes the flags of mappings and no page: microseconds, whatever their size.
    #[must_use]
    pub(crate) fn only_sets_flags(self) -> bool {
        matches!(
            self,
            Advice::NORMAL
                | Advice::RANDOM
                | Advice::SEQUENTIAL
                | Advice::DONTFORK
                | Advice::DOFORK
                | Advice::MERGEABLE
                | Advice::HUGEPAGE
                | Advice::NOHUGEPAGE
                | Advice::DONTDUMP
                | Advice::DODUMP
                | Advice::WIPEONFORK
                | Advice::KEEPONFORK
        )
    }

    /// Whether it may have to wait for whoever serves the memory's faults or events by userfaultfd(2).
    #[must_use]
    pub(crate) fn may_wait_for_a_server(self) -> bool {
        !self.only_sets_flags()
            && !matches!(
                self,
                Advice::COLD
                    | Advice::PAGEOUT
                    | Advice::WILLNEED
                    | Advice::COLLAPSE
                    | Advice::UNMERGEABLE
            )
    }

    /// Whether `ENOMEM` may mean something else than a gap: no memory for a huge page, say. Where
    /// it means a gap, what is mapped was carried out (mm/madvise.c, `madvise_walk_vmas()`).
    #[must_use]
    pub(crate) fn enomem_is_more_than_a_gap(self) -> bool {
        self.fails_by_page() || self.effect() == Effect::Destructive
    }

    /// Whether it may take long.
    #[must_use]
    pub fn is_long(self) -> bool {
        self.info().is_none_or(|info| info.long)
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.info() {
            Some(info) => f.pad(info.word),
            None => write!(f, "advice {}", self.0),
        }
    }
}

impl fmt::Debug for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.info() {
            Some(info) => f.write_str(info.name),
            None => write!(f, "Advice({})", self.0),
        }
    }
}

impl FromStr for Advice {
    type Err = Error;

    /// A word of the table (`pageout`), a C name (`MADV_PAGEOUT`), or a number.
    fn from_str(text: &str) -> Result<Advice> {
        let known = ADVICES
            .iter()
            .find(|info| info.word == text || info.name.eq_ignore_ascii_case(text))
            .map(|info| info.advice);
        let number = || {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok().map(Advice)).flatten()
        };
        known.or_else(number).ok_or_else(|| Error::Invalid {
            why: format!("'{text}' is no advice of madvise"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_names() {
        for info in ADVICES {
            assert_eq!(info.word.parse::<Advice>().unwrap(), info.advice);
            assert_eq!(info.name.parse::<Advice>().unwrap(), info.advice);
            assert_eq!(
                info.advice.number().to_string().parse::<Advice>().unwrap(),
                info.advice
            );
            assert_eq!(
                info.name.to_lowercase(),
                format!("madv_{}", info.word.replace('-', "_"))
            );
        }
        for text in ["", "dontNeed", "-1", "+4", "99999999999", " cold", "MADV_"] {
            assert!(text.parse::<Advice>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_the_contract_calls_destructive_is() {
        for word in [
            "dontneed",
            "free",
            "remove",
            "wipeonfork",
            "guard-install",
            "guard-remove",
            "hwpoison",
            "soft-offline",
            "dontneed-locked",
            "dontfork",
        ] {
            assert_eq!(
                word.parse::<Advice>().unwrap().effect(),
                Effect::Destructive,
                "{word}"
            );
        }
        assert_eq!(
            Advice::from_number(77).effect(),
            Effect::Destructive,
            "unknown"
        );
        assert_eq!(Advice::COLLAPSE.effect(), Effect::Keeps);
    }

    #[test]
    fn the_kernel_takes_four_remotely() {
        let remote: Vec<Advice> = ADVICES
            .iter()
            .filter(|i| i.reach == Reach::Remote)
            .map(|i| i.advice)
            .collect();
        assert_eq!(
            remote,
            [
                Advice::WILLNEED,
                Advice::COLD,
                Advice::PAGEOUT,
                Advice::COLLAPSE
            ]
        );
    }
}
