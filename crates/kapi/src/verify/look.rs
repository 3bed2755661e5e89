//! What a process sees of itself: status, limits, descriptors, and the flags of its regions.

use std::collections::BTreeMap;
use std::io::Read as _;

use mctl_sys::raw_syscall::Expendable;
use rustix::process::{Resource, getrlimit};

use super::agent::{MEMLOCK, PAGE, REGION};
use super::script::{DESCRIPTORS, MERGE, PENDING, Region, THP, View};
use crate::consts;

/// Everything that can be seen of this process now; `address` is the one that the call speaks of.
pub(super) fn look(
    me: &Expendable,
    regions: &BTreeMap<String, u64>,
    address: Option<u64>,
) -> anyhow::Result<View> {
    let mut view = View::default();
    for line in std::fs::read_to_string("/proc/self/status")?.lines() {
        let Some((key, text)) = line.split_once(':') else {
            continue;
        };
        let mut words = text.split_whitespace();
        if key == "CapEff" {
            view.capabilities = u64::from_str_radix(text.trim(), 16)?;
        } else if matches!(key, "SigPnd" | "ShdPnd") {
            let bits = u64::from_str_radix(text.trim(), 16)?;
            *view.status.entry(PENDING.to_owned()).or_default() |= bits;
        } else if let (Some(Ok(number)), unit) = (words.next().map(str::parse), words.next())
            && unit.is_none_or(|u| u == "kB")
        {
            view.status.insert(key.to_owned(), number);
        }
    }
    // The one that lists them is there both times.
    let descriptors = std::fs::read_dir("/proc/self/fd")?.count();
    view.status
        .insert(DESCRIPTORS.to_owned(), u64::try_from(descriptors)?);
    let prctl = consts::syscall_number("prctl");
    for (name, option) in [(THP, "PR_GET_THP_DISABLE"), (MERGE, "PR_GET_MEMORY_MERGE")] {
        let option = consts::lookup(option).and_then(|n| u64::try_from(n).ok());
        // A kernel that does not have it leaves the field out.
        if let Some(Ok(value)) = option
            .zip(prctl)
            .map(|(n, prctl)| me.syscall6(prctl, [n, 0, 0, 0, 0, 0]))
        {
            view.status.insert(name.to_owned(), value.cast_unsigned());
        }
    }
    view.limits.insert(
        MEMLOCK,
        getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX),
    );
    let smaps = std::fs::read_to_string("/proc/self/smaps")?;
    for (name, at) in regions {
        view.regions
            .insert(name.clone(), region(&smaps, *at, address));
    }
    Ok(view)
}

/// The parts of smaps between `at` and the end of the region, added up; the flags are those of
/// the part with the address, or of the first one.
fn region(smaps: &str, at: u64, address: Option<u64>) -> Region {
    let address = address
        .filter(|a| (at..at + REGION).contains(a))
        .unwrap_or(at);
    let mut flagged = false;
    let mut found = Region {
        start: at,
        ..Region::default()
    };
    let mut inside = false;
    for line in smaps.lines() {
        let head = line.split_whitespace().next().unwrap_or_default();
        let range = head.split_once('-').and_then(|(a, b)| {
            Some((
                u64::from_str_radix(a, 16).ok()?,
                u64::from_str_radix(b, 16).ok()?,
            ))
        });
        if let Some((start, end)) = range {
            // A neighbour may have been merged with the region.
            inside = start < at + REGION && end > at;
            flagged = (start..end).contains(&address);
            continue;
        }
        if !inside {
            continue;
        }
        let kb = || {
            line.split_whitespace()
                .nth(1)
                .and_then(|n| n.parse::<u64>().ok())
                .unwrap_or(0)
        };
        match head {
            "Size:" => found.size_kb += kb(),
            "Rss:" => found.rss_kb += kb(),
            "VmFlags:" if flagged => {
                for flag in line.split_whitespace().skip(1) {
                    if !found.flags.iter().any(|f| f == flag) {
                        found.flags.push(flag.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    found
}

/// Bytes of address space, read without taking memory, which would change them.
pub(super) fn address_space() -> Option<u64> {
    let mut text = [0; 128];
    let length = std::fs::File::open("/proc/self/statm")
        .and_then(|mut file| file.read(&mut text))
        .ok()?;
    let text = std::str::from_utf8(text.get(..length)?).ok()?;
    let pages: u64 = text.split(' ').next()?.parse().ok()?;
    pages.checked_mul(PAGE)
}
