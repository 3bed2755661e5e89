//! Watching the system calls of a process tree from outside, without changing any.
//!
//! Built on ptrace(2) with PTRACE_SEIZE. The tracer is the calling thread; the tracees are
//! resumed only through [`Watch::next`], which hands signals on, lets group stops be group stops,
//! and detaches whoever is left when it is dropped (the kernel does that when the tracer ends).

use std::collections::BTreeSet;
use std::io;

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
    /// It ended: the exit status, or the signal as a negative number.
    Gone(i32),
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
    live: BTreeSet<Tid>,
    /// Resume this one with this request and signal before waiting again.
    held: Option<(Tid, libc::c_uint, i32)>,
}

fn ptrace(
    request: libc::c_uint,
    tid: Tid,
    address: usize,
    data: usize,
) -> io::Result<libc::c_long> {
    // SAFETY: the requests used here read and write no memory of ours but GET_SYSCALL_INFO, whose
    // buffer its caller owns and sizes by `address`.
    let value = unsafe { libc::ptrace(request, tid, address, data) };
    if value == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(value)
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
        let options = libc::PTRACE_O_TRACESYSGOOD
            | libc::PTRACE_O_TRACEFORK
            | libc::PTRACE_O_TRACEVFORK
            | libc::PTRACE_O_TRACECLONE
            | libc::PTRACE_O_TRACEEXEC
            | libc::PTRACE_O_TRACESECCOMP;
        let options = usize::try_from(options).map_err(io::Error::other)?;
        ptrace(libc::PTRACE_SEIZE, tid, 0, options)?;
        Ok(Self {
            stops,
            live: BTreeSet::from([tid]),
            held: None,
        })
    }

    fn usual(&self) -> libc::c_uint {
        match self.stops {
            Stops::EveryCall => libc::PTRACE_SYSCALL,
            Stops::Filtered => libc::PTRACE_CONT,
        }
    }

    fn resume(&self, tid: Tid, request: libc::c_uint, signal: i32) -> io::Result<()> {
        match ptrace(request, tid, 0, usize::try_from(signal).unwrap_or(0)) {
            // It was killed while it was stopped; the wait will tell.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Waits for the next event. `None` when every tracee is gone.
    ///
    /// # Errors
    ///
    /// Whatever waitpid(2) and ptrace(2) report, but `EINTR`.
    #[allow(clippy::should_implement_trait, reason = "it can fail")]
    pub fn next(&mut self) -> io::Result<Option<(Tid, Event)>> {
        if let Some((tid, request, signal)) = self.held.take() {
            self.resume(tid, request, signal)?;
        }
        while !self.live.is_empty() {
            let mut status = 0;
            // SAFETY: `status` is ours, and the call writes one int there.
            let tid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
            if tid < 0 {
                let error = io::Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::EINTR) => continue,
                    Some(libc::ECHILD) => return Ok(None),
                    _ => return Err(error),
                }
            }
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                self.live.remove(&tid);
                let how = if libc::WIFEXITED(status) {
                    libc::WEXITSTATUS(status)
                } else {
                    -libc::WTERMSIG(status)
                };
                return Ok(Some((tid, Event::Gone(how))));
            }
            self.live.insert(tid);
            if let Some(event) = self.stopped(tid, status)? {
                return Ok(Some((tid, event)));
            }
        }
        Ok(None)
    }

    /// Deals with a stop; an event is handed out before the tracee goes on.
    fn stopped(&mut self, tid: Tid, status: i32) -> io::Result<Option<Event>> {
        let signal = libc::WSTOPSIG(status);
        let kind = status >> 16;
        let syscall_stop = signal == libc::SIGTRAP | 0x80;
        if syscall_stop || kind == libc::PTRACE_EVENT_SECCOMP {
            return match info(tid)? {
                Some(event @ Event::Entry { .. }) => {
                    // Its return is wanted, too.
                    self.held = Some((tid, libc::PTRACE_SYSCALL, 0));
                    Ok(Some(event))
                }
                Some(event) => {
                    self.held = Some((tid, self.usual(), 0));
                    Ok(Some(event))
                }
                None => self.resume(tid, self.usual(), 0).map(|()| None),
            };
        }
        let stopping =
            [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&signal);
        match kind {
            // A group stop stays one.
            libc::PTRACE_EVENT_STOP if stopping => self.resume(tid, libc::PTRACE_LISTEN, 0)?,
            0 => self.resume(tid, self.usual(), signal)?,
            _ => self.resume(tid, self.usual(), 0)?,
        }
        Ok(None)
    }
}

/// What PTRACE_GET_SYSCALL_INFO says.
fn info(tid: Tid) -> io::Result<Option<Event>> {
    // op and arch, ip, sp, then number and arguments, or value and error mark.
    let mut words = [0u64; 12];
    let size = std::mem::size_of_val(&words);
    match ptrace(
        libc::PTRACE_GET_SYSCALL_INFO,
        tid,
        size,
        words.as_mut_ptr().expose_provenance(),
    ) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
        other => other?,
    };
    let [head, _, _, first, a, b, c, d, e, f, ..] = words;
    Ok(match head & 0xff {
        1 | 3 => Some(Event::Entry {
            number: first,
            args: [a, b, c, d, e, f],
        }),
        2 => Some(Event::Exit {
            value: first.cast_signed(),
            error: a & 0xff != 0,
        }),
        _ => None,
    })
}
