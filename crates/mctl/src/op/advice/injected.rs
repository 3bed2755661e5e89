//! Advice that only sets flags, run in a thread of the target, in stops that are kept short.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mctl_abi::Errno;
use mctl_sys::inject::{Bounds, Job, Memory, Prepared, RunResult, Runs};
use mctl_sys::raw::madvise::{MAX_BYTES, Range, takes_own_advice};

use super::carried::rest;
use super::giver::Stopping;
use super::kind::Advice;
use super::result::Way;
use super::walk::{Given, Giver};
use crate::error::{Error, Result};
use crate::run::carrier::Stops;
use crate::target::Target;

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
    stops: Stops,
    /// How the target was disturbed, where that was accepted.
    disturbed: Option<String>,
    cancel: Option<&'t AtomicBool>,
}

impl<'t> Injected<'t> {
    pub(super) fn new(
        advice: Advice,
        target: &'t Target,
        prepared: Prepared<'t>,
        budget: Duration,
        cancel: Option<&'t AtomicBool>,
    ) -> Injected<'t> {
        Injected {
            advice,
            target,
            memory: prepared.memory().map(Arc::new),
            prepared: Some(prepared),
            budget,
            vectored: takes_own_advice(advice.number()),
            stops: Stops::default(),
            disturbed: None,
            cancel,
        }
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
            call_bytes: MAX_BYTES,
        };
        // A list of ranges is of use only where several go into one call.
        let small = ranges.iter().filter(|r| r.len <= MAX_BYTES / 2);
        let vectored = self.vectored && small.count() * 2 > ranges.len();
        let mut runs = Runs::new(self.advice.number(), ranges, vectored)
            .bounded(bounds)
            .of(self.memory.clone());
        let report = {
            let job = Job::runs(prepared, &mut runs, crate::wait::patience::limits());
            let mut jobs = [job.cancelled_by(self.cancel)];
            crate::wait::patience::run(&mut jobs);
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
        let stop = Duration::from_nanos(report.stopped_ns);
        self.disturbed = crate::wait::patience::disturbance(&report).or(self.disturbed.take());
        self.stops.total += stop;
        self.stops.longest = self.stops.longest.max(stop);
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
            let left = rest(batch, done);
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

impl Stopping for Injected<'_> {
    fn way(&self) -> Way {
        Way::Injected
    }

    fn stops(&mut self) -> Stops {
        self.stops
    }

    fn note(&self) -> Option<String> {
        self.disturbed.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
