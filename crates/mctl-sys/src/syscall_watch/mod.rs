//! Watching the system calls of processes from outside, without changing any.
//!
//! Built on ptrace(2) with PTRACE_SEIZE. The tracer is the calling thread; the tracees are
//! resumed only through [`Watch::next`], which hands signals on and lets group stops be group
//! stops. [`Watch::release`] (and dropping) lets all of them go.
//!
//! What a tracee could notice, and what is done about it:
//!
//! - A stop, or a signal that the tracee ignores, wakes a call that the kernel does not restart
//!   (epoll_wait, semop, sigtimedwait …): the kernel drops an ignored signal at once, but not that
//!   of a tracee. Such a call is entered again, as in [`crate::inject`]; its timeout then starts
//!   afresh.
//! - A tracee must be stopped to be let go, and a stop inside a call's return would leave it with
//!   EINTR. So it is let go only where the kernel still decides about the restart.
//! - When the tracer is killed, the kernel lets the tracees go as they are, and a call of that kind
//!   fails with EINTR where it was just at a stop. So whoever watches strangers does it in a process
//!   of its own, out of reach of what kills the command (its group, its terminal).

mod asked;
mod attach;
mod info;
mod release;
mod signals;
mod stop;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;

use crate::inject::blocked::BlockedCall;
use asked::Asked;
pub use signals::Signals;

/// A thread that is traced.
pub type Tid = libc::pid_t;

/// What a tracee did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is about to make a call.
    Entry {
        /// The number of the call.
        number: u64,
        /// Its arguments.
        args: [u64; 6],
    },
    /// The call that it entered came back.
    Exit {
        /// The value, or the negative error number.
        value: i64,
        /// Whether it is an error.
        error: bool,
    },
    /// The call that it entered was interrupted; the kernel will enter it again or make it fail
    /// with EINTR, which is not seen here.
    Interrupted,
    /// It made this thread or process, which is watched from birth.
    Made(Tid),
    /// It ended: the exit status, or the signal as a negative number.
    Gone(i32),
    /// Not the tracee: this process was asked to end by this signal (see [`Watch::take_signals`]).
    Asked(i32),
}

/// How tracees run between events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stops {
    /// At every call.
    EveryCall,
    /// Where a seccomp filter of the tracee says so (SECCOMP_RET_TRACE).
    Filtered,
}

/// The tracees.
#[derive(Debug)]
pub struct Watch {
    stops: Stops,
    /// Each with the call that it was last seen in.
    live: BTreeMap<Tid, Option<BlockedCall>>,
    /// Those in a group stop: it ends their calls also where nobody watches.
    stood: BTreeSet<Tid>,
    /// Stops that came while others were waited for; their tracees stand.
    later: VecDeque<(Tid, i32)>,
    /// Resume this one with this request and signal before waiting again.
    held: Option<(Tid, libc::c_uint)>,
    signals: Option<Asked>,
}

/// What is asked of every tracee: marks at system-call stops, and its children and threads.
fn options() -> u64 {
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_TRACESECCOMP;
    u64::from(options.unsigned_abs())
}

fn ptrace(
    request: libc::c_uint,
    tid: Tid,
    address: usize,
    data: usize,
) -> io::Result<libc::c_long> {
    // SAFETY: the requests used here read and write no memory of ours but GET_SYSCALL_INFO, whose
    // buffer its caller owns and sizes by `address`, and GETEVENTMSG, which writes one long.
    let value = unsafe { libc::ptrace(request, tid, address, data) };
    if value == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(value)
    }
}

/// The tracee was killed while it was stopped; the wait will tell.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.map(drop),
    }
}

impl Watch {
    /// Starts watching a process that runs. It is not stopped; its calls are seen from its next
    /// exec on ([`Stops::EveryCall`]) or as soon as its filter says so.
    ///
    /// # Errors
    ///
    /// `EPERM` when ptrace(2) is not allowed, `ESRCH` when the process is gone.
    pub fn seize(tid: Tid, stops: Stops) -> io::Result<Self> {
        let options = usize::try_from(options()).map_err(io::Error::other)?;
        ptrace(libc::PTRACE_SEIZE, tid, 0, options)?;
        Ok(Self {
            stops,
            live: BTreeMap::from([(tid, None)]),
            stood: BTreeSet::new(),
            later: VecDeque::new(),
            held: None,
            signals: None,
        })
    }

    /// From now on SIGINT, SIGTERM and SIGHUP to this process come as [`Event::Asked`], but for
    /// those that it ignores. Their old meaning is back when the value is dropped.
    ///
    /// # Errors
    ///
    /// Whatever pthread_sigmask(3) reports.
    pub fn take_signals(&mut self) -> io::Result<()> {
        if self.signals.is_none() {
            self.signals = Some(Asked::take()?);
        }
        Ok(())
    }

    /// The threads that are watched now.
    pub fn tids(&self) -> impl Iterator<Item = Tid> {
        self.live.keys().copied()
    }

    /// How many threads are watched now.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.live.len()
    }

    fn forget(&mut self, tid: Tid) {
        self.live.remove(&tid);
        self.stood.remove(&tid);
    }

    fn usual(&self) -> libc::c_uint {
        match self.stops {
            Stops::EveryCall => libc::PTRACE_SYSCALL,
            Stops::Filtered => libc::PTRACE_CONT,
        }
    }

    fn resume(&self, tid: Tid, request: libc::c_uint, signal: i32) -> io::Result<()> {
        unless_gone(ptrace(
            request,
            tid,
            0,
            usize::try_from(signal).unwrap_or(0),
        ))
    }

    /// Waits for the next event. `None` when every tracee is gone.
    ///
    /// # Errors
    ///
    /// Whatever waitpid(2) and ptrace(2) report, but `EINTR`.
    #[allow(clippy::should_implement_trait, reason = "it can fail")]
    pub fn next(&mut self) -> io::Result<Option<(Tid, Event)>> {
        if let Some((tid, request)) = self.held.take() {
            self.resume(tid, request, 0)?;
        }
        while !self.live.is_empty() {
            let next = match self.later.pop_front() {
                None => self.wait(0)?,
                some => some,
            };
            let Some((tid, status)) = next else {
                match self.signals.as_ref().and_then(Asked::next) {
                    Some(signal) => return Ok(Some((0, Event::Asked(signal)))),
                    None => continue,
                }
            };
            if tid == 0 {
                return Ok(None);
            }
            if let Some(how) = ended(status) {
                self.forget(tid);
                return Ok(Some((tid, Event::Gone(how))));
            }
            self.live.entry(tid).or_default();
            if let Some(event) = self.stopped(tid, status)? {
                return Ok(Some((tid, event)));
            }
        }
        Ok(None)
    }

    /// A change of a tracee. `None`: nothing now (with WNOHANG, or where the wait was interrupted,
    /// perhaps by a request to end); thread 0: there is no tracee.
    fn wait(&self, options: i32) -> io::Result<Option<(Tid, i32)>> {
        let mut status = 0;
        // SAFETY: `status` is ours, and the call writes one int there.
        let tid = unsafe { libc::waitpid(-1, &raw mut status, options | libc::__WALL) };
        if tid > 0 {
            return Ok(Some((tid, status)));
        }
        if tid == 0 {
            return Ok(None);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => Ok(None),
            Some(libc::ECHILD) => Ok(Some((0, 0))),
            _ => Err(error),
        }
    }

    /// The same within so many milliseconds, or about that.
    fn wait_at_most(&self, ms: u32) -> io::Result<Option<(Tid, i32)>> {
        let now = self.wait(libc::WNOHANG)?;
        if now.is_some() {
            return Ok(now);
        }
        if let Some(signals) = &self.signals {
            signals.pause(ms);
        }
        self.wait(libc::WNOHANG)
    }
}

/// How a tracee ended, if it did.
fn ended(status: i32) -> Option<i32> {
    if libc::WIFEXITED(status) {
        Some(libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        Some(-libc::WTERMSIG(status))
    } else {
        None
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.let_go();
    }
}
