//! What an observer sees of a process, in a normal form that two backends can be compared in.

use std::fmt;

use mctl_model::VmFlags;

use crate::call::Life;

/// Where the regions of scenarios lie: nothing else is ever mapped between these addresses.
pub const ARENA: std::ops::Range<u64> = 0x10_0000_0000..0x20_0000_0000;
/// How far apart regions begin.
pub const SLOT: u64 = 1 << 30;

/// The size of a page.
pub const PAGE: u64 = 4096;

/// Where `fill-mappings` maps, and how many pages fit there: the slots that no region has.
#[must_use]
pub const fn filler() -> (u64, u64) {
    (ARENA.start + 60 * SLOT, 4 * SLOT / PAGE)
}

/// A mapping, or several neighbours that look the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Flags that are compared.
    pub flags: VmFlags,
    /// Resident bytes; only of private anonymous memory.
    pub rss: u64,
    /// Bytes mapped huge.
    pub huge: u64,
    /// `THPeligible`.
    pub eligible: bool,
    /// Private anonymous memory.
    pub anon: bool,
}

/// The flags that both sides know. The others depend on the kernel's configuration.
pub const COMPARED: &[VmFlags] = &[
    VmFlags::READ,
    VmFlags::WRITE,
    VmFlags::EXEC,
    VmFlags::SHARED,
    VmFlags::GROWSDOWN,
    VmFlags::LOCKED,
    VmFlags::LOCKONFAULT,
    VmFlags::SEQ,
    VmFlags::RAND,
    VmFlags::DONTCOPY,
    VmFlags::DONTEXPAND,
    VmFlags::ACCOUNT,
    VmFlags::NORESERVE,
    VmFlags::HUGETLB,
    VmFlags::WIPEONFORK,
    VmFlags::DONTDUMP,
    VmFlags::HUGEPAGE,
    VmFlags::NOHUGEPAGE,
    VmFlags::MERGEABLE,
];

/// Only the flags that are compared.
#[must_use]
pub fn comparable(flags: VmFlags) -> VmFlags {
    COMPARED
        .iter()
        .filter(|flag| flags.has(**flag))
        .fold(VmFlags::NONE, |all, flag| all | *flag)
}

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The mappings inside the arena, neighbours that look the same joined.
    pub spans: Vec<Span>,
    /// `VmLck` in bytes, and `THP_enabled`; `None` where they were not looked at.
    pub status: Option<(u64, bool)>,
}

impl View {
    /// Adds a mapping, joining it with the one before where both look the same. The boundary
    /// between two such mappings is the kernel's own business.
    pub fn push(&mut self, next: Span) {
        if let Some(last) = self.spans.last_mut()
            && last.end == next.start
            && last.flags == next.flags
            && last.anon == next.anon
            && last.eligible == next.eligible
        {
            last.end = next.end;
            last.rss += next.rss;
            last.huge += next.huge;
            return;
        }
        self.spans.push(next);
    }

    /// The span at an address.
    #[must_use]
    pub fn at(&self, address: u64) -> Option<&Span> {
        self.spans
            .iter()
            .find(|span| span.start <= address && address < span.end)
    }
}

/// An address as an offset in the arena, where it is one.
pub(crate) struct Place(pub(crate) u64);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if ARENA.contains(&self.0) {
            let offset = self.0 - ARENA.start;
            write!(f, "{}:{:#x}", offset / SLOT, offset % SLOT)
        } else {
            write!(f, "{:#x}", self.0)
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}-{} [{}] rss {} huge {}{}",
            Place(self.start),
            Place(self.end),
            self.flags,
            self.rss >> 10,
            self.huge >> 10,
            if self.eligible { " eligible" } else { "" }
        )
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for span in &self.spans {
            writeln!(f, "  {span}")?;
        }
        if let Some((locked, enabled)) = self.status {
            writeln!(f, "  VmLck {} THP_enabled {enabled}", locked >> 10)?;
        }
        Ok(())
    }
}

/// What `observe` looks at beside the mappings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// `VmLck` and `THP_enabled`.
    pub status: bool,
    /// Mappings outside the arena too (the heap).
    pub everywhere: bool,
}

/// Whether a task lives, for reports.
#[must_use]
pub fn life_word(life: Life) -> &'static str {
    Life::ALL
        .iter()
        .find(|(known, _)| *known == life)
        .map_or("", |(_, word)| word)
}
