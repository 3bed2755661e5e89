//! Which calls to make: every allowed value, every limit violated, under every set of privileges
//! and limits that the specification speaks of.

use crate::consts;
use crate::ir::Spec;

use super::HARMLESS;
use super::scene::{self, Scene};
use super::script::{Arg, Step};
use super::values::{Meaning, good, meaning, odd};

/// Most combinations of allowed values under one setting; beyond it, pairs.
const MOST_GOOD: usize = 160;
/// The resource number of RLIMIT_MEMLOCK.
const MEMLOCK: u32 = 8;

/// The soft RLIMIT_MEMLOCK of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memlock {
    /// As it was.
    AsStarted,
    /// So many bytes.
    Bytes(u64),
    /// The size of the address space, exactly.
    Size,
}

/// Privileges of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Privileges {
    /// Those that the verifier has.
    All,
    /// All but this one.
    AllBut(u32),
    /// This one alone.
    Only(u32),
    /// None.
    None,
}

/// Privileges and limits that a call is made under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) privileges: Privileges,
    pub(super) memlock: Memlock,
}

/// The setting that the verifier was started in.
pub(super) const PLAIN: Setting = Setting {
    privileges: Privileges::All,
    memlock: Memlock::AsStarted,
};

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) setting: Setting,
    pub(super) args: Vec<Arg>,
    /// The parameters whose values are out of the ordinary.
    pub(super) odd: Vec<usize>,
    /// What surrounds the call.
    pub(super) scene: Scene,
    /// The error that it should bring about.
    pub(super) aims: Option<String>,
    /// A call that is made before, and the words for it.
    pub(super) first: Option<(String, Step)>,
}

/// Every setting that the specification gives a reason for.
fn settings(spec: &Spec) -> Vec<Setting> {
    let caps: Vec<u32> = spec
        .capabilities
        .iter()
        .filter_map(|c| u32::try_from(c.capability.as_ref()?.number?).ok())
        .collect();
    let everything = serde_json::to_string(spec).unwrap_or_default();
    let mut privileges = vec![Privileges::All];
    if !caps.is_empty() || everything.contains("CAP_") {
        privileges.push(Privileges::None);
    }
    for cap in caps {
        privileges.extend([Privileges::AllBut(cap), Privileges::Only(cap)]);
    }
    let mut limits = vec![Memlock::AsStarted];
    if everything.contains("RLIMIT_MEMLOCK") {
        limits.extend([0, 32 * 1024, 64 * 1024].map(Memlock::Bytes));
        limits.push(Memlock::Size);
    }
    privileges
        .iter()
        .flat_map(|privileges| {
            limits.iter().map(|memlock| Setting {
                privileges: *privileges,
                memlock: *memlock,
            })
        })
        .collect()
}

/// All combinations, or, where they are too many, the plainest with each pair varied.
fn combinations(choices: &[Vec<Arg>]) -> Vec<Vec<Arg>> {
    let total = choices
        .iter()
        .try_fold(1usize, |n, c| n.checked_mul(c.len().max(1)))
        .unwrap_or(usize::MAX);
    if total <= MOST_GOOD {
        return choices.iter().fold(vec![Vec::new()], |sets, choice| {
            sets.iter()
                .flat_map(|set| {
                    choice
                        .iter()
                        .map(|arg| set.iter().cloned().chain([arg.clone()]).collect())
                })
                .collect()
        });
    }
    let plain: Vec<Arg> = choices.iter().filter_map(|c| c.first().cloned()).collect();
    let mut sets = vec![plain.clone()];
    for (i, first) in choices.iter().enumerate() {
        for (j, second) in choices.iter().enumerate().skip(i + 1) {
            for (a, b) in first
                .iter()
                .flat_map(|a| second.iter().map(move |b| (a, b)))
            {
                let mut set = plain.clone();
                for (n, arg) in [(i, a), (j, b)] {
                    if let Some(slot) = set.get_mut(n) {
                        slot.clone_from(arg);
                    }
                }
                if !sets.contains(&set) {
                    sets.push(set);
                }
            }
        }
    }
    sets
}

/// The calls to make.
pub(super) fn cases(spec: &Spec) -> Vec<Case> {
    let known = super::syscall_of(spec).is_some_and(|(name, _)| HARMLESS.contains(&name));
    let meanings: Vec<Meaning> = spec.params.iter().map(|p| meaning(spec, p)).collect();
    let with_params = || meanings.iter().zip(&spec.params);
    let goods: Vec<Vec<Arg>> = with_params().map(|(m, p)| good(m, p)).collect();
    let odds: Vec<Vec<Arg>> = with_params().map(|(m, p)| odd(spec, m, p, known)).collect();
    let plain: Vec<Arg> = goods
        .iter()
        .map(|g| g.first().cloned().unwrap_or(Arg::Number(0)))
        .collect();
    let sets = combinations(&goods);
    let mut all = Vec::new();
    let mut add = |setting: &Setting, args: Vec<Arg>, odd: Vec<usize>, scene: Scene| {
        all.push(Case {
            setting: setting.clone(),
            args,
            odd,
            scene,
            aims: None,
            first: None,
        });
    };
    let replaced = |changes: &[(usize, &Arg)]| {
        let mut args = plain.clone();
        for (n, arg) in changes {
            if let Some(slot) = args.get_mut(*n) {
                slot.clone_from(arg);
            }
        }
        args
    };
    for setting in &settings(spec) {
        for args in &sets {
            add(setting, args.clone(), Vec::new(), Scene::Plain);
        }
        for (n, (values, meaning)) in odds.iter().zip(&meanings).enumerate() {
            // What no limit or privilege decides is tried once.
            let everywhere = !matches!(
                meaning,
                Meaning::Mask(_) | Meaning::Choice(_) | Meaning::Range(..)
            );
            for value in values.iter().filter(|_| everywhere || *setting == PLAIN) {
                add(setting, replaced(&[(n, value)]), vec![n], Scene::Plain);
            }
        }
        // A range is odd by its start and its length together.
        let position = |wanted: &Meaning| meanings.iter().position(|m| m == wanted);
        if let (Some(a), Some(l)) = (position(&Meaning::Address), position(&Meaning::Length)) {
            let (starts, lengths) = (odds.get(a), odds.get(l));
            for start in starts.into_iter().flatten() {
                for length in lengths.into_iter().flatten() {
                    let args = replaced(&[(a, start), (l, length)]);
                    add(setting, args, vec![a, l], Scene::Plain);
                }
            }
        }
    }
    // Memory that cannot be had makes a populating call fail, or not.
    if known && position_of_range(&meanings) {
        for args in &sets {
            add(&PLAIN, args.clone(), Vec::new(), Scene::BeyondFile);
        }
    }
    for first in asked_for(spec.call_name()) {
        all.push(Case {
            setting: PLAIN,
            args: plain.clone(),
            odd: Vec::new(),
            scene: Scene::Plain,
            aims: None,
            first: Some(first),
        });
    }
    for error in &spec.errors {
        all.extend(scene::cases(spec, error, &plain));
    }
    all
}

fn position_of_range(meanings: &[Meaning]) -> bool {
    meanings.is_empty()
        || meanings.contains(&Meaning::Address)
        || meanings.iter().any(|m| matches!(m, Meaning::Mask(_)))
}

impl Setting {
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.memlock == Memlock::Size {
            steps.push(Step::Raise(MEMLOCK));
        }
        let without = |kept: Option<u32>| (0..64).filter(|n| Some(*n) != kept).collect();
        match self.privileges {
            Privileges::All => {}
            Privileges::AllBut(cap) => steps.push(Step::DropCapabilities(vec![cap])),
            Privileges::Only(cap) => steps.push(Step::DropCapabilities(without(Some(cap)))),
            Privileges::None => steps.push(Step::DropCapabilities(without(None))),
        }
        if let Memlock::Bytes(bytes) = self.memlock {
            steps.push(Step::Limit(MEMLOCK, Some(bytes)));
        }
        steps
    }

    /// `without CAP_IPC_LOCK, RLIMIT_MEMLOCK = 0`.
    pub(super) fn words(&self) -> String {
        let cap = |n: u32| {
            consts::capability_name(n.into())
                .map_or_else(|| format!("capability {n}"), str::to_owned)
        };
        let mut words = Vec::new();
        match self.privileges {
            Privileges::All => {}
            Privileges::AllBut(n) => words.push(format!("without {}", cap(n))),
            Privileges::Only(n) => words.push(format!("{} alone", cap(n))),
            Privileges::None => words.push("without capabilities".to_owned()),
        }
        match self.memlock {
            Memlock::AsStarted => {}
            Memlock::Bytes(0) => words.push("RLIMIT_MEMLOCK = 0".to_owned()),
            Memlock::Bytes(n) => words.push(format!("RLIMIT_MEMLOCK = {} KiB", n / 1024)),
            Memlock::Size => words.push("RLIMIT_MEMLOCK = the address space".to_owned()),
        }
        words.join(", ")
    }
}

impl Case {
    /// With the privileges and the surroundings that the verifier was started in.
    pub(super) fn is_whole(&self) -> bool {
        self.setting == PLAIN && self.scene == Scene::Plain
    }

    /// Prepare, look, call, and then `tail`.
    pub(super) fn steps(&self, call: &str, number: u32, tail: Vec<Step>) -> Vec<Step> {
        let mut steps = vec![self.scene.map()];
        let (early, before, after) = self.scene.around(&self.args);
        steps.extend(preparation(call));
        steps.extend(self.first.iter().map(|(_, step)| step.clone()));
        steps.push(Step::Map("def".to_owned()));
        steps.extend(self.setting.steps());
        if early.is_empty() && self.scene != Scene::NoDescriptors {
            steps.push(Step::Prepare(self.args.clone()));
        }
        steps.extend(early);
        steps.push(Step::Look("a".to_owned()));
        if self.setting.memlock == Memlock::Size {
            steps.push(Step::LimitToSize);
        }
        steps.extend(before);
        steps.push(Step::Call {
            number,
            args: self.args.clone(),
            name: "call".to_owned(),
        });
        steps.extend(after);
        steps.extend(tail);
        steps
    }
}

/// What is there after the call.
pub(super) fn look() -> Vec<Step> {
    vec![
        Step::Look("b".to_owned()),
        Step::Map("after".to_owned()),
        Step::Look("later".to_owned()),
    ]
}

/// What must be there for a call that takes something away.
fn preparation(call: &str) -> Vec<Step> {
    let make = |name: &str, args: Vec<Arg>| {
        consts::syscall_number(name).map(|number| Step::Call {
            number,
            args,
            name: "prepared".to_owned(),
        })
    };
    const MCL_FUTURE: i128 = 2;
    let range = make("mlock", vec![Arg::Mapped(0), Arg::Length(0)]);
    // Not everything that there is: that is too much for those without privileges.
    let future = make("mlockall", vec![Arg::Number(MCL_FUTURE)]);
    match call {
        "munlock" => range.into_iter().collect(),
        "munlockall" => range.into_iter().chain(future).collect(),
        _ => Vec::new(),
    }
}

/// What is asked for in turn, before a call that answers it: each with the words for it.
fn asked_for(call: &str) -> Vec<(String, Step)> {
    let set = |option: &str, values: &[i128]| {
        let number = consts::syscall_number("prctl")?;
        let option = consts::lookup(option)?;
        let step = |more: i128, flags: i128| {
            let args = [option, more, flags, 0, 0].map(Arg::Number).to_vec();
            Step::Call {
                number,
                args,
                name: "prepared".to_owned(),
            }
        };
        let all = values
            .iter()
            .map(|flags| (format!("after setting 1 | {flags}"), step(1, *flags)));
        Some(all.collect())
    };
    let found: Option<Vec<(String, Step)>> = match call {
        "prctl_get_thp_disable" => set("PR_SET_THP_DISABLE", &[0, 2]),
        "prctl_get_memory_merge" => set("PR_SET_MEMORY_MERGE", &[0]),
        _ => None,
    };
    found.unwrap_or_default()
}
