//! Requests to end, while the tracer sleeps in wait(2).
//!
//! A tracer that waits for its tracees alone is woken by them directly; one that waits for SIGCHLD
//! among other signals takes two calls more for each stop and loses the processor that the tracee
//! leaves (measured: three times as long a traced call). So a thread of its own waits for SIGINT,
//! SIGTERM and SIGHUP. It interrupts the tracer's wait with a signal, again and again until the
//! request is taken: one alone might come just before the wait begins.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::Tid;
use super::signals::{Signals, wait_for};

/// How long the tracer is given to take a request before it is interrupted again.
const AGAIN_MS: u32 = 5;

#[derive(Debug, Default)]
struct Shared {
    requests: Mutex<VecDeque<i32>>,
    /// Something is in there.
    any: AtomicBool,
    done: AtomicBool,
    /// The thread itself, once it runs.
    tid: AtomicI32,
}

impl Shared {
    fn requests(&self) -> MutexGuard<'_, VecDeque<i32>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that waits for requests to end this process, until this is dropped.
#[derive(Debug)]
pub(super) struct Asked {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// After the thread has ended, since it inherits what this blocks.
    signals: Signals,
    nudge: libc::sigaction,
}

/// The signal that interrupts a wait. Nothing of this process uses it.
fn nudge_signal() -> i32 {
    libc::SIGRTMAX() - 1
}

extern "C" fn nothing(_: i32) {}

fn tell(tid: Tid) {
    let own = std::process::id();
    // SAFETY: integers only; a thread of this process, which has a handler for the signal.
    unsafe { libc::syscall(libc::SYS_tgkill, own, tid, nudge_signal()) };
}

impl Asked {
    pub(super) fn take() -> io::Result<Self> {
        let signals = Signals::take()?;
        // SAFETY: all-zero is a valid sigaction: no flags (so no SA_RESTART), an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = nothing as *const () as usize;
        // SAFETY: all-zero is a valid sigaction to be overwritten.
        let mut nudge: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: both are live; the handler does nothing.
        if unsafe { libc::sigaction(nudge_signal(), &raw const action, &raw mut nudge) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let shared = Arc::new(Shared::default());
        // SAFETY: no arguments.
        let tracer = unsafe { libc::gettid() };
        let (theirs, requests) = (Arc::clone(&shared), signals.requests());
        let thread = std::thread::Builder::new()
            .name("requests".to_owned())
            .spawn(move || {
                // SAFETY: no arguments.
                theirs
                    .tid
                    .store(unsafe { libc::gettid() }, Ordering::Release);
                while !theirs.done.load(Ordering::Acquire) {
                    let waiting = theirs.any.load(Ordering::Acquire);
                    if let Some(signal) = wait_for(requests, waiting.then_some(AGAIN_MS)) {
                        theirs.requests().push_back(signal);
                        theirs.any.store(true, Ordering::Release);
                    }
                    if theirs.any.load(Ordering::Acquire) {
                        tell(tracer);
                    }
                }
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
            signals,
            nudge,
        })
    }

    /// The next request, if there is one.
    pub(super) fn next(&self) -> Option<i32> {
        if !self.shared.any.load(Ordering::Acquire) {
            return None;
        }
        let mut requests = self.shared.requests();
        let next = requests.pop_front();
        self.shared
            .any
            .store(!requests.is_empty(), Ordering::Release);
        next
    }

    /// Sleeps until a child or tracee changes, at the latest for so long; a request ends it, too.
    pub(super) fn pause(&self, most_ms: u32) {
        self.signals.pause(most_ms);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.shared.done.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            while !thread.is_finished() {
                let tid = self.shared.tid.load(Ordering::Acquire);
                if tid > 0 {
                    tell(tid);
                }
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
            let _ = thread.join();
        }
        // SAFETY: what stood there before.
        unsafe { libc::sigaction(nudge_signal(), &raw const self.nudge, std::ptr::null_mut()) };
    }
}
