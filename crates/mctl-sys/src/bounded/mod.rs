//! Work that must not hang: done in a task of its own, which is killed where it waits too long.
//!
//! Calls that look at another process take its locks, and another program decides how long these are held: for
//! as long as a file system does not answer from which it executes or maps a file, for as long as nobody serves
//! its memory. Such waits end by SIGKILL only, and a thread cannot be killed alone. So the work runs in a task
//! that shares our memory and descriptors and is a thread group of its own, while the thread that asked watches.
//!
//! The task may be killed only inside `may_wait`, around a call that may not return and nothing else. There it
//! holds no lock of ours, so memory is as whole as if the call had been a very long one. What it had allocated on
//! the way is lost, as is what it had opened, but for the descriptor that it waited with.
//!
//! The task uses the thread-local storage of the watching thread, which meanwhile makes system calls only, and
//! none that sets errno. It must not print: the lock would be lost with it.

mod file;
mod share;
mod stack;
mod task;
mod timer;
mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use mctl_abi::Errno;

pub use file::{ProcFile, may_hang, read_link};
pub use share::together;
pub(crate) use share::{note_in_vain, patience_ns};
#[cfg(test)]
pub(crate) use task::sigprocmask;
pub(crate) use task::{End, Kind, nap, run_task, set_death_signal};
pub(crate) use timer::Timer;
use watch::is_watched;
pub(crate) use watch::{is_to_end, may_wait, may_wait_with, next_item, our_pid};

/// For so long a task may wait for others in all, in milliseconds: all looks at one process, or attaching to it. In
/// work on many processes it is less after the first that did not answer ([`together`]).
pub const PATIENCE_MS: u64 = 1000;

/// Why work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undone {
    /// The kernel did not answer.
    #[error("the kernel did not answer within {PATIENCE_MS} ms")]
    NoAnswer,
    /// A signal is to end this program, or to be handled.
    #[error("interrupted by a signal")]
    Interrupted,
    /// The task was killed by somebody else.
    #[error("the task that looked was killed")]
    Killed,
}

impl Undone {
    /// The errno of the contract for it.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Undone::NoAnswer => Errno::EBUSY,
            Undone::Interrupted | Undone::Killed => Errno::EINTR,
        }
    }
}

impl From<Undone> for std::io::Error {
    fn from(undone: Undone) -> std::io::Error {
        std::io::Error::from_raw_os_error(undone.errno().raw())
    }
}

/// Does work that looks at another process, in bounded time. Within such work it is just done: the first to ask
/// sets the bound.
///
/// The work runs as another process of this memory: `/proc/self` and getpid(2) are not this program's.
///
/// # Errors
/// [`Undone`]. What the work owned is lost then.
pub fn run<R>(work: impl FnOnce() -> R) -> Result<R, Undone> {
    if is_watched() {
        return Ok(work());
    }
    let mut result = None;
    let mut work = Some(work);
    let end = run_task(Kind::Reader, || {
        if let Some(work) = work.take() {
            result = Some(catch_unwind(AssertUnwindSafe(work)));
        }
    });
    match (end, result, work) {
        (_, Some(Ok(result)), _) => Ok(result),
        (_, Some(Err(panic)), _) => resume_unwind(panic),
        // There is no task to be had (RLIMIT_NPROC, pids.max): better without a bound than not at all.
        (_, None, Some(work)) => Ok(work()),
        (Ok(End::Interrupted), None, None) => Err(Undone::Interrupted),
        (Ok(End::NoAnswer), None, None) => Err(Undone::NoAnswer),
        (_, None, None) => Err(Undone::Killed),
    }
}

/// Does work on one item after the other, each in bounded time. Answers those about which the kernel did not answer.
/// What the work on such an item owned is lost.
///
/// # Errors
/// [`Undone`]: it was ended before the last one.
pub fn each<T: Copy>(items: &[T], mut work: impl FnMut(T)) -> Result<Vec<T>, Undone> {
    let (mut next, mut silent) = (0, Vec::new());
    while next < items.len() {
        let ended = run(|| {
            while let Some(item) = items.get(next) {
                next_item();
                next += 1;
                work(*item);
            }
        });
        match ended {
            Ok(()) => {}
            Err(Undone::NoAnswer) => {
                silent.extend(next.checked_sub(1).and_then(|at| items.get(at)))
            }
            Err(undone) => return Err(undone),
        }
    }
    Ok(silent)
}

/// One call that may not return: part of the work where there is some, else bounded by itself.
pub(crate) fn call<R>(call: impl FnOnce() -> R) -> Result<R, Errno> {
    run(|| may_wait(call)).map_err(Undone::errno)
}

/// The same, on an open descriptor that its owner keeps.
pub(crate) fn call_on<R>(fd: i32, call: impl FnOnce() -> R) -> Result<R, Errno> {
    if is_watched() {
        // As by itself, with a time of its own.
        next_item();
        Ok(may_wait_with(fd, call))
    } else {
        self::call(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsRawFd as _, OwnedFd};
    use std::sync::atomic::{AtomicU32, Ordering};

    fn pipe() -> (OwnedFd, std::io::PipeWriter) {
        let (ours, theirs) = std::io::pipe().unwrap();
        (ours.into(), theirs)
    }

    /// A read that nobody ends.
    fn never(pipe: &OwnedFd) {
        let mut byte = [0u8; 1];
        let _ = may_wait(|| rustix::io::read(pipe, &mut byte));
    }

    fn children() -> Vec<String> {
        let own = rustix::thread::gettid().as_raw_nonzero();
        let text = std::fs::read_to_string(format!("/proc/self/task/{own}/children"));
        let text = text.unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn work_is_done_elsewhere_and_its_result_is_here() {
        let own = std::process::id();
        let (text, pid) = run(|| (vec![7u8; 100_000], std::process::id())).unwrap();
        assert_eq!(text.len(), 100_000);
        assert_ne!(pid, own);
        assert_eq!(run(our_pid), Ok(i32::try_from(own).unwrap()));
        let nested = run(|| run(|| run(our_pid))).unwrap().unwrap();
        assert_eq!(nested, Ok(i32::try_from(own).unwrap()));
        assert!(children().is_empty());
    }

    #[test]
    fn what_waits_too_long_ends_and_leaves_nothing() {
        let (ours, _theirs) = pipe();
        let mut passed = 0;
        let end = run(|| {
            passed += 1;
            never(&ours);
            passed += 100;
        });
        assert_eq!((end, passed), (Err(Undone::NoAnswer), 1));
        assert!(children().is_empty());
        // The next finds everything in order.
        assert_eq!(run(|| passed + 1), Ok(2));
    }

    #[test]
    fn what_it_opened_and_waited_with_is_closed() {
        let (ours, _theirs) = pipe();
        let copy = rustix::io::fcntl_dupfd_cloexec(&ours, 100).unwrap();
        let number = copy.as_raw_fd();
        let end = run(move || {
            let mut byte = [0u8; 1];
            let _ = may_wait_with(copy.as_raw_fd(), || rustix::io::read(&copy, &mut byte));
        });
        assert_eq!(end, Err(Undone::NoAnswer));
        assert!(std::fs::read_link(format!("/proc/self/fd/{number}")).is_err());
    }

    #[test]
    fn those_that_do_not_answer_keep_nobody_else_and_share_the_patience() {
        let (ours, _theirs) = pipe();
        let mut done = Vec::with_capacity(40);
        let items: Vec<u32> = (0..40).collect();
        let (silent, whole, left) = together(|| {
            let whole = patience_ns();
            let silent = each(&items, |item| {
                if item % 2 == 1 {
                    never(&ours);
                }
                done.push(item);
            });
            (silent, whole, patience_ns())
        });
        assert_eq!(silent, Ok((0..40).filter(|n| n % 2 == 1).collect()));
        assert!(done.iter().copied().eq((0..40).filter(|n| n % 2 == 0)));
        assert!(children().is_empty());
        // The first of them has used it up: each of the others got the least.
        assert!(left < whole / 10, "{left} of {whole} ns");
        assert_eq!(patience_ns(), whole, "and nothing of it is left behind");
    }

    /// Longer than the patience, but none of it in a wait for others.
    #[test]
    fn work_of_its_own_is_never_cut_short() {
        let begun = std::time::Instant::now();
        let long = std::time::Duration::from_millis(PATIENCE_MS + 300);
        let done = run(|| {
            std::thread::sleep(long);
            begun.elapsed() >= long
        });
        assert_eq!(done, Ok(true));
    }

    #[test]
    fn a_panic_comes_through() {
        let caught = std::panic::catch_unwind(|| run(|| panic!("as ever")));
        let text = caught.unwrap_err();
        assert_eq!(text.downcast_ref::<&str>(), Some(&"as ever"));
        assert_eq!(run(|| 1), Ok(1));
    }

    #[test]
    fn a_signal_ends_the_wait() {
        static HANDLED: AtomicU32 = AtomicU32::new(0);
        extern "C" fn handle(_: libc::c_int) {
            HANDLED.fetch_add(1, Ordering::Relaxed);
        }
        let handler = handle as *const () as libc::sighandler_t;
        // SAFETY: the handler only counts. No other test here gets the signal.
        unsafe { libc::signal(libc::SIGHUP, handler) };
        // SAFETY: no arguments.
        let thread = unsafe { libc::pthread_self() };
        let (ours, _theirs) = pipe();
        let sender = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            // SAFETY: the thread waits for this one.
            unsafe { libc::pthread_kill(thread, libc::SIGHUP) };
        });
        let end = run(|| never(&ours));
        sender.join().unwrap();
        assert_eq!(end, Err(Undone::Interrupted));
        assert_eq!(
            HANDLED.load(Ordering::Relaxed),
            1,
            "handled when the wait had ended"
        );
    }

    /// The thread's own errno is the task's.
    #[test]
    fn errno_is_not_mixed_up() {
        let wrong = run(|| {
            (0..20_000)
                .filter(|n| {
                    let ret = match n % 2 {
                        // SAFETY: no descriptor has this number.
                        0 => unsafe { libc::close(-1) },
                        // SAFETY: a null path is an error.
                        _ => unsafe { libc::chdir(std::ptr::null()) },
                    };
                    let errno = std::io::Error::last_os_error().raw_os_error();
                    let wanted = [libc::EBADF, libc::EFAULT][n % 2];
                    (ret, errno) != (-1, Some(wanted))
                })
                .count()
        });
        assert_eq!(wrong, Ok(0));
    }

    #[test]
    fn a_file_of_proc_is_read_whole() {
        use std::io::Read as _;
        let mut text = String::new();
        let mut file = ProcFile::open(format!("/proc/{}/status", std::process::id())).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("Name:") && text.contains("nonvoluntary_ctxt_switches"));
        let missing = ProcFile::open("/proc/nothing").unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
    }
}
