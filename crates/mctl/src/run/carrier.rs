//! A carrier for a target: long calls that its own threads do not make (docs/design/carriers.md).

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mctl_abi::Errno;
use mctl_sys::inject::{CarriedCall, Carrier, Memory, Undone};
use mctl_sys::raw::madvise::Range;

use crate::error::{Error, Result};
use crate::target::Target;
use crate::wait::patience::{disturbance, has_no_moment, spend};

/// The most that one call may take. It concerns a piece of memory that is read in or swapped in within
/// milliseconds, or seconds where storage is slow.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// So many calls may be cut short before the work is given up.
const LATE: u32 = 2;
/// So many carriers in a row may end with nothing done, because somebody kills them.
const FRUITLESS: u32 = 3;

/// What a target's own threads were stopped for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stops {
    pub(crate) longest: Duration,
    pub(crate) total: Duration,
}

/// What became of the first call that has no good result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    /// It failed.
    Failed(Errno),
    /// The caller wanted no more.
    Cancelled,
}

/// A carrier, made when it is first needed, and again where it ended before its time.
#[derive(Debug)]
pub(crate) struct Carrying<'t> {
    target: &'t Target,
    /// What the calls concern: between two of them the target may execute another program.
    memory: Option<Arc<Memory>>,
    cancel: Option<&'t AtomicBool>,
    carrier: Option<Carrier>,
    stops: Stops,
    left: Vec<i64>,
    /// How the target was disturbed, where that was accepted.
    disturbed: Option<String>,
    late: u32,
}

impl<'t> Carrying<'t> {
    /// # Errors
    /// The target must not, or cannot, be touched. It has been left as it was.
    pub(crate) fn new(target: &'t Target) -> Result<Carrying<'t>> {
        let memory = target.look()?.memory().map(Arc::new);
        Ok(Carrying {
            target,
            memory,
            cancel: None,
            carrier: None,
            stops: Stops::default(),
            left: Vec::new(),
            disturbed: None,
            late: 0,
        })
    }

    /// Ends between two calls once this is true.
    pub(crate) fn cancelled_by(mut self, cancel: Option<&'t AtomicBool>) -> Carrying<'t> {
        self.cancel = cancel;
        self
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel
            .is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }

    /// Makes the calls in order, up to the first that fails; says how many went well, and why no more.
    ///
    /// # Errors
    /// The target ended or cannot be reached, or its calls do not come to an end.
    pub(crate) fn run(&mut self, calls: &mut [CarriedCall]) -> Result<(usize, Option<Halt>)> {
        let pid = self.target.pid();
        let mut first = 0;
        let mut fruitless = 0;
        loop {
            let Some(rest) = calls.get_mut(first..).filter(|rest| !rest.is_empty()) else {
                return Ok((first, None));
            };
            if self.is_cancelled() {
                return Ok((first, Some(Halt::Cancelled)));
            }
            let cancel = self.cancel;
            let cancelled = || cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed));
            if self
                .carrier
                .as_ref()
                .is_none_or(|carrier| !carrier.is_there())
            {
                self.end();
                let memory = self.memory.clone();
                let (fd, limits) = (self.target.as_fd(), crate::wait::patience::limits());
                let carrier = Carrier::start(pid, fd, memory, limits, CALL_LIMIT, &cancelled)
                    .map_err(|error| Error::inject(pid, error));
                let most = Duration::from_millis(u64::from(limits.wait_ms));
                spend(match &carrier {
                    Ok(carrier) => carrier.waited(),
                    Err(_) if has_no_moment(&carrier, most) => most,
                    Err(_) => Duration::ZERO,
                });
                self.carrier = Some(carrier?);
            }
            let Some(carrier) = &mut self.carrier else {
                return Ok((first, Some(Halt::Failed(Errno::EIO))));
            };
            let ran = carrier.run(rest, &cancelled);
            let good = |call: &CarriedCall| call.result.is_some_and(|ret| ret >= 0);
            let well = rest.iter().take_while(|call| good(call)).count();
            let failed = rest.get(well).and_then(|call| call.result);
            first += well;
            if let Some(ret) = failed {
                return Ok((first, Some(Halt::Failed(errno_of(ret)))));
            }
            match ran {
                Ok(()) => {}
                Err(Undone::Cancelled) => return Ok((first, Some(Halt::Cancelled))),
                Err(Undone::TooLong) => {
                    self.late += 1;
                    if self.late >= LATE {
                        return Err(self.too_long());
                    }
                    return Ok((first, Some(Halt::Failed(Errno::ETIMEDOUT))));
                }
                Err(Undone::Failed(error)) => return Err(Error::inject(pid, error)),
                Err(_) => {
                    fruitless = if well > 0 { 0 } else { fruitless + 1 };
                    if fruitless >= FRUITLESS {
                        return Err(self.killed());
                    }
                }
            }
        }
    }

    /// Makes one call; what it returned.
    ///
    /// # Errors
    /// As [`run`](Carrying::run).
    pub(crate) fn call(
        &mut self,
        number: i64,
        args: [u64; 6],
    ) -> Result<std::result::Result<i64, Halt>> {
        let mut calls = [CarriedCall::new(number, args)];
        match self.run(&mut calls)? {
            (_, Some(halt)) => Ok(Err(halt)),
            _ => Ok(Ok(calls[0].result.unwrap_or(0))),
        }
    }

    fn too_long(&self) -> Error {
        Error::Read {
            what: format!("process {}", self.target.pid()),
            why: format!(
                "calls on its memory did not return within {} s: it waits for pages that nobody \
                 serves; they were ended, and what was done before stays done",
                CALL_LIMIT.as_secs()
            ),
            errno: Errno::ETIMEDOUT,
        }
    }

    fn killed(&self) -> Error {
        Error::Read {
            what: format!("process {}", self.target.pid()),
            why: "the task of ours that works in it was killed again and again".to_owned(),
            errno: Errno::EINTR,
        }
    }

    /// Ends the carrier, where there is one.
    pub(crate) fn end(&mut self) -> Stops {
        if let Some(carrier) = self.carrier.take() {
            let report = carrier.end();
            self.stops.total += report.stopped;
            self.stops.longest = self.stops.longest.max(report.longest);
            self.left.extend(report.left);
            let disturbed = report.disturbed.as_ref().and_then(disturbance);
            self.disturbed = disturbed.or(self.disturbed.take());
        }
        self.stops
    }

    /// What is left in the target, and how it was disturbed, in words.
    pub(crate) fn note(&self) -> Option<String> {
        let numbers: Vec<String> = self.left.iter().map(ToString::to_string).collect();
        let left = (!numbers.is_empty()).then(|| {
            format!(
                "no moment was found to have it wait for our ended task in it (child {}): it goes \
                 with the next such command, or with the process",
                numbers.join(", ")
            )
        });
        match (left, &self.disturbed) {
            (Some(left), Some(disturbed)) => Some(format!("{left}; {disturbed}")),
            (left, disturbed) => left.or_else(|| disturbed.clone()),
        }
    }
}

pub(crate) fn errno_of(ret: i64) -> Errno {
    i32::try_from(ret.saturating_neg()).map_or(Errno::EIO, Errno::from_raw)
}

/// Pieces begin and end at huge pages: to advise or lock a part of one splits it.
pub(crate) const HUGE: u64 = 2 << 20;
/// Where nothing is there, a call may concern so much.
const MOST: u64 = 1 << 30;
/// A call that takes longer is too large: the target's own mmap(2) waits for it.
const LONG: Duration = Duration::from_micros(800);
/// One that is shorter may be larger.
const SHORT: Duration = Duration::from_micros(250);

/// How large the next piece is. The time that a call takes goes with the pages that are there, which
/// nobody knows beforehand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    now: u64,
    fixed: bool,
}

impl Size {
    /// Found by measuring.
    pub(crate) const fn measured() -> Size {
        Size {
            now: HUGE,
            fixed: false,
        }
    }

    /// Always this, a power of two.
    pub(crate) const fn fixed(bytes: u64) -> Size {
        Size {
            now: bytes,
            fixed: true,
        }
    }

    /// After a call on a piece of this size.
    pub(crate) fn learn(&mut self, took: Duration) {
        if self.fixed {
            return;
        }
        if took > LONG {
            self.now = HUGE;
        } else if took < SHORT {
            self.now = (self.now * 2).min(MOST);
        }
    }

    /// Where a piece that begins here ends.
    fn end_of(self, at: u64, end: u64) -> u64 {
        (at - at % self.now).saturating_add(self.now).min(end)
    }

    /// Cuts up to `most` pieces off the front of ranges.
    pub(crate) fn cut(self, ranges: &[Range], most: usize) -> Vec<Range> {
        let mut pieces = Vec::new();
        for range in ranges {
            let end = range.start.saturating_add(range.len);
            let mut at = range.start;
            while at < end {
                if pieces.len() >= most {
                    return pieces;
                }
                let stop = self.end_of(at, end);
                pieces.push(Range {
                    start: at,
                    len: stop - at,
                });
                at = stop;
            }
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, len: u64) -> Range {
        Range { start, len }
    }

    #[test]
    fn pieces_end_between_huge_pages() {
        let size = Size::fixed(HUGE);
        let got = size.cut(&[range(HUGE - 4096, 4096 + HUGE + 8192)], 9);
        assert_eq!(
            got,
            [
                range(HUGE - 4096, 4096),
                range(HUGE, HUGE),
                range(2 * HUGE, 8192)
            ]
        );
        assert_eq!(size.cut(&[range(0, 100 * HUGE)], 3).len(), 3);
        assert!(size.cut(&[], 3).is_empty());
        let last = range(u64::MAX - 4095, 4095);
        assert_eq!(size.cut(&[last], 3), [last]);
    }

    #[test]
    fn what_is_empty_is_passed_in_large_pieces_and_what_takes_long_in_small_ones() {
        let mut size = Size::measured();
        for _ in 0..20 {
            size.learn(Duration::from_micros(20));
        }
        assert_eq!(size.now, MOST);
        size.learn(Duration::from_micros(500));
        assert_eq!(size.now, MOST);
        size.learn(Duration::from_millis(3));
        assert_eq!(size.now, HUGE);
        let mut fixed = Size::fixed(1 << 20);
        fixed.learn(Duration::ZERO);
        assert_eq!(fixed.now, 1 << 20);
    }
}
