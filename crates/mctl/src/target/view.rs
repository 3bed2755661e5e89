//! Nothing is named by a number that `/proc` gives to another process.

use mctl_sys::proc_view::{ProcView, proc_view};

use crate::error::{Error, Result};

/// Refuses where `/proc` does not show the caller's own PID namespace: what is read there would be of one
/// process, and what is changed of another.
///
/// # Errors
/// `EOPNOTSUPP`, with what `/proc` is instead.
pub(crate) fn check(what: impl FnOnce() -> String) -> Result<()> {
    let why = match proc_view() {
        ProcView::Ours => return Ok(()),
        ProcView::Missing => {
            "no proc file system is mounted at /proc, and without one no process can be looked at"
                .to_owned()
        }
        ProcView::Outer { number } => format!(
            "/proc shows another PID namespace, where this process is number {number} and not {}: \
             the processes in it are not those that numbers mean here",
            std::process::id()
        ),
        ProcView::Elsewhere => "/proc shows another PID namespace, which this process is not in: the \
                                processes in it are not those that numbers mean here"
            .to_owned(),
        ProcView::ChildrenElsewhere => {
            "children of this thread are born into another PID namespace than its own (unshare(2) or \
             setns(2) with CLONE_NEWPID), where numbers mean other processes"
                .to_owned()
        }
        ProcView::Unreadable { errno } => {
            return Err(Error::Read {
                what: "/proc/self".to_owned(),
                why: "whose processes /proc shows cannot be found out".to_owned(),
                errno,
            });
        }
    };
    Err(Error::View { what: what(), why })
}

/// A process that lives and that `/proc` does not show.
pub(crate) fn hidden(pid: i32) -> Error {
    let why = match hidepid() {
        Some(word) => format!(
            "/proc does not show it to you: it is mounted with hidepid={word}, and the process is not \
             yours; CAP_SYS_PTRACE, or membership in the mount's group (gid=), is needed"
        ),
        None => "it lives, and /proc does not show it to you".to_owned(),
    };
    Error::Permission { pid, why }
}

/// The word of the option `hidepid` of `/proc`, where it hides something.
pub(crate) fn hidepid() -> Option<String> {
    let mounts = std::fs::read("/proc/self/mountinfo").ok()?;
    let last = mctl_sys::procfs::mountinfo::MountLines::new(&mounts)
        .flatten()
        .filter(|mount| mount.mount_point == b"/proc")
        .last()?;
    let word = last
        .super_options
        .split(|byte| *byte == b',')
        .find_map(|option| option.strip_prefix(b"hidepid="))?;
    let word = String::from_utf8_lossy(word).into_owned();
    (word != "0" && word != "off").then_some(word)
}
