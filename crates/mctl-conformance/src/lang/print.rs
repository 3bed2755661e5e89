//! Writing steps in the language that they are read in.

use std::fmt::Write as _;

use mctl_abi::thp::Host;
use mctl_abi::{Action, PolicyKind, Verb};
use mctl_model::{Caps, Feature, Features, HugeZeroWrite, VmFlags};

use super::print_call::{Named, print_call};
use super::{Line, Names, Scenario, Wanted};
use crate::call::{Addr, Life, Look, Step};

/// A whole scenario as text that reads back to the same scenario.
#[must_use]
pub fn print_scenario(scenario: &Scenario) -> String {
    let mut out = String::new();
    if !scenario.sentence.is_empty() {
        let _ = writeln!(out, "case \"{}\"", escape(&scenario.sentence));
    }
    if !scenario.shows.is_empty() {
        let _ = writeln!(out, "shows {}", scenario.shows.join(" "));
    }
    if scenario.stock {
        out.push_str("kernel stock\n");
    }
    if let Some(reason) = &scenario.model_only {
        let _ = writeln!(out, "model-only \"{}\"", escape(reason));
    }
    for (backend, reason) in &scenario.not_on {
        let _ = writeln!(out, "not-on {backend} \"{}\"", escape(reason));
    }
    for (fact, reason) in &scenario.differs_where {
        let _ = writeln!(out, "differs-where {} \"{}\"", fact.word(), escape(reason));
    }
    let needs = &scenario.needs;
    let knobs = [
        needs.thp.map(|thp| format!("thp={}", host(thp))),
        needs.shmem.map(|shmem| format!("shmem={}", host(shmem))),
        needs.swap_pages.map(|pages| {
            let bytes = pages.saturating_mul(mctl_model::PAGE);
            format!("swap={}", size(bytes))
        }),
        needs.hugetlb_pages.map(|pages| format!("hugetlb={pages}")),
        needs
            .max_map_count
            .map(|count| format!("max-map-count={count}")),
        needs.yama.map(|scope| format!("yama={scope}")),
        needs.huge_zero_write.map(|write| {
            let word = match write {
                HugeZeroWrite::Huge => "stays-huge",
                HugeZeroWrite::Small => "turns-small",
                HugeZeroWrite::AsTable => "as-table",
            };
            format!("huge-zero={word}")
        }),
        features("has", needs.has),
        features("lacks", needs.lacks),
    ];
    let knobs: Vec<String> = knobs.into_iter().flatten().collect();
    if !knobs.is_empty() {
        let _ = writeln!(out, "host {}", knobs.join(" "));
    }
    for line in &scenario.lines {
        let _ = writeln!(out, "{}", print_line(line, &scenario.names));
    }
    out
}

fn features(key: &str, features: Features) -> Option<String> {
    let words: Vec<&str> = features.iter().map(Feature::word).collect();
    (!words.is_empty()).then(|| format!("{key}={}", words.join(",")))
}

fn print_line(line: &Line, names: &Names) -> String {
    let step = print_step(&line.step, names);
    if !line.outcome.is_empty() && line.wanted == Wanted::Ok {
        return format!("{step} -> ok {}", line.outcome.words());
    }
    match line.wanted {
        Wanted::Ok => step,
        Wanted::Any => format!("{step} -> any"),
        Wanted::Value(value) => format!("{step} -> {value}"),
        Wanted::Between(low, high) => format!("{step} -> {low}..{high}"),
        Wanted::Fails(errno) => format!("{step} -> {errno}"),
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn host(host: Host) -> &'static str {
    match host {
        Host::Always => "always",
        Host::Madvise => "madvise",
        Host::Never => "never",
    }
}

/// A size in the largest unit that fits.
#[must_use]
pub(crate) fn size(bytes: u64) -> String {
    if bytes == u64::MAX {
        return "max".to_owned();
    }
    for (unit, letter) in [(1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")] {
        if bytes != 0 && bytes.is_multiple_of(unit) {
            return format!("{}{letter}", bytes / unit);
        }
    }
    bytes.to_string()
}

pub(super) fn caps(caps: Caps) -> String {
    if caps == Caps::NONE {
        return "none".to_owned();
    }
    if caps == Caps::FULL {
        return "full".to_owned();
    }
    let names: Vec<&str> = Caps::ALL
        .iter()
        .filter(|(cap, _)| caps.has(*cap))
        .map(|(_, name)| *name)
        .collect();
    names.join(",")
}

pub(super) fn prot(flags: VmFlags) -> String {
    let text: String = [
        (VmFlags::READ, 'r'),
        (VmFlags::WRITE, 'w'),
        (VmFlags::EXEC, 'x'),
    ]
    .iter()
    .filter(|(flag, _)| flags.has(*flag))
    .map(|(_, letter)| *letter)
    .collect();
    if text.is_empty() {
        "none".to_owned()
    } else {
        text
    }
}

/// One step, without what it must come to.
#[must_use]
pub fn print_step(step: &Step, names: &Names) -> String {
    let n = Named(names);
    match step {
        Step::Spawn {
            task,
            uid,
            caps: held,
            memlock,
            kernel,
        } => {
            let mut out = format!("spawn {}", n.task(*task));
            if *uid != 0 {
                let _ = write!(out, " uid={uid}");
            }
            let usual = if *uid == 0 { Caps::FULL } else { Caps::NONE };
            if *held != usual {
                let _ = write!(out, " caps={}", caps(*held));
            }
            if *memlock != 8 << 20 {
                let _ = write!(out, " memlock={}", size(*memlock));
            }
            if *kernel {
                out.push_str(" kernel-thread");
            }
            out
        }
        Step::File {
            file,
            len,
            shmem,
            readonly,
        } => format!(
            "file {} {}{}{}",
            n.file(*file),
            size(*len),
            if *shmem { " shmem" } else { "" },
            if *readonly { " readonly" } else { "" }
        ),
        Step::Reclaim(count) => format!("reclaim {count}"),
        Step::Recycle(task) => format!("recycle {}", n.task(*task)),
        Step::Do(task, call) => format!("{} {}", n.task(*task), print_call(call, &n)),
        Step::Expect(look) => format!("expect {}", print_look(look, &n)),
    }
}

pub(super) fn action_text(number: i32) -> String {
    match Action::from_number(number).map(|action| action.info()) {
        Some(info) => match info.effect {
            Some((Verb::Set, _)) => format!("set-{}", info.word),
            Some((Verb::Clear, _)) => format!("clear-{}", info.word),
            None => "get".to_owned(),
        },
        None => number.to_string(),
    }
}

/// A policy mask in words.
#[must_use]
pub(crate) fn policy_text(mask: u32) -> String {
    let known = PolicyKind::ALL
        .iter()
        .fold(0, |bits, kind| bits | kind.bit() | kind.exec_bit());
    if mask == 0 {
        return "inherit".to_owned();
    }
    let words: Vec<String> = PolicyKind::ALL
        .iter()
        .filter(|kind| mask & kind.bit() != 0)
        .map(|kind| {
            let exec = if mask & kind.exec_bit() != 0 {
                "/exec"
            } else {
                ""
            };
            format!("{}{exec}", kind.word())
        })
        .collect();
    if mask & !known != 0 || words.is_empty() {
        return format!("{mask:#x}");
    }
    words.join(",")
}

fn print_look(look: &Look, n: &Named<'_>) -> String {
    let yes_no = |yes: &bool| if *yes { "yes" } else { "no" };
    let sized = |task: &u16, word: &str, at: &Addr, len: &u64, value: &u64| {
        format!(
            "{} {word} {} {}",
            n.task(*task),
            n.range(*at, *len),
            size(*value)
        )
    };
    match look {
        Look::Vma(task, at, has, lacks) => {
            let mut out = format!("{} vma {}", n.task(*task), n.addr(*at));
            for (flag, letters) in VmFlags::ALL {
                if has.has(*flag) {
                    let _ = write!(out, " {letters}");
                } else if lacks.has(*flag) {
                    let _ = write!(out, " !{letters}");
                }
            }
            out
        }
        Look::Unmapped(task, at, len, free) => {
            let word = if *free { "unmapped" } else { "mapped" };
            format!("{} {word} {}", n.task(*task), n.range(*at, *len))
        }
        Look::Rss(task, at, len, value) => sized(task, "rss", at, len, value),
        Look::Huge(task, at, len, value) => sized(task, "huge", at, len, value),
        Look::LockedIn(task, at, len, value) => sized(task, "locked-in", at, len, value),
        Look::Swapped(task, at, len, value) => sized(task, "swapped", at, len, value),
        Look::Dirty(task, at, len, value) => sized(task, "dirty", at, len, value),
        Look::Young(task, at, len, value) => sized(task, "young", at, len, value),
        Look::Eligible(task, at, yes) => {
            format!("{} eligible {} {}", n.task(*task), n.addr(*at), yes_no(yes))
        }
        Look::Locked(task, bytes) => format!("{} locked {}", n.task(*task), size(*bytes)),
        Look::ThpEnabled(task, yes) => format!("{} thp-enabled {}", n.task(*task), yes_no(yes)),
        Look::Policy(task, mask) => format!("{} policy {}", n.task(*task), policy_text(*mask)),
        Look::Life(task, life) => {
            let word = Life::ALL
                .iter()
                .find(|(l, _)| l == life)
                .map_or("", |(_, w)| w);
            format!("{} {word}", n.task(*task))
        }
        Look::Folios(file, active, inactive) => {
            format!("folios {} {active} {inactive}", n.file(*file))
        }
        Look::Refaults(file, count) => format!("refaults {} {count}", n.file(*file)),
    }
}
