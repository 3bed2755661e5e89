//! Writing steps in the language that they are read in.

use std::fmt::Write as _;

use mctl_abi::thp::Host;
use mctl_abi::{Action, PolicyKind, Verb};
use mctl_model::{Caps, CloneKind, VmFlags};

use super::{Line, Names, Scenario, Setup, Wanted};
use crate::call::{Addr, Base, Call, Entries, Life, Look, Place, Prctl, Source, Step, Whom};

/// A whole scenario as text that reads back to the same scenario.
#[must_use]
pub fn print_scenario(scenario: &Scenario) -> String {
    let mut out = String::new();
    if !scenario.sentence.is_empty() {
        let _ = writeln!(out, "case \"{}\"", escape(&scenario.sentence));
    }
    if let Some(reason) = &scenario.model_only {
        let _ = writeln!(out, "model-only \"{}\"", escape(reason));
    }
    let setup = &scenario.setup;
    if *setup != Setup::default() {
        let _ = writeln!(
            out,
            "host thp={} shmem={} swap={}p hugetlb={} max-map-count={} yama={}",
            host(setup.thp),
            host(setup.shmem),
            setup.swap_pages,
            setup.hugetlb_pages,
            setup.max_map_count,
            setup.yama
        );
    }
    for line in &scenario.lines {
        let _ = writeln!(out, "{}", print_line(line, &scenario.names));
    }
    out
}

fn print_line(line: &Line, names: &Names) -> String {
    let step = print_step(&line.step, names);
    match line.wanted {
        Wanted::Ok => step,
        Wanted::Any => format!("{step} -> any"),
        Wanted::Value(value) => format!("{step} -> {value}"),
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

fn caps(caps: Caps) -> String {
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

fn prot(flags: VmFlags) -> String {
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

/// Gives names back to places.
struct Named<'a>(&'a Names);

impl Named<'_> {
    fn of(list: &[String], at: u16, letter: char) -> String {
        match list.get(usize::from(at)) {
            Some(name) => name.clone(),
            None => format!("{letter}{at}"),
        }
    }
    fn task(&self, at: u16) -> String {
        Named::of(&self.0.tasks, at, 't')
    }
    fn region(&self, at: u16) -> String {
        Named::of(&self.0.regions, at, 'r')
    }
    fn fd(&self, at: u16) -> String {
        Named::of(&self.0.fds, at, 'f')
    }
    fn file(&self, at: u16) -> String {
        Named::of(&self.0.files, at, 'd')
    }

    fn addr(&self, addr: Addr) -> String {
        let base = match addr.base {
            Base::Zero => return format!("{:#x}", addr.offset),
            Base::Region(at) => self.region(at),
            Base::Heap => "heap".to_owned(),
        };
        if addr.offset == 0 {
            base
        } else {
            format!("{base}+{}", size(addr.offset))
        }
    }

    fn range(&self, addr: Addr, len: u64) -> String {
        format!("{} {}", self.addr(addr), size(len))
    }

    fn whom(&self, whom: Whom) -> String {
        match whom {
            Whom::SelfThread => "self".to_owned(),
            Whom::SelfProcess => "self-process".to_owned(),
            Whom::Fd(fd) => self.fd(fd),
            Whom::RawFd(number) => format!("fd:{number}"),
            Whom::Task(task) => self.task(task),
            Whom::Pid(task, true) => format!("pid:{}", self.task(task)),
            Whom::Pid(task, false) => format!("stale-pid:{}", self.task(task)),
        }
    }

    fn entries(&self, list: &[(Addr, u64)]) -> String {
        list.iter()
            .map(|(at, len)| format!(" {}", self.range(*at, *len)))
            .collect()
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

fn print_call(call: &Call, n: &Named<'_>) -> String {
    match call {
        Call::Map { .. } => print_map(call, n),
        Call::Unmap(at, len) => format!("unmap {}", n.range(*at, *len)),
        Call::Protect(at, len, flags, down) => format!(
            "protect {} {}{}",
            n.range(*at, *len),
            prot(*flags),
            if *down { " growsdown" } else { "" }
        ),
        Call::Remap {
            at,
            old,
            new,
            maymove,
            to,
            dontunmap,
            result,
        } => {
            let mut out = format!("remap {} {}", n.range(*at, *old), size(*new));
            if *maymove {
                out.push_str(" maymove");
            }
            if let Some(to) = to {
                let _ = write!(out, " to={}", n.addr(*to));
            }
            if *dontunmap {
                out.push_str(" dontunmap");
            }
            if let Some(result) = result {
                let _ = write!(out, " as {}", n.region(*result));
            }
            out
        }
        Call::Brk(at) => format!("brk {}", n.addr(*at)),
        Call::Madvise(at, len, advice) => format!("madvise {} {advice}", n.range(*at, *len)),
        Call::Lock(at, len) => format!("lock {}", n.range(*at, *len)),
        Call::Lock2(at, len, flags) => format!("lock2 {} {flags}", n.range(*at, *len)),
        Call::Unlock(at, len) => format!("unlock {}", n.range(*at, *len)),
        Call::LockAll(flags) => format!("lockall {flags}"),
        Call::UnlockAll => "unlockall".to_owned(),
        Call::Touch(at, len, write) => format!(
            "touch {} {}",
            n.range(*at, *len),
            if *write { "write" } else { "read" }
        ),
        Call::Clone(kind, child) => {
            let verb = match kind {
                CloneKind::Fork => "fork",
                CloneKind::Vfork => "vfork",
                CloneKind::Vm => "clone-vm",
                CloneKind::Thread => "thread",
            };
            format!("{verb} {}", n.task(*child))
        }
        Call::Exec { set_uid, script } => {
            let mut out = "exec".to_owned();
            if let Some(uid) = set_uid {
                let _ = write!(out, " set-uid={uid}");
            }
            if *script {
                out.push_str(" script");
            }
            out
        }
        Call::Exit => "exit".to_owned(),
        Call::ExitThread => "exit-thread".to_owned(),
        Call::Wait(child) => format!("wait {}", n.task(*child)),
        Call::Kill(task, signal) => format!("kill {} {signal}", n.task(*task)),
        Call::PidfdOpen(fd, task, 0) => format!("pidfd {} {}", n.fd(*fd), n.task(*task)),
        Call::PidfdOpen(fd, task, flags) => {
            format!("pidfd {} {} {flags}", n.fd(*fd), n.task(*task))
        }
        Call::OpenOther(fd) => format!("open-other {}", n.fd(*fd)),
        Call::Close(fd) => format!("close {}", n.fd(*fd)),
        Call::Mctl(whom, action, flags, owner) => {
            let mut out = format!("mctl {} {}", n.whom(*whom), action_text(*action));
            match flags {
                0 => {}
                1 => out.push_str(" default-exec"),
                other => {
                    let _ = write!(out, " flags={other:#x}");
                }
            }
            if *owner {
                out.push_str(" owner-rule");
            }
            out
        }
        Call::Prctl(which, args) => {
            let name = Prctl::ALL
                .iter()
                .find(|(known, ..)| known == which)
                .map_or("", |(_, name, _)| name);
            let [a, b, c, d] = args;
            format!("prctl {name} {a} {b} {c} {d}")
        }
        Call::Memlock(bytes) => format!("memlock {}", size(*bytes)),
        Call::Become(uid, held) => format!("become uid={uid} caps={}", caps(*held)),
        Call::UnshareUser => "unshare-user".to_owned(),
        Call::ProcessMadvise(whom, advice, flags, list) => format!(
            "process-madvise {} {advice} flags={flags}{}",
            n.whom(*whom),
            n.entries(list)
        ),
        Call::Pmadvise(whom, advice, flags, entries, destructive) => format!(
            "pmadvise {} {advice} flags={flags}{}{}",
            n.whom(*whom),
            if *destructive { " destructive" } else { "" },
            match entries {
                Entries::Null(count) => format!(" null={}", size(*count)),
                Entries::List(list) => n.entries(list),
            }
        ),
        Call::ReadFile(file, first, pages) => {
            format!("read-file {} {first} {pages}", n.file(*file))
        }
    }
}

fn print_map(call: &Call, n: &Named<'_>) -> String {
    let Call::Map {
        region,
        at,
        len,
        prot: rights,
        shared,
        place,
        growsdown,
        locked,
        populate,
        noreserve,
        stack,
        source,
    } = call
    else {
        return String::new();
    };
    let mut out = format!("map {} {}", n.region(*region), size(*len));
    if let Some(at) = at {
        let _ = write!(out, " at={}", n.addr(*at));
    }
    if *rights != VmFlags::READ | VmFlags::WRITE {
        let _ = write!(out, " prot={}", prot(*rights));
    }
    match source {
        Source::Anon => {}
        Source::Hugetlb => out.push_str(" hugetlb"),
        Source::File(file, offset) => {
            let _ = write!(out, " file={} offset={}", n.file(*file), size(*offset));
        }
    }
    match place {
        Place::Noreplace => {}
        Place::Fixed => out.push_str(" fixed"),
        Place::Anywhere => out.push_str(" anywhere"),
    }
    for (on, word) in [
        (shared, " shared"),
        (growsdown, " growsdown"),
        (locked, " locked"),
        (populate, " populate"),
        (noreserve, " noreserve"),
        (stack, " stack"),
    ] {
        if *on {
            out.push_str(word);
        }
    }
    out
}

fn action_text(number: i32) -> String {
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
