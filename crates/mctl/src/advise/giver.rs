//! Who gives the advice: we ourselves, the kernel by process_madvise(2), or the target by
//! injection.

use std::os::fd::AsFd;
use std::time::Duration;

use mctl_abi::Errno;
use mctl_sys::inject::{Bounds, Job, Limits, Prepared, RunResult, Runs, run};
use mctl_sys::raw::madvise::{MAX_BYTES, Range, madvise_self, process_madvise, takes_own_advice};

use super::advice::{Advice, Reach};
use super::is_denial;
use super::walk::{Given, Giver};
use crate::error::{Error, Result};
use crate::target::Target;

/// What a target was stopped for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stops {
    pub(super) longest: Duration,
    pub(super) total: Duration,
}

/// A giver that also says how long it stopped its target.
pub(super) trait Stopping: Giver {
    /// Nothing, for one that stops no one.
    fn stops(&self) -> Stops {
        Stops::default()
    }
}

/// Chooses by advice and target.
pub(super) fn giver_for<'t>(
    advice: Advice,
    target: &'t Target,
    max_stall: Duration,
) -> Result<Box<dyn Stopping + 't>> {
    if target.is_own() {
        return Ok(Box::new(Own { advice }));
    }
    if advice.reach() == Reach::Remote && kernel_takes(advice, target)? {
        return Ok(Box::new(Remote { advice, target }));
    }
    Ok(Box::new(Injected::new(advice, target, max_stall)))
}

/// Whether the kernel takes the advice for this target, asked with an empty list, and so with no
/// effect. `EINVAL`: a kernel that does not know it remotely.
fn kernel_takes(advice: Advice, target: &Target) -> Result<bool> {
    match process_madvise(target.as_fd(), &[], advice.number()) {
        Ok(_) => Ok(true),
        Err(Errno::EINVAL | Errno::ENOSYS) => Ok(false),
        Err(errno) => Err(refused(target, advice, errno)),
    }
}

/// An errno of process_madvise(2) in the contract's words.
pub(super) fn refused(target: &Target, advice: Advice, errno: Errno) -> Error {
    let pid = target.pid();
    match errno {
        Errno::ESRCH => Error::NoProcess { pid },
        // EACCES: no ptrace access; EPERM: no CAP_SYS_NICE.
        Errno::EACCES => Error::Permission {
            pid,
            why: crate::permission::explain_owner(target)
                .unwrap_or_else(|| "no ptrace access to it".to_owned()),
        },
        Errno::EPERM => Error::Permission {
            pid,
            why: format!("process_madvise({advice}) needs CAP_SYS_NICE"),
        },
        errno => Error::TargetCall {
            pid,
            call: "madvise",
            errno,
        },
    }
}

struct Own {
    advice: Advice,
}

impl Giver for Own {
    fn give(&mut self, batch: &[Range]) -> Result<Given> {
        let mut bytes = 0;
        for range in batch {
            match madvise_self(*range, self.advice.number()) {
                Ok(()) => bytes += range.len,
                Err(errno) => {
                    return Ok(Given {
                        bytes,
                        error: Some(errno),
                    });
                }
            }
        }
        Ok(Given { bytes, error: None })
    }
}

impl Stopping for Own {}

struct Remote<'t> {
    advice: Advice,
    target: &'t Target,
}

impl Giver for Remote<'_> {
    fn give(&mut self, batch: &[Range]) -> Result<Given> {
        match process_madvise(self.target.as_fd(), batch, self.advice.number()) {
            // A short count: the range after it failed; giving it again tells why.
            Ok(bytes) => Ok(Given { bytes, error: None }),
            Err(errno) if is_denial(errno) => Err(refused(self.target, self.advice, errno)),
            Err(errno) => Ok(Given {
                bytes: 0,
                error: Some(errno),
            }),
        }
    }
}

impl Stopping for Remote<'_> {}

/// The first long call is small; while calls stay well below the budget they grow.
const FIRST_BYTES: u64 = 2 << 20;

struct Injected<'t> {
    advice: Advice,
    target: &'t Target,
    budget: Duration,
    vectored: bool,
    /// The most bytes of one long call, found by measuring.
    call_bytes: u64,
    stops: Stops,
}

impl<'t> Injected<'t> {
    fn new(advice: Advice, target: &'t Target, budget: Duration) -> Injected<'t> {
        let call_bytes = if advice.is_long() {
            FIRST_BYTES
        } else {
            MAX_BYTES
        };
        let vectored = takes_own_advice(advice.number());
        Injected {
            advice,
            target,
            budget,
            vectored,
            call_bytes,
            stops: Stops::default(),
        }
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
        let prepared =
            Prepared::look(pid, self.target.as_fd()).map_err(|error| Error::inject(pid, error))?;
        let bounds = Bounds {
            stop_at_error: true,
            // Half of it, so that the call that goes over it still ends within.
            budget_ns: u64::try_from(self.budget.as_nanos() / 2).unwrap_or(u64::MAX),
            call_bytes: self.call_bytes,
        };
        let mut runs = Runs::new(self.advice.number(), ranges, self.vectored).bounded(bounds);
        let report = {
            let mut jobs = [Job::runs(prepared, &mut runs, Limits::default())];
            run(&mut jobs);
            let [job] = jobs;
            job.outcome()
        };
        let report = report.map_err(|error| Error::inject(pid, error))?;
        let stopped = Duration::from_nanos(report.stopped_ns);
        self.stops.total += stopped;
        self.stops.longest = self.stops.longest.max(stopped);
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
        self.adapt(stopped, given.bytes);
        Ok(given)
    }

    /// Sizes the next calls so that one takes about an eighth of the budget.
    fn adapt(&mut self, stopped: Duration, bytes: u64) {
        if !self.advice.is_long() || bytes == 0 {
            return;
        }
        let budget = self.budget.as_secs_f64();
        let rate = bytes as f64 / stopped.as_secs_f64().max(1e-6);
        let wanted = (rate * budget / 8.0).clamp(65_536.0, (64 << 20) as f64);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to between 64 KiB and 64 MiB"
        )]
        let wanted = wanted as u64;
        // At most doubled, so that one lucky measurement does not lead to a long stop.
        let next = wanted.min(self.call_bytes.saturating_mul(2));
        self.call_bytes = (next - next % super::pieces::PAGE).max(super::pieces::PAGE);
    }
}

impl Giver for Injected<'_> {
    fn give(&mut self, batch: &[Range]) -> Result<Given> {
        if batch.is_empty() {
            return Ok(Given {
                bytes: 0,
                error: None,
            });
        }
        let total: u64 = batch.iter().map(|range| range.len).sum();
        let mut done = 0;
        while done < total {
            let left = self.cut(&rest(batch, done));
            let given = self.one_stop(left)?;
            done += given.bytes;
            if given.error.is_some() {
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
    fn stops(&self) -> Stops {
        self.stops
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_batch() {
        let batch = [
            Range {
                start: 0x1000,
                len: 0x2000,
            },
            Range {
                start: 0x8000,
                len: 0x1000,
            },
        ];
        assert_eq!(rest(&batch, 0), batch);
        let left = rest(&batch, 0x1000);
        assert_eq!(
            left.first(),
            Some(&Range {
                start: 0x2000,
                len: 0x1000
            })
        );
        assert_eq!(rest(&batch, 0x2000), batch[1..]);
        assert!(rest(&batch, 0x3000).is_empty());
    }
}
