//! `/proc/PID/smaps` as a stream, in memory that does not grow with the number of mappings.

use std::io::Read;

use super::chunk::Chunk;
use super::counters::Want;
use super::error::{ParseError, ReadError};
use super::smaps::{SmapsEntry, next_entry};
use super::smaps_body::Layout;

/// Reads `/proc/PID/smaps` through one buffer of 64 KiB.
///
/// An entry borrows the buffer, so it must be done with before the next is asked for.
///
/// ```
/// use mctl_sys::procfs::counters::{Counter, Want};
/// use mctl_sys::procfs::smaps_reader::SmapsReader;
///
/// let file = std::fs::File::open("/proc/self/smaps")?;
/// let mut reader = SmapsReader::with(file, Want::NONE.and(Counter::Rss));
/// let mut resident = 0;
/// while let Some(entry) = reader.next_entry()? {
///     resident += entry.counters.rss();
/// }
/// assert!(resident > 0);
/// # Ok::<(), mctl_sys::procfs::ReadError>(())
/// ```
#[derive(Debug)]
pub struct SmapsReader<R> {
    chunk: Chunk<R>,
    want: Want,
    layout: Layout,
    line: u64,
    failed: bool,
}

impl<R: Read> SmapsReader<R> {
    /// Takes over an open `/proc/PID/smaps`. Nothing is read yet.
    pub fn new(file: R) -> Self {
        Self::with(file, Want::ALL)
    }

    /// The same, for some counters only. Those that are not wanted are neither stored nor checked.
    pub fn with(file: R, want: Want) -> Self {
        Self {
            chunk: Chunk::new(file),
            want,
            layout: Layout::new(),
            line: 1,
            failed: false,
        }
    }

    /// The next entry, or `None` at the end of the file or after a parse error.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn next_entry(&mut self) -> Result<Option<SmapsEntry<'_>>, ReadError> {
        if self.failed {
            return Ok(None);
        }
        let found = loop {
            let last = self.chunk.at_end();
            let text = self.chunk.text();
            if text.is_empty() {
                if last {
                    return Ok(None);
                }
            } else {
                let found = next_entry(text, self.want, &mut self.layout, self.line, last);
                match found.inspect_err(|_| self.failed = true)? {
                    Some(found) => break found,
                    // Cannot be: with the file at its end no more text is asked for.
                    None if last => return Ok(None),
                    None => {}
                }
            }
            self.chunk.fill(self.line)?;
        };
        let line = self.line;
        self.line = line.saturating_add(found.lines());
        let text = self.chunk.take(found.length);
        match SmapsEntry::from_parts(text, found.head, &found.body) {
            Ok(entry) => Ok(Some(entry)),
            Err(kind) => {
                self.failed = true;
                Err(ParseError { line, kind }.into())
            }
        }
    }

    /// Hands every entry that is left to `see`.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn for_each(mut self, mut see: impl FnMut(&SmapsEntry<'_>)) -> Result<(), ReadError> {
        while let Some(entry) = self.next_entry()? {
            see(&entry);
        }
        Ok(())
    }
}
