//! Whether a target may lock its memory: its own limit and capability decide.

use mctl_abi::Errno;
use mctl_sys::procfs::status::Status;
use serde::Serialize;

use super::Lock;
use crate::error::{Error, Result};
use crate::see::coverage::{Bytes, through_a_thread};
use crate::target::{Target, read_all};

const CAP_IPC_LOCK: u64 = 1 << 14;

/// What decides whether a target may lock its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Allowance {
    /// The soft RLIMIT_MEMLOCK of the target; `None`: unlimited.
    pub limit: Option<Bytes>,
    /// Whether the target holds CAP_IPC_LOCK, to which no limit applies. (In a user namespace of
    /// its own it may show the capability and yet not have it.)
    pub capable: bool,
    /// What it has mapped: the kernel counts all of it against the limit.
    pub size: Bytes,
    /// What is locked now.
    pub locked: Bytes,
}

impl Allowance {
    /// Reads it from `/proc/PID/limits` and `/proc/PID/status`.
    ///
    /// # Errors
    /// `ESRCH` it ended or has no memory; `EACCES` not ours to read.
    pub fn of(target: &Target) -> Result<Allowance> {
        let limits = read_all(target, "limits")?;
        let limit = memlock_limit(&limits).ok_or_else(|| Error::Read {
            what: format!("/proc/{}/limits", target.pid()),
            why: "no limit on locked memory in it".to_owned(),
            errno: Errno::EIO,
        })?;
        // A first thread that has exited shows no memory.
        let (capable, size, locked) = through_a_thread(target, |prefix| -> Result<_> {
            let text = read_all(target, &format!("{prefix}status"))?;
            let status = Status::parse(&text).map_err(|error| Error::Read {
                what: format!("/proc/{}/status", target.pid()),
                why: error.to_string(),
                errno: Errno::EIO,
            })?;
            let capable = status.cap_eff.unwrap_or(0) & CAP_IPC_LOCK != 0;
            Ok(status.vm_size.map(|size| {
                let locked = status.vm_lck.unwrap_or(0);
                (capable, Bytes::from_kb(size), Bytes::from_kb(locked))
            }))
        })?;
        Ok(Allowance {
            limit,
            capable,
            size,
            locked,
        })
    }

    /// Why the kernel would refuse; `None` where it would not (mm/mlock.c, `mlockall()`).
    #[must_use]
    pub fn refusal(&self, lock: Lock) -> Option<(Errno, String)> {
        let limit = self.limit.filter(|_| !self.capable)?;
        if limit == Bytes::ZERO {
            return Some((
                Errno::EPERM,
                "its RLIMIT_MEMLOCK is 0 and it has no CAP_IPC_LOCK; raise the limit first \
                 (prlimit --memlock)"
                    .to_owned(),
            ));
        }
        (lock.current && self.size > limit).then(|| {
            (
                Errno::ENOMEM,
                format!(
                    "it has {} mapped and may lock {}: its RLIMIT_MEMLOCK counts everything \
                     that is mapped; raise it first (prlimit --memlock)",
                    self.size, limit
                ),
            )
        })
    }
}

/// The soft limit, in bytes. Outer `None`: no such line.
fn memlock_limit(limits: &[u8]) -> Option<Option<Bytes>> {
    let text = String::from_utf8_lossy(limits);
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"))?;
    match rest.split_whitespace().next()? {
        "unlimited" => Some(None),
        bytes => bytes.parse().ok().map(|bytes| Some(Bytes(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_found() {
        let line = |value: &str| format!("Limit\nMax locked memory         {value}  8  bytes \n");
        let limit = |value: &str| memlock_limit(line(value).as_bytes());
        assert_eq!(limit("8388608"), Some(Some(Bytes(8 << 20))));
        assert_eq!(limit("unlimited"), Some(None));
        assert_eq!(limit("many"), None);
        assert_eq!(memlock_limit(b""), None);
    }

    #[test]
    fn what_the_kernel_would_refuse() {
        let allowance = |limit: Option<u64>, capable, size| Allowance {
            limit: limit.map(Bytes),
            capable,
            size: Bytes(size),
            locked: Bytes::ZERO,
        };
        let now = Lock {
            current: true,
            ..Lock::default()
        };
        let later = Lock {
            future: true,
            ..Lock::default()
        };
        let errno = |a: Allowance, lock| a.refusal(lock).map(|(errno, _)| errno);
        assert_eq!(errno(allowance(Some(0), false, 1), now), Some(Errno::EPERM));
        assert_eq!(
            errno(allowance(Some(0), false, 1), later),
            Some(Errno::EPERM)
        );
        assert_eq!(
            errno(allowance(Some(10), false, 11), now),
            Some(Errno::ENOMEM)
        );
        assert_eq!(errno(allowance(Some(10), false, 11), later), None);
        assert_eq!(errno(allowance(Some(10), false, 10), now), None);
        assert_eq!(errno(allowance(Some(0), true, 11), now), None);
        assert_eq!(errno(allowance(None, false, 11), now), None);
    }
}
