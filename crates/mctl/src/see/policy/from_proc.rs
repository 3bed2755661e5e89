//! What `/proc` says by itself.

use mctl_sys::remembered::Remembered;
use std::time::Duration;

use mctl_abi::thp::ThpDisable;
use mctl_abi::{Errno, Policy, PolicyKind, Thp};
use mctl_sys::inject::Refusal;
use mctl_sys::procfs::ksm_stat::KsmStat;
use mctl_sys::procfs::status::Status;
use mctl_sys::raw::prctl::{PR_GET_MEMORY_MERGE, prctl};

use super::shown::off_or_except_advised;
use super::{Doubt, Known, Reading};
use crate::error::{Error, Result};
use crate::host::{Support, has_except_advised, native};
use crate::see::coverage::through_a_thread;
use crate::target::{Target, read_all};

pub(super) fn from_proc(target: &Target) -> Result<Reading> {
    let facts = through_a_thread(target, |prefix| Facts::read(target, prefix))?;
    let record = match (native(), facts.record) {
        (Some(_), Some(mask)) => u32::try_from(mask).ok().and_then(Policy::from_mask),
        _ => None,
    };
    // Where there is a record, merging is a part of it: the kernel keeps the two as one.
    let (mergeable, merge_doubt) = match record {
        Some(record) => (Known::Is(record.has(PolicyKind::Mergeable)), None),
        None => mergeable(target, &facts.prefix),
    };
    // A policy of its own hides the switch.
    let hidden = record.is_some_and(|record| record.thp() != Thp::Inherit);
    let (thp_disable, thp_doubt) = thp_disable(target, facts.thp_enabled, hidden)?;
    Ok(Reading {
        thp_disable,
        thp_doubt,
        mergeable,
        merge_doubt,
        record,
        stopped: Duration::ZERO,
    })
}

/// What the status file has.
struct Facts {
    /// The path to the thread that showed it.
    prefix: String,
    thp_enabled: Option<u64>,
    record: Option<u64>,
}

impl Facts {
    /// `None`: a thread that has exited, and the memory with it, while others run.
    fn read(target: &Target, prefix: &str) -> Result<Option<Facts>> {
        let text = read_all(target, &format!("{prefix}status"))?;
        let status = Status::parse(&text).map_err(|error| Error::Read {
            what: format!("/proc/{}/status", target.pid()),
            why: error.to_string(),
            errno: Errno::EIO,
        })?;
        let has_no_memory = |refusal: Refusal| Err(Error::inject(target.pid(), refusal.into()));
        if status.vm_size.is_none() {
            return match status.state {
                Some(b'Z' | b'X') if status.threads.unwrap_or(1) <= 1 => {
                    has_no_memory(Refusal::Zombie)
                }
                Some(b'Z' | b'X') => Ok(None),
                _ => has_no_memory(Refusal::KernelThread),
            };
        }
        Ok(Some(Facts {
            prefix: prefix.to_owned(),
            thp_enabled: status.thp_enabled,
            record: status.mctl,
        }))
    }
}

fn thp_disable(
    target: &Target,
    enabled: Option<u64>,
    hidden: bool,
) -> Result<(Known<ThpDisable>, Option<Doubt>)> {
    Ok(match enabled {
        // A kernel without transparent huge pages says so of everyone.
        Some(0) if !enabled_tells() => (Known::Unknown, Some(Doubt::NotShown)),
        Some(0) => (Known::Is(ThpDisable::Full), None),
        Some(1) if has_except_advised() == Support::No => (Known::Is(ThpDisable::Off), None),
        // 1 is also what it says under EXCEPT_ADVISED.
        Some(1) if hidden => (Known::Unknown, Some(Doubt::NotShown)),
        Some(1) => off_or_except_advised(target)?,
        // Kernels before 5.0 have no such line.
        _ => (Known::Unknown, Some(Doubt::NotShown)),
    })
}

/// Whether the line is about the process. It is not where it says 0 of us, and we disabled nothing.
fn enabled_tells() -> bool {
    static TELLS: Remembered<bool> = Remembered::new();
    TELLS.get_or_find(|| {
        let own = mctl_sys::raw::prctl::thp_disable();
        let text = std::fs::read("/proc/self/status").unwrap_or_default();
        let says = Status::parse(&text)
            .ok()
            .and_then(|status| status.thp_enabled);
        !(own == Ok(ThpDisable::Off) && says == Some(0))
    })
}

fn mergeable(target: &Target, prefix: &str) -> (Known<bool>, Option<Doubt>) {
    // A kernel without the switch: nothing can be mergeable as a whole.
    if prctl(PR_GET_MEMORY_MERGE, [0; 4]) == Err(Errno::EINVAL) {
        return (Known::Is(false), None);
    }
    match read_all(target, &format!("{prefix}ksm_stat")) {
        Ok(text) => match KsmStat::parse(&text).ok().and_then(|stat| stat.merge_any) {
            Some(on) => (Known::Is(on), None),
            None => (Known::Unknown, Some(Doubt::NotShown)),
        },
        Err(error) if error.errno() == Errno::ENOENT => (Known::Unknown, Some(Doubt::NotShown)),
        Err(error) => (
            Known::Unknown,
            Some(Doubt::Hidden {
                file: "ksm_stat",
                errno: error.errno(),
            }),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_about_the_process_where_there_are_huge_pages() {
        if std::path::Path::new(crate::host::THP_DIR).exists() {
            assert!(enabled_tells());
        }
    }
}
