//! Advice that is run in the target, in stops that are kept short.

use std::sync::Arc;
use std::time::Duration;

use mctl_abi::Errno;
use mctl_sys::inject::{Bounds, Job, Limits, Memory, Prepared, RunResult, Runs, run};
use mctl_sys::raw::madvise::{MAX_BYTES, Range, takes_own_advice};

use super::advice::Advice;
use super::giver::{Stopping, Stops};
use super::pieces::PAGE;
use super::result::Way;
use super::walk::{Given, Giver};
use crate::error::{Error, Result};
use crate::target::Target;

/// The first call of a long advice is small; while calls stay well below the budget they grow.
const FIRST_BYTES: u64 = 1 << 20;
/// No smaller: never a system call a page.
const LEAST_BYTES: u64 = 64 << 10;
/// So many stops in a row may end with nothing done (a signal came, a list could not be written).
const FRUITLESS: u32 = 8;

pub(super) struct Injected<'t> {
    advice: Advice,
    target: &'t Target,
    /// The look that found that the target can be reached; the first stop uses it.
    prepared: Option<Prepared<'t>>,
    /// What the ranges are of: between two stops the target may execute another program.
    memory: Option<Arc<Memory>>,
    budget: Duration,
    vectored: bool,
    /// The most bytes of one long call, found by measuring.
    call_bytes: u64,
    stops: Stops,
    /// How long the last stop took.
    last: Duration,
}

impl<'t> Injected<'t> {
    /// # Errors
    /// The target must not, or cannot, be touched. It has been left as it was.
    pub(super) fn new(
        advice: Advice,
        target: &'t Target,
        budget: Duration,
    ) -> Result<Injected<'t>> {
        let call_bytes = if advice.is_long() {
            FIRST_BYTES
        } else {
            MAX_BYTES
        };
        let prepared = target.look()?;
        Ok(Injected {
            advice,
            target,
            memory: prepared.memory().map(Arc::new),
            prepared: Some(prepared),
            budget,
            vectored: takes_own_advice(advice.number()),
            call_bytes,
            stops: Stops::default(),
            last: Duration::ZERO,
        })
    }

    /// Cuts what is too large for one call of a long advice.
    fn cut(&self, batch: &[Range]) -> Vec<Range> {
        let mut cut = Vec::with_capacity(batch.len());
        for range in batch {
            let mut at = range.start;
            let end = range.start.saturating_add(range.len);
            while at < end {
                let len = (end - at).min(self.call_bytes);
                cut.push(Range { start: at, len });
                at += len;
            }
        }
        cut
    }

    /// One stop: what was done of the ranges, in bytes from the first.
    fn one_stop(&mut self, ranges: Vec<Range>) -> Result<Given> {
        let pid = self.target.pid();
        let prepared = match self.prepared.take() {
            Some(prepared) => prepared,
            None => self.target.look()?,
        };
        let bounds = Bounds {
            stop_at_error: true,
            // A quarter of it: the call that goes over it still ends within, also where the target
            // has to wait for a processor now and then.
            budget_ns: u64::try_from(self.budget.as_nanos() / 4).unwrap_or(u64::MAX),
            call_bytes: self.call_bytes,
        };
        // A list of ranges is of use only where several go into one call.
        let small = ranges.iter().filter(|r| r.len <= self.call_bytes / 2);
        let vectored = self.vectored && small.count() * 2 > ranges.len();
        let mut runs = Runs::new(self.advice.number(), ranges, vectored)
            .bounded(bounds)
            .of(self.memory.clone());
        let report = {
            let mut jobs = [Job::runs(prepared, &mut runs, Limits::default())];
            run(&mut jobs);
            let [job] = jobs;
            job.outcome()
        };
        let report = report.map_err(|error| Error::inject(pid, error));
        let given = taken(&runs);
        let report = match report {
            Ok(report) => report,
            // What was done before it failed is done.
            Err(_) if given.bytes > 0 => return Ok(given),
            Err(error) => return Err(error),
        };
        self.last = Duration::from_nanos(report.stopped_ns);
        self.stops.total += self.last;
        self.stops.longest = self.stops.longest.max(self.last);
        if self.advice.is_long() && given.bytes > 0 {
            self.call_bytes = next_size(self.call_bytes, given.bytes, self.last, self.budget);
        }
        Ok(given)
    }
}

fn taken(runs: &Runs) -> Given {
    let mut given = Given {
        bytes: 0,
        error: None,
    };
    for (range, result) in runs.ranges().iter().zip(runs.results()) {
        match result {
            RunResult::Done => given.bytes += range.len,
            RunResult::Failed(errno) => {
                given.error = Some(*errno);
                break;
            }
            RunResult::NotDone => break,
        }
    }
    given
}

/// Sizes the next calls so that one takes about a sixteenth of the budget.
fn next_size(now: u64, bytes: u64, took: Duration, budget: Duration) -> u64 {
    let rate = bytes as f64 / took.as_secs_f64().max(1e-6);
    let wanted = (rate * budget.as_secs_f64() / 16.0).clamp(LEAST_BYTES as f64, (64 << 20) as f64);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to between 64 KiB and 64 MiB"
    )]
    let wanted = wanted as u64;
    // At most doubled, so that one lucky measurement does not lead to a long stop.
    let next = wanted.min(now.saturating_mul(2));
    (next - next % PAGE).max(LEAST_BYTES)
}

/// Whether a call was only broken off: the target has a signal to see to first.
fn is_broken_off(given: Given) -> bool {
    given
        .error
        .is_some_and(|errno| errno == Errno::EINTR || (512..=516).contains(&errno.raw()))
}

impl Giver for Injected<'_> {
    fn give(&mut self, batch: &[Range]) -> Result<Given> {
        let total: u64 = batch.iter().map(|range| range.len).sum();
        let mut done = 0;
        let mut fruitless = 0;
        while done < total {
            if self.advice.is_long() && !self.last.is_zero() {
                // The thread that was held gets to its own work in between.
                std::thread::sleep(self.last / 4);
            }
            let left = self.cut(&rest(batch, done));
            let given = match self.one_stop(left) {
                Ok(given) => given,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            };
            done += given.bytes;
            fruitless = if given.bytes > 0 { 0 } else { fruitless + 1 };
            let broken_off = is_broken_off(given) || given.error.is_none();
            if !broken_off || fruitless > FRUITLESS {
                return Ok(Given {
                    bytes: done,
                    error: given.error,
                });
            }
        }
        Ok(Given {
            bytes: done,
            error: None,
        })
    }
}

/// What is left of a batch after its first `done` bytes.
fn rest(batch: &[Range], done: u64) -> Vec<Range> {
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

impl Stopping for Injected<'_> {
    fn way(&self) -> Way {
        Way::Injected
    }

    fn stops(&self) -> Stops {
        self.stops
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
        assert_eq!(rest(&batch, 0x2000), batch[1..]);
        assert!(rest(&batch, 0x3000).is_empty());
    }

    #[test]
    fn calls_are_sized_by_what_was_measured() {
        let budget = Duration::from_millis(20);
        let size = |now, bytes, ms| next_size(now, bytes, Duration::from_millis(ms), budget);
        // 1 MiB a millisecond: a sixteenth of 20 ms is 1.25 MiB, and no more than twice as before.
        assert_eq!(size(2 << 20, 10 << 20, 10), 5 << 18);
        assert_eq!(size(1 << 19, 10 << 20, 10), 1 << 20);
        // Slow: down at once, but never to a call a page.
        assert_eq!(size(2 << 20, 2 << 20, 20), 128 << 10);
        assert_eq!(size(64 << 10, 64 << 10, 1000), 64 << 10);
        assert!(size(64 << 20, 1 << 30, 1) <= 64 << 20);
    }

    #[test]
    fn interruptions_are_told_from_failures() {
        let given = |errno| Given {
            bytes: 0,
            error: Some(errno),
        };
        for errno in [Errno::EINTR, Errno::from_raw(512), Errno::from_raw(513)] {
            assert!(is_broken_off(given(errno)), "{errno:?}");
        }
        assert!(!is_broken_off(given(Errno::EAGAIN)));
    }
}
