//! The signals of the watching process itself: one that asks it to end must not kill it while it
//! holds tracees, or has a child that does.

use std::io;

use crate::procfs::status::Status;

/// What asks a program to end.
const ENDING: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// SIGINT, SIGTERM, SIGHUP and SIGCHLD, blocked for the calling thread until this is dropped, to be
/// waited for instead. SIGINT and SIGHUP are left alone where the process ignores them.
#[derive(Debug)]
pub struct Signals {
    /// As the kernel has them: one bit a signal.
    taken: u64,
    before: u64,
    child: libc::sighandler_t,
    /// It stays with the thread whose mask it changed.
    _stays: std::marker::PhantomData<*const ()>,
}

/// The signals that this process ignores (`nohup`, a script's `&`).
fn ignored() -> u64 {
    let text = std::fs::read("/proc/self/status").unwrap_or_default();
    let status = Status::parse(&text).ok();
    status.and_then(|status| status.sig_ign).unwrap_or(0)
}

fn set_mask(how: i32, set: u64) -> io::Result<u64> {
    let mut before = 0u64;
    // SAFETY: both sets are ours and have the kernel's size of 8 bytes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            how,
            &raw const set,
            &raw mut before,
            8,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(before)
}

impl Signals {
    /// Takes them.
    ///
    /// # Errors
    ///
    /// Whatever rt_sigprocmask(2) reports.
    pub fn take() -> io::Result<Self> {
        let ignored = ignored();
        let ending = ENDING
            .into_iter()
            .filter(|s| *s == libc::SIGTERM || ignored & bit(*s) == 0)
            .map(bit);
        let taken = ending.fold(bit(libc::SIGCHLD), |all, one| all | one);
        let before = set_mask(libc::SIG_BLOCK, taken)?;
        // Ignored, it would not be sent at all.
        // SAFETY: the default action needs no code of ours.
        let child = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
        Ok(Self {
            taken,
            before,
            child,
            _stays: std::marker::PhantomData,
        })
    }

    /// Sleeps until a child or tracee changes (`None`, and also now and then for no reason, at the
    /// latest after `most_ms`, or a second) or this process is asked to end by a signal.
    #[must_use]
    pub fn wait(&self, most_ms: Option<u32>) -> Option<i32> {
        wait_for(self.taken, most_ms).filter(|signal| *signal != libc::SIGCHLD)
    }

    /// Sleeps until a child or tracee changes, at the latest for so long.
    pub(super) fn pause(&self, most_ms: u32) {
        wait_for(bit(libc::SIGCHLD), Some(most_ms));
    }

    /// The signals that ask this process to end.
    pub(super) fn requests(&self) -> u64 {
        self.taken & !bit(libc::SIGCHLD)
    }
}

/// Waits for one of these signals, which the calling thread blocks, at the latest for so long, or a
/// second. `None`: none came, or another one was handled.
pub(super) fn wait_for(set: u64, most_ms: Option<u32>) -> Option<i32> {
    let ms = most_ms.unwrap_or(1000).min(1000);
    let timeout = libc::timespec {
        tv_sec: i64::from(ms / 1000),
        tv_nsec: i64::from(ms % 1000) * 1_000_000,
    };
    let no_info = std::ptr::null_mut::<libc::siginfo_t>();
    // SAFETY: the set has the kernel's size of 8 bytes; no siginfo is asked for.
    let signal = unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const set,
            no_info,
            &raw const timeout,
            8,
        )
    };
    // A failure (EAGAIN, EINTR) is as good as a change: a look at the tracees does no harm.
    i32::try_from(signal).ok().filter(|signal| *signal > 0)
}

impl Drop for Signals {
    fn drop(&mut self) {
        // SAFETY: what stood there before.
        unsafe { libc::signal(libc::SIGCHLD, self.child) };
        // The mask is the calling thread's, with which this stays.
        let _ = set_mask(libc::SIG_SETMASK, self.before);
    }
}
