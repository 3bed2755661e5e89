//! What a person wants to know before and after reclaim, cooling and collapse.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::see::coverage::{Bytes, Coverage};
use crate::target::Target;

/// One look at a target's memory and at the host's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Look {
    /// What is present, huge and on swap (`/proc/PID/smaps_rollup`).
    pub memory: Coverage,
    /// Counters of the whole host, since it started.
    pub host: HostCounters,
}

/// Counters of the whole host (`/proc/vmstat`), in pages. Whatever else runs is in them too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HostCounters {
    /// Anonymous pages that came back after they had been reclaimed not long ago
    /// (`workingset_refault_anon`; Linux 5.9).
    pub refault_anon: Option<u64>,
    /// File pages that did (`workingset_refault_file`; Linux 5.9).
    pub refault_file: Option<u64>,
    /// Pages read from swap (`pswpin`).
    pub swap_in: Option<u64>,
    /// Pages written to swap (`pswpout`).
    pub swap_out: Option<u64>,
}

impl HostCounters {
    /// Reads them.
    ///
    /// # Errors
    /// `/proc/vmstat` cannot be read.
    pub fn read() -> Result<HostCounters> {
        let path = "/proc/vmstat";
        let text = std::fs::read_to_string(path).map_err(|error| Error::read(path, &error))?;
        Ok(HostCounters::parse(&text))
    }

    fn parse(text: &str) -> HostCounters {
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
        };
        HostCounters {
            refault_anon: value("workingset_refault_anon"),
            refault_file: value("workingset_refault_file"),
            swap_in: value("pswpin"),
            swap_out: value("pswpout"),
        }
    }

    /// What was counted since an earlier look.
    #[must_use]
    pub fn since(self, earlier: HostCounters) -> HostCounters {
        let less = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        HostCounters {
            refault_anon: less(self.refault_anon, earlier.refault_anon),
            refault_file: less(self.refault_file, earlier.refault_file),
            swap_in: less(self.swap_in, earlier.swap_in),
            swap_out: less(self.swap_out, earlier.swap_out),
        }
    }
}

impl Look {
    /// Takes a look. It walks the target's page tables: some 10 ms a GiB of small pages.
    ///
    /// # Errors
    /// As [`Coverage::total`].
    pub fn take(target: &Target) -> Result<Look> {
        Ok(Look {
            memory: Coverage::total(target)?,
            host: HostCounters::read()?,
        })
    }
}

/// Two looks.
///
/// ```
/// use mctl::Target;
/// use mctl::advise::{Advice, Advise};
/// use mctl::reclaim::{Change, Look};
///
/// let mut child = std::process::Command::new("sleep").arg("10").spawn()?;
/// let target = Target::open(child.id().to_string().parse()?)?;
/// let before = Look::take(&target)?;
/// Advise::new(Advice::PAGEOUT).entire_address_space().skip_errors().give(&target)?;
/// let change = Change { before, after: Look::take(&target)? };
/// assert!(change.left_memory() <= change.before.memory.rss);
/// # child.kill()?; child.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Before.
    pub before: Look,
    /// After.
    pub after: Look,
}

impl Change {
    /// How much less of it is present: what was reclaimed, less what came back or was added.
    #[must_use]
    pub fn left_memory(&self) -> Bytes {
        less(self.before.memory.rss, self.after.memory.rss)
    }

    /// How much more of it is on swap.
    #[must_use]
    pub fn went_to_swap(&self) -> Bytes {
        less(self.after.memory.swap, self.before.memory.swap)
    }

    /// How much more of its anonymous memory is in huge pages.
    #[must_use]
    pub fn became_huge(&self) -> Bytes {
        less(self.after.memory.anon_huge, self.before.memory.anon_huge)
    }

    /// The whole host's counters meanwhile: an upper bound for the target's part in them.
    #[must_use]
    pub fn host_wide(&self) -> HostCounters {
        self.after.host.since(self.before.host)
    }
}

fn less(from: Bytes, what: Bytes) -> Bytes {
    Bytes(from.0.saturating_sub(what.0))
}

/// Whether the host has swap to put anonymous memory on (`/proc/swaps`). Without it, reclaim moves
/// file pages only.
#[must_use]
pub fn host_has_swap() -> bool {
    std::fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_the_host() {
        let text = "workingset_refault_anon 5\nworkingset_refault_file 7\npswpin 1\npswpinx 9\n";
        let counters = HostCounters::parse(text);
        assert_eq!(counters.refault_anon, Some(5));
        assert_eq!((counters.swap_in, counters.swap_out), (Some(1), None));
        let later = HostCounters {
            refault_anon: Some(8),
            swap_out: Some(3),
            ..counters
        };
        let since = later.since(counters);
        assert_eq!((since.refault_anon, since.refault_file), (Some(3), Some(0)));
        assert_eq!(since.swap_out, None, "an old kernel counts no such thing");
        assert!(HostCounters::read().unwrap().swap_in.is_some());
    }
}
