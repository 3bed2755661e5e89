//! Letting the tracees go so that none notices.

use std::io;

use super::stop::{Stop, decode, mend, mend_before};
use super::{Tid, Watch, ended, ptrace, unless_gone};
use crate::time::{Deadline, monotonic_ns};

/// How long a tracee that cannot be stopped (uninterruptible sleep, a vfork) is waited for. The
/// kernel lets it go when this process ends.
const PATIENCE_NS: u64 = 5_000_000_000;

impl Watch {
    /// Lets every tracee go on alone. Answers how many could not be stopped for it in 5 s: those
    /// go on alone when the calling thread ends.
    ///
    /// # Errors
    ///
    /// Whatever waitpid(2) and ptrace(2) report.
    pub fn release(mut self) -> io::Result<usize> {
        self.let_go()
    }

    pub(super) fn let_go(&mut self) -> io::Result<usize> {
        if self.live.is_empty() {
            return Ok(0);
        }
        self.take_signals()?;
        let held = self.held.take();
        for tid in self.live.keys() {
            unless_gone(ptrace(libc::PTRACE_INTERRUPT, *tid, 0, 0))?;
        }
        if let Some((tid, _)) = held {
            self.resume(tid, libc::PTRACE_CONT, 0)?;
        }
        for (tid, status) in std::mem::take(&mut self.later) {
            self.let_one_go(tid, status)?;
        }
        let deadline = Deadline::after(PATIENCE_NS);
        while !self.live.is_empty() && !deadline.passed(monotonic_ns()) {
            match self.wait_at_most(50)? {
                // (Another request to end changes nothing: this is the end.)
                None => {}
                Some((0, _)) => self.live.clear(),
                Some((tid, status)) => self.let_one_go(tid, status)?,
            }
        }
        Ok(self.live.len())
    }

    fn let_one_go(&mut self, tid: Tid, status: i32) -> io::Result<()> {
        if ended(status).is_some() {
            self.forget(tid);
            return Ok(());
        }
        let stop = decode(status);
        self.note(tid, stop);
        let call = self.live.get(&tid).copied().flatten();
        let signal = match stop {
            Stop::Trap => {
                if !self.stood.contains(&tid) {
                    mend(tid, call.as_ref());
                }
                0
            }
            Stop::Group => 0,
            Stop::Signal(signal) => {
                mend_before(tid, signal, call.as_ref());
                signal
            }
            // Here a call's result is final, or the call not yet made: detached now, it would
            // return the EINTR of our interrupt. This stop has used the interrupt up, too.
            Stop::Call | Stop::Made | Stop::Executed | Stop::Other => {
                unless_gone(ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0))?;
                self.live.entry(tid).or_default();
                return self.resume(tid, libc::PTRACE_CONT, 0);
            }
        };
        self.forget(tid);
        self.resume(tid, libc::PTRACE_DETACH, signal)
    }
}
