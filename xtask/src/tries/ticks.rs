//! What the timers of a program did: when each fired, and how late it was.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

/// One firing: when we heard of it, and by how many microseconds it was late.
type Fired = (Instant, i64);

/// The firings of every timer of one program, by the timer's name.
#[derive(Clone, Debug, Default)]
pub(super) struct Ticks(Arc<Mutex<BTreeMap<String, Vec<Fired>>>>);

/// What one timer did in a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Pace {
    /// How often it fired.
    pub(super) ticks: u64,
    /// All its delays together, in microseconds.
    pub(super) late_us: i64,
    /// The median delay, the one that nine of ten stay below, and the largest, in microseconds.
    pub(super) late_p50_us: i64,
    pub(super) late_p90_us: i64,
    pub(super) late_max_us: i64,
}

impl Ticks {
    /// A timer fired.
    pub(super) fn add(&self, name: &str, late_us: i64) {
        let mut timers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fired = (Instant::now(), late_us);
        timers.entry(name.to_owned()).or_default().push(fired);
    }

    /// Reads what a program prints, to its end: lines "tick NAME MICROSECONDS", perhaps behind a prefix.
    pub(super) fn listen(&self, source: impl std::io::Read + Send + 'static) {
        let ticks = self.clone();
        std::thread::spawn(move || {
            for line in std::io::BufReader::new(source).lines() {
                let Ok(line) = line else { return };
                if let Some((name, late)) = parse(&line) {
                    ticks.add(name, late);
                }
            }
        });
    }

    /// Whether every timer of which there is word has fired so often, and there is one.
    pub(super) fn have_fired(&self, times: usize) -> bool {
        let timers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !timers.is_empty() && timers.values().all(|fired| fired.len() >= times)
    }

    /// What each timer did from one moment to another. A timer that did not fire in between is there too.
    pub(super) fn between(&self, from: Instant, to: Instant) -> BTreeMap<String, Pace> {
        let timers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let span = |fired: &[Fired]| {
            let within = fired.iter().filter(|(at, _)| (from..to).contains(at));
            Pace::of(within.map(|(_, late)| *late).collect())
        };
        timers
            .iter()
            .map(|(name, fired)| (name.clone(), span(fired)))
            .collect()
    }
}

impl Pace {
    fn of(mut late: Vec<i64>) -> Pace {
        late.sort_unstable();
        Pace {
            ticks: late.len() as u64,
            late_us: late.iter().sum(),
            late_p50_us: late.get(late.len() / 2).copied().unwrap_or(0),
            late_p90_us: late.get(late.len() * 9 / 10).copied().unwrap_or(0),
            late_max_us: late.last().copied().unwrap_or(0),
        }
    }
}

fn parse(line: &str) -> Option<(&str, i64)> {
    let at = line.find("tick ")?;
    let (name, late) = line[at + 5..].trim().rsplit_once(' ')?;
    // PostgreSQL's notices come with fractions.
    let late: f64 = late.parse().ok()?;
    // A delay is far below 2^53 µs.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a saturating conversion is what is wanted"
    )]
    Some((name, late.round() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_timers_are_told_from_others() {
        assert_eq!(
            parse("tick asyncio.sleep(2) 1500"),
            Some(("asyncio.sleep(2)", 1500))
        );
        assert_eq!(
            parse("NOTICE:  tick pg_sleep(1) 12.6"),
            Some(("pg_sleep(1)", 13))
        );
        assert_eq!(parse("ticket"), None);
        assert_eq!(parse("tick x y"), None);
        assert_eq!(parse("tick"), None);
    }

    #[test]
    fn only_what_fired_in_the_span_counts_and_silence_is_told() {
        let ticks = Ticks::default();
        assert!(!ticks.have_fired(0), "nothing was heard of any timer");
        ticks.add("a", 5);
        let begin = Instant::now();
        assert_eq!(ticks.between(begin, Instant::now())["a"], Pace::default());
        for late in [30, 10, 20] {
            ticks.add("a", late);
        }
        let pace = ticks.between(begin, Instant::now())["a"];
        assert_eq!((pace.ticks, pace.late_us), (3, 60));
        assert_eq!((pace.late_p50_us, pace.late_max_us), (20, 30));
        assert!(ticks.have_fired(4) && !ticks.have_fired(5));
    }
}
