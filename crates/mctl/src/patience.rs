//! How long a change waits for a moment at which its target cannot notice it, and what to do where there is none.
//!
//! ```
//! use std::time::Duration;
//!
//! let before = mctl::patience();
//! mctl::set_patience(mctl::Patience { wait: Duration::from_millis(300), ..before });
//! assert_eq!(mctl::patience().wait, Duration::from_millis(300));
//! ```

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use mctl_sys::inject::{Limits, Report};

use crate::outcome::{Note, Outcome};

/// For all changes of this process that run a call in another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long to wait for a harmless moment. One second unless set; whole milliseconds count, at most 49 days.
    pub wait: Duration,
    /// Where there was none: interrupt the thread to which that does least, and say so in the outcome. Never unless
    /// set.
    pub disturb: bool,
}

static WAIT_MS: AtomicU32 = AtomicU32::new(1000);
static DISTURB: AtomicBool = AtomicBool::new(false);

/// What holds now.
#[must_use]
pub fn patience() -> Patience {
    Patience {
        wait: Duration::from_millis(u64::from(WAIT_MS.load(Ordering::Relaxed))),
        disturb: DISTURB.load(Ordering::Relaxed),
    }
}

/// For the changes that begin after this.
pub fn set_patience(patience: Patience) {
    let ms = u32::try_from(patience.wait.as_millis()).unwrap_or(u32::MAX);
    WAIT_MS.store(ms, Ordering::Relaxed);
    DISTURB.store(patience.disturb, Ordering::Relaxed);
}

/// For the injector.
pub(crate) fn limits() -> Limits {
    Limits {
        wait_ms: WAIT_MS.load(Ordering::Relaxed),
        disturb: DISTURB.load(Ordering::Relaxed),
        ..Limits::default()
    }
}

/// Takes what was waited off what may be waited.
pub(crate) fn take_off(left: &mut Limits, waited: Duration) {
    let waited = u32::try_from(waited.as_millis()).unwrap_or(u32::MAX);
    left.wait_ms = left.wait_ms.saturating_sub(waited);
}

/// Says in the outcome that the target was disturbed, if it was.
pub(crate) fn note_disturbance(outcome: &mut Outcome, report: &Report) {
    let Some(what) = disturbance(report) else {
        return;
    };
    let note = Note::Disturbed { what };
    if !outcome.notes.contains(&note) {
        outcome.notes.push(note);
    }
}

/// How a target was disturbed, in words.
pub(crate) fn disturbance(report: &Report) -> Option<String> {
    let disturbed = report.disturbed?;
    Some(format!(
        "its thread {} was interrupted in {}: {}",
        report.tid,
        disturbed.call_words(),
        disturbed.harm.done()
    ))
}
