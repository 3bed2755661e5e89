//! Patience that many looks share: several processes that do not answer cost one command little more than one does.

use std::cell::Cell;

use super::PATIENCE_MS;

const PATIENCE_NS: u64 = PATIENCE_MS * 1_000_000;
/// What every process gets, however many before it did not answer. A lock that is held in passing is released
/// within it.
const LEAST_NS: u64 = 50_000_000;

thread_local! {
    /// Waited in vain by what runs in [`together`]; `None` outside of it.
    static IN_VAIN: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Ends the sharing, also where the work panics.
struct Ends;

impl Drop for Ends {
    fn drop(&mut self) {
        IN_VAIN.with(|waited| waited.set(None));
    }
}

/// Does work on many processes. All waits of this thread in it share [`PATIENCE_MS`]: what was waited in vain for one
/// process is taken off the patience with the next. Each gets 50 ms at least. Within such work it is just done.
pub fn together<R>(work: impl FnOnce() -> R) -> R {
    if IN_VAIN.with(Cell::get).is_some() {
        return work();
    }
    IN_VAIN.with(|waited| waited.set(Some(0)));
    let _ends = Ends;
    work()
}

/// For how long the next wait may last.
pub(crate) fn patience_ns() -> u64 {
    let waited = IN_VAIN.with(Cell::get).unwrap_or(0);
    PATIENCE_NS.saturating_sub(waited).max(LEAST_NS)
}

/// A wait has ended without an answer.
pub(crate) fn note_in_vain(ns: u64) {
    IN_VAIN.with(|waited| waited.set(waited.get().map(|sum| sum.saturating_add(ns))));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_waited_in_vain_is_taken_off() {
        note_in_vain(PATIENCE_NS);
        assert_eq!(patience_ns(), PATIENCE_NS, "each for itself");
        together(|| {
            assert_eq!(patience_ns(), PATIENCE_NS);
            note_in_vain(300_000_000);
            together(|| assert_eq!(patience_ns(), 700_000_000));
            assert_eq!(patience_ns(), 700_000_000, "the outer one goes on");
            note_in_vain(u64::MAX);
            assert_eq!(patience_ns(), LEAST_NS);
        });
        assert_eq!(patience_ns(), PATIENCE_NS);
    }

    #[test]
    fn a_panic_ends_the_sharing() {
        let caught = std::panic::catch_unwind(|| {
            together(|| {
                note_in_vain(PATIENCE_NS);
                panic!("as ever");
            })
        });
        assert!(caught.is_err());
        assert_eq!(patience_ns(), PATIENCE_NS);
    }
}
