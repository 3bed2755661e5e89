//! What policy is in force, as far as the kernel can show it.

use std::time::Duration;

use mctl_abi::thp::ThpDisable;
use mctl_abi::{Action, Flags, Policy, PolicyKind, Thp};
use mctl_sys::inject::{Job, Limits, ScriptCall, run};
use mctl_sys::procfs::ksm_stat::KsmStat;
use mctl_sys::procfs::status::Status;
use mctl_sys::raw::prctl::{PR_GET_MEMORY_MERGE, PR_GET_THP_DISABLE, prctl};

use crate::error::{Error, Result};
use crate::host::{Support, has_except_advised, native};
use crate::target::Target;

/// Whether a look at a policy may stop a thread of the target for some microseconds.
///
/// `/proc` tells "never" from the rest, but not "only where advised" from "as the host says":
/// that takes the getter, run in the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// Where `/proc` does not say it.
    #[default]
    MayStop,
    /// Never: what `/proc` does not say stays unknown.
    DoNotStop,
}

/// A value that may not be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<T> {
    /// This.
    Is(T),
    /// One that mctl has no name for.
    Other(i64),
    /// It could not be read without stopping the target, or not at all.
    Unknown,
}

/// The policy of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// `PR_GET_THP_DISABLE`.
    pub thp_disable: Known<ThpDisable>,
    /// `PR_GET_MEMORY_MERGE`.
    pub mergeable: Known<bool>,
    /// The policy record, where the kernel keeps one (mctl() is a system call there). The two
    /// switches above are the program's own then.
    pub record: Option<Policy>,
    /// How long a thread of the target was stopped for it.
    pub stopped: Duration,
}

impl Reading {
    /// What governs huge pages. A stock kernel keeps no "always": where nothing is disabled it
    /// is `Inherit`. Where the kernel keeps a record, `PR_SET_THP_DISABLE` is a second, stricter
    /// input: in full it is `Never`; "except advised" does not hold back `Always`.
    #[must_use]
    pub fn thp(&self) -> Known<Thp> {
        if let Some(record) = self.record {
            return Known::Is(match (self.thp_disable, record.thp()) {
                (Known::Is(ThpDisable::Full), _) => Thp::Never,
                (Known::Is(ThpDisable::ExceptAdvised), Thp::Inherit) => Thp::Advised,
                (_, thp) => thp,
            });
        }
        match self.thp_disable {
            Known::Is(ThpDisable::Off) => Known::Is(Thp::Inherit),
            Known::Is(ThpDisable::Full) => Known::Is(Thp::Never),
            Known::Is(ThpDisable::ExceptAdvised) => Known::Is(Thp::Advised),
            Known::Other(raw) => Known::Other(raw),
            Known::Unknown => Known::Unknown,
        }
    }

    /// Whether the program's own `PR_SET_THP_DISABLE` is stricter than the record.
    #[must_use]
    pub fn is_held_back(&self) -> bool {
        self.record
            .is_some_and(|record| self.thp() != Known::Is(record.thp()))
    }

    /// The record of the contract. Whatever prctl(2) keeps survives exec, so its exec bit is set.
    /// `None` where a part is not known.
    #[must_use]
    pub fn policy(&self) -> Option<Policy> {
        if self.record.is_some() {
            return self.record;
        }
        let with = |kind: PolicyKind| kind.bit() | kind.exec_bit();
        let thp = match self.thp() {
            Known::Is(thp) => thp.kind().map_or(0, with),
            Known::Other(_) | Known::Unknown => return None,
        };
        let merge = match self.mergeable {
            Known::Is(true) => with(PolicyKind::Mergeable),
            Known::Is(false) => 0,
            Known::Other(_) | Known::Unknown => return None,
        };
        Policy::from_mask(thp | merge)
    }
}

/// Reads the policy of a process.
///
/// # Errors
/// `ESRCH` it ended; with [`Look::MayStop`] also why it could not be reached, where `/proc` alone
/// does not answer.
pub fn read_policy(target: &Target, look: Look) -> Result<Reading> {
    if target.is_own() {
        return Ok(Reading {
            thp_disable: known(target.own_prctl(PR_GET_THP_DISABLE, [0; 4]).unwrap_or(-1)),
            mergeable: merge(target.own_prctl(PR_GET_MEMORY_MERGE, [0; 4]).unwrap_or(-1)),
            record: own_record(target),
            stopped: Duration::ZERO,
        });
    }
    let mut reading = from_proc(target)?;
    if reading.policy().is_some() || look == Look::DoNotStop {
        return Ok(reading);
    }
    let pid = target.pid();
    let prepared = target.look()?;
    let number = mctl_sys::arch::NR_PRCTL;
    let mut calls = [
        ScriptCall::new(number, [PR_GET_THP_DISABLE, 0, 0, 0, 0, 0]),
        ScriptCall::new(number, [PR_GET_MEMORY_MERGE, 0, 0, 0, 0, 0]),
    ];
    let report = {
        let mut jobs = [Job::script(prepared, &mut calls, Limits::default())];
        run(&mut jobs);
        let [job] = jobs;
        job.outcome()
    };
    let report = report.map_err(|error| Error::inject(pid, error))?;
    let [thp, merging] = calls.map(|call| call.result.unwrap_or(-1));
    reading.thp_disable = known(thp);
    reading.mergeable = merge(merging);
    reading.stopped = Duration::from_nanos(report.stopped_ns);
    Ok(reading)
}

/// What `/proc` says by itself.
fn from_proc(target: &Target) -> Result<Reading> {
    let text = crate::target::read_all(target, "status")?;
    let status = Status::parse(&text).map_err(|error| Error::Read {
        what: format!("/proc/{}/status", target.pid()),
        why: error.to_string(),
        errno: mctl_abi::Errno::EIO,
    })?;
    if status.vm_size.is_none() && status.state == Some(b'Z') && status.threads.unwrap_or(1) <= 1 {
        return Err(Error::inject(
            target.pid(),
            mctl_sys::inject::Refusal::Zombie.into(),
        ));
    }
    if status.vm_size.is_none() && status.state != Some(b'Z') {
        return Err(Error::inject(
            target.pid(),
            mctl_sys::inject::Refusal::KernelThread.into(),
        ));
    }
    let thp_disable = match status.thp_enabled {
        Some(0) => Known::Is(ThpDisable::Full),
        // 1 is also what it says under EXCEPT_ADVISED, where the kernel has that.
        Some(1) if has_except_advised() == Support::No => Known::Is(ThpDisable::Off),
        // Kernels before 5.0 have no such line.
        _ => Known::Unknown,
    };
    let mergeable = match crate::target::read_all(target, "ksm_stat") {
        Ok(text) => match KsmStat::parse(&text).ok().and_then(|stat| stat.merge_any) {
            Some(on) => Known::Is(on),
            None => Known::Unknown,
        },
        // No KSM in this kernel: nothing can be mergeable.
        Err(error) if error.errno() == mctl_abi::Errno::ENOENT && !has_memory_merge() => {
            Known::Is(false)
        }
        Err(_) => Known::Unknown,
    };
    let record = match (native(), status.mctl) {
        (Some(_), Some(mask)) => u32::try_from(mask).ok().and_then(Policy::from_mask),
        _ => None,
    };
    // Where there is a record, merging is a part of it: the kernel keeps the two as one.
    let mergeable = record.map_or(mergeable, |record| {
        Known::Is(record.has(PolicyKind::Mergeable))
    });
    Ok(Reading {
        thp_disable,
        mergeable,
        record,
        stopped: Duration::ZERO,
    })
}

fn own_record(own: &Target) -> Option<Policy> {
    own.own_call(native()?, Action::GetPolicy, Flags::NONE)
        .ok()
        .and_then(Policy::from_mask)
}

/// `PR_SET_THP_DISABLE` as far as it shows without stopping anyone.
pub(crate) fn thp_switch(target: &Target) -> Option<ThpDisable> {
    let reading = read_policy(target, Look::DoNotStop).ok()?;
    match reading.thp_disable {
        Known::Is(state) => Some(state),
        Known::Other(_) | Known::Unknown => None,
    }
}

fn has_memory_merge() -> bool {
    prctl(PR_GET_MEMORY_MERGE, [0; 4]).is_ok()
}

fn known(raw: i64) -> Known<ThpDisable> {
    match ThpDisable::from_getter(raw) {
        Some(state) => Known::Is(state),
        None if raw < 0 => Known::Unknown,
        None => Known::Other(raw),
    }
}

fn merge(raw: i64) -> Known<bool> {
    match raw {
        0 => Known::Is(false),
        1 => Known::Is(true),
        // EINVAL: a kernel without it.
        raw if raw < 0 => Known::Is(false),
        raw => Known::Other(raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(thp_disable: Known<ThpDisable>, mergeable: Known<bool>) -> Reading {
        Reading {
            thp_disable,
            mergeable,
            record: None,
            stopped: Duration::ZERO,
        }
    }

    #[test]
    fn a_record_speaks_for_itself() {
        let always = Policy::from_mask(0x0101);
        for (switch, thp) in [
            (Known::Is(ThpDisable::Off), Thp::Always),
            (Known::Unknown, Thp::Always),
            (Known::Is(ThpDisable::ExceptAdvised), Thp::Always),
            (Known::Is(ThpDisable::Full), Thp::Never),
        ] {
            let reading = Reading {
                record: always,
                ..reading(switch, Known::Unknown)
            };
            assert_eq!(reading.thp(), Known::Is(thp));
            assert_eq!(reading.policy(), always, "the switch is the program's");
            assert_eq!(reading.is_held_back(), thp == Thp::Never);
        }
        let inherit = Reading {
            record: Some(Policy::INHERIT),
            ..reading(Known::Is(ThpDisable::ExceptAdvised), Known::Unknown)
        };
        assert_eq!(inherit.thp(), Known::Is(Thp::Advised));
    }

    #[test]
    fn masks() {
        for (thp, merge, mask) in [
            (ThpDisable::Off, false, 0),
            (ThpDisable::Full, false, 0x202),
            (ThpDisable::ExceptAdvised, true, 0x1010 | 0x808),
        ] {
            let policy = reading(Known::Is(thp), Known::Is(merge)).policy().unwrap();
            assert_eq!(policy.mask(), mask);
        }
        assert_eq!(reading(Known::Other(7), Known::Is(false)).policy(), None);
        assert_eq!(
            reading(Known::Is(ThpDisable::Off), Known::Unknown).policy(),
            None
        );
    }

    #[test]
    fn unknown_values_are_kept() {
        assert_eq!(known(7), Known::Other(7));
        assert_eq!(known(-22), Known::Unknown);
        assert_eq!(merge(2), Known::Other(2));
    }
}
