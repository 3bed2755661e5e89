//! The walk over the pieces: in order, in batches, stopping or passing over as the flags say.
//!
//! It knows nothing of processes: whoever gives the advice is a [`Giver`], the listing of what is
//! mapped is a closure. So the semantics are tested without a kernel.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mctl_abi::Errno;
use mctl_sys::raw::madvise::{MAX_BYTES, MAX_ENTRIES, Range};

use super::flags::PmadvFlags;
use super::pieces::{Cut, Mapped, Piece, checked, cut};
use super::result::{Advised, Progress, Skipped};
use crate::error::Result;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// Bytes of the ranges that were done, counted from the first.
    pub(crate) bytes: u64,
    /// Why the range after them was not; `None` where that is not known yet.
    pub(crate) error: Option<Errno>,
}

/// Who gives the advice.
pub(crate) trait Giver {
    /// Gives it to ranges, in order, up to the first that fails.
    ///
    /// # Errors
    /// Nothing could be given at all: the target ended or cannot be reached.
    fn give(&mut self, batch: &[Range]) -> Result<Given>;
}

/// How to walk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The largest piece, and the most bytes of a batch.
    pub(crate) batch_bytes: u64,
    /// Pause between two batches.
    pub(crate) pause: Duration,
}

/// A piece is looked at again at most so often when its target unmaps parts of it under our hands.
const MAX_RETRIES: u8 = 16;
/// So many passed-over mappings are named; beyond that they are counted.
const NAMED_SKIPS: usize = 1000;

/// A walk's surroundings.
pub(crate) struct Walk<'a, 'p> {
    pub(crate) flags: PmadvFlags,
    pub(crate) pace: Pace,
    pub(crate) cancel: Option<&'a AtomicBool>,
    pub(crate) progress: Option<&'a mut (dyn FnMut(&Progress) + 'p)>,
    /// Lists what is mapped.
    pub(crate) list: &'a mut dyn FnMut() -> Result<Mapped>,
}

impl Walk<'_, '_> {
    /// How entries are cut, by the flags.
    fn how(&self) -> Cut {
        if self.flags.skips_errors() {
            Cut::Mappings
        } else if self.flags.allows_gaps() {
            Cut::Extents
        } else {
            Cut::Whole
        }
    }

    /// Walks the entries.
    pub(crate) fn run(mut self, entries: &[Range], giver: &mut dyn Giver) -> Result<Advised> {
        let begun = Instant::now();
        let how = self.how();
        let mapped = if how == Cut::Whole {
            Mapped::default()
        } else {
            (self.list)()?
        };
        let mut done = Advised::new(entries);
        let mut pieces = Vec::new();
        let mut valid_until = entries.len();
        for (index, entry) in entries.iter().enumerate() {
            match checked(*entry) {
                Ok(None) => {}
                Ok(Some(range)) => {
                    cut(
                        index,
                        range,
                        how,
                        &mapped,
                        self.pace.batch_bytes,
                        &mut pieces,
                    );
                }
                Err(errno) => {
                    // A malformed entry is the caller's mistake, not a mapping that fails: it is
                    // never passed over. What stands before it is carried out, as by the kernel.
                    done.fail(index, errno);
                    valid_until = index;
                    break;
                }
            }
        }
        let total: u64 = pieces.iter().map(|piece| piece.range.len).sum();
        let mut state = State {
            done: &mut done,
            pieces,
            next: 0,
            bytes: 0,
            total,
            begun,
        };
        self.batches(&mut state, giver)?;
        let stopped_at = state
            .pieces
            .get(state.next)
            .map_or(valid_until, |piece| piece.entry);
        done.took = begun.elapsed();
        done.close(stopped_at);
        Ok(done)
    }

    fn batches(&mut self, state: &mut State<'_>, giver: &mut dyn Giver) -> Result<()> {
        let mut batch: Vec<Range> = Vec::with_capacity(MAX_ENTRIES.min(state.pieces.len()));
        while state.next < state.pieces.len() {
            if self
                .cancel
                .is_some_and(|cancel| cancel.load(Ordering::Relaxed))
            {
                state.done.cancelled = true;
                return Ok(());
            }
            if state.done.batches > 0 && !self.pace.pause.is_zero() {
                std::thread::sleep(self.pace.pause);
            }
            state.fill(&mut batch, self.pace.batch_bytes);
            let given = giver.give(&batch)?;
            state.done.batches += 1;
            let before = state.next;
            state.advance(given.bytes);
            // Neither progress nor an error would go on for ever.
            let stuck = state.next == before && given.error.is_none();
            let error = given.error.or(stuck.then_some(Errno::EIO));
            if let Some(errno) = error
                && self.failed(state, errno)? == Go::Stop
            {
                return Ok(());
            }
            if let Some(progress) = self.progress.as_mut() {
                progress(&state.progress());
            }
        }
        Ok(())
    }

    /// The piece at `state.next` failed.
    fn failed(&mut self, state: &mut State<'_>, errno: Errno) -> Result<Go> {
        let Some(piece) = state.pieces.get(state.next).copied() else {
            return Ok(Go::Stop);
        };
        if errno == Errno::EINTR {
            // An interruption is the caller's business, never a mapping's failure.
            state.done.fail(piece.entry, errno);
            return Ok(Go::Stop);
        }
        if errno == Errno::ENOMEM && self.flags.allows_gaps() && piece.retries < MAX_RETRIES {
            // The target unmapped something since the listing? Then the kernel has carried out
            // what it found, and what is left of the piece is given once more.
            let mapped = (self.list)()?;
            if !mapped.covers(piece.range) {
                state.look_again(piece, &mapped, self.how(), self.pace.batch_bytes);
                return Ok(Go::On);
            }
        }
        if self.flags.skips_errors() {
            state.done.skip(
                piece.entry,
                Skipped {
                    start: piece.range.start,
                    len: piece.range.len,
                    errno,
                },
                NAMED_SKIPS,
            );
            state.pass_over(piece.range.len);
            return Ok(Go::On);
        }
        state.done.fail(piece.entry, errno);
        Ok(Go::Stop)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Go {
    On,
    Stop,
}

struct State<'d> {
    done: &'d mut Advised,
    pieces: Vec<Piece>,
    next: usize,
    bytes: u64,
    total: u64,
    begun: Instant,
}

impl State<'_> {
    /// The next batch: at most [`MAX_ENTRIES`] pieces and `most` bytes, but always one piece.
    fn fill(&self, batch: &mut Vec<Range>, most: u64) {
        batch.clear();
        let most = most.min(MAX_BYTES);
        let mut bytes = 0u64;
        for piece in self
            .pieces
            .get(self.next..)
            .unwrap_or_default()
            .iter()
            .take(MAX_ENTRIES)
        {
            bytes = bytes.saturating_add(piece.range.len);
            if !batch.is_empty() && bytes > most {
                break;
            }
            batch.push(piece.range);
        }
    }

    fn advance(&mut self, bytes: u64) {
        let mut left = bytes;
        while let Some(piece) = self.pieces.get(self.next) {
            if piece.range.len > left {
                break;
            }
            left -= piece.range.len;
            self.done.advised(piece.entry, piece.range.len);
            self.bytes += piece.range.len;
            self.next += 1;
        }
    }

    fn pass_over(&mut self, len: u64) {
        self.bytes += len;
        self.next += 1;
    }

    /// Replaces the piece at `next` by what is still mapped of it.
    fn look_again(&mut self, piece: Piece, mapped: &Mapped, how: Cut, largest: u64) {
        let mut left = Vec::new();
        cut(piece.entry, piece.range, how, mapped, largest, &mut left);
        for new in &mut left {
            new.retries = piece.retries + 1;
        }
        let mapped_bytes: u64 = left.iter().map(|new| new.range.len).sum();
        self.bytes += piece.range.len.saturating_sub(mapped_bytes);
        self.pieces.splice(self.next..=self.next, left);
    }

    fn progress(&self) -> Progress {
        Progress {
            bytes: self.bytes,
            total: self.total,
            elapsed: self.begun.elapsed(),
        }
    }
}
