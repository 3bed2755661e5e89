//! `/proc/PID/maps`: one line per mapping.
//!
//! Source: `proc_pid_maps(5)`; `show_map_vma()` in the kernel's `fs/proc/task_mmu.c`.
//!
//! The file carries permission bits only. Advice and the other VMA flags are in
//! [`smaps`](super::smaps). The kernel releases the mmap lock between two reads of the file, so a
//! listing of a process that is mapping at the same time is not one moment's picture.

use std::io::{self, Read, Write};

use super::chunk::Chunk;
use super::error::{Malformed, ParseError, ReadError};
use super::num::Cursor;

/// The four letters of a mapping's permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Perms {
    /// `r`: may be read.
    pub read: bool,
    /// `w`: may be written.
    pub write: bool,
    /// `x`: may be executed.
    pub exec: bool,
    /// `s`: made with `MAP_SHARED`; `p` (private, copy on write) otherwise.
    pub shared: bool,
}

impl Perms {
    #[inline]
    fn parse(letters: [u8; 4]) -> Option<Self> {
        let [r, w, x, s] = letters;
        let one = |byte: u8, on: u8, off: u8| match byte {
            byte if byte == on => Some(true),
            byte if byte == off => Some(false),
            _ => None,
        };
        Some(Self {
            read: one(r, b'r', b'-')?,
            write: one(w, b'w', b'-')?,
            exec: one(x, b'x', b'-')?,
            shared: one(s, b's', b'p')?,
        })
    }

    /// The four letters as the kernel writes them.
    #[must_use]
    pub const fn letters(self) -> [u8; 4] {
        [
            if self.read { b'r' } else { b'-' },
            if self.write { b'w' } else { b'-' },
            if self.exec { b'x' } else { b'-' },
            if self.shared { b's' } else { b'p' },
        ]
    }
}

/// A device number in its two parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dev {
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
}

/// One mapping: a line of `/proc/PID/maps`, or the first line of a smaps entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapLine<'a> {
    /// The first address.
    pub start: u64,
    /// The first address after the mapping.
    pub end: u64,
    /// The permissions.
    pub perms: Perms,
    /// The offset into the file in bytes; 0 without a file.
    pub offset: u64,
    /// The file's device; 0:0 without a file.
    pub dev: Dev,
    /// The file's inode; 0 without a file.
    pub inode: u64,
    /// The path or the special name, as the kernel wrote it; empty for most anonymous memory.
    ///
    /// The bytes are raw: they need not be UTF-8, may hold spaces, and a newline in a path is
    /// written as `\012`. A file without a name any more ends in ` (deleted)`, but so may a
    /// file's own name: the suffix alone proves nothing.
    pub name: &'a [u8],
}

/// The column at which the kernel begins the name: `25 + sizeof(void *) * 6`.
const NAME_COLUMN: usize = 25 + 8 * 6;

impl<'a> MapLine<'a> {
    /// Parses one line. What follows the first newline is ignored.
    ///
    /// # Errors
    ///
    /// [`Malformed`] names the first field that is not as the kernel writes it.
    pub fn parse(line: &'a [u8]) -> Result<Self, Malformed> {
        Self::split_from(line).map(|(vma, _)| vma)
    }

    /// Parses the first line of a text, and returns what follows its newline.
    #[inline]
    pub(super) fn split_from(text: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        let mut at = Cursor::new(text);
        let start = at.hex(b'-', "start address")?;
        let end = at.hex(b' ', "end address")?;
        let letters = at.take::<5>().ok_or(Malformed::Missing("permissions"))?;
        let perms = match *letters {
            // The five bytes may reach into the next line.
            _ if letters.contains(&b'\n') => return Err(Malformed::Missing("permissions")),
            [r, w, x, s, b' '] => Perms::parse([r, w, x, s]),
            _ => return Err(Malformed::Separator("permissions")),
        };
        let perms = perms.ok_or(Malformed::Unexpected("permissions"))?;
        let offset = at.hex(b' ', "offset")?;
        let major = small(at.hex(b':', "device major")?, "device major")?;
        let minor = small(at.hex(b' ', "device minor")?, "device minor")?;
        let inode = at.dec(b' ', "inode")?;
        if end < start {
            return Err(Malformed::Reversed);
        }
        at.skip_spaces();
        let (name, rest) = super::lines::split_line(at.rest);
        let dev = Dev { major, minor };
        Ok((
            Self {
                start,
                end,
                perms,
                offset,
                dev,
                inode,
                name,
            },
            rest,
        ))
    }

    /// The addresses of the first line of a text, and what follows its newline.
    #[inline]
    fn span_from(text: &[u8]) -> Result<(u64, u64, &[u8]), Malformed> {
        let mut at = Cursor::new(text);
        let start = at.hex(b'-', "start address")?;
        let end = at.hex(b' ', "end address")?;
        if end < start {
            return Err(Malformed::Reversed);
        }
        Ok((start, end, super::lines::split_line(at.rest).1))
    }

    /// The mapping's size in bytes.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "the kernel has no empty mappings"
    )]
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether the name carries the mark of a file that has been unlinked.
    #[must_use]
    pub fn has_deleted_mark(&self) -> bool {
        self.name.ends_with(b" (deleted)")
    }

    /// Writes the line exactly as a 64-bit kernel does, newline included.
    ///
    /// # Errors
    ///
    /// Whatever the writer returns.
    pub fn write_line<W: Write>(&self, out: &mut W) -> io::Result<()> {
        let [r, w, x, s] = self.perms.letters().map(char::from);
        let Dev { major, minor } = self.dev;
        // Built first, because the padding depends on its length. 16 + 1 + 16 + 6 + 16 + 1 + 8 + 1
        // + 8 + 1 + 20 + 1 bytes at most.
        let mut head = [0_u8; 128];
        let mut left = head.as_mut_slice();
        write!(
            left,
            "{:08x}-{:08x} {r}{w}{x}{s} {:08x} {major:02x}:{minor:02x} {} ",
            self.start, self.end, self.offset, self.inode
        )?;
        let used = 128_usize.saturating_sub(left.len());
        out.write_all(head.get(..used).unwrap_or_default())?;
        if !self.name.is_empty() {
            // The kernel pads to the column before the name's, then writes one more space.
            let width = (NAME_COLUMN - 1).saturating_sub(used) + 1;
            write!(out, "{:width$}", "")?;
            out.write_all(self.name)?;
        }
        out.write_all(b"\n")
    }
}

#[inline]
fn small(value: u64, what: &'static str) -> Result<u32, Malformed> {
    u32::try_from(value).map_err(|_| Malformed::TooLarge(what))
}

/// The mappings in a text of `/proc/PID/maps` that is wholly in memory.
///
/// A line that cannot be understood is one `Err`; the walk goes on with the next line.
#[derive(Clone, Debug)]
pub struct MapLines<'a> {
    rest: &'a [u8],
    line: u64,
}

impl<'a> MapLines<'a> {
    /// Starts at the first line.
    #[must_use]
    pub const fn new(text: &'a [u8]) -> Self {
        Self {
            rest: text,
            line: 0,
        }
    }
}

impl<'a> Iterator for MapLines<'a> {
    type Item = Result<MapLine<'a>, ParseError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        self.line = self.line.saturating_add(1);
        match MapLine::split_from(self.rest) {
            Ok((vma, rest)) => {
                self.rest = rest;
                Some(Ok(vma))
            }
            Err(kind) => {
                self.rest = super::lines::split_line(self.rest).1;
                Some(Err(ParseError {
                    line: self.line,
                    kind,
                }))
            }
        }
    }
}

impl std::iter::FusedIterator for MapLines<'_> {}

/// Reads `/proc/PID/maps` through one buffer, whatever the number of mappings.
#[derive(Debug)]
pub struct MapsReader<R> {
    chunk: Chunk<R>,
    line: u64,
}

impl<R: Read> MapsReader<R> {
    /// Takes over an open `/proc/PID/maps`. Nothing is read yet.
    pub fn new(file: R) -> Self {
        Self {
            chunk: Chunk::new(file),
            line: 0,
        }
    }

    /// The next mapping, or `None` at the end of the file.
    ///
    /// # Errors
    ///
    /// [`ReadError`]. After a parse error the next call goes on with the next line.
    pub fn next_line(&mut self) -> Result<Option<MapLine<'_>>, ReadError> {
        let length = loop {
            let text = self.chunk.text();
            match memchr::memchr(b'\n', text) {
                Some(newline) => break newline.saturating_add(1),
                None if self.chunk.at_end() => break text.len(),
                None => self.chunk.fill(self.line.saturating_add(1))?,
            }
        };
        if length == 0 {
            return Ok(None);
        }
        self.line = self.line.saturating_add(1);
        let line = self.line;
        MapLine::parse(self.chunk.take(length))
            .map(Some)
            .map_err(|kind| ParseError { line, kind }.into())
    }

    /// Calls `see` with every mapping that is left, up to the first line that cannot be
    /// understood. Quicker than one by one.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn each_line(&mut self, mut see: impl FnMut(&MapLine<'_>)) -> Result<(), ReadError> {
        self.each(|text| {
            let (vma, rest) = MapLine::split_from(text)?;
            see(&vma);
            Ok(rest)
        })
    }

    /// As [`each_line`](MapsReader::each_line), with the first address of every mapping and the
    /// first one after it. The rest of a line is not looked at.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn each_span(&mut self, mut see: impl FnMut(u64, u64)) -> Result<(), ReadError> {
        self.each(|text| {
            let (start, end, rest) = MapLine::span_from(text)?;
            see(start, end);
            Ok(rest)
        })
    }

    /// `one` takes a line from the front of a text and returns the rest.
    #[inline]
    fn each(
        &mut self,
        mut one: impl FnMut(&[u8]) -> Result<&[u8], Malformed>,
    ) -> Result<(), ReadError> {
        while let Some(mut text) = self.chunk.lines(self.line.saturating_add(1))? {
            while !text.is_empty() {
                self.line = self.line.saturating_add(1);
                text = one(text).map_err(|kind| ParseError {
                    line: self.line,
                    kind,
                })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
