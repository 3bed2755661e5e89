//! The account between a task and the thread that watches it.

use std::cell::Cell;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// It does work of its own, and must not be killed: it may hold a lock, or a thread of a target.
const OWN: u32 = 0;
/// It is in a call that may not return. It may be killed.
const WAITS: u32 = 1;
/// It is to be killed, and does nothing more.
const CONDEMNED: u32 = 2;

/// Shared by a task and its watcher.
#[derive(Debug)]
pub(super) struct Watch {
    /// The process that started the task.
    pub(super) starter: i32,
    phase: AtomicU32,
    /// The descriptor that it waits with, or -1.
    fd: AtomicI32,
    /// Which of several pieces of work it is at.
    item: AtomicU32,
    /// Set when the work is done.
    done: AtomicU32,
    /// Set when a signal waits that is to end this program.
    to_end: AtomicU32,
    /// The kernel clears it, and wakes the watcher, when the task has ended (CLONE_CHILD_CLEARTID).
    pub(super) alive: AtomicU32,
}

thread_local! {
    /// The account of the task that runs on this thread's storage, while one does.
    static CURRENT: Cell<*const Watch> = const { Cell::new(std::ptr::null()) };
}

impl Watch {
    pub(super) const fn new(starter: i32) -> Watch {
        Watch {
            starter,
            phase: AtomicU32::new(OWN),
            fd: AtomicI32::new(-1),
            item: AtomicU32::new(0),
            done: AtomicU32::new(0),
            to_end: AtomicU32::new(0),
            alive: AtomicU32::new(1),
        }
    }

    /// Makes it the account of this thread's storage; answers the one before.
    pub(super) fn enter(&self) -> *const Watch {
        CURRENT.with(|current| current.replace(self))
    }

    pub(super) fn leave(before: *const Watch) {
        CURRENT.with(|current| current.set(before));
    }

    pub(super) fn finish(&self) {
        self.done.store(1, Ordering::Release);
    }

    pub(super) fn is_finished(&self) -> bool {
        self.done.load(Ordering::Acquire) != 0
    }

    pub(super) fn ask_to_end(&self) {
        self.to_end.store(1, Ordering::Release);
    }

    pub(super) fn waits(&self) -> bool {
        self.phase.load(Ordering::Acquire) == WAITS
    }

    pub(super) fn item(&self) -> u32 {
        self.item.load(Ordering::Relaxed)
    }

    /// The watcher decides to kill. False: it must not, now.
    pub(super) fn condemn(&self) -> bool {
        let from = (WAITS, CONDEMNED);
        self.phase
            .compare_exchange(from.0, from.1, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// The descriptor that a condemned task leaves open.
    pub(super) fn left_open(&self) -> Option<i32> {
        Some(self.fd.load(Ordering::Relaxed)).filter(|fd| *fd >= 0)
    }

    fn wait_in<R>(&self, fd: i32, call: impl FnOnce() -> R) -> R {
        self.fd.store(fd, Ordering::Relaxed);
        let swap = |from, to| {
            self.phase
                .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
        };
        if !swap(OWN, WAITS) {
            // Within another such call.
            return call();
        }
        let result = call();
        if !swap(WAITS, OWN) {
            loop {
                // SAFETY: no arguments. The signal is on its way.
                unsafe { libc::pause() };
            }
        }
        self.fd.store(-1, Ordering::Relaxed);
        result
    }
}

fn current<'a>() -> Option<&'a Watch> {
    let watch = CURRENT.with(Cell::get);
    // SAFETY: set by `enter` from a reference that outlives the task, and reset when it has ended.
    unsafe { watch.as_ref() }
}

/// This program's process, which getpid(2) does not tell in a task of its own.
pub(crate) fn our_pid() -> i32 {
    // SAFETY: no arguments.
    current().map_or_else(|| unsafe { libc::getpid() }, |watch| watch.starter)
}

/// Whether this is a task that is watched.
pub(super) fn is_watched() -> bool {
    current().is_some()
}

/// A call into the kernel that may not return, because another process is in the way: it executes, or has
/// mapped, a file of a file system that does not answer, or memory that nobody serves. In a watched task it may
/// end here; elsewhere it is just made. `call` neither allocates nor locks.
pub(crate) fn may_wait<R>(call: impl FnOnce() -> R) -> R {
    may_wait_with(-1, call)
}

/// The same, for a call on a descriptor that the task opened: it is closed if the task ends here.
pub(crate) fn may_wait_with<R>(fd: i32, call: impl FnOnce() -> R) -> R {
    match current() {
        Some(watch) => watch.wait_in(fd, call),
        None => call(),
    }
}

/// Whether a task that waits for something of its own accord had better not: a signal is to end this program.
pub(crate) fn is_to_end() -> bool {
    current().is_some_and(|watch| watch.to_end.load(Ordering::Acquire) != 0)
}

/// The task goes on to the next piece of its work, which has a time of its own.
pub(crate) fn next_item() {
    if let Some(watch) = current() {
        watch.item.fetch_add(1, Ordering::Relaxed);
    }
}
