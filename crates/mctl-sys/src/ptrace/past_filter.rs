//! Letting a thread go back to sleep past a filter of its own.
//!
//! The kernel goes on with some interrupted sleeps through another call, restart_syscall(2), which the thread makes
//! when it is let go, and which its seccomp filters see. A filter that does not expect that call may kill for it,
//! though the program never made it. So the thread is taken to the entry of that very call, the call is checked there
//! as any of ours is, and passes over the filters. It sleeps on for exactly what is left, and stays attached: only the
//! end of the shield lets it go, which has to come at once. Should it come out of the call sooner, it stops at the exit
//! and not in its own code.

use super::borrowed::{Borrowed, NoResult};
use super::raw;
use super::wait::{Event, decode};
use crate::arch::{Arch, Native};
use crate::inject::runnable::state_of;
use crate::time::{Deadline, monotonic_ns};

/// For so long a thread that waits for a processor is waited for, before which it does not pass its filters.
const PATIENCE_NS: u64 = 10_000_000_000;
/// Between two looks whether it sleeps.
const NAP_NS: u64 = 20_000;

/// How a thread was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LetGo {
    /// It is detached.
    Detached,
    /// It sleeps past its filters, and is attached.
    Attached,
    /// It is detached, and sleeps for the whole time once more.
    Afresh,
}

/// What became of the call that it goes on by.
enum Seen {
    Asleep,
    /// It stands at the exit stop.
    Returned,
    Gone,
}

impl Borrowed {
    /// Puts everything back, and lets the thread go on past its filters with the call that the stop has interrupted.
    /// Where that comes to nothing it is let go as ever. Returns how long the thread was stopped, in nanoseconds.
    pub(crate) fn release_past_filter(mut self) -> (u64, LetGo) {
        let stood = |since: u64| monotonic_ns().saturating_sub(since);
        match self.pass() {
            Ok(Seen::Asleep) => {
                let since = self.forget();
                (stood(since), LetGo::Attached)
            }
            Ok(Seen::Gone) => {
                let since = self.forget();
                (stood(since), LetGo::Detached)
            }
            Ok(Seen::Returned) if self.has_returned() => (self.detach(), LetGo::Detached),
            // A signal of its own came. With a handler the call fails as it would have; a signal that is ignored has it
            // entered again from its beginning.
            Ok(Seen::Returned) => (self.release(), LetGo::Detached),
            Err(NoResult::Gone) => (self.release(), LetGo::Detached),
            Err(_) => (self.release(), LetGo::Afresh),
        }
    }

    /// To the entry of the call and into it.
    fn pass(&mut self) -> Result<Seen, NoResult> {
        if !raw::can_suspend_seccomp(self.tid()) {
            return Err(NoResult::NotRun);
        }
        self.enter_continuation()?;
        self.pass_over_filters()?;
        let end = Deadline::after(PATIENCE_NS);
        loop {
            match raw::wait_now(self.tid()) {
                Ok(Some(status)) => match decode(status) {
                    Event::Gone => return Ok(Seen::Gone),
                    _ => {
                        self.filters_stand()?;
                        return Ok(Seen::Returned);
                    }
                },
                Ok(None) => {}
                Err(_) => return Ok(Seen::Gone),
            }
            // Behind its filters it sleeps; before, it runs.
            if state_of(self.tid()) == Some(b'S') || end.passed(monotonic_ns()) {
                return Ok(Seen::Asleep);
            }
            crate::time::wait_for_sigchld(NAP_NS);
        }
    }

    /// At an exit stop: whether the call has ended, and not been interrupted.
    fn has_returned(&self) -> bool {
        raw::get_regs::<<Native as Arch>::Regs>(self.tid())
            .is_ok_and(|regs| Native::continuation(&regs).is_none())
    }
}
