//! How often a program can be changed: a set and a clear of its whole tree in turns.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::programs::Program;
use super::treat::{Change, Mctl, role};
use super::{Part, Place};

/// What was counted.
#[derive(Debug, Serialize)]
pub(super) struct Useful {
    pub(super) program: Program,
    pub(super) part: Part,
    /// Commands, and those that changed every process.
    pub(super) tries: u32,
    pub(super) succeeded: u32,
    /// How long the commands took, in microseconds: median, the one that 99 of 100 stay below, the longest.
    pub(super) took_us: [u64; 3],
    /// For how long a thread was stopped, in microseconds, likewise.
    pub(super) stopped_us: [u64; 3],
    /// Each kind of process of the program.
    pub(super) roles: BTreeMap<String, Role>,
}

/// What became of the processes of one kind.
#[derive(Debug, Default, Serialize)]
pub(super) struct Role {
    pub(super) changed: u32,
    pub(super) refused: u32,
    /// The reasons, without the process they name, and how often each was given.
    pub(super) reasons: BTreeMap<String, u32>,
}

/// So many of a hundred have to succeed.
const ENOUGH: u32 = 99;

impl Useful {
    pub(super) fn is_enough(&self) -> bool {
        self.succeeded * 100 >= self.tries * ENOUGH
    }
}

/// Changes a program so often.
pub(super) fn count(place: &Place<'_>, program: Program, part: Part, tries: u32) -> Result<Useful> {
    let mut instance = program.start(place, "useful", part == Part::Load)?;
    instance.warm_up()?;
    let mctl = Mctl::new(place.mctl);
    let (mut took, mut stopped) = (Vec::new(), Vec::new());
    let mut roles: BTreeMap<String, Role> = BTreeMap::new();
    let mut succeeded = 0;
    let mut change = Change::Set;
    for number in 0..tries {
        // At ever other moments of whatever period the program has.
        std::thread::sleep(Duration::from_millis(10 + u64::from(number * 37 % 101)));
        let changed = mctl.change(change, instance.pid())?;
        change = change.other();
        succeeded += u32::from(changed.success);
        took.push(micros(changed.took));
        for process in &changed.processes {
            let counted = roles.entry(role(process)).or_default();
            match &process.error {
                None => {
                    counted.changed += 1;
                    stopped.extend(process.stopped_ns().map(|ns| ns / 1000));
                }
                Some(refused) => {
                    counted.refused += 1;
                    *counted
                        .reasons
                        .entry(reason(&refused.message, &refused.errno))
                        .or_default() += 1;
                }
            }
        }
    }
    instance.check_alive()?;
    Ok(Useful {
        program,
        part,
        tries,
        succeeded,
        took_us: spread(took),
        stopped_us: spread(stopped),
        roles,
    })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The median, the one that 99 of 100 do not exceed, and the largest.
fn spread(mut all: Vec<u64>) -> [u64; 3] {
    all.sort_unstable();
    let of_100 = |part: usize| {
        let rank = (all.len() * part).div_ceil(100);
        all.get(rank.saturating_sub(1)).copied().unwrap_or(0)
    };
    [of_100(50), of_100(99), of_100(100)]
}

/// The message without its numbers, so that equal reasons are counted as one.
fn reason(message: &str, errno: &str) -> String {
    let mut text = String::new();
    for c in message.chars() {
        match c {
            '0'..='9' if text.ends_with('#') => {}
            '0'..='9' => text.push('#'),
            c => text.push(c),
        }
    }
    let text = text.strip_prefix("process #: ").unwrap_or(&text).to_owned();
    if text.contains(errno) {
        text
    } else {
        format!("{text} ({errno})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_reasons_are_one() {
        let one = reason(
            "process 17: thread 18 sleeps in epoll_wait (EBUSY)",
            "EBUSY",
        );
        assert_eq!(
            one,
            reason("process 4: thread 5 sleeps in epoll_wait (EBUSY)", "EBUSY")
        );
        assert_eq!(one, "thread # sleeps in epoll_wait (EBUSY)");
        assert_eq!(reason("no", "EPERM"), "no (EPERM)");
    }

    #[test]
    fn the_spread_of_few_and_none() {
        assert_eq!(spread(vec![]), [0; 3]);
        assert_eq!(spread(vec![5, 1, 3]), [3, 5, 5]);
        assert_eq!(spread((1..=200).collect()), [100, 198, 200]);
    }
}
