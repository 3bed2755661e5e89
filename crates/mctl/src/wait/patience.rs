//! How long a change waits for a moment at which its target cannot notice it, and what to do where there is none.
//!
//! ```
//! use std::time::Duration;
//!
//! let before = mctl::patience();
//! mctl::set_patience(mctl::Patience { wait: Duration::from_millis(300), ..before });
//! assert_eq!(mctl::patience().wait, Duration::from_millis(300));
//! ```

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use mctl_sys::inject::{InjectError, Job, Limits, Refusal, Report, for_now};

use crate::error::{Error, Result};

/// For all changes of this process that run a call in another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long to wait for a harmless moment. One second unless set; whole milliseconds count, at most 49 days.
    pub wait: Duration,
    /// Where there was none: interrupt the thread to which that does least, and say so in the outcome. Never unless
    /// set.
    pub disturb: bool,
}

static WAIT_MS: AtomicU32 = AtomicU32::new(1000);
static DISTURB: AtomicBool = AtomicBool::new(false);

/// What holds now.
#[must_use]
pub fn patience() -> Patience {
    Patience {
        wait: Duration::from_millis(u64::from(WAIT_MS.load(Ordering::Relaxed))),
        disturb: DISTURB.load(Ordering::Relaxed),
    }
}

/// For the changes that begin after this.
pub fn set_patience(patience: Patience) {
    let ms = u32::try_from(patience.wait.as_millis()).unwrap_or(u32::MAX);
    WAIT_MS.store(ms, Ordering::Relaxed);
    DISTURB.store(patience.disturb, Ordering::Relaxed);
}

/// What the changes of one command have waited for moments, and may.
#[derive(Clone, Copy, Debug, Default)]
struct Shared {
    spent: Duration,
    /// Where `spent` is to end for now, if that is before the whole wait is used up.
    end: Option<Duration>,
}

thread_local! {
    /// Of what runs in [`together`]; `None` outside of it.
    static SHARED: Cell<Option<Shared>> = const { Cell::new(None) };
}

/// Puts back what was shared before, also where the work panics.
struct Ends(Option<Shared>);

impl Drop for Ends {
    fn drop(&mut self) {
        SHARED.with(|shared| shared.set(self.0));
    }
}

/// Does work on many processes that waits no longer than work on one: [`Patience::wait`] for harmless moments in all,
/// and a second in all for processes about which the kernel does not answer. Within such work it is just done.
///
/// Those that are done one after the other are best done by [`in_turn`].
pub fn together<R>(work: impl FnOnce() -> R) -> R {
    mctl_sys::bounded::together(|| {
        if SHARED.with(Cell::get).is_some() {
            return work();
        }
        let _ends = Ends(None);
        SHARED.with(|shared| shared.set(Some(Shared::default())));
        work()
    })
}

/// How long may still be waited.
fn left() -> Duration {
    let wait = patience().wait;
    match SHARED.with(Cell::get) {
        None => wait,
        Some(Shared { spent, end }) => end.map_or(wait, |end| end.min(wait)).saturating_sub(spent),
    }
}

pub(crate) fn spent() -> Duration {
    SHARED.with(Cell::get).unwrap_or_default().spent
}

/// Takes what was waited off what may be waited.
pub(crate) fn spend(waited: Duration) {
    SHARED.with(|shared| {
        if let Some(now) = shared.get() {
            let spent = now.spent.saturating_add(waited);
            shared.set(Some(Shared { spent, ..now }));
        }
    });
}

/// Work in [`together`] that waits for at most so much of what is left.
fn at_most<R>(most: Duration, work: impl FnOnce() -> R) -> R {
    let Some(now) = SHARED.with(Cell::get) else {
        return work();
    };
    let end = now.spent.saturating_add(most);
    let end = now.end.map_or(end, |before| before.min(end));
    SHARED.with(|shared| {
        shared.set(Some(Shared {
            end: Some(end),
            ..now
        }));
    });
    let result = work();
    SHARED.with(|shared| {
        if let Some(after) = shared.get() {
            shared.set(Some(Shared {
                end: now.end,
                ..after
            }));
        }
    });
    result
}

/// For the injector.
pub(crate) fn limits() -> Limits {
    Limits {
        wait_ms: u32::try_from(left().as_millis()).unwrap_or(u32::MAX),
        disturb: DISTURB.load(Ordering::Relaxed) && !EARLY.with(Cell::get),
        ..Limits::default()
    }
}

/// Runs jobs of the injector, and takes what they waited off what may be waited.
pub(crate) fn run(jobs: &mut [Job<'_>]) {
    spend(mctl_sys::inject::run(jobs));
}

thread_local! {
    /// Nobody is disturbed before the time is up.
    static EARLY: Cell<bool> = const { Cell::new(false) };
}

/// What is waited in one of the rounds in which many are done, so that those that have no moment keep nobody else:
/// nothing in the first, then more and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) most: Duration,
    /// The time is up afterwards.
    pub(crate) is_last: bool,
}

impl Turn {
    const FIRST: [Duration; 4] = [
        Duration::ZERO,
        Duration::from_millis(30),
        Duration::from_millis(120),
        Duration::from_millis(480),
    ];
    /// One that is refused without having been waited for is not come back to for ever.
    const ROUNDS: usize = 40;
    /// Less than this is not cut up.
    const LEAST: Duration = Duration::from_millis(200);

    /// Of this round, of which `count` parts that wait one after the other are still to come.
    pub(crate) fn of(round: u32, count: usize) -> Turn {
        Turn::within(left(), round, count)
    }

    /// All that is left.
    pub(crate) fn last(count: usize) -> Turn {
        Turn {
            most: share(left(), count),
            is_last: true,
        }
    }

    fn within(left: Duration, round: u32, count: usize) -> Turn {
        let even = share(left, count);
        let round = usize::try_from(round).unwrap_or(usize::MAX);
        let most = match Turn::FIRST.get(round) {
            Some(most) => *most,
            None => even / 4,
        };
        let is_last = round > 0 && left < Turn::LEAST || most >= even || round >= Turn::ROUNDS;
        Turn {
            most: if is_last { even } else { most },
            is_last,
        }
    }

    /// Does work that waits for so long.
    pub(crate) fn run<R>(self, work: impl FnOnce() -> R) -> R {
        if self.is_last {
            return at_most(self.most, work);
        }
        let before = EARLY.with(|early| early.replace(true));
        let result = for_now(left(), || at_most(self.most, work));
        EARLY.with(|early| early.set(before));
        result
    }
}

/// Work on one of `count` items that are still to be done one after the other: it waits for no more than its share of
/// what is left, and leaves to the others what it does not need.
pub fn in_share<R>(count: usize, work: impl FnOnce() -> R) -> R {
    at_most(share(left(), count), work)
}

fn share(left: Duration, count: usize) -> Duration {
    left / u32::try_from(count.max(1)).unwrap_or(u32::MAX)
}

/// Does work on one item after the other, and comes back to those that have no harmless moment for it: they share what
/// may be waited, and keep nobody else. One result an item.
///
/// The work is done again from its beginning for an item that had no moment. It must have changed nothing then.
pub fn in_turn<T, R>(items: &[T], mut work: impl FnMut(&T) -> Result<R>) -> Vec<Result<R>> {
    together(|| {
        let mut results: Vec<Option<Result<R>>> = Vec::with_capacity(items.len());
        results.resize_with(items.len(), || None);
        let mut todo: Vec<(usize, Duration)> =
            (0..items.len()).map(|n| (n, Duration::ZERO)).collect();
        for round in 0.. {
            let count = todo.len();
            let mut again = Vec::new();
            for (at, (index, waited)) in todo.into_iter().enumerate() {
                let (Some(item), Some(slot)) = (items.get(index), results.get_mut(index)) else {
                    continue;
                };
                let turn = match items.len() {
                    1 => Turn::last(1),
                    _ => Turn::of(round, count - at),
                };
                let before = spent();
                let result = turn.run(|| work(item));
                let waited = waited.saturating_add(spent().saturating_sub(before));
                if !turn.is_last && has_no_moment(&result, turn.most) {
                    again.push((index, waited));
                }
                *slot = Some(result.map_err(|error| after_waiting(error, waited)));
            }
            if again.is_empty() {
                break;
            }
            todo = again;
        }
        results.into_iter().flatten().collect()
    })
}

/// Whether it was refused for want of a moment within this time, so that waiting longer may help.
pub(crate) fn has_no_moment<R>(result: &Result<R>, waited: Duration) -> bool {
    let Err(Error::Inject {
        source: InjectError::Refused(refusal),
        ..
    }) = result
    else {
        return false;
    };
    match refusal {
        Refusal::NoHarmlessMoment { .. } | Refusal::InVfork => true,
        // Of a thread that was asked to stop and did not, it tells another time.
        Refusal::Unresponsive { waited_ms } => u128::from(*waited_ms) == waited.as_millis(),
        _ => false,
    }
}

/// The refusal tells how long was waited in all.
pub(crate) fn after_waiting(mut error: Error, waited: Duration) -> Error {
    if let Error::Inject {
        source: InjectError::Refused(Refusal::NoHarmlessMoment { waited_ms, .. }),
        ..
    } = &mut error
    {
        *waited_ms = (*waited_ms).max(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX));
    }
    error
}

/// How a target was disturbed, in words.
pub(crate) fn disturbance(report: &Report) -> Option<String> {
    let disturbed = report.disturbed?;
    Some(format!(
        "its thread {} was interrupted in {}: {}",
        report.tid,
        disturbed.call_words(),
        disturbed.harm.done()
    ))
}

#[cfg(test)]
mod tests;
