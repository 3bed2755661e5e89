//! A policy to come back to: what `mctl get --json` writes and `mctl restore` takes.

use std::time::Duration;

use mctl_abi::thp::ThpDisable;
use mctl_abi::{Errno, Policy};
use mctl_sys::inject::Prepared;
use mctl_sys::procfs::stat::Stat;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::op::budget::Ahead;
use crate::op::outcome::{Mechanism, Note, Outcome};
use crate::op::policy::plan::{Plan, Step, unsupported};
use crate::op::{Detail, Hooks, Operation, Ready};
use crate::run::{Work, each, record_steps, walk_one};
use crate::see::policy::{
    Doubt, INHERIT_OR_ADVISED, Known, Look, Reading, UNKNOWN, inherit_is_advised, read_policy,
};
use crate::target::{ProcessSpec, Target};

/// The switches of one process at one time, with enough to know the process again.
///
/// Fields that are not known here are ignored when one is read, so that it can be a part of a
/// larger object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The process number.
    pub pid: i32,
    /// The inode of its pidfd, since Linux 6.9.
    pub inode: Option<u64>,
    /// When it started, in clock ticks since boot (proc_pid_stat(5)).
    pub start_time: u64,
    /// Its command name, for people.
    pub name: String,
    /// `PR_GET_THP_DISABLE`; `null` where it was not known.
    pub thp_disable: Option<i64>,
    /// What governs huge pages, as a word: [`Reading::thp_word`]. Where the switch is `null` and
    /// this is not, it was known at least that the process was not under "never".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thp: Option<String>,
    /// `PR_GET_MEMORY_MERGE`; `null` where it was not known.
    pub mergeable: Option<bool>,
    /// The policy record, as the mask of `MCTL_GET_POLICY`; `null` on a kernel that keeps none.
    #[serde(default)]
    pub record: Option<u32>,
}

impl Saved {
    /// Reads the switches of a process.
    ///
    /// # Errors
    /// As [`read_policy`].
    pub fn of(target: &Target, look: Look) -> Result<Saved> {
        crate::with_room(|| Saved::from_reading(target, &read_policy(target, look)?))
    }

    /// From a reading that was taken already.
    ///
    /// # Errors
    /// `ESRCH` it ended.
    pub fn from_reading(target: &Target, reading: &Reading) -> Result<Saved> {
        let thp_disable = match reading.thp_disable {
            Known::Is(state) => Some(state.getter()),
            Known::Other(raw) => Some(raw),
            Known::Either(..) | Known::Unknown => None,
        };
        let mergeable = match reading.mergeable {
            Known::Is(on) => Some(on),
            Known::Either(..) | Known::Other(_) | Known::Unknown => None,
        };
        let thp = match (reading.thp(), reading.thp_doubt) {
            (Known::Unknown, None | Some(Doubt::NotShown | Doubt::Refused { .. })) => None,
            _ => Some(reading.thp_word()),
        };
        Ok(Saved {
            pid: target.pid(),
            inode: target.inode()?,
            start_time: start_time(target)?,
            name: target.name(),
            thp_disable,
            thp,
            mergeable,
            record: reading.record.map(Policy::mask),
        })
    }

    /// Puts the switches of the process back to what was saved. What was not known then stays: a
    /// process that was `inherit-or-advised` is one of the two still, and keeps which. Where it is
    /// under `nohugepage` now, that alone is taken off, while the host still makes no difference
    /// between the two; the outcome says so.
    ///
    /// # Errors
    /// `ESRCH` the process has ended, also where another has its number now; `EOPNOTSUPP` the
    /// saved state is one that mctl cannot set, or the process was not under `nohugepage` then, is
    /// now, and which of two states to go back to was not known and makes a difference. Nothing
    /// was changed then.
    pub fn restore(&self) -> Result<Outcome> {
        crate::with_room(|| each::run(self, &self.open()?, &mut Hooks::default()))
    }

    /// What [`restore`](Saved::restore) would do, without touching the process.
    ///
    /// # Errors
    /// As [`restore`](Saved::restore).
    pub fn dry_run(&self) -> Result<Plan> {
        crate::with_room(|| each::dry_run(self, &self.open()?))
    }

    /// The process that was saved, if that number is its own still. Whether it is the same process is checked then.
    ///
    /// # Errors
    /// `ESRCH` it has ended.
    fn open(&self) -> Result<Target> {
        Target::open(ProcessSpec {
            pid: self.pid,
            inode: self.inode,
        })
    }

    /// The steps that put the process back.
    fn steps(&self, target: &Target) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        // On a kernel without the switch "off" is what everyone has.
        let has_switch = || mctl_sys::raw::prctl::memory_merge().is_ok();
        if let Some(on) = self.mergeable.filter(|on| *on || has_switch()) {
            steps.push(Step::SetMerge { on });
        }
        if let Some(raw) = self.thp_disable {
            let to = ThpDisable::from_getter(raw).ok_or_else(|| {
                unsupported(
                    "restore",
                    &format!("{raw} is no state of PR_SET_THP_DISABLE known here"),
                )
            })?;
            steps.push(Step::SetThpDisable {
                to,
                only_from: None,
            });
        }
        steps.extend(self.lift_never(target)?);
        if let Some(mask) = self.record {
            steps.extend(self.record_steps(target, mask)?);
        }
        Ok(steps)
    }

    /// Where the process was inherit or hugepage-advised, which of the two did not show, and it is
    /// under "never" now: that is taken off, if the two come to the same.
    fn lift_never(&self, target: &Target) -> Result<Option<Step>> {
        let word = self.thp.as_deref();
        if self.thp_disable.is_some() || !matches!(word, Some(INHERIT_OR_ADVISED | UNKNOWN)) {
            return Ok(None);
        }
        if read_policy(target, Look::Proc)?.thp_disable != Known::Is(ThpDisable::Full) {
            return Ok(None);
        }
        if word == Some(INHERIT_OR_ADVISED) && inherit_is_advised(target) {
            return Ok(Some(Step::SetThpDisable {
                to: ThpDisable::Off,
                only_from: Some(ThpDisable::Full),
            }));
        }
        Err(unsupported(
            "restore",
            "it is nohugepage now, and was inherit or hugepage-advised when it was saved; which \
             of the two was not known. 'mctl clear nohugepage' makes it inherit; 'mctl get \
             --exact --json' saves which it is",
        ))
    }

    fn record_steps(&self, target: &Target, mask: u32) -> Result<Vec<Step>> {
        let cannot = |why: &str| unsupported("restore", why);
        let wanted = Policy::from_mask(mask)
            .ok_or_else(|| cannot(&format!("{mask:#x} is no policy record known here")))?;
        match read_policy(target, Look::Proc)?.record {
            Some(now) => Ok(record_steps(target, now, wanted)),
            // Saved on a kernel with mctl(), read on one without.
            None if wanted == Policy::INHERIT => Ok(Vec::new()),
            None => Err(cannot(
                "the state was saved on a kernel that keeps a policy record, and this one keeps none",
            )),
        }
    }
}

/// What putting a process back depends on.
#[derive(Debug)]
pub struct SavedFacts<'t> {
    steps: Vec<Step>,
    prepared: Option<Prepared<'t>>,
}

impl Operation for Saved {
    type Facts<'t> = SavedFacts<'t>;
    type Plan = Plan;
    type Outcome = Outcome;

    fn name(&self) -> String {
        "restore".to_owned()
    }

    fn check<'t>(&self, target: &'t Target, _: Detail) -> Result<SavedFacts<'t>> {
        if start_time(target)? != self.start_time {
            return Err(Error::NoProcess { pid: self.pid });
        }
        let steps = self.steps(target)?;
        let injected = !target.is_own() && steps.iter().any(Step::is_injected);
        let prepared = match injected {
            true => Some(target.look()?),
            false => None,
        };
        Ok(SavedFacts { steps, prepared })
    }

    fn plan(&self, facts: &SavedFacts<'_>, _: &Ahead) -> Result<Plan> {
        let mut promised = Outcome::new();
        let lifts_never = |step: &Step| {
            matches!(
                step,
                Step::SetThpDisable {
                    only_from: Some(_),
                    ..
                }
            )
        };
        if facts.steps.iter().any(lifts_never) {
            promised.notes.push(Note::WasEither);
        }
        Ok(Plan {
            steps: facts.steps.clone(),
            promised,
        })
    }

    fn run<'t>(&self, ready: Ready<'t, Self>, _: &mut Hooks<'_>) -> Result<Outcome> {
        let Ready {
            target,
            facts,
            plan,
        } = ready;
        let mut outcome = walk_one(Work::new(target, facts.prepared, plan))?;
        if outcome.stopped == Duration::ZERO && outcome.mechanisms.is_empty() {
            outcome.mechanisms.push(Mechanism::Nothing);
        }
        Ok(outcome)
    }
}

fn start_time(target: &Target) -> Result<u64> {
    let text = crate::target::read_all(target, "stat")?;
    Stat::parse(&text)
        .map(|stat| stat.starttime)
        .map_err(|error| Error::Read {
            what: format!("/proc/{}/stat", target.pid()),
            why: error.to_string(),
            errno: Errno::EIO,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_object_will_do() {
        let text = r#"{"pid":7,"inode":null,"start_time":5,"name":"x","thp_disable":3,
                       "mergeable":null,"rss_kb":12}"#;
        let saved: Saved = serde_json::from_str(text).unwrap();
        assert_eq!(
            (saved.pid, saved.thp_disable, saved.mergeable),
            (7, Some(3), None)
        );
        let back = serde_json::to_string(&saved).unwrap();
        assert_eq!(serde_json::from_str::<Saved>(&back).unwrap(), saved);
    }

    /// One of two states, which one did not show: neither is ever set.
    #[test]
    fn what_was_one_of_two_is_left_or_refused() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let target = Target::open(child.id().to_string().parse().unwrap()).unwrap();
        let reading = read_policy(&target, Look::Proc).unwrap();
        let mut saved = Saved::from_reading(&target, &reading).unwrap();
        (saved.thp_disable, saved.mergeable, saved.record) = (None, None, None);
        for word in [INHERIT_OR_ADVISED, UNKNOWN] {
            saved.thp = Some(word.to_owned());
            let steps = saved.steps(&target).unwrap();
            assert!(steps.is_empty(), "it is left alone: {steps:?}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn another_process_is_never_hit() {
        let own = Target::own().unwrap();
        let mut saved = Saved::of(&own, Look::Proc).unwrap();
        saved.start_time += 1;
        assert_eq!(saved.restore().unwrap_err().errno(), Errno::ESRCH);
        saved.start_time -= 1;
        saved.thp_disable = Some(17);
        assert_eq!(saved.restore().unwrap_err().errno(), Errno::EOPNOTSUPP);
    }
}
