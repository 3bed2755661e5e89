//! The walk over the pieces: in order, in batches, stopping or passing over as the flags say.
//!
//! It knows nothing of processes: whoever gives the advice is a [`Giver`], the listing of what is
//! mapped is a closure. So the semantics are tested without a kernel.

mod state;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mctl_abi::Errno;
use mctl_sys::raw::madvise::Range;

use super::flags::PmadvFlags;
use super::kind::Advice;
use super::pieces::{Cut, HUGE, Mapped, Most, Piece, checked, cut};
use super::result::{Advised, Way};
use crate::error::Result;
use crate::op::Progress;
use crate::op::budget::Allowed;
use state::{State, Uncut};

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
    /// The largest piece, and the most of a batch.
    pub(crate) most: Most,
    /// Pause between two batches.
    pub(crate) pause: Duration,
}

/// A piece is looked at again at most so often when its target unmaps parts of it under our hands.
const MAX_RETRIES: u8 = 16;
/// And given again so often when its pages were in use, or the listing does not tell why it failed.
const FEW_RETRIES: u8 = 2;
/// A pause is cut into steps of this, so that it can be cancelled.
const STEP: Duration = Duration::from_millis(20);

/// A walk's surroundings.
pub(crate) struct Walk<'a, 'p> {
    pub(crate) advice: Advice,
    pub(crate) way: Way,
    pub(crate) flags: PmadvFlags,
    pub(crate) pace: Pace,
    /// The end of user space: the kernel refuses a whole call for an address beyond it.
    pub(crate) task_size: u64,
    pub(crate) cancel: Option<&'a AtomicBool>,
    pub(crate) progress: Option<&'a mut (dyn FnMut(&Progress) + 'p)>,
    /// Whether each entry is a mapping, or a part of one, that was listed just now.
    pub(crate) listed: bool,
    /// Says what the next call may bring in; `None`: this advice brings nothing in.
    pub(crate) allow: Option<&'a mut dyn FnMut() -> Allowed>,
    /// Lists what is mapped.
    pub(crate) list: &'a mut dyn FnMut() -> Result<Mapped>,
    /// Whether memory is of a kind that most advice means nothing for: special, device, hugetlb.
    pub(crate) apart: &'a mut dyn FnMut(Range) -> Result<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Go {
    On,
    Stop,
}

impl Walk<'_, '_> {
    /// How entries are cut, by the flags.
    fn how(&self) -> Cut {
        if self.flags.skips_errors() || self.flags.is_entire() {
            Cut::Mappings
        } else if self.flags.allows_gaps() || matches!(self.way, Way::Injected | Way::Carrier) {
            // What is run in the target is bounded by the mappings it meets, so they are counted.
            Cut::Extents
        } else {
            Cut::Whole
        }
    }

    /// Walks the entries.
    ///
    /// # Errors
    /// Nothing could be done at all.
    pub(crate) fn run(
        mut self,
        entries: Cow<'_, [Range]>,
        giver: &mut dyn Giver,
    ) -> Result<Advised> {
        let begun = Instant::now();
        let mut done = Advised::new(&entries, self.way);
        // There may be tens of thousands, and they are in the result.
        drop(entries);
        let mut state = State {
            done: &mut done,
            pending: VecDeque::new(),
            uncut: Uncut {
                // A listed mapping needs no listing to be told from others.
                how: if self.listed { Cut::Whole } else { self.how() },
                most: self.pace.most,
                task_size: if self.listed {
                    u64::MAX
                } else {
                    self.task_size
                },
                mapped: Mapped::default(),
                cutter: None,
                next: 0,
                end: 0,
            },
            gap: None,
            last_skipped: None,
            bytes: 0,
            total: 0,
            begun,
        };
        let valid_until = self.survey(&mut state)?;
        self.batches(&mut state, giver)?;
        let next = state.next_entry();
        if let (Some(entry), None) = (state.gap, next) {
            // Carried out on what is mapped, and now reported.
            state.done.fail(entry, Errno::ENOMEM, None);
        }
        let end = next.or(state.gap).unwrap_or(valid_until);
        done.took = begun.elapsed();
        done.close(end, self.flags.is_entire());
        Ok(done)
    }

    /// Looks the entries over, up to the first that is malformed or has a gap that is an error:
    /// what is before it, and with a gap that one too, is to be cut. Returns the index of the
    /// first that is malformed.
    fn survey(&mut self, state: &mut State<'_>) -> Result<usize> {
        let mut listing: Option<Mapped> = None;
        let count = state.done.entries.len();
        let mut end = count;
        for index in 0..count {
            let Some(entry) = state.done.entries.get(index) else {
                break;
            };
            let range = match checked(entry.range()) {
                Ok(None) => continue,
                Ok(Some(range)) => range,
                Err(errno) => {
                    // A malformed entry is the caller's mistake, not a mapping that fails: it is
                    // never passed over. What stands before it is carried out, as by the kernel.
                    state.done.fail(index, errno, None);
                    end = index;
                    break;
                }
            };
            state.uncut.end = index + 1;
            if state.uncut.how(range) == Cut::Whole {
                state.total = state.total.saturating_add(range.len);
                continue;
            }
            let mapped = match &mut listing {
                Some(mapped) => mapped,
                none => none.insert((self.list)()?),
            };
            state.total = state.total.saturating_add(mapped.bytes(range));
            if !self.flags.allows_gaps() && !mapped.covers(range) {
                state.gap = Some(index);
                break;
            }
        }
        state.uncut.mapped = listing.unwrap_or_default();
        Ok(end)
    }

    fn is_cancelled(&self) -> bool {
        self.cancel
            .is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }

    fn rest(&self) {
        let mut left = self.pace.pause;
        while !left.is_zero() && !self.is_cancelled() {
            let step = left.min(STEP);
            std::thread::sleep(step);
            left -= step;
        }
    }

    /// The most of the next batch. `None`: it ends here, as the state says.
    fn allowed(&mut self, state: &mut State<'_>) -> Option<Most> {
        let most = self.pace.most;
        match self.allow.as_mut().map(|allow| allow()) {
            None => Some(most),
            Some(Allowed::Bytes(bytes)) => Some(Most {
                bytes: most.bytes.min(bytes),
                ..most
            }),
            Some(Allowed::Reached(why)) => {
                state.done.bounds.ended = Some(why);
                None
            }
            Some(Allowed::NoRoom(why)) => {
                let entry = state.next_entry().unwrap_or(0);
                state.done.fail(entry, Errno::ENOMEM, None);
                state.done.ended = Some(why);
                None
            }
        }
    }

    fn batches(&mut self, state: &mut State<'_>, giver: &mut dyn Giver) -> Result<()> {
        let mut batch: Vec<Range> = Vec::new();
        let mut worked = false;
        while state.refill() {
            if worked {
                self.rest();
            }
            if self.is_cancelled() {
                state.done.cancelled = true;
                return Ok(());
            }
            let Some(most) = self.allowed(state) else {
                return Ok(());
            };
            state.fill(&mut batch, most);
            let given = match giver.give(&batch) {
                Ok(given) => given,
                Err(error) => return state.end_early(error),
            };
            if given.bytes == 0 && self.is_cancelled() {
                state.done.cancelled = true;
                return Ok(());
            }
            state.done.batches += 1;
            state.advance(given.bytes);
            worked = given.bytes > 0;
            // Neither progress nor an error would go on for ever.
            let error = given.error.or((!worked).then_some(Errno::EIO));
            if let Some(errno) = error {
                match self.failed(state, errno) {
                    Ok(Go::On) => {}
                    Ok(Go::Stop) => return Ok(()),
                    Err(error) => return state.end_early(error),
                }
            }
            if let Some(progress) = self.progress.as_mut() {
                progress(&state.progress());
            }
        }
        Ok(())
    }

    /// The next piece failed.
    fn failed(&mut self, state: &mut State<'_>, errno: Errno) -> Result<Go> {
        let Some(piece) = state.pending.pop_front() else {
            return Ok(Go::Stop);
        };
        if is_interruption(errno) {
            // An interruption is the caller's business, never a mapping's failure.
            state.done.fail(piece.entry, Errno::EINTR, None);
            state.pending.push_front(piece);
            return Ok(Go::Stop);
        }
        if errno == Errno::ENOMEM && self.met_a_gap(state, piece)? {
            return Ok(Go::On);
        }
        if self.flags.is_entire() && (self.apart)(piece.range)? {
            // Every process has such memory; nobody meant it.
            self.leave_out(state, piece);
            return Ok(Go::On);
        }
        if !self.flags.skips_errors() {
            state.done.fail(piece.entry, errno, Some(piece.range));
            state.pending.push_front(piece);
            return Ok(Go::Stop);
        }
        self.pass_over(state, piece, errno);
        Ok(Go::On)
    }

    /// `ENOMEM`: is it a gap? Then it is dealt with here. The piece is off the list.
    fn met_a_gap(&mut self, state: &mut State<'_>, piece: Piece) -> Result<bool> {
        let tolerated = self.flags.allows_gaps() || state.gap == Some(piece.entry);
        if !tolerated {
            // The rest of the entry is carried out as far as it is mapped; the entry then fails.
            let mapped = (self.list)()?;
            let rest = state.rest_of_entry(piece);
            if self.advice.enomem_is_more_than_a_gap() && mapped.covers(rest) {
                return Ok(false);
            }
            state.gap = Some(piece.entry);
            // The kernel has seen to the piece itself, but for advice that stops at a gap.
            let again = if self.advice.fails_by_page() {
                rest
            } else {
                state.advised(piece, mapped.bytes(piece.range));
                Range {
                    start: piece.end(),
                    len: rest.len - piece.range.len,
                }
            };
            state.pending.clear();
            state.uncut.drop_all();
            self.push_again(state, piece, again, &mapped, Cut::Extents);
            return Ok(true);
        }
        if !self.advice.enomem_is_more_than_a_gap() {
            // A small piece is not worth a listing: it may be one of thousands.
            let mapped = if piece.range.len < HUGE {
                0
            } else {
                (self.list)()?.bytes(piece.range)
            };
            state.advised(piece, mapped);
            return Ok(true);
        }
        let mapped = (self.list)()?;
        let limit = if mapped.covers(piece.range) {
            // No memory for it, or mapped again meanwhile.
            FEW_RETRIES
        } else {
            MAX_RETRIES
        };
        if piece.retries < limit {
            self.push_again(state, piece, piece.range, &mapped, self.how());
            return Ok(true);
        }
        if limit == MAX_RETRIES {
            // The target is quicker than we are. A gap is no error.
            state.advised(piece, 0);
            return Ok(true);
        }
        Ok(false)
    }

    /// Puts what is still mapped of a range before everything else.
    fn push_again(
        &self,
        state: &mut State<'_>,
        piece: Piece,
        range: Range,
        mapped: &Mapped,
        how: Cut,
    ) {
        let how = if how == Cut::Whole { Cut::Extents } else { how };
        let mut again = Vec::new();
        if range.len > 0 {
            cut(piece.entry, range, how, mapped, self.pace.most, &mut again);
        }
        let left: u64 = again.iter().map(|new| new.range.len).sum();
        state.bytes += range.len.saturating_sub(left);
        for mut new in again.into_iter().rev() {
            new.retries = piece.retries.saturating_add(1);
            state.pending.push_front(new);
        }
    }

    /// Leaves out the rest of a mapping that the advice means nothing for.
    fn leave_out(&self, state: &mut State<'_>, piece: Piece) {
        let same =
            |other: &Piece| other.entry == piece.entry && other.mapping_end == piece.mapping_end;
        state.advised(piece, 0);
        while state.refill() && state.pending.front().is_some_and(same) {
            if let Some(next) = state.pending.pop_front() {
                state.advised(next, 0);
            }
        }
    }

    /// Passes over what failed: a huge page's worth where the advice works page by page, else the
    /// mapping.
    fn pass_over(&self, state: &mut State<'_>, piece: Piece, errno: Errno) {
        if self.advice.fails_by_page() {
            if piece.range.len > HUGE {
                // Smaller, so that only what fails is passed over.
                let most = Most {
                    bytes: HUGE,
                    mappings: 1,
                };
                let one = Mapped::new(vec![(piece.range.start, piece.end())]);
                let mut small = Vec::new();
                cut(
                    piece.entry,
                    piece.range,
                    Cut::Mappings,
                    &one,
                    most,
                    &mut small,
                );
                for mut new in small.into_iter().rev() {
                    new.mapping_end = piece.mapping_end;
                    state.pending.push_front(new);
                }
                return;
            }
            if errno == Errno::EAGAIN && piece.retries < FEW_RETRIES {
                state.pending.push_front(Piece {
                    retries: piece.retries + 1,
                    ..piece
                });
                return;
            }
            state.skip(piece, piece.end(), errno);
            return;
        }
        let same =
            |other: &Piece| other.entry == piece.entry && other.mapping_end == piece.mapping_end;
        while state.refill() && state.pending.front().is_some_and(same) {
            state.pending.pop_front();
        }
        state.skip(piece, piece.mapping_end, errno);
    }
}

/// `EINTR`, or the kernel's own words for it (include/linux/errno.h), which a call that is run in
/// the target returns.
fn is_interruption(errno: Errno) -> bool {
    errno == Errno::EINTR || (512..=516).contains(&errno.raw())
}

#[cfg(test)]
mod tests;
