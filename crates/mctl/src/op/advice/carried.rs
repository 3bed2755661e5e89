//! Advice that a carrier gives: what takes as long as memory is large, or may wait for somebody.

use mctl_abi::Errno;
use mctl_sys::arch::NR_MADVISE;
use mctl_sys::inject::CarriedCall;
use mctl_sys::raw::madvise::Range;

use super::giver::Stopping;
use super::kind::Advice;
use super::result::Way;
use super::walk::{Given, Giver};
use crate::error::Result;
use crate::run::carrier::{Carrying, HUGE, Halt, Size, Stops};

/// What faults pages in holds the address space for as long as that takes: 0.2 to 1 ms for this.
pub(crate) const POPULATE: u64 = 1 << 20;
/// So many calls are handed over at a time.
const CALLS: usize = 64;

pub(super) struct Carried<'t> {
    advice: Advice,
    carrying: Carrying<'t>,
    size: Size,
}

impl<'t> Carried<'t> {
    pub(super) fn new(advice: Advice, carrying: Carrying<'t>) -> Carried<'t> {
        Carried {
            advice,
            carrying,
            size: match advice {
                Advice::POPULATE_READ | Advice::POPULATE_WRITE => Size::fixed(POPULATE),
                Advice::COLLAPSE => Size::fixed(HUGE),
                _ => Size::measured(),
            },
        }
    }

    fn call(&self, piece: Range) -> CarriedCall {
        let advice = i64::from(self.advice.number()).cast_unsigned();
        CarriedCall::new(NR_MADVISE, [piece.start, piece.len, advice, 0, 0, 0])
    }
}

impl Giver for Carried<'_> {
    fn give(&mut self, batch: &[Range]) -> Result<Given> {
        let total: u64 = batch.iter().map(|range| range.len).sum();
        let mut bytes = 0;
        while bytes < total {
            let left = rest(batch, bytes);
            let pieces = self.size.cut(&left, CALLS);
            let mut calls: Vec<CarriedCall> =
                pieces.iter().map(|piece| self.call(*piece)).collect();
            let (done, halt) = match self.carrying.run(&mut calls) {
                Ok(ran) => ran,
                Err(_) if bytes > 0 => return Ok(Given { bytes, error: None }),
                Err(error) => return Err(error),
            };
            let well = pieces.iter().take(done);
            bytes += well.map(|piece| piece.len).sum::<u64>();
            if let Some(slowest) = calls.iter().take(done).map(|call| call.took).max() {
                self.size.learn(slowest);
            }
            let error = match halt {
                None => continue,
                Some(Halt::Cancelled) => Errno::EINTR,
                Some(Halt::Failed(errno)) => errno,
            };
            // Huge pages of hugetlb may be larger than a piece, and are taken as a whole only.
            let whole = left_of_its_range(batch, bytes);
            if error == Errno::EINVAL
                && let Some(whole) = whole
                && pieces.get(done).is_some_and(|piece| piece.len < whole.len)
                && self.carrying.run(&mut [self.call(whole)])?.0 == 1
            {
                bytes += whole.len;
                continue;
            }
            return Ok(Given {
                bytes,
                error: Some(error),
            });
        }
        Ok(Given { bytes, error: None })
    }
}

/// What is left of a batch after its first `done` bytes.
pub(super) fn rest(batch: &[Range], done: u64) -> Vec<Range> {
    let mut skip = done;
    let mut left = Vec::with_capacity(batch.len());
    for range in batch {
        if skip >= range.len {
            skip -= range.len;
            continue;
        }
        left.push(Range {
            start: range.start + skip,
            len: range.len - skip,
        });
        skip = 0;
    }
    left
}

/// The rest of the range of a batch in which its first `done` bytes end.
fn left_of_its_range(batch: &[Range], done: u64) -> Option<Range> {
    rest(batch, done).first().copied()
}

impl Stopping for Carried<'_> {
    fn way(&self) -> Way {
        Way::Carrier
    }

    fn stops(&mut self) -> Stops {
        self.carrying.end()
    }

    fn note(&self) -> Option<String> {
        self.carrying.note()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, len: u64) -> Range {
        Range { start, len }
    }

    #[test]
    fn what_is_left_of_a_batch() {
        let batch = [range(0x1000, 0x2000), range(0x8000, 0x1000)];
        assert_eq!(rest(&batch, 0), batch);
        let left = rest(&batch, 0x1000);
        assert_eq!(left, [range(0x2000, 0x1000), range(0x8000, 0x1000)]);
        assert_eq!(left_of_its_range(&batch, 0x1000), Some(left[0]));
        assert_eq!(rest(&batch, 0x2000), batch[1..]);
        assert!(rest(&batch, 0x3000).is_empty());
    }
}
