//! Writing what a task does.

use std::fmt::Write as _;

use mctl_model::{CloneKind, VmFlags};

use super::Names;
use super::print::{action_text, caps, prot, size};
use crate::call::{Addr, Base, Call, Entries, Place, Prctl, Source, Whom};

/// Gives names back to places.
pub(super) struct Named<'a>(pub(super) &'a Names);

impl Named<'_> {
    fn of(list: &[String], at: u16, letter: char) -> String {
        match list.get(usize::from(at)) {
            Some(name) => name.clone(),
            None => format!("{letter}{at}"),
        }
    }
    pub(super) fn task(&self, at: u16) -> String {
        Named::of(&self.0.tasks, at, 't')
    }
    pub(super) fn region(&self, at: u16) -> String {
        Named::of(&self.0.regions, at, 'r')
    }
    pub(super) fn fd(&self, at: u16) -> String {
        Named::of(&self.0.fds, at, 'f')
    }
    pub(super) fn file(&self, at: u16) -> String {
        Named::of(&self.0.files, at, 'd')
    }

    pub(super) fn addr(&self, addr: Addr) -> String {
        let base = match addr.base {
            Base::Zero => return format!("{:#x}", addr.offset),
            Base::Region(at) => self.region(at),
            Base::Heap => "heap".to_owned(),
            Base::Stack => "stack".to_owned(),
        };
        if addr.offset == 0 {
            base
        } else {
            format!("{base}+{}", size(addr.offset))
        }
    }

    pub(super) fn range(&self, addr: Addr, len: u64) -> String {
        format!("{} {}", self.addr(addr), size(len))
    }

    pub(super) fn whom(&self, whom: Whom) -> String {
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

    pub(super) fn entries(&self, list: &[(Addr, u64)]) -> String {
        list.iter()
            .map(|(at, len)| format!(" {}", self.range(*at, *len)))
            .collect()
    }
}

pub(super) fn print_call(call: &Call, n: &Named<'_>) -> String {
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
        Call::Mctl(whom, action, flags, how) => {
            let mut out = format!("mctl {} {}", n.whom(*whom), action_text(*action));
            match flags {
                0 => {}
                1 => out.push_str(" default-exec"),
                other => {
                    let _ = write!(out, " flags={other:#x}");
                }
            }
            if how.owner_rule {
                out.push_str(" owner-rule");
            }
            if how.best_effort {
                out.push_str(" best-effort");
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
        Call::FillMappings(left) => format!("fill-mappings {left}"),
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
