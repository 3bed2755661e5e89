//! Ctrl-C: the first one asks long work to end between two batches, the second one kills.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGINT;
use signal_hook::flag;

/// Whether Ctrl-C was pressed.
#[derive(Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes SIGINT over, unless whoever started us had it ignored (`nohup`, a script's `&`).
    pub(crate) fn install() -> Interrupt {
        let pressed = Arc::new(AtomicBool::new(false));
        if !is_ignored() {
            // In this order: the first press finds the flag unset, the second dies of the signal.
            // Where it cannot be done, Ctrl-C kills at once, as ever.
            let _ = flag::register_conditional_default(SIGINT, Arc::clone(&pressed));
            let _ = flag::register(SIGINT, Arc::clone(&pressed));
        }
        Interrupt(pressed)
    }

    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.0
    }

    pub(crate) fn pressed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// From our own `SigIgn`.
fn is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 << (SIGINT - 1) != 0)
}
