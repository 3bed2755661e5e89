//! Whether anonymous memory has swap to go to.

use serde::Serialize;

use super::cgroup;
use super::room::meminfo;
use crate::error::{Error, Result};
use crate::see::coverage::Bytes;
use crate::target::Target;

/// Less than a huge page: reclaim would split one after the other and put none of it out.
const LEAST: u64 = 2 << 20;

/// The swap that a target's memory could go to. Any kind counts: a device, a file, zram; zswap
/// stands before one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SwapRoom {
    /// All swap of the host.
    pub total: Bytes,
    /// What is free of it.
    pub free: Bytes,
    /// What the target's memory cgroups leave it (memory.swap.max, v2 only), and which of them.
    pub cgroup: Option<(Bytes, String)>,
}

impl SwapRoom {
    /// Reads it.
    ///
    /// # Errors
    /// `/proc/meminfo` cannot be read, or the target is gone.
    pub fn of(target: &Target) -> Result<SwapRoom> {
        let path = "/proc/meminfo";
        let text = std::fs::read_to_string(path).map_err(|error| Error::read(path, &error))?;
        let value = |key| Bytes(meminfo(&text, key).unwrap_or(0));
        Ok(SwapRoom {
            total: value("SwapTotal"),
            free: value("SwapFree"),
            cgroup: cgroup::swap_left(target)?.map(|(left, path)| (Bytes(left), path)),
        })
    }

    /// Why anonymous and shared memory has nowhere to go; `None` where it has.
    #[must_use]
    pub fn nowhere(&self) -> Option<String> {
        if self.total.is_zero() {
            return Some("the host has no swap".to_owned());
        }
        if self.free.0 < LEAST {
            return Some(format!(
                "the swap of the host is full: {} of {} is free",
                self.free, self.total
            ));
        }
        match &self.cgroup {
            Some((left, path)) if left.0 < LEAST => Some(format!(
                "its memory cgroup {} leaves it {left} of swap (memory.swap.max)",
                crate::see::coverage::printable_name(path.as_bytes())
            )),
            _ => None,
        }
    }
}
