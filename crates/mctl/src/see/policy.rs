//! What policy is in force, as far as the kernel can show it.
//!
//! Reading leaves the process alone: `/proc` is all that is asked. "Never" stands there; whether
//! the rest is "as the host says" or "only where advised" shows in what the kernel says of a
//! mapping, where the host lets it show at all ([`Known::Either`], [`Doubt`]). For certainty in
//! every case the getter has to be run in the target: [`Look::Exact`].

mod from_proc;
mod shown;
mod unadvised;

use std::fmt;
use std::time::Duration;

use mctl_abi::thp::ThpDisable;
use mctl_abi::{Action, Errno, Flags, Policy, PolicyKind, Thp};
use mctl_sys::inject::{Job, ScriptCall};
use mctl_sys::raw::prctl::{PR_GET_MEMORY_MERGE, PR_GET_THP_DISABLE};

use crate::error::{Error, Result};
use crate::host::native;
use crate::target::Target;

/// How far a look at a policy may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// `/proc` only. The target is not stopped and runs nothing for it.
    #[default]
    Proc,
    /// Where `/proc` does not tell, the getters are run in the target, one of whose threads is
    /// stopped for some microseconds.
    Exact,
}

/// A value that may not be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<T> {
    /// This.
    Is(T),
    /// One of these two. As the host is set they come to the same.
    Either(T, T),
    /// One that mctl has no name for.
    Other(i64),
    /// It could not be read without stopping the target, or not at all.
    Unknown,
}

/// Why a part of a policy is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Doubt {
    /// The host leaves nothing to memory for which nobody asked, so no mapping can show it.
    Alike,
    /// No mapping shows it: each is too small, or has advice of its own.
    NoMappingShows,
    /// The host's settings changed during the look.
    HostChanged,
    /// The host's settings cannot be read here.
    HostHidden,
    /// A file of the process cannot be read.
    Hidden {
        /// Its name in /proc/PID.
        file: &'static str,
        /// What reading it answered.
        errno: Errno,
    },
    /// The kernel's /proc does not show it.
    NotShown,
    /// The getter was refused: by a seccomp filter, or by a kernel without it.
    Refused {
        /// With what.
        errno: Errno,
    },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::Alike => f.write_str(
                "inherit and hugepage-advised come to the same while the host gives huge pages \
                 only to memory that asks for them",
            ),
            Doubt::NoMappingShows => f.write_str(
                "inherit or hugepage-advised: it has no mapping that would show which (one with \
                 room for a huge page, and without advice)",
            ),
            Doubt::HostChanged => f.write_str(
                "inherit or hugepage-advised: the host's huge page settings changed during the look",
            ),
            Doubt::HostHidden => f.write_str(
                "inherit or hugepage-advised: the host's huge page settings cannot be read here",
            ),
            Doubt::Hidden { file, errno } => {
                write!(f, "its /proc file {file} cannot be read ({errno})")
            }
            Doubt::NotShown => f.write_str("this kernel does not show it in /proc"),
            Doubt::Refused { errno } => write!(f, "the call that tells it was refused ({errno})"),
        }
    }
}

/// The policy of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// `PR_GET_THP_DISABLE`.
    pub thp_disable: Known<ThpDisable>,
    /// Why that is not known.
    pub thp_doubt: Option<Doubt>,
    /// `PR_GET_MEMORY_MERGE`.
    pub mergeable: Known<bool>,
    /// Why that is not known.
    pub merge_doubt: Option<Doubt>,
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
        let of = |switch: ThpDisable| match (self.record.map(Policy::thp), switch) {
            (_, ThpDisable::Full) => Thp::Never,
            (Some(Thp::Inherit) | None, ThpDisable::ExceptAdvised) => Thp::Advised,
            (Some(thp), _) => thp,
            (None, ThpDisable::Off) => Thp::Inherit,
        };
        match (self.thp_disable, self.record.map(Policy::thp)) {
            (Known::Is(switch), _) => Known::Is(of(switch)),
            (Known::Either(one, other), _) if of(one) == of(other) => Known::Is(of(one)),
            (Known::Either(one, other), _) => Known::Either(of(one), of(other)),
            // Stricter than this it can only be in full, which /proc would have said.
            (_, Some(thp)) if thp != Thp::Inherit => Known::Is(thp),
            (Known::Other(raw), _) => Known::Other(raw),
            (Known::Unknown, _) => Known::Unknown,
        }
    }

    /// [`thp()`](Reading::thp) as a word: that of the policy, `inherit`, `inherit-or-advised`
    /// (which of the two does not show, and as the host is set they come to the same), `unknown`.
    #[must_use]
    pub fn thp_word(&self) -> String {
        let word = |thp: Thp| thp.kind().map_or("inherit", PolicyKind::word);
        match self.thp() {
            Known::Is(thp) => word(thp).to_owned(),
            Known::Either(Thp::Inherit, Thp::Advised) => INHERIT_OR_ADVISED.to_owned(),
            Known::Either(one, other) => format!("{}-or-{}", word(one), word(other)),
            Known::Other(raw) => format!("thp:{raw}"),
            Known::Unknown => UNKNOWN.to_owned(),
        }
    }

    /// Whether the program's own `PR_SET_THP_DISABLE` is stricter than the record.
    #[must_use]
    pub fn is_held_back(&self) -> bool {
        match (self.record, self.thp(), self.thp_disable) {
            (Some(record), Known::Is(thp), Known::Is(_)) => thp != record.thp(),
            _ => false,
        }
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
            Known::Either(..) | Known::Other(_) | Known::Unknown => return None,
        };
        let merge = match self.mergeable {
            Known::Is(true) => with(PolicyKind::Mergeable),
            Known::Is(false) => 0,
            Known::Either(..) | Known::Other(_) | Known::Unknown => return None,
        };
        Policy::from_mask(thp | merge)
    }

    /// What is not known of [`policy()`](Reading::policy), and why: one sentence a part.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        if self.policy().is_some() {
            return Vec::new();
        }
        let mut doubts = Vec::new();
        match (self.thp(), self.thp_doubt) {
            (Known::Is(_), _) => {}
            (_, Some(doubt)) => doubts.push(format!("huge pages: {doubt}")),
            (thp, None) => doubts.push(format!("huge pages: {thp:?} is no state known here")),
        }
        match (self.mergeable, self.merge_doubt) {
            (Known::Is(_), _) => {}
            (_, Some(doubt)) => doubts.push(format!("merging: {doubt}")),
            (merge, None) => doubts.push(format!("merging: {merge:?} is no state known here")),
        }
        doubts
    }
}

/// Whether "as the host says" and "only where advised" come to the same for a process, as the host
/// is set now.
pub(crate) fn inherit_is_advised(target: &Target) -> bool {
    matches!(
        shown::off_or_except_advised(target),
        Ok((Known::Either(..), _))
    )
}

/// The word for [`Known::Either`] of these two.
pub(crate) const INHERIT_OR_ADVISED: &str = "inherit-or-advised";
/// The word for [`Known::Unknown`].
pub(crate) const UNKNOWN: &str = "unknown";

/// Reads the policy of a process.
///
/// With [`Look::Proc`] the process is left alone: nothing is stopped and nothing is run in it.
///
/// # Errors
/// `ESRCH` it ended; with [`Look::Exact`] also why it could not be reached, where `/proc` alone
/// does not answer.
pub fn read_policy(target: &Target, look: Look) -> Result<Reading> {
    crate::with_room(|| read_here(target, look))
}

fn read_here(target: &Target, look: Look) -> Result<Reading> {
    if target.is_own() {
        return Ok(own(target));
    }
    let reading = from_proc::from_proc(target)?;
    if look == Look::Proc || reading.policy().is_some() {
        return Ok(reading);
    }
    exact(target, reading)
}

fn own(target: &Target) -> Reading {
    let (thp_disable, thp_doubt) = known(target.own_prctl(PR_GET_THP_DISABLE, [0; 4]));
    let (mergeable, merge_doubt) = merge(target.own_prctl(PR_GET_MEMORY_MERGE, [0; 4]));
    Reading {
        thp_disable,
        thp_doubt,
        mergeable,
        merge_doubt,
        record: own_record(target),
        stopped: Duration::ZERO,
    }
}

/// By the getters, run in the target.
fn exact(target: &Target, mut reading: Reading) -> Result<Reading> {
    let pid = target.pid();
    let prepared = target.look()?;
    let number = mctl_sys::arch::NR_PRCTL;
    let mut calls = [
        ScriptCall::new(number, [PR_GET_THP_DISABLE, 0, 0, 0, 0, 0]),
        ScriptCall::new(number, [PR_GET_MEMORY_MERGE, 0, 0, 0, 0, 0]),
    ];
    let report = {
        let mut jobs = [Job::script(
            prepared,
            &mut calls,
            crate::wait::patience::limits(),
        )];
        crate::wait::patience::run(&mut jobs);
        let [job] = jobs;
        job.outcome()
    };
    let report = report.map_err(|error| Error::inject(pid, error))?;
    let answer = |call: ScriptCall| match call.result {
        Some(value @ 0..) => Ok(value),
        Some(ret) => Err(i32::try_from(-ret).map_or(Errno::EIO, Errno::from_raw)),
        None => Err(Errno::EIO),
    };
    let [thp, merging] = calls.map(answer);
    (reading.thp_disable, reading.thp_doubt) = known(thp);
    (reading.mergeable, reading.merge_doubt) = merge(merging);
    reading.stopped = Duration::from_nanos(report.stopped_ns);
    Ok(reading)
}

fn own_record(own: &Target) -> Option<Policy> {
    own.own_call(native()?, Action::GetPolicy, Flags::NONE)
        .ok()
        .and_then(Policy::from_mask)
}

/// `PR_SET_THP_DISABLE` as far as it shows without stopping anyone.
pub(crate) fn thp_switch(target: &Target) -> Option<ThpDisable> {
    let reading = read_policy(target, Look::Proc).ok()?;
    match reading.thp_disable {
        Known::Is(state) => Some(state),
        Known::Either(..) | Known::Other(_) | Known::Unknown => None,
    }
}

fn known(answer: Result<i64, Errno>) -> (Known<ThpDisable>, Option<Doubt>) {
    match answer.map(|raw| (raw, ThpDisable::from_getter(raw))) {
        Ok((_, Some(state))) => (Known::Is(state), None),
        Ok((raw, None)) => (Known::Other(raw), None),
        Err(errno) => (Known::Unknown, Some(Doubt::Refused { errno })),
    }
}

fn merge(answer: Result<i64, Errno>) -> (Known<bool>, Option<Doubt>) {
    match answer {
        Ok(0) => (Known::Is(false), None),
        Ok(1) => (Known::Is(true), None),
        Ok(raw) => (Known::Other(raw), None),
        // A kernel without it. Any other errno is a filter's.
        Err(Errno::EINVAL) => (Known::Is(false), None),
        Err(errno) => (Known::Unknown, Some(Doubt::Refused { errno })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(thp_disable: Known<ThpDisable>, mergeable: Known<bool>) -> Reading {
        Reading {
            thp_disable,
            thp_doubt: None,
            mergeable,
            merge_doubt: None,
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
        let inherit = |switch| Reading {
            record: Some(Policy::INHERIT),
            ..reading(switch, Known::Unknown)
        };
        let advised = inherit(Known::Is(ThpDisable::ExceptAdvised));
        assert_eq!(advised.thp(), Known::Is(Thp::Advised));
        assert!(advised.is_held_back());
        // The record is known, the switch is not: "inherit" is no fact.
        for (switch, thp) in [
            (EITHER, Known::Either(Thp::Inherit, Thp::Advised)),
            (Known::Unknown, Known::Unknown),
        ] {
            let reading = inherit(switch);
            assert_eq!(reading.thp(), thp);
            assert_eq!(reading.policy(), Some(Policy::INHERIT));
            assert!(!reading.is_held_back());
        }
    }

    const EITHER: Known<ThpDisable> = Known::Either(ThpDisable::Off, ThpDisable::ExceptAdvised);

    #[test]
    #[allow(clippy::panic, reason = "a test fails by panicking")]
    fn what_is_not_known_is_no_policy_and_says_why() {
        for (switch, doubt, word) in [
            (EITHER, Doubt::Alike, "inherit-or-advised"),
            (Known::Unknown, Doubt::NoMappingShows, "unknown"),
            (Known::Unknown, Doubt::NotShown, "unknown"),
        ] {
            let reading = Reading {
                thp_doubt: Some(doubt),
                ..reading(switch, Known::Is(false))
            };
            assert_eq!(reading.policy(), None);
            assert_eq!(reading.thp_word(), word);
            let [why] = &reading.doubts()[..] else {
                panic!("{reading:?}")
            };
            assert!(why.contains(&doubt.to_string()), "{why}");
        }
        let merge = Reading {
            merge_doubt: Some(Doubt::Hidden {
                file: "ksm_stat",
                errno: Errno::EACCES,
            }),
            ..reading(Known::Is(ThpDisable::Off), Known::Unknown)
        };
        assert_eq!(merge.doubts().len(), 1);
        assert!(merge.doubts()[0].contains("ksm_stat") && merge.doubts()[0].contains("EACCES"));
        let known = reading(Known::Is(ThpDisable::Off), Known::Is(true));
        assert_eq!(
            (known.thp_word().as_str(), known.doubts().len()),
            ("inherit", 0)
        );
        assert_eq!(
            reading(Known::Other(7), Known::Is(true)).thp_word(),
            "thp:7"
        );
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
        assert_eq!(known(Ok(7)).0, Known::Other(7));
        assert_eq!(merge(Ok(2)).0, Known::Other(2));
        let refused = |errno| Some(Doubt::Refused { errno });
        for errno in [Errno::EINVAL, Errno::EPERM] {
            assert_eq!(known(Err(errno)), (Known::Unknown, refused(errno)));
        }
        assert_eq!(merge(Err(Errno::EINVAL)), (Known::Is(false), None));
        let filtered = merge(Err(Errno::EPERM));
        assert_eq!(filtered, (Known::Unknown, refused(Errno::EPERM)));
    }
}
