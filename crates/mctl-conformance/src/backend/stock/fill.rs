//! A process with as many mappings as the host allows.

use super::StockBackend;
use super::hand::order;
use crate::backend::{Answer, Trouble};
use crate::view::{PAGE, filler};

/// What the kernel needs for one mapping, generously.
const EACH: u64 = 1024;
/// How many mappings one order makes: a moment's work on a slow machine too.
const STEP: u64 = 1 << 14;

impl StockBackend {
    /// Makes mappings of a page each until only `left` more may be made.
    pub(super) fn fill_mappings(&mut self, task: u16, left: u64) -> Result<Answer, Trouble> {
        let limit = self.host.max_map_count;
        let hand = &mut self.task(task)?.hand;
        let maps =
            std::fs::read_to_string(format!("/proc/{}/maps", hand.tid)).map_err(Trouble::broken)?;
        // The gate page is listed and not counted.
        let lines = maps.lines().filter(|line| !line.ends_with("[vsyscall]"));
        let have = u64::try_from(lines.count()).map_err(Trouble::broken)?;
        let more = limit.saturating_sub(left).saturating_sub(have);
        let available = available().unwrap_or(0);
        if more > filler().1 || available / 2 < more.saturating_mul(EACH) {
            return Err(Trouble::NotPossible(format!(
                "vm.max_map_count is {limit}: filling it up takes more memory than this host can spare"
            )));
        }
        let mut at = 0;
        while at < more {
            // An even number a step, so that rights go on alternating.
            let count = STEP.min(more - at);
            let address = filler().0 + at * PAGE;
            super::calls::answer(hand.all(&[order::fill(address, count)])?)
                .map_err(|errno| Trouble::broken(format!("mapping {at} of {more}: {errno}")))?;
            at += count;
        }
        Ok(Ok(0))
    }
}

/// MemAvailable in bytes.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}
