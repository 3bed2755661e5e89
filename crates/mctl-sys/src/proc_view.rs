//! Whether `/proc` shows the processes that system calls mean by their numbers.
//!
//! A number read from `/proc` is used for ptrace(2), pidfd_open(2) and for other files of `/proc`. Where
//! the mount belongs to another PID namespace (`unshare --pid --fork` without a new `/proc`) one
//! process would be looked at and another one changed.
//!
//! # References
//! pid_namespaces(7), proc_pid_status(5) (`NSpid`).

use std::os::fd::AsFd as _;

use mctl_abi::Errno;

use crate::remembered::Remembered;

use crate::procfs::status::Status;

/// `PROC_SUPER_MAGIC` (linux/magic.h).
const PROC_MAGIC: u64 = 0x9fa0;

/// What `/proc` is to the calling process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcView {
    /// It shows our own PID namespace.
    Ours,
    /// There is no proc file system at `/proc`.
    Missing,
    /// It shows the PID namespace above ours: the caller has another number there.
    Outer {
        /// Our number there.
        number: i32,
    },
    /// It shows a PID namespace that we are not in.
    Elsewhere,
    /// It shows ours, but children of the calling thread are born into another one
    /// (unshare(2), setns(2) with CLONE_NEWPID), and so would be the injector's task.
    ChildrenElsewhere,
    /// It could not be asked.
    Unreadable {
        /// The errno.
        errno: Errno,
    },
}

/// The last verdict, and the mount and process that it holds for: a process never changes its PID
/// namespace, and a mount never the one that it shows.
static LAST: Remembered<(u64, u32, ProcView)> = Remembered::new();

/// What `/proc` is to the calling thread. Costs some microseconds, after the first time.
#[must_use]
pub fn proc_view() -> ProcView {
    let Ok(dir) = rustix::fs::stat("/proc") else {
        return ProcView::Missing;
    };
    let own = std::process::id();
    let known = LAST
        .get()
        .filter(|(dev, pid, _)| (*dev, *pid) == (dir.st_dev, own))
        .map(|(_, _, view)| view);
    let view = known.unwrap_or_else(|| {
        let view = look(own);
        // What could not be read may be readable the next time.
        if !matches!(view, ProcView::Unreadable { .. }) {
            LAST.set((dir.st_dev, own, view.clone()));
        }
        view
    });
    match view {
        ProcView::Ours if !children_stay() => ProcView::ChildrenElsewhere,
        view => view,
    }
}

fn look(own: u32) -> ProcView {
    let unreadable = |e: rustix::io::Errno| ProcView::Unreadable {
        errno: Errno::from_raw(e.raw_os_error()),
    };
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    match rustix::fs::open("/proc", flags, rustix::fs::Mode::empty())
        .and_then(|dir| rustix::fs::fstatfs(dir.as_fd()))
    {
        Ok(fs) if u64::try_from(fs.f_type) == Ok(PROC_MAGIC) => {}
        Ok(_) | Err(rustix::io::Errno::NOENT) => return ProcView::Missing,
        Err(errno) => return unreadable(errno),
    }
    let link = match rustix::fs::readlink("/proc/self", Vec::new()) {
        Ok(link) => link,
        Err(rustix::io::Errno::NOENT) => return ProcView::Elsewhere,
        Err(errno) => return unreadable(errno),
    };
    let Some(number) = link.to_str().ok().and_then(|text| text.parse::<i32>().ok()) else {
        return ProcView::Elsewhere;
    };
    if u32::try_from(number) != Ok(own) {
        return ProcView::Outer { number };
    }
    // Two namespaces may have the same number for us by chance.
    match crate::inject::read_status("/proc/self/status") {
        Ok(text) => judge(&text, number),
        Err(errno) => ProcView::Unreadable { errno },
    }
}

/// By the line `NSpid` (Linux 4.1): our number in the mount's namespace, then one for each that
/// is nested in it, down to our own.
fn judge(status: &[u8], number: i32) -> ProcView {
    let nested = Status::parse(status)
        .ok()
        .and_then(|status| status.ns_pid)
        .map_or(1, |numbers| numbers.iter().count());
    if nested > 1 {
        ProcView::Outer { number }
    } else {
        ProcView::Ours
    }
}

/// Whether a child of this thread gets a number in the namespace that the thread is in. A kernel
/// before 4.12 does not tell.
fn children_stay() -> bool {
    let children = "/proc/thread-self/ns/pid_for_children";
    let Ok(own) = rustix::fs::stat("/proc/thread-self/ns/pid") else {
        return true;
    };
    match rustix::fs::stat(children) {
        Ok(theirs) => (theirs.st_dev, theirs.st_ino) == (own.st_dev, own.st_ino),
        // A link that leads nowhere: a new namespace that has no process yet.
        Err(rustix::io::Errno::NOENT) => rustix::fs::lstat(children).is_err(),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_ours() {
        assert_eq!(proc_view(), ProcView::Ours);
        assert_eq!(proc_view(), ProcView::Ours, "the second time too");
    }

    #[test]
    fn an_equal_number_by_chance_is_told_by_the_nesting() {
        assert_eq!(judge(b"Name:\tx\nNSpid:\t77\n", 77), ProcView::Ours);
        let outer = ProcView::Outer { number: 77 };
        assert_eq!(judge(b"Name:\tx\nNSpid:\t77\t77\n", 77), outer);
        assert_eq!(judge(b"Name:\tx\n", 77), ProcView::Ours, "before Linux 4.1");
    }

    #[test]
    fn a_thread_whose_children_go_elsewhere_is_told() {
        let seen = std::thread::spawn(|| {
            // SAFETY: only where the children of this thread are born changes, and it has none.
            let moved = unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_NEWPID) };
            crate::raw::checked(moved).map(|_| proc_view())
        });
        match seen.join().unwrap() {
            Ok(view) => assert_eq!(view, ProcView::ChildrenElsewhere),
            Err(errno) => mctl_testkit::skip!("needs CAP_SYS_ADMIN to unshare ({errno})"),
        }
        assert_eq!(
            proc_view(),
            ProcView::Ours,
            "other threads are not concerned"
        );
    }
}
