//! The process to watch, so named that no other is ever hit.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use anyhow::{Context as _, bail, ensure};
use mctl_sys::raw::pidfd::{pidfd_inode, pidfd_open};

/// A process that runs, held by a pidfd.
#[derive(Debug)]
pub struct Target {
    pid: i32,
    pidfd: OwnedFd,
}

impl Target {
    /// Opens `PID`, or `PID:INODE` with the inode of its pidfd, which is never used again (as
    /// util-linux 2.42 does): where another process has the number by now, that is an error.
    ///
    /// # Errors
    ///
    /// When the text names no process, there is none, or it is another one.
    pub fn open(text: &str) -> anyhow::Result<Self> {
        let (pid, inode) = match text.split_once(':') {
            Some((pid, inode)) => (pid, Some(inode)),
            None => (text, None),
        };
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        ensure!(
            digits(pid) && inode.is_none_or(digits),
            "`{text}` is neither a process number nor PID:INODE"
        );
        let pid: i32 = pid
            .parse()
            .ok()
            .filter(|pid| *pid > 0)
            .with_context(|| format!("{pid} is no process number"))?;
        let pidfd = match pidfd_open(pid) {
            Ok(pidfd) => pidfd,
            // EINVAL until Linux 6.14, ENOENT since: a thread that leads no group.
            Err(errno) => bail!(no_process(pid, &errno.to_string())),
        };
        if let Some(wanted) = inode {
            let found = pidfd_inode(pidfd.as_fd()).ok().flatten();
            match found {
                Some(found) if found.to_string() == wanted.trim_start_matches('0') => {}
                Some(found) => bail!(
                    "process {pid} is another one now (ESRCH): its inode is {found}, not {wanted}"
                ),
                None => bail!("this kernel has no inodes for processes (before Linux 6.9)"),
            }
        }
        Ok(Self { pid, pidfd })
    }

    /// The process number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it stands for a signal (SIGSTOP, Ctrl-Z).
    pub(super) fn is_stopped(&self) -> bool {
        let text = std::fs::read(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let status = mctl_sys::procfs::status::Status::parse(&text);
        status.is_ok_and(|status| status.state == Some(b'T'))
    }

    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Its command name, for messages.
    #[must_use]
    pub fn name(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/comm", self.pid))
            .map_or_else(|_| "?".to_owned(), |name| name.trim_end().to_owned())
    }
}

/// Why there is no pidfd: no process, or the number of a thread.
fn no_process(pid: i32, errno: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let leader = status.lines().find_map(|l| l.strip_prefix("Tgid:"));
    match leader.map(str::trim) {
        Some(leader) if leader != pid.to_string() => {
            format!("{pid} is a thread of process {leader}; name that one")
        }
        _ => format!("process {pid} cannot be opened: {errno}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_process_is_refused() {
        for text in ["", "0", "x", "-1", "1:", ":1", "1:x", "99999999999", "1 2"] {
            assert!(Target::open(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_recycled_number_is_another_process() {
        let own = std::process::id();
        let target = Target::open(&own.to_string()).map(|t| t.pid());
        assert_eq!(target.ok(), i32::try_from(own).ok());
        let error = Target::open(&format!("{own}:7"))
            .err()
            .map(|e| e.to_string());
        assert!(error.is_some_and(|e| e.contains("another one now") || e.contains("6.9")));
    }
}
