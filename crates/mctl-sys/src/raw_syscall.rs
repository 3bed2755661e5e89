//! One raw system call, for processes that exist only to make it.
//!
//! A conformance test has to pass what no sensible wrapper would accept: unmapped addresses,
//! flags that do not exist, stale descriptors. That is done in a throw-away process; the
//! [`Expendable`] token stands for being in one.
//!
//! # Why [`Expendable::syscall6`] is a safe function
//!
//! It can do to its own process what no safe function may: unmap its heap, empty its stack. It is
//! no worse than a safe write to `/proc/self/mem`, and as with that the boundary is the process:
//!
//! - The token cannot be had in a process that anything depends on. [`Expendable::claim`] demands
//!   that the parent, this very one, marked the process at its start, that it has one thread, and
//!   that there is no other token. A mark that was inherited further down names another parent.
//! - No second task can be brought into the memory ([`Expendable::refuses`]), so nothing runs
//!   beside a call.
//! - What the process says afterwards is bytes on a pipe, which its starter parses as any input.
//!   A process that a call has ruined ends, hangs until it is killed, or says nonsense.
//! - Its users work on memory that earlier calls mapped, so the ordinary case ruins nothing.
//!
//! What this does not give is Rust's promise *inside* the throw-away process: there, a call on the
//! allocator's memory is as bad as in C. A design without that exception would run the calls in a
//! forked loop of machine code and look at it from outside only.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// The environment does not have the variable that the starter sets, or it names another.
    #[error("the process was not started as a throw-away process by its parent")]
    NotMarked,
    /// Somebody has the token.
    #[error("the process was claimed before")]
    Claimed,
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
    /// [`NotExpendable`] unless [`MARK`] names the parent, the process has one thread, and nobody
    /// has claimed it before.
    pub fn claim() -> Result<Self, NotExpendable> {
        static CLAIMED: AtomicBool = AtomicBool::new(false);
        let parent = std::os::unix::process::parent_id().to_string();
        if std::env::var_os(MARK).is_none_or(|mark| mark != parent.as_str()) {
            return Err(NotExpendable::NotMarked);
        }
        let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
        if threads != 1 {
            return Err(NotExpendable::Threads(threads));
        }
        if CLAIMED.swap(true, Ordering::Relaxed) {
            return Err(NotExpendable::Claimed);
        }
        Ok(Self {
            _stays: std::marker::PhantomData,
        })
    }

    /// Why a call is never made here: it would bring another task into this memory.
    #[must_use]
    pub fn refuses(&self, number: u32, args: &[u64; 6]) -> Option<&'static str> {
        const CLONE3: libc::c_long = 435;
        #[cfg(target_arch = "x86_64")]
        let vfork = libc::SYS_vfork;
        #[cfg(not(target_arch = "x86_64"))]
        let vfork = -1;
        let number = libc::c_long::from(number);
        let [flags, ..] = *args;
        let shares = number == libc::SYS_clone && flags & libc::CLONE_VM.unsigned_abs() as u64 != 0;
        // The flags of clone3 are in memory, which may change under a look at it.
        (shares || number == vfork || number == CLONE3)
            .then_some("it would run another task in the memory of this one")
    }

    /// Makes a system call with any arguments and answers its value, or the error number.
    ///
    /// `EPERM` without making it for what [`Expendable::refuses`] names.
    ///
    /// The call can unmap, overwrite or lock memory of this very process, end it, or clone it. It
    /// must be used on memory that the calls themselves mapped; whatever else happens stays inside
    /// the throw-away process, whose results its starter does not trust beyond their form.
    #[must_use = "the outcome is the point of the call"]
    pub fn syscall6(&self, number: u32, args: [u64; 6]) -> Result<i64, i32> {
        if self.refuses(number, &args).is_some() {
            return Err(libc::EPERM);
        }
        let [a, b, c, d, e, f] = args;
        // SAFETY: see the module: the token shows that this process has one thread, that its
        // parent started it for such calls, and that nobody depends on its memory.
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
        assert_eq!(Expendable::claim().err(), Some(NotExpendable::NotMarked));
    }

    #[test]
    fn no_second_task_in_the_memory() {
        let token = Expendable {
            _stays: std::marker::PhantomData,
        };
        let clone = u32::try_from(libc::SYS_clone).unwrap();
        let shared = u64::from(libc::CLONE_VM.unsigned_abs());
        assert!(
            token
                .refuses(clone, &[shared | 17, 0, 0, 0, 0, 0])
                .is_some()
        );
        assert!(token.refuses(clone, &[17, 0, 0, 0, 0, 0]).is_none());
        assert!(token.refuses(435, &[0; 6]).is_some());
        assert_eq!(token.syscall6(435, [0; 6]), Err(libc::EPERM));
    }
}
