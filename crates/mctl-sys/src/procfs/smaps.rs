//! `/proc/PID/smaps`: per mapping the `maps` line, then counters and flags.
//!
//! Source: `proc_pid_smaps(5)`; `show_smap()` in `fs/proc/task_mmu.c`.
//!
//! [`SmapsEntries`] walks a text that is in memory; [`SmapsReader`](super::smaps_reader::SmapsReader)
//! a file of any size. Both give the same entries. The kernel walks the page tables for every
//! entry: reading the file costs about twenty times what parsing it does, and holds the target's
//! mmap lock for reading meanwhile. The lock is released between two reads of the file, so a listing of a
//! process that is mapping at the same time is not one moment's picture.

use super::counters::{Counters, Want};
use super::error::{Malformed, ParseError};
use super::lines::{Lines, split_at_byte};
use super::maps::MapLine;
use super::smaps_body::{self, Body, Layout};
use super::vmflags::VmFlags;

/// Whether the kernel would now put a huge page into the mapping (`THPeligible:`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ThpEligible {
    /// The kernel does not write the line (before 5.0).
    #[default]
    Absent,
    /// 0: it would not.
    No,
    /// 1: it would, in at least one size.
    Yes,
    /// A value that has no meaning yet.
    Other(u64),
}

impl From<u64> for ThpEligible {
    fn from(value: u64) -> Self {
        match value {
            0 => Self::No,
            1 => Self::Yes,
            other => Self::Other(other),
        }
    }
}

/// One mapping with its counters and flags. Everything is a number or a slice of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmapsEntry<'a> {
    /// The entry's first line.
    pub vma: MapLine<'a>,
    /// The counters in kB, as far as they were asked for.
    pub counters: Counters,
    /// Whether huge pages may appear.
    pub thp_eligible: ThpEligible,
    /// The memory protection key, where the CPU has them.
    pub protection_key: Option<u32>,
    /// The flags, unknown ones included; `None` where the kernel does not write them (smaps_rollup).
    pub flags: Option<VmFlags<'a>>,
    /// The whole entry as the kernel wrote it, header and last newline included.
    pub text: &'a [u8],
}

impl<'a> SmapsEntry<'a> {
    /// Puts the entry together: `text` is exactly the entry, `head` the length of its first line.
    #[inline]
    pub(super) fn from_parts(text: &'a [u8], head: usize, body: &Body) -> Result<Self, Malformed> {
        let vma = MapLine::parse(text)?;
        let flags = body.flags.and_then(|(from, to)| {
            let codes = text.get(head.saturating_add(from)..head.saturating_add(to))?;
            Some(VmFlags::parse(codes))
        });
        Ok(Self {
            vma,
            counters: body.counters,
            thp_eligible: body.thp_eligible,
            protection_key: body.protection_key,
            flags,
            text,
        })
    }

    /// Every line below the header as name and value, both raw, known here or not.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        Lines::new(self.text).skip(1).filter_map(|(_, line)| {
            let (key, value) = split_at_byte(line, b':')?;
            Some((key, value.trim_ascii()))
        })
    }

    /// The raw value of one line, known here or not.
    #[must_use]
    pub fn field(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.fields()
            .find_map(|(key, value)| (key == name).then_some(value))
    }
}

/// The entries in a text of `/proc/PID/smaps` that is wholly in memory.
///
/// A line that cannot be understood is one `Err`, and the walk ends there.
#[derive(Clone, Debug)]
pub struct SmapsEntries<'a> {
    rest: &'a [u8],
    line: u64,
    want: Want,
    layout: Layout,
}

impl<'a> SmapsEntries<'a> {
    /// Starts at the first entry, with every counter.
    #[must_use]
    pub const fn new(text: &'a [u8]) -> Self {
        Self::with(text, Want::ALL)
    }

    /// Starts at the first entry. Counters that are not wanted are neither stored nor checked.
    #[must_use]
    pub const fn with(text: &'a [u8], want: Want) -> Self {
        Self {
            rest: text,
            line: 1,
            want,
            layout: Layout::new(),
        }
    }
}

impl<'a> Iterator for SmapsEntries<'a> {
    type Item = Result<SmapsEntry<'a>, ParseError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let text = self.rest;
        match next_entry(text, self.want, &mut self.layout, self.line, true) {
            Ok(Some(found)) => {
                let (entry, rest) = text.split_at_checked(found.length)?;
                self.rest = rest;
                let first = self.line;
                self.line = first.saturating_add(found.lines());
                let entry = SmapsEntry::from_parts(entry, found.head, &found.body);
                Some(entry.map_err(|kind| {
                    self.rest = &[];
                    ParseError { line: first, kind }
                }))
            }
            // Cannot be: no more text is expected. The walk ends.
            Ok(None) => None,
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

impl std::iter::FusedIterator for SmapsEntries<'_> {}

/// Where the first entry of a text ends, and what its lines say.
#[derive(Debug)]
pub(super) struct Found {
    /// The length of the first line, newline included.
    pub(super) head: usize,
    pub(super) body: Body,
    /// The length of the whole entry.
    pub(super) length: usize,
}

impl Found {
    /// The number of the entry's lines, header included.
    pub(super) const fn lines(&self) -> u64 {
        self.body.lines.saturating_add(1)
    }
}

/// Finds the first entry of a text that is not empty. `None`: more text is needed.
///
/// The header is not parsed, only its end is found. `line` is its number, for errors.
#[inline]
pub(super) fn next_entry(
    text: &[u8],
    want: Want,
    layout: &mut Layout,
    line: u64,
    last: bool,
) -> Result<Option<Found>, ParseError> {
    let head = match memchr::memchr(b'\n', text) {
        Some(newline) => newline.saturating_add(1),
        None if last => text.len(),
        None => return Ok(None),
    };
    let below = text.get(head..).unwrap_or_default();
    match smaps_body::read(below, want, layout, last) {
        Ok(Some(body)) => {
            let length = head.saturating_add(body.length);
            Ok(Some(Found { head, body, length }))
        }
        Ok(None) => Ok(None),
        Err(bad) => {
            let line = line.saturating_add(1).saturating_add(bad.line);
            Err(ParseError {
                line,
                kind: bad.kind,
            })
        }
    }
}

#[cfg(test)]
mod tests;
