//! Which calls to make: every allowed value, every limit violated once, under every set of
//! privileges and limits that the specification speaks of.

use crate::consts;
use crate::ir::vocab::{ConstraintKind, ParamFlag, TypeKind};
use crate::ir::{Param, Spec};

use super::scene::{self, Scene};
use super::script::{Arg, Step};

/// Most combinations of allowed values.
const MOST_GOOD: usize = 96;

/// Privileges and limits that a call is made under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) drop: Vec<u32>,
    /// Soft RLIMIT_MEMLOCK; the inner `None` is the hard limit.
    pub(super) memlock: Option<Option<u64>>,
}

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) setting: Setting,
    pub(super) args: Vec<Arg>,
    /// The parameter whose limit is violated.
    pub(super) violates: Option<usize>,
    /// A mapping whose memory cannot be had is there.
    pub(super) broken: bool,
    /// What surrounds the call.
    pub(super) scene: Scene,
    /// The error that it should bring about.
    pub(super) aims: Option<String>,
}

/// What a parameter means to the call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Meaning {
    Pidfd,
    Descriptor,
    Pid,
    Address,
    Length,
    Mask(i128),
    Choice(Vec<i128>),
    Iovec,
    Count,
    Buffer,
    Signal,
    Pointer,
    Range(i128, i128),
    Truth,
    Zero,
}

/// Advices that damage the machine, not just the process.
const NEVER: [&str; 2] = ["MADV_HWPOISON", "MADV_SOFT_OFFLINE"];

fn never(spec: &Spec, number: i128) -> bool {
    spec.call_name().contains("madvise") && NEVER.iter().any(|n| consts::lookup(n) == Some(number))
}

fn meaning(spec: &Spec, param: &Param) -> Meaning {
    let l = &param.limits;
    let name = param.name.as_str();
    if let Some(mask) = l
        .valid_mask
        .as_ref()
        .and_then(|m| m.on(std::env::consts::ARCH))
    {
        return Meaning::Mask(mask);
    }
    if !l.enum_values.is_empty() {
        let values = l
            .enum_values
            .iter()
            .filter_map(|v| v.on(std::env::consts::ARCH))
            .filter(|n| !never(spec, *n));
        return Meaning::Choice(values.collect());
    }
    if param.kind == Some(TypeKind::Fd) {
        return if name.contains("pid") {
            Meaning::Pidfd
        } else {
            Meaning::Descriptor
        };
    }
    if let Some(range) = &l.range
        && let (Some(min), Some(max)) = (range.min.number, range.max.number)
        && !matches!(name, "pid" | "sig" | "len" | "length" | "vlen")
    {
        return Meaning::Range(min, max);
    }
    match name {
        _ if param.kind == Some(TypeKind::Bool) => Meaning::Truth,
        "pid" | "upid" => Meaning::Pid,
        "start" | "addr" | "address" => Meaning::Address,
        "len" | "length" | "len_in" => Meaning::Length,
        "sig" => Meaning::Signal,
        "vlen" => Meaning::Count,
        _ if param.type_name.contains("iovec") => Meaning::Iovec,
        _ if param.flags.has(&ParamFlag::Optional) => Meaning::Pointer,
        _ if param.type_name.contains('*') && param.flags.has(&ParamFlag::Out) => Meaning::Buffer,
        _ if matches!(param.kind, Some(TypeKind::UserPtr | TypeKind::Ptr)) => Meaning::Pointer,
        _ if l.kind == Some(ConstraintKind::PageAligned) => Meaning::Address,
        _ => Meaning::Zero,
    }
}

/// Values that the specification allows; the first one is the plainest.
fn good(meaning: &Meaning) -> Vec<Arg> {
    match meaning {
        Meaning::Pidfd => vec![Arg::PidfdSelf, Arg::PidfdChild],
        Meaning::Descriptor => vec![Arg::File],
        Meaning::Pid => vec![Arg::PidSelf, Arg::PidChild],
        Meaning::Address => vec![Arg::Mapped(0)],
        Meaning::Length => vec![Arg::Length(0)],
        Meaning::Mask(mask) => {
            let bits: Vec<i128> = (0..64)
                .map(|b| 1i128 << b)
                .filter(|b| mask & b != 0)
                .take(6)
                .collect();
            let mut all: Vec<i128> = (0..1u32 << bits.len())
                .map(|pick| {
                    bits.iter()
                        .enumerate()
                        .filter(|(n, _)| pick >> n & 1 == 1)
                        .fold(0, |sum, (_, bit)| sum | bit)
                })
                .collect();
            // One bit first: 0 is often no choice.
            all.sort_by_key(|n| (n.count_ones() != 1, n.count_ones(), *n));
            all.into_iter().map(Arg::Number).collect()
        }
        Meaning::Choice(values) => values.iter().map(|n| Arg::Number(*n)).collect(),
        Meaning::Truth => vec![Arg::Number(1), Arg::Number(0)],
        Meaning::Iovec => vec![Arg::Iovec],
        Meaning::Count => vec![Arg::Number(1)],
        Meaning::Buffer => vec![Arg::Buffer],
        Meaning::Range(min, max) if min == max => vec![Arg::Number(*min)],
        Meaning::Range(min, max) => vec![Arg::Number(*min), Arg::Number(*max)],
        Meaning::Signal | Meaning::Pointer | Meaning::Zero => vec![Arg::Number(0)],
    }
}

/// Values that some rule should refuse.
fn bad(spec: &Spec, meaning: &Meaning) -> Vec<Arg> {
    let number = |n: i128| Arg::Number(n);
    match meaning {
        Meaning::Pidfd => vec![Arg::Closed, Arg::File, Arg::PidfdDead, number(-1)],
        Meaning::Descriptor => vec![Arg::Closed, number(-1)],
        Meaning::Pid => vec![Arg::PidDead, number(0), number(-1)],
        Meaning::Address => vec![Arg::Mapped(1), Arg::Unmapped, Arg::BeforeHole],
        Meaning::Length => vec![number(-4096), number(-1), number(0), Arg::Length(65536)],
        Meaning::Mask(mask) => {
            // Each bit alone, and beside one that is allowed: alone it may fail for another reason.
            let lowest = mask & -mask;
            let outside = (0..32).map(|b| 1i128 << b).filter(|b| mask & b == 0);
            let mut all: Vec<Arg> = outside
                .flat_map(|b| [b, b | lowest])
                .map(Arg::Number)
                .collect();
            all.push(number(i128::from(u32::MAX) & !mask));
            all.dedup();
            all
        }
        Meaning::Choice(values) => {
            let unused = (0..)
                .find(|n| !values.contains(n) && !never(spec, *n))
                .unwrap_or(-1);
            // Other options of a multiplexer are other calls.
            let multiplexer = spec.call_name().starts_with("prctl_");
            let all = if multiplexer {
                vec![number(0x7fff_0000)]
            } else {
                vec![number(unused), number(0x7fff_0000), number(-1)]
            };
            all.into_iter()
                .filter(|a| !matches!(a, Arg::Number(n) if values.contains(n)))
                .collect()
        }
        Meaning::Iovec => vec![Arg::BadPointer, Arg::IovecUnmapped],
        Meaning::Count => vec![number(1025), number(-1), number(0)],
        Meaning::Buffer => vec![Arg::BadPointer],
        Meaning::Truth => vec![number(2)],
        Meaning::Signal => vec![number(65), number(-1)],
        Meaning::Range(min, max) => vec![number(min - 1), number(max + 1)],
        Meaning::Pointer => vec![Arg::BadPointer],
        Meaning::Zero => Vec::new(),
    }
}

/// Every setting that the specification gives a reason for.
pub(super) fn settings(spec: &Spec) -> Vec<Setting> {
    let mut all = vec![Setting {
        name: "as started".to_owned(),
        drop: Vec::new(),
        memlock: None,
    }];
    let caps: Vec<(&str, u32)> = spec
        .capabilities
        .iter()
        .filter_map(|c| {
            Some((
                c.name.as_str(),
                u32::try_from(c.capability.as_ref()?.number?).ok()?,
            ))
        })
        .collect();
    let everything = serde_json::to_string(spec).unwrap_or_default();
    let limited = everything.contains("RLIMIT_MEMLOCK");
    for (name, number) in &caps {
        all.push(Setting {
            name: format!("without {name}"),
            drop: vec![*number],
            memlock: limited.then_some(None),
        });
    }
    if limited {
        let drop: Vec<u32> = caps.iter().map(|(_, n)| *n).collect();
        let names = if caps.is_empty() {
            String::new()
        } else {
            format!(
                "without {}, ",
                caps.iter().map(|c| c.0).collect::<Vec<_>>().join(", ")
            )
        };
        for (bytes, text) in [(0, "0"), (64 * 1024, "64 KiB")] {
            all.push(Setting {
                name: format!("{names}RLIMIT_MEMLOCK = {text}"),
                drop: drop.clone(),
                memlock: Some(Some(bytes)),
            });
            all.push(Setting {
                name: format!("RLIMIT_MEMLOCK = {text}"),
                drop: Vec::new(),
                memlock: Some(Some(bytes)),
            });
        }
    }
    all
}

/// The calls to make.
pub(super) fn cases(spec: &Spec) -> Vec<Case> {
    let meanings: Vec<Meaning> = spec.params.iter().map(|p| meaning(spec, p)).collect();
    let goods: Vec<Vec<Arg>> = meanings.iter().map(good).collect();
    let plain: Vec<Arg> = goods
        .iter()
        .map(|g| g.first().cloned().unwrap_or(Arg::Number(0)))
        .collect();
    let mut sets: Vec<Vec<Arg>> = vec![Vec::new()];
    for choice in &goods {
        sets = sets
            .iter()
            .flat_map(|set| {
                choice
                    .iter()
                    .map(|arg| set.iter().cloned().chain([arg.clone()]).collect())
            })
            .take(MOST_GOOD)
            .collect();
    }
    let settings = settings(spec);
    let mut all = Vec::new();
    for setting in &settings {
        for args in &sets {
            all.push(Case {
                setting: setting.clone(),
                args: args.clone(),
                violates: None,
                broken: false,
                scene: Scene::Plain,
                aims: None,
            });
        }
    }
    let texts = spec
        .errors
        .iter()
        .map(|e| format!("{} {}", e.summary, e.description).to_lowercase());
    let scarce = texts.into_iter().any(|t| {
        t.contains("could not be")
            || t.contains("memory pressure")
            || t.contains("cannot be brought")
    });
    if let Some(first) = settings.first() {
        for (n, meaning) in meanings.iter().enumerate() {
            let range = spec.params.get(n).and_then(|p| p.limits.range.as_ref());
            let allowed =
                |arg: &Arg| match (arg, range.and_then(|r| r.min.number.zip(r.max.number))) {
                    (Arg::Number(n), Some((min, max))) => (min..=max).contains(n),
                    _ => false,
                };
            for value in bad(spec, meaning).into_iter().filter(|arg| !allowed(arg)) {
                let args = plain
                    .iter()
                    .enumerate()
                    .map(|(m, arg)| if m == n { value.clone() } else { arg.clone() })
                    .collect();
                all.push(Case {
                    setting: first.clone(),
                    args,
                    violates: Some(n),
                    broken: false,
                    scene: Scene::Plain,
                    aims: None,
                });
            }
        }
        if scarce {
            all.extend(sets.iter().map(|args| Case {
                setting: first.clone(),
                args: args.clone(),
                violates: None,
                broken: true,
                scene: Scene::Plain,
                aims: None,
            }));
        }
        for error in &spec.errors {
            all.extend(scene::cases(spec, error, &plain, first));
        }
    }
    all
}

impl Setting {
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if let Some(bytes) = self.memlock {
            steps.push(Step::Limit(8, bytes));
        }
        if !self.drop.is_empty() {
            steps.push(Step::DropCapabilities(self.drop.clone()));
        }
        steps
    }
}

impl Case {
    /// Look, call, map, look again.
    pub(super) fn steps(&self, call: &str, number: u32) -> Vec<Step> {
        let mut steps = vec![self.scene.map()];
        let (before, after) = self.scene.around(&self.args);
        if self.broken {
            steps.push(Step::MapBroken("broken".to_owned()));
        }
        steps.extend(preparation(call));
        steps.extend(self.setting.steps());
        steps.push(Step::Look("a".to_owned()));
        steps.extend(before);
        steps.push(Step::Call {
            number,
            args: self.args.clone(),
            name: "call".to_owned(),
        });
        steps.extend(after);
        steps.push(Step::Map("after".to_owned()));
        steps.push(Step::Look("b".to_owned()));
        steps
    }
}

/// What must be there for a call that takes something away.
pub(super) fn preparation(call: &str) -> Option<Step> {
    let (first, args) = match call {
        "munlock" => ("mlock", vec![Arg::Mapped(0), Arg::Length(0)]),
        "munlockall" => ("mlockall", vec![Arg::Number(3)]),
        _ => return None,
    };
    Some(Step::Call {
        number: consts::syscall_number(first)?,
        args,
        name: "prepared".to_owned(),
    })
}
