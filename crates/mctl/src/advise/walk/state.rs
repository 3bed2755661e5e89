//! Where a walk stands.

use std::time::Instant;

use mctl_abi::Errno;
use mctl_sys::raw::madvise::{MAX_BYTES, MAX_ENTRIES, Range};

use crate::advise::pieces::{Most, Piece};
use crate::advise::result::{Advised, Progress, Skipped};
use crate::error::{Error, Result};

/// What was done and what is left.
pub(super) struct State<'d> {
    pub(super) done: &'d mut Advised,
    /// What is left, the next one last.
    pub(super) pending: Vec<Piece>,
    /// An entry that has a gap, which is an error; nothing after it is carried out.
    pub(super) gap: Option<usize>,
    /// Entry and end of the mapping that was passed over last.
    pub(super) last_skipped: Option<(usize, u64)>,
    pub(super) bytes: u64,
    pub(super) total: u64,
    pub(super) begun: Instant,
}

impl State<'_> {
    /// The next batch: within the bounds, but always one piece.
    pub(super) fn fill(&self, batch: &mut Vec<Range>, most: Most) {
        batch.clear();
        let most_bytes = most.bytes.min(MAX_BYTES);
        let (mut bytes, mut mappings) = (0u64, 0usize);
        for piece in self.pending.iter().rev().take(MAX_ENTRIES) {
            bytes = bytes.saturating_add(piece.range.len);
            mappings = mappings.saturating_add(piece.mappings);
            if !batch.is_empty() && (bytes > most_bytes || mappings > most.mappings) {
                break;
            }
            batch.push(piece.range);
        }
    }

    /// So many bytes from the first were done.
    pub(super) fn advance(&mut self, bytes: u64) {
        let mut left = bytes;
        while left > 0
            && let Some(mut piece) = self.pending.pop()
        {
            let done = piece.range.len.min(left);
            left -= done;
            self.bytes += done;
            self.done.advised(piece.entry, done);
            if done < piece.range.len {
                piece.range.start += done;
                piece.range.len -= done;
                self.pending.push(piece);
            }
        }
    }

    /// A piece that is off the list was carried out as far as it is mapped.
    pub(super) fn advised(&mut self, piece: Piece, mapped: u64) {
        self.bytes += piece.range.len;
        self.done.advised(piece.entry, mapped);
    }

    pub(super) fn skip(&mut self, piece: Piece, end: u64, errno: Errno) {
        let skipped = Skipped {
            start: piece.range.start,
            len: end - piece.range.start,
            errno,
        };
        self.bytes += skipped.len;
        let same_mapping = self.last_skipped == Some((piece.entry, piece.mapping_end));
        self.last_skipped = Some((piece.entry, piece.mapping_end));
        self.done.skip(piece.entry, skipped, same_mapping);
    }

    /// From a piece that is off the list to the end of its entry.
    pub(super) fn rest_of_entry(&self, piece: Piece) -> Range {
        let end = self
            .pending
            .iter()
            .rev()
            .take_while(|other| other.entry == piece.entry)
            .last()
            .map_or(piece.end(), Piece::end);
        Range {
            start: piece.range.start,
            len: end - piece.range.start,
        }
    }

    /// The target cannot be reached any more. An error only if nothing was done.
    pub(super) fn end_early(&mut self, error: Error) -> Result<()> {
        let entry = self.pending.last().map_or(0, |piece| piece.entry);
        let any_done = self.done.advised > 0 || entry > 0;
        if !any_done {
            return Err(error);
        }
        self.done.fail(entry, error.errno(), None);
        self.done.ended = Some(error.to_string());
        Ok(())
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            bytes: self.bytes,
            total: self.total,
            elapsed: self.begun.elapsed(),
        }
    }
}
