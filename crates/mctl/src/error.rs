//! What can go wrong, with the errno of the contract and a way out.

use mctl_abi::Errno;
use mctl_sys::inject::{InjectError, NO_CHILD, NO_TASK, NO_THREAD, Refusal};
use thiserror::Error;

/// An operation that failed. Nothing was changed, unless the variant says otherwise.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(
    clippy::error_impl_error,
    reason = "mctl::Error is what a user of the crate expects"
)]
pub enum Error {
    /// The words name no process.
    #[error("'{text}' is not a process: {why}")]
    BadTarget {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No such process.
    #[error("process {pid}: no such process (ESRCH)")]
    NoProcess {
        /// The number asked for.
        pid: i32,
    },
    /// `PID:INODE` names a process that is gone; another one has its number now.
    #[error("process {pid}:{wanted} is gone (ESRCH); number {pid} now belongs to {pid}:{found}")]
    Recycled {
        /// The number asked for.
        pid: i32,
        /// The inode asked for.
        wanted: u64,
        /// The inode of the process that has the number now.
        found: u64,
    },
    /// This kernel gives pidfds no inode of their own.
    #[error("PID:INODE cannot be checked here (EOPNOTSUPP): the kernel has no pidfs (Linux 6.9)")]
    NoInodes,
    /// `/proc` does not show the processes that the caller's numbers mean.
    #[error("{what}: {why} (EOPNOTSUPP)")]
    View {
        /// What was to be looked at.
        what: String,
        /// What `/proc` is instead.
        why: String,
    },
    /// The descriptor is not a pidfd.
    #[error("descriptor {fd} is not a pidfd (EBADF)")]
    NotPidfd {
        /// The descriptor.
        fd: i32,
    },
    /// The number is a thread's, not a process's.
    #[error("{tid} is a thread of process {pid} (EINVAL); name the process")]
    IsThread {
        /// The thread.
        tid: i32,
        /// Its process.
        pid: i32,
    },
    /// The request makes no sense.
    #[error("{why} (EINVAL)")]
    Invalid {
        /// Why.
        why: String,
    },
    /// The target is the calling process itself, which needs no library for this.
    #[error("process {pid}: that is this process itself: it calls {call} (EINVAL)")]
    OwnProcess {
        /// The calling process.
        pid: i32,
        /// What it calls instead.
        call: &'static str,
    },
    /// The rule chosen does not allow it.
    #[error("process {pid}: {why} (EPERM)")]
    Permission {
        /// The target.
        pid: i32,
        /// Which rule, and what it asks for.
        why: String,
    },
    /// This kernel cannot do it, or not exactly and exactness was asked for.
    #[error("{what}: {why} (EOPNOTSUPP)")]
    Unsupported {
        /// What was asked.
        what: String,
        /// Why it cannot be had, and what can be done.
        why: String,
    },
    /// The target could not be reached.
    #[error("process {pid}: {}", injected(.source))]
    Inject {
        /// The target.
        pid: i32,
        /// Why.
        source: InjectError,
    },
    /// It ended while a call was made through its seccomp filter.
    #[error(
        "process {pid}: it ended while prctl(2) was called in it through its seccomp filter (ESRCH), which \
         most likely killed it for the call"
    )]
    KilledByFilter {
        /// The target.
        pid: i32,
    },
    /// The target refused the call itself.
    #[error("process {pid}: {call} failed in it: {errno}")]
    TargetCall {
        /// The target.
        pid: i32,
        /// The call.
        call: &'static str,
        /// Its errno.
        errno: Errno,
    },
    /// There is not memory enough for it: found out beforehand, and nothing was changed.
    #[error("process {pid}: {why} (ENOMEM)")]
    NoRoom {
        /// The target.
        pid: i32,
        /// The figures.
        why: String,
        /// The way out.
        remedy: &'static str,
    },
    /// The kernel killed the target for want of memory while something was done to it.
    #[error("process {pid}: the kernel killed it meanwhile: out of memory in {why} (ENOMEM)")]
    OomKilled {
        /// The target.
        pid: i32,
        /// Who had no memory left.
        why: String,
    },
    /// It failed after a part was done, and that part stays.
    #[error("process {pid}: {what} failed half-way: {source}; {left}")]
    HalfDone {
        /// The target.
        pid: i32,
        /// What was asked.
        what: String,
        /// Why it failed.
        source: Box<Error>,
        /// What is different since, and why it was not put back.
        left: String,
    },
    /// A limit of the target's stands in the way: found out beforehand, and nothing was changed.
    #[error("process {pid}: {why} ({errno})")]
    Limit {
        /// The target.
        pid: i32,
        /// Which limit, and what would help.
        why: String,
        /// What the kernel would answer.
        errno: Errno,
    },
    /// A file of /proc, /sys or the caller's own could not be read.
    #[error("{what}: {why} ({errno})")]
    Read {
        /// Which.
        what: String,
        /// What happened.
        why: String,
        /// Its errno.
        errno: Errno,
    },
}

impl Error {
    /// The errno of the contract.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Error::BadTarget { .. }
            | Error::Invalid { .. }
            | Error::IsThread { .. }
            | Error::OwnProcess { .. } => Errno::EINVAL,
            Error::NoProcess { .. } | Error::Recycled { .. } | Error::KilledByFilter { .. } => {
                Errno::ESRCH
            }
            Error::NoInodes | Error::View { .. } | Error::Unsupported { .. } => Errno::EOPNOTSUPP,
            Error::NotPidfd { .. } => Errno::EBADF,
            Error::Permission { .. } => Errno::EPERM,
            Error::NoRoom { .. } | Error::OomKilled { .. } => Errno::ENOMEM,
            Error::Inject { source, .. } => source.errno(),
            Error::HalfDone { source, .. } => source.errno(),
            Error::TargetCall { errno, .. }
            | Error::Limit { errno, .. }
            | Error::Read { errno, .. } => *errno,
        }
    }

    /// Whether the target is not as it was before the call.
    #[must_use]
    pub fn changed(&self) -> bool {
        matches!(
            self,
            Error::HalfDone { .. } | Error::KilledByFilter { .. } | Error::OomKilled { .. }
        )
    }

    /// What to do about it, where something can be done.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Inject {
                source: InjectError::Refused(refusal),
                ..
            } => match refusal {
                Refusal::Traced { tracer, .. } => {
                    Some(format!("see what process {tracer} does: ps -p {tracer}"))
                }
                Refusal::Seccomp => Some(
                    "'mctl set' and 'clear' of one process of your own take --through-filter; a filter that \
                     does not expect prctl(2) may kill it for the call"
                        .to_owned(),
                ),
                Refusal::NoHarmlessMoment { .. } => Some(
                    "what changes a process takes --wait TIME, to wait longer for one, and --disturb, to \
                     interrupt the thread all the same"
                        .to_owned(),
                ),
                Refusal::NotPermitted if !rustix::process::geteuid().is_root() => {
                    Some("sudo mctl …".to_owned())
                }
                _ => None,
            },
            Error::Permission { why, .. }
                if why.ends_with(crate::op::permission::NEEDED)
                    && !rustix::process::geteuid().is_root() =>
            {
                Some("sudo mctl …".to_owned())
            }
            Error::View { .. } => Some(
                "mount the /proc of this PID namespace: unshare --pid --fork --mount-proc, or \
                 mount -t proc proc /proc in a mount namespace of its own"
                    .to_owned(),
            ),
            Error::NoRoom { remedy, .. } => Some((*remedy).to_owned()),
            Error::Recycled { .. } => Some("look the process up again".to_owned()),
            _ => None,
        }
    }

    pub(crate) fn read(what: impl Into<String>, error: &std::io::Error) -> Error {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        let text = match (errno, crate::host::descriptors::limit(errno)) {
            (_, Some(limit)) => limit.to_owned(),
            // /proc itself never says so: the look was cut short.
            (Errno::EBUSY, None) => Refusal::NoAnswer.to_string(),
            (_, None) => error.to_string(),
        };
        // The errno is named beside it anyway.
        let why = text
            .split(" (os error")
            .next()
            .unwrap_or_default()
            .to_owned();
        Error::Read {
            what: what.into(),
            why,
            errno,
        }
    }

    pub(crate) fn inject(pid: i32, source: InjectError) -> Error {
        match source {
            InjectError::Gone => Error::NoProcess { pid },
            // In every command the reason that was looked up, where it shows.
            InjectError::Refused(Refusal::NotPermitted) => {
                match crate::op::permission::explain_owner(pid) {
                    Some(why) => Error::Permission { pid, why },
                    None => Error::Inject { pid, source },
                }
            }
            InjectError::Os { step, errno } => match why_not(pid, step, errno) {
                Some(why) => Error::Read {
                    what: format!("process {pid}"),
                    why,
                    errno,
                },
                None => Error::Inject { pid, source },
            },
            source => Error::Inject { pid, source },
        }
    }
}

/// The limit behind a step that failed for want of something that is limited.
fn why_not(pid: i32, step: &str, errno: Errno) -> Option<String> {
    match (step, errno) {
        (NO_TASK | NO_THREAD, Errno::EAGAIN) => Some(crate::target::tasks::why_none()),
        (NO_CHILD, Errno::EAGAIN) => Some(crate::target::tasks::why_no_child(pid)),
        (_, errno) => crate::host::descriptors::limit(errno).map(str::to_owned),
    }
}

/// With its errno, once.
fn injected(source: &InjectError) -> String {
    match source {
        InjectError::Os { step, errno } => format!("{step} failed ({errno})"),
        source => format!("{source} ({})", source.errno()),
    }
}

/// The result of an operation of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    /// A row a fate: its errno, whether the target is different since, and a word of what is said.
    #[test]
    fn each_fate_has_its_errno_and_says_what_was_changed() {
        let busy = || Error::TargetCall {
            pid: 7,
            call: "prctl",
            errno: Errno::EBUSY,
        };
        let text = || "because".to_owned();
        let rows = [
            (
                Error::BadTarget {
                    text: text(),
                    why: "of letters",
                },
                Errno::EINVAL,
                false,
            ),
            (Error::NoProcess { pid: 7 }, Errno::ESRCH, false),
            (
                Error::Recycled {
                    pid: 7,
                    wanted: 1,
                    found: 2,
                },
                Errno::ESRCH,
                false,
            ),
            (Error::NoInodes, Errno::EOPNOTSUPP, false),
            (
                Error::View {
                    what: text(),
                    why: text(),
                },
                Errno::EOPNOTSUPP,
                false,
            ),
            (Error::NotPidfd { fd: 3 }, Errno::EBADF, false),
            (Error::IsThread { tid: 8, pid: 7 }, Errno::EINVAL, false),
            (Error::Invalid { why: text() }, Errno::EINVAL, false),
            (
                Error::OwnProcess {
                    pid: 7,
                    call: "mlockall(2)",
                },
                Errno::EINVAL,
                false,
            ),
            (
                Error::Permission {
                    pid: 7,
                    why: text(),
                },
                Errno::EPERM,
                false,
            ),
            (
                Error::Unsupported {
                    what: text(),
                    why: text(),
                },
                Errno::EOPNOTSUPP,
                false,
            ),
            (
                Error::inject(7, Refusal::Seccomp.into()),
                Refusal::Seccomp.errno(),
                false,
            ),
            (Error::KilledByFilter { pid: 7 }, Errno::ESRCH, true),
            (busy(), Errno::EBUSY, false),
            (
                Error::NoRoom {
                    pid: 7,
                    why: text(),
                    remedy: "less",
                },
                Errno::ENOMEM,
                false,
            ),
            (
                Error::OomKilled {
                    pid: 7,
                    why: text(),
                },
                Errno::ENOMEM,
                true,
            ),
            (
                Error::HalfDone {
                    pid: 7,
                    what: "set mergeable nohugepage".to_owned(),
                    source: Box::new(busy()),
                    left: text(),
                },
                Errno::EBUSY,
                true,
            ),
            (
                Error::Limit {
                    pid: 7,
                    why: text(),
                    errno: Errno::ENOMEM,
                },
                Errno::ENOMEM,
                false,
            ),
            (
                Error::Read {
                    what: text(),
                    why: text(),
                    errno: Errno::EACCES,
                },
                Errno::EACCES,
                false,
            ),
        ];
        for (error, errno, changed) in rows {
            let words = error.to_string();
            assert_eq!(
                (error.errno(), error.changed()),
                (errno, changed),
                "{words}"
            );
            // A word that names no process never reached the kernel.
            let is_usage = matches!(error, Error::BadTarget { .. });
            assert!(
                is_usage || words.contains(errno.name().unwrap_or("?")),
                "{words}"
            );
        }
    }
}
