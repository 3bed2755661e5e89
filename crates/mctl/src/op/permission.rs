//! The facts behind the two permission rules.

use std::os::fd::AsFd;

use mctl_abi::permission::{self, Holds, Ids, Mechanism, OwnerFacts, Relation, Yama};
use mctl_sys::inject::is_carrier;
use mctl_sys::procfs::status::Status;
use mctl_sys::raw::ids::{namespace_owner, parent_namespace, shares_address_space};

use crate::error::{Error, Result};
use crate::op::policy::request::{Request, Rule};
use crate::target::Target;

const CAP_SYS_PTRACE: u64 = 1 << 19;
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_SYS_NICE: u64 = 1 << 23;
/// The inode of the first user namespace (`PROC_USER_INIT_INO`, include/linux/proc_ns.h).
const INIT_USER_NS: u64 = 0xefff_fffd;

/// Checks the rule that the request names. The owner rule is left to the kernel, which asks for
/// it at every step anyway; [`explain_owner`] says what it misses.
pub(crate) fn check(request: &Request, target: &Target) -> Result<()> {
    if request.rule == Rule::Owner {
        return Ok(());
    }
    request
        .calls()
        .iter()
        .try_for_each(|call| check_call(*call, target))
}

/// The admin rule for one call.
pub(crate) fn check_call(call: mctl_abi::Request, target: &Target) -> Result<()> {
    let relation = if target.is_own() {
        Relation::Own
    } else {
        Relation::Other
    };
    if !permission::admin_needs_capability(call, relation) {
        return Ok(());
    }
    permission::admin(call, relation, sys_admin_over(target)).map_err(|_| Error::Permission {
        pid: target.pid(),
        why: "the admin rule asks for CAP_SYS_ADMIN in the target's user namespace".to_owned(),
    })
}

fn own_status() -> Option<Vec<u8>> {
    std::fs::read("/proc/thread-self/status").ok()
}

/// Whether we hold `CAP_SYS_ADMIN` over the target's address space.
///
/// The kernel would ask about `mm->user_ns`, which no interface shows. Taken instead: the
/// strictest answer over every task that shares the memory, as far as kcmp(2) shows us which.
pub(crate) fn sys_admin_over(target: &Target) -> Holds {
    let text = own_status().unwrap_or_default();
    let Ok(status) = Status::parse(&text) else {
        return Holds::No;
    };
    let capable = status.cap_eff.unwrap_or(0) & CAP_SYS_ADMIN != 0;
    let euid = status.uid.map_or(u32::MAX, |uid| uid.effective);
    let Some(ours) = namespace_inode("/proc/self/ns/user") else {
        // No user namespaces in this kernel: the capability alone decides.
        return Holds::from_bool(capable);
    };
    if !capable_in(
        &format!("{}/ns/user", target.proc_dir()),
        ours,
        capable,
        euid,
    ) {
        return Holds::No;
    }
    if ours == INIT_USER_NS {
        // Every namespace descends from ours: no sharer can be in a stricter one.
        return Holds::Yes;
    }
    // A carrier has the credentials and namespaces of the thread that bore it.
    let sharers = all_pids().filter(|pid| *pid != target.pid() && !is_carrier(*pid));
    for pid in sharers {
        let shares = shares_address_space(target.pid(), pid)
            .unwrap_or_else(|_| may_share(target.pid(), pid));
        if shares && !capable_in(&format!("/proc/{pid}/ns/user"), ours, capable, euid) {
            return Holds::No;
        }
    }
    Holds::Yes
}

/// What is mapped: it changes with system calls.
const MAPPED: &[&str] = &[
    "VmPeak:", "VmSize:", "VmLck:", "VmPin:", "VmData:", "VmStk:", "VmExe:", "VmLib:",
];
/// What is there of it: it changes with every page that is touched. Two of one program, each with its
/// own memory, are as large as each other and seldom have the same pages.
const PRESENT: &[&str] = &[
    "VmHWM:",
    "VmRSS:",
    "RssAnon:",
    "RssFile:",
    "RssShmem:",
    "VmPTE:",
    "VmSwap:",
];

/// Whether two processes may share their memory, where kcmp(2) does not tell: then what everybody
/// may read of the sizes of both is the same. Each kind of size by itself: one that changes all the
/// while must not hide that another one differs.
fn may_share(one: i32, other: i32) -> bool {
    [MAPPED, PRESENT]
        .iter()
        .all(|names| may_be_one(|| sizes(one, names), || sizes(other, names)))
}

/// These lines of a process's status; `None` where it has none of them: it has ended, or is a kernel
/// thread and has no memory to share.
fn sizes(pid: i32, names: &[&str]) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let wanted = |line: &&str| names.iter().any(|name| line.starts_with(name));
    let sizes: Vec<String> = text.lines().filter(wanted).map(str::to_owned).collect();
    (!sizes.is_empty()).then_some(sizes)
}

/// How often two sizes must be seen to differ before they belong to two address spaces.
const DIFFERENT: u32 = 8;
/// How often they are read for that.
const LOOKS: u32 = 32;

/// Whether what two files say may be about one thing that changes while they are read. A
/// difference counts only where the first file said the same before and after the other was read;
/// where that cannot be had often enough the answer is the cautious one.
fn may_be_one<T: PartialEq>(
    mut one: impl FnMut() -> Option<T>,
    mut other: impl FnMut() -> Option<T>,
) -> bool {
    let mut different = 0;
    for _ in 0..LOOKS {
        // What has ended, or is a kernel thread, shares nothing.
        let (Some(before), Some(between), Some(after)) = (one(), other(), one()) else {
            return false;
        };
        if between == before || between == after {
            return true;
        }
        if before == after {
            different += 1;
        }
        if different == DIFFERENT {
            return false;
        }
    }
    true
}

fn all_pids() -> impl Iterator<Item = i32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn namespace_inode(path: &str) -> Option<u64> {
    rustix::fs::stat(path).ok().map(|stat| stat.st_ino)
}

/// `ns_capable()` as user space can tell it: the capability in our own namespace, or being the
/// owner of a namespace directly below ours, holds for everything further down.
fn capable_in(path: &str, ours: u64, capable: bool, euid: u32) -> bool {
    let Ok(file) = mctl_sys::bounded::ProcFile::open(path) else {
        return false;
    };
    let inode =
        |fd: std::os::fd::BorrowedFd<'_>| rustix::fs::fstat(fd).ok().map(|stat| stat.st_ino);
    if inode(file.as_fd()) == Some(ours) {
        return capable;
    }
    let mut below: std::os::fd::OwnedFd = std::fs::File::from(file).into();
    // 32 is the kernel's own limit on nesting.
    for _ in 0..=32 {
        let Ok(parent) = parent_namespace(below.as_fd()) else {
            return false;
        };
        if inode(parent.as_fd()) == Some(ours) {
            return capable || namespace_owner(below.as_fd()) == Ok(euid);
        }
        below = parent;
    }
    false
}

/// What the owner rule names at the end.
pub(crate) const NEEDED: &str = "CAP_SYS_PTRACE is needed";

/// What the owner rule misses, in words, for a target that the kernel refused. `None` where the
/// facts as we see them allow it: another security module has spoken then.
#[must_use]
pub(crate) fn explain_owner(pid: i32) -> Option<String> {
    let ours = own_status()?;
    let ours = Status::parse(&ours).ok()?;
    let theirs = std::fs::read(format!("/proc/{}/status", pid)).ok()?;
    let theirs = Status::parse(&theirs).ok()?;
    let ids = |ids: mctl_sys::procfs::status::Ids| Ids {
        real: ids.real,
        effective: ids.effective,
        saved: ids.saved,
        fs: ids.fs,
    };
    let caps = ours.cap_eff?;
    let permitted = ours.cap_prm?;
    let facts = OwnerFacts {
        relation: if pid == std::process::id().cast_signed() {
            Relation::Own
        } else {
            Relation::Other
        },
        caller_uid: ids(ours.uid?),
        caller_gid: ids(ours.gid?),
        target_uid: ids(theirs.uid?),
        target_gid: ids(theirs.gid?),
        // The files of an undumpable process belong to root.
        target_dumpable: Holds::from_bool(
            rustix::fs::stat(format!("/proc/{}/auxv", pid))
                .is_ok_and(|stat| stat.st_uid == theirs.uid.map_or(0, |uid| uid.effective)),
        ),
        caps_cover_target: Holds::from_bool(theirs.cap_prm? & !permitted == 0),
        sys_ptrace: Holds::from_bool(caps & CAP_SYS_PTRACE != 0),
        sys_nice: Holds::from_bool(caps & CAP_SYS_NICE != 0),
        yama: yama(),
        yama_related: Holds::No,
    };
    permission::owner(&facts, Mechanism::Injection).err()?;
    let why = if facts.target_uid.effective != facts.caller_uid.real
        || facts.target_uid.real != facts.caller_uid.real
        || facts.target_uid.saved != facts.caller_uid.real
    {
        let (theirs, ours) = (facts.target_uid, facts.caller_uid.real);
        let how = if theirs.real == ours {
            "runs as"
        } else {
            "belongs to"
        };
        format!(
            "it {how} user {}, and you are user {ours}",
            theirs.effective
        )
    } else if facts.target_gid.effective != facts.caller_gid.real {
        format!(
            "it runs as group {}, and you as group {}",
            facts.target_gid.effective, facts.caller_gid.real
        )
    } else if facts.target_dumpable == Holds::No {
        "it is not dumpable: a set-id program, or it asked for that (PR_SET_DUMPABLE)".to_owned()
    } else if facts.caps_cover_target == Holds::No {
        "it holds capabilities that you do not hold".to_owned()
    } else {
        "Yama forbids attaching (kernel.yama.ptrace_scope)".to_owned()
    };
    Some(format!("{why}; {NEEDED}"))
}

fn yama() -> Yama {
    std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .map_or(Yama::Classic, Yama::from_scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_ourselves_the_capability_decides() {
        let text = own_status().unwrap();
        let capable = Status::parse(&text).unwrap().cap_eff.unwrap() & CAP_SYS_ADMIN != 0;
        assert_eq!(
            sys_admin_over(&Target::own().unwrap()),
            Holds::from_bool(capable)
        );
    }

    #[test]
    fn the_first_namespace_has_the_number_we_think() {
        // In a container it is another one; then there is nothing to compare.
        let ours = namespace_inode("/proc/self/ns/user").unwrap_or(0);
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let whole = map.split_whitespace().collect::<Vec<_>>() == ["0", "0", "4294967295"];
        if whole {
            assert_eq!(ours, INIT_USER_NS);
        } else {
            assert_ne!(ours, INIT_USER_NS);
        }
    }

    #[test]
    fn sizes_that_stay_apart_are_of_two() {
        assert!(!may_be_one(|| Some(1), || Some(2)));
        assert!(may_be_one(|| Some(1), || Some(1)));
        assert!(!may_be_one(|| None, || Some(1)));
        assert!(!may_be_one(|| Some(1), || None));
    }

    /// A twin: the same program, as large, with memory of its own.
    #[test]
    fn a_twin_of_the_same_size_is_no_sharer() {
        let mut one = mctl_testkit::start!("touch");
        let mut other = mctl_testkit::start!("touch");
        // The same mappings in both, and in one of them pages.
        for fixture in [&mut one, &mut other] {
            fixture.ask("map 8388608").unwrap();
        }
        let answer = one.ask("map 4194304").unwrap();
        other.ask("map 4194304").unwrap();
        let mut words = answer.split_whitespace().skip(1);
        let (start, len) = (words.next().unwrap(), words.next().unwrap());
        assert_eq!(one.ask(&format!("touch {start} {len}")).unwrap(), "ok");
        assert!(!may_share(one.pid(), other.pid()));
        assert!(may_share(one.pid(), one.pid()));
    }

    /// One address space whose size grows with every look at it: each reading differs from the
    /// last, and that is no proof of two.
    #[test]
    fn one_that_changes_all_the_while_is_not_taken_for_two() {
        let size = std::cell::Cell::new(0);
        let grow = || {
            size.set(size.get() + 1);
            Some(size.get())
        };
        assert!(may_be_one(grow, grow));
    }

    /// A sharer that toggles a mapping is told from a stranger by being seen equal once.
    #[test]
    fn one_that_toggles_is_found() {
        let looks = std::cell::Cell::new(0_u32);
        let toggle = || {
            looks.set(looks.get() + 1);
            Some(looks.get() % 5 < 2)
        };
        assert!(may_be_one(toggle, toggle));
    }
}
