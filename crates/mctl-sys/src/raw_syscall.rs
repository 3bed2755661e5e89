//! One raw system call, for processes that exist only to make it.
//!
//! A conformance test has to pass what no sensible wrapper would accept: unmapped addresses,
//! flags that do not exist, stale descriptors. That is done in a throw-away process; the
//! [`Expendable`] token stands for being in one.

use std::fmt;

/// Proof that this process may be lost: it has one thread, and its owner said so.
///
/// It is neither `Send` nor `Clone`: it stays with the one thread that there is.
pub struct Expendable {
    _stays: std::marker::PhantomData<*const ()>,
}

impl fmt::Debug for Expendable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Expendable")
    }
}

/// Why a process is not expendable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotExpendable {
    /// The environment does not have the variable that the starter sets.
    #[error("the process was not started as a throw-away process")]
    NotMarked,
    /// Other threads would share what a call destroys.
    #[error("the process has {0} threads")]
    Threads(usize),
}

/// The environment variable that the starter of a throw-away process sets to its own PID.
pub const MARK: &str = "MCTL_EXPENDABLE";

impl Expendable {
    /// Claims this process.
    ///
    /// # Errors
    ///
    /// [`NotExpendable`] unless [`MARK`] is in the environment and the process has one thread.
    pub fn claim() -> Result<Self, NotExpendable> {
        if std::env::var_os(MARK).is_none() {
            return Err(NotExpendable::NotMarked);
        }
        let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
        if threads != 1 {
            return Err(NotExpendable::Threads(threads));
        }
        Ok(Self {
            _stays: std::marker::PhantomData,
        })
    }

    /// Makes a system call with any arguments and answers its value, or the error number.
    ///
    /// The call can unmap, overwrite or lock memory of this very process, end it, or clone it. It
    /// must be used on memory that the calls themselves mapped; whatever else happens stays inside
    /// the throw-away process, whose results its starter does not trust beyond their form.
    #[must_use = "the outcome is the point of the call"]
    pub fn syscall6(&self, number: u32, args: [u64; 6]) -> Result<i64, i32> {
        let [a, b, c, d, e, f] = args;
        // SAFETY: the token shows that this process has no other thread and exists only for such
        // calls; no reference to memory that it can name is held across the call by the callers
        // (they work on addresses that earlier calls mapped), and a process that it damages is
        // ended by its starter.
        let value = unsafe { libc::syscall(libc::c_long::from(number), a, b, c, d, e, f) };
        if value == -1 {
            return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_process_is_not_expendable() {
        // The test harness has threads and is not marked.
        assert!(Expendable::claim().is_err());
    }
}
