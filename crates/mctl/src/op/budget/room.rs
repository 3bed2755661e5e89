//! How much more memory there is room for: on the host and in each memory cgroup.

use std::fmt;

use serde::Serialize;

use super::cgroup::{self, Place};
use crate::error::{Error, Result};
use crate::see::coverage::Bytes;
use crate::target::Target;

/// This part of a limit is left free: the kernel needs some itself, and others allocate meanwhile.
const RESERVED: u64 = 20;
/// But no more than this.
const MOST_RESERVED: u64 = 1 << 30;

/// A limit and how much of it is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Level {
    /// The path of the memory cgroup below its mount; `None`: the host.
    pub cgroup: Option<String>,
    /// The limit: all memory of the host; the smaller of memory.max and memory.high, or
    /// memory.limit_in_bytes (v1).
    pub limit: Bytes,
    /// What could come in before anything but file pages must be reclaimed: `MemAvailable`; of a
    /// cgroup the limit less what is in use, files that are not in active use not counted.
    pub available: Bytes,
    /// What is kept free of it.
    pub reserve: Bytes,
    /// What processes that come before would bring in; of a dry run of several only.
    #[serde(skip_serializing_if = "is_nothing")]
    pub ahead: Bytes,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_nothing(bytes: &Bytes) -> bool {
    bytes.is_zero()
}

impl Level {
    pub(super) fn new(cgroup: Option<String>, limit: u64, available: u64) -> Level {
        Level {
            cgroup,
            limit: Bytes(limit),
            available: Bytes(available.min(limit)),
            reserve: Bytes((limit / RESERVED).min(MOST_RESERVED)),
            ahead: Bytes::ZERO,
        }
    }

    /// What may come in.
    #[must_use]
    pub fn left(&self) -> Bytes {
        self.available.less(self.reserve).less(self.ahead)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cgroup {
            None => f.write_str("the host")?,
            Some(path) => write!(
                f,
                "its memory cgroup {}",
                crate::see::coverage::printable_name(path.as_bytes())
            )?,
        }
        write!(
            f,
            " has {} of {} available, and keeps {} in reserve",
            self.available, self.limit, self.reserve
        )?;
        if self.ahead.is_zero() {
            return Ok(());
        }
        write!(f, "; the processes before it would take {}", self.ahead)
    }
}

/// The host and the memory cgroups of a target that have a limit, its own first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Room {
    /// The host.
    pub host: Level,
    /// The cgroups.
    pub cgroups: Vec<Level>,
}

impl Room {
    /// Reads it: `/proc/meminfo`, and the target's memory cgroup with all above it that can be
    /// seen from here.
    ///
    /// Swap is not counted: what it would make room for is other memory, whose owners would pay.
    ///
    /// # Errors
    /// `/proc/meminfo` cannot be read, or the target is gone.
    pub fn of(target: &Target) -> Result<Room> {
        Room::within(&cgroup::places(target)?)
    }

    /// The same, with the cgroups known.
    pub(super) fn within(places: &[Place]) -> Result<Room> {
        let path = "/proc/meminfo";
        let text = std::fs::read_to_string(path).map_err(|error| Error::read(path, &error))?;
        let value = |key| meminfo(&text, key);
        let total = value("MemTotal").unwrap_or(u64::MAX);
        // Before Linux 3.14 there is no MemAvailable.
        let available = value("MemAvailable")
            .or_else(|| Some(value("MemFree")? + value("Inactive(file)")?))
            .unwrap_or(total);
        Ok(Room {
            host: Level::new(None, total, available),
            cgroups: cgroup::limits(places),
        })
    }

    pub(super) fn levels(&self) -> impl Iterator<Item = &Level> {
        self.cgroups.iter().chain([&self.host])
    }

    /// What may come in.
    #[must_use]
    pub fn left(&self) -> Bytes {
        self.levels().map(Level::left).min().unwrap_or(Bytes::ZERO)
    }

    /// The level that has the least left, where that is less than so much.
    #[must_use]
    pub fn too_small_for(&self, bytes: Bytes) -> Option<&Level> {
        self.levels()
            .min_by_key(|level| level.left())
            .filter(|level| level.left() < bytes)
    }
}

/// A value of `/proc/meminfo`, in bytes.
pub(super) fn meminfo(text: &str, key: &str) -> Option<u64> {
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let kb: u64 = rest.split_whitespace().next()?.parse().ok()?;
    kb.checked_mul(1024)
}
