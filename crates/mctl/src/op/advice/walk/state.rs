//! Where a walk stands.

use std::collections::VecDeque;
use std::time::Instant;

use mctl_abi::Errno;
use mctl_sys::raw::madvise::{MAX_BYTES, MAX_ENTRIES, Range};

use crate::error::{Error, Result};
use crate::op::Progress;
use crate::op::advice::pieces::{Cut, Cutter, Mapped, Most, PAGE, Piece, checked};
use crate::op::advice::result::{Advised, Entry, Skipped};

/// The entries that are not cut into pieces yet.
#[derive(Debug)]
pub(super) struct Uncut {
    pub(super) how: Cut,
    pub(super) most: Most,
    /// The end of user space: what reaches beyond is cut in any case.
    pub(super) task_size: u64,
    /// What is mapped, where an entry needs it.
    pub(super) mapped: Mapped,
    /// The entry that is being cut.
    pub(super) cutter: Option<Cutter>,
    /// The index of the next one, and of the first that is not carried out.
    pub(super) next: usize,
    pub(super) end: usize,
}

impl Uncut {
    /// How an entry is cut.
    pub(super) fn how(&self, range: Range) -> Cut {
        let beyond = range.start.saturating_add(range.len) > self.task_size;
        match self.how {
            Cut::Whole if beyond => Cut::Extents,
            how => how,
        }
    }

    fn piece(&mut self, entries: &[Entry]) -> Option<Piece> {
        loop {
            if let Some(cutter) = &mut self.cutter
                && let Some(piece) = cutter.next(&self.mapped)
            {
                return Some(piece);
            }
            if self.next >= self.end {
                return None;
            }
            let index = self.next;
            self.next += 1;
            if let Ok(Some(range)) = checked(entries.get(index)?.range()) {
                let how = self.how(range);
                self.cutter = Some(Cutter::new(index, range, how, &self.mapped, self.most));
            }
        }
    }

    /// Nothing of it is carried out any more.
    pub(super) fn drop_all(&mut self) {
        self.cutter = None;
        self.next = self.end;
    }
}

/// What was done and what is left.
pub(super) struct State<'d> {
    pub(super) done: &'d mut Advised,
    /// What is left and comes next.
    pub(super) pending: VecDeque<Piece>,
    /// What comes after that.
    pub(super) uncut: Uncut,
    /// An entry that has a gap, which is an error; nothing after it is carried out.
    pub(super) gap: Option<usize>,
    /// Entry and end of the mapping that was passed over last.
    pub(super) last_skipped: Option<(usize, u64)>,
    pub(super) bytes: u64,
    pub(super) total: u64,
    pub(super) begun: Instant,
}

impl State<'_> {
    /// Sees to it that a batch can be filled; `false` where nothing is left.
    pub(super) fn refill(&mut self) -> bool {
        while self.pending.len() < MAX_ENTRIES
            && let Some(piece) = self.uncut.piece(&self.done.entries)
        {
            self.pending.push_back(piece);
        }
        !self.pending.is_empty()
    }

    /// The entry that the next piece belongs to.
    pub(super) fn next_entry(&mut self) -> Option<usize> {
        self.refill();
        self.pending.front().map(|piece| piece.entry)
    }

    /// The next batch: within the bounds, but always one piece.
    pub(super) fn fill(&self, batch: &mut Vec<Range>, most: Most) {
        batch.clear();
        let most_bytes = most.bytes.min(MAX_BYTES);
        let (mut bytes, mut mappings) = (0u64, 0usize);
        for piece in self.pending.iter().take(MAX_ENTRIES) {
            if batch.is_empty() && piece.range.len > most_bytes {
                // Less is allowed than what the pieces were cut to.
                let len = (most_bytes - most_bytes % PAGE).max(PAGE);
                batch.push(Range { len, ..piece.range });
                break;
            }
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
            && let Some(mut piece) = self.pending.pop_front()
        {
            let done = piece.range.len.min(left);
            left -= done;
            self.bytes += done;
            self.done.advised(piece.entry, done);
            if done < piece.range.len {
                piece.range.start += done;
                piece.range.len -= done;
                self.pending.push_front(piece);
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
        let cut = || {
            self.pending
                .iter()
                .take_while(|other| other.entry == piece.entry)
                .last()
                .map_or(piece.end(), Piece::end)
        };
        let end = match &self.uncut.cutter {
            Some(cutter) if cutter.entry == piece.entry => cutter.end(),
            _ => cut(),
        };
        Range {
            start: piece.range.start,
            len: end - piece.range.start,
        }
    }

    /// The target cannot be reached any more. An error only if nothing was done.
    pub(super) fn end_early(&mut self, error: Error) -> Result<()> {
        let entry = self.next_entry().unwrap_or(0);
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
