//! A large read buffer that is used again and again.

use std::io::{self, Read};

use super::error::ReadError;

/// The size of the buffer in bytes. Memory stays at this, however many mappings there are. A larger
/// one gains nothing: the kernel gives out a page at a time, and fresh memory costs a fault a page.
const CHUNK: usize = 64 << 10;

/// How far the buffer may grow for a single entry. A path is at most 4 KiB long, and every byte of
/// it may be written as four.
const LIMIT: usize = 1 << 20;

/// Unread text, and the file that more of it comes from.
#[derive(Debug)]
pub(super) struct Chunk<R> {
    file: R,
    buffer: Vec<u8>,
    /// The unread text is `buffer[start..end]`.
    start: usize,
    end: usize,
    at_end: bool,
}

impl<R: Read> Chunk<R> {
    pub(super) fn new(file: R) -> Self {
        Self {
            file,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            at_end: false,
        }
    }

    /// The unread text.
    #[inline]
    pub(super) fn text(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether the file has no more than is in the buffer.
    pub(super) const fn at_end(&self) -> bool {
        self.at_end
    }

    /// Marks the first `length` bytes as read and returns them.
    #[inline]
    pub(super) fn take(&mut self, length: usize) -> &[u8] {
        let from = self.start;
        self.start = from.saturating_add(length).min(self.end);
        self.buffer.get(from..self.start).unwrap_or_default()
    }

    /// The whole lines that are in the buffer, marked as read; more are read where there is none.
    /// `None` at the end of the file. Its last line may be without a newline.
    ///
    /// `line` is the unread text's first line number, for the error.
    pub(super) fn lines(&mut self, line: u64) -> Result<Option<&[u8]>, ReadError> {
        let length = loop {
            let text = self.text();
            match memchr::memrchr(b'\n', text) {
                Some(newline) => break newline.saturating_add(1),
                None if self.at_end => break text.len(),
                None => self.fill(line)?,
            }
        };
        Ok((length > 0).then(|| self.take(length)))
    }

    /// Moves the unread text to the front and reads until the buffer is full or the file ends.
    ///
    /// One read of a `/proc` file returns about a page at most, so a single read would not do.
    /// `line` is the unread text's first line number, for the error.
    pub(super) fn fill(&mut self, line: u64) -> Result<(), ReadError> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end = self.end.saturating_sub(self.start);
        self.start = 0;
        if self.end == self.buffer.len() {
            let larger = self.buffer.len().saturating_mul(2).max(CHUNK);
            if larger > LIMIT {
                return Err(ReadError::TooLong { line, limit: LIMIT });
            }
            self.buffer.resize(larger, 0);
        }
        while let Some(free) = self
            .buffer
            .get_mut(self.end..)
            .filter(|free| !free.is_empty())
        {
            match self.file.read(free) {
                Ok(0) => {
                    self.at_end = true;
                    break;
                }
                // A reader that claims more than it was given is broken; it cannot lead us astray.
                Ok(count) => self.end = self.end.saturating_add(count).min(self.buffer.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
