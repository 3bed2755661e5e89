//! The timers of a program that is treated, beside those of its twin.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::programs::{Instance, Program};
use super::ticks::Pace;
use super::treat::{Change, Mctl};
use super::{Part, Place};

/// One timer of both.
#[derive(Debug, Serialize)]
pub(super) struct Compared {
    pub(super) program: Program,
    pub(super) part: Part,
    pub(super) timer: String,
    pub(super) seconds: u64,
    pub(super) twin: Pace,
    pub(super) treated: Pace,
    /// What was done to the treated one.
    pub(super) done: Done,
    /// Whether it kept the pace of its twin.
    pub(super) kept: bool,
}

/// What was done to a program in the span of time.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Done {
    pub(super) reads: u32,
    pub(super) reads_failed: u32,
    pub(super) changes: u32,
    /// Changes of one process each that were refused.
    pub(super) refused: u32,
    /// Threads that were stopped for changes.
    pub(super) injections: u32,
}

const READ_EVERY: Duration = Duration::from_millis(100);
const CHANGE_EVERY: Duration = Duration::from_secs(1);

/// Starts both, waits until their timers run, treats one, and compares.
pub(super) fn compare(
    place: &Place<'_>,
    program: Program,
    part: Part,
    seconds: u64,
) -> Result<Vec<Compared>> {
    let mut twin = program.start(place, "twin", false)?;
    let mut treated = program.start(place, "treated", false)?;
    for instance in [&mut twin, &mut treated] {
        instance.warm_up()?;
    }
    let before = (twin.counts()?, treated.counts()?);
    let from = Instant::now();
    let until = from + Duration::from_secs(seconds);
    let done = treat(&Mctl::new(place.mctl), treated.pid(), part, until)?;
    let after = (twin.counts()?, treated.counts()?);
    for instance in [&mut twin, &mut treated] {
        instance.check_alive()?;
    }
    let span = |instance: &Instance, before: &Counts, after: &Counts| {
        let mut all = instance.ticks().between(from, until);
        for (name, count) in after {
            let ticks = count.saturating_sub(before.get(name).copied().unwrap_or(0));
            all.insert(
                name.clone(),
                Pace {
                    ticks,
                    ..Pace::default()
                },
            );
        }
        all
    };
    let theirs = span(&twin, &before.0, &after.0);
    let ours = span(&treated, &before.1, &after.1);
    let line = |(timer, twin): (String, Pace)| {
        let treated = ours.get(&timer).copied().unwrap_or_default();
        let kept = kept(&twin, &treated, done.injections);
        Compared {
            program,
            part,
            timer,
            seconds,
            twin,
            treated,
            done,
            kept,
        }
    };
    Ok(theirs.into_iter().map(line).collect())
}

type Counts = BTreeMap<String, u64>;

/// Does to the tree of a process what the part says, until the moment.
fn treat(mctl: &Mctl, pid: i32, part: Part, until: Instant) -> Result<Done> {
    let mut done = Done::default();
    if part == Part::Control {
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        return Ok(done);
    }
    std::thread::scope(|scope| {
        let changes = scope.spawn(|| {
            let mut done = Done::default();
            let mut change = Change::Set;
            if part == Part::Changes {
                every(CHANGE_EVERY, until, || {
                    let changed = mctl.change(change, pid)?;
                    change = change.other();
                    done.changes += 1;
                    for process in &changed.processes {
                        done.refused += u32::from(process.error.is_some());
                        done.injections += u32::from(process.stopped_ns().is_some());
                    }
                    Ok(())
                })?;
            }
            anyhow::Ok(done)
        });
        let reads = every(READ_EVERY, until, || {
            done.reads += 1;
            done.reads_failed += u32::from(!mctl.read_tree(pid)?);
            Ok(())
        });
        let changes = changes
            .join()
            .unwrap_or_else(|_| anyhow::bail!("changing it panicked"))?;
        reads?;
        done.changes = changes.changes;
        done.refused = changes.refused;
        done.injections = changes.injections;
        Ok(done)
    })
}

/// Does something at each beat. Beats that are missed are not made up for.
fn every(period: Duration, until: Instant, mut step: impl FnMut() -> Result<()>) -> Result<()> {
    let mut next = Instant::now();
    while next < until {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        step()?;
        let now = Instant::now();
        while next <= now {
            next += period;
        }
    }
    Ok(())
}

/// What a thread that is stopped and let go may cost, in microseconds.
const INJECTION_US: i64 = 100;
/// The medians of two equal programs differ so much on a busy machine, their means so much: `Part::Control` shows it.
const NOISE_US: i64 = 3000;
const MEAN_NOISE_US: i64 = 10_000;

/// Whether the treated one fired as often as its twin, but for the tick at an edge and two of a hundred, and with no
/// more delay than its injections may cost.
fn kept(twin: &Pace, treated: &Pace, injections: u32) -> bool {
    let often = treated.ticks + 1 + twin.ticks / 50 >= twin.ticks;
    let ticks = i64::try_from(treated.ticks.max(1)).unwrap_or(i64::MAX);
    let allowed = INJECTION_US * i64::from(injections);
    let more = treated.late_us - twin.late_us;
    // Some timers are as late as it happens to come (a loop that looks ten times a second): their own spread is noise.
    let spread = twin.late_p90_us - twin.late_p50_us;
    let as_a_rule = treated.late_p50_us - twin.late_p50_us <= NOISE_US + spread + allowed / ticks;
    let in_sum = more <= allowed.saturating_add(ticks.saturating_mul(MEAN_NOISE_US + spread));
    often && (more <= allowed || as_a_rule && in_sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A timer with the median and the mean of its delays in microseconds.
    fn pace(ticks: u64, p50: i64, mean: i64) -> Pace {
        Pace {
            ticks,
            late_us: mean * i64::try_from(ticks).unwrap(),
            late_p50_us: p50,
            late_p90_us: p50,
            late_max_us: p50,
        }
    }

    #[test]
    fn a_timer_that_stands_still_or_limps_has_not_kept_pace() {
        let twin = pace(60, 1000, 1000);
        assert!(kept(&twin, &pace(60, 1000, 1000), 0));
        assert!(
            kept(&twin, &pace(58, 1300, 1500), 0),
            "an edge and the noise"
        );
        assert!(!kept(&twin, &pace(57, 1000, 1000), 0));
        assert!(
            !kept(&twin, &pace(0, 0, 0), 1000),
            "a timer that never fires is never late"
        );
        assert!(!kept(&twin, &pace(60, 10_000, 10_000), 0));
        assert!(
            !kept(&twin, &pace(60, 1000, 20_000), 0),
            "a few that are very late"
        );
        assert!(
            kept(&twin, &pace(60, 10_000, 10_000), 6000),
            "0.1 ms for each injection"
        );
        let coarse = Pace {
            late_p90_us: 41_000,
            ..twin
        };
        assert!(
            kept(&coarse, &pace(60, 10_000, 10_000), 0),
            "its own spread"
        );
    }

    #[test]
    fn missed_beats_are_not_made_up_for() {
        let (mut beats, begin) = (0, Instant::now());
        every(
            Duration::from_millis(10),
            begin + Duration::from_millis(100),
            || {
                beats += 1;
                std::thread::sleep(Duration::from_millis(25));
                Ok(())
            },
        )
        .unwrap();
        assert!((1..=5).contains(&beats), "{beats}");
    }
}
