//! What a caller and the shield that keeps a carrier tell each other.
//!
//! Plain words in shared memory, and one futex: the shield may neither lock nor allocate, and the caller
//! must not wait for it longer than it wants to.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use crate::arch::SyscallArgs;

/// So many calls are handed over at a time.
pub(super) const SLOTS: usize = 128;

/// Whose turn it is.
pub(super) const STARTING: u32 = 0;
pub(super) const READY: u32 = 1;
pub(super) const POSTED: u32 = 2;
pub(super) const ENDED: u32 = 3;

#[derive(Debug, Default)]
struct Slot {
    number: AtomicU64,
    args: [AtomicU64; 6],
    result: AtomicI64,
    took_ns: AtomicU64,
}

/// Why a carrier ended. The order is that of the numbers in the mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was never born.
    Unborn,
    /// It was asked to.
    Asked,
    /// A call of it took longer than it might.
    TooLong,
    /// The target has ended.
    TargetGone,
    /// The target has executed another program.
    Replaced,
    /// It was found elsewhere than it was sent.
    Elsewhere,
    /// Somebody else has killed it.
    Killed,
    /// Nothing was asked of it for a while.
    Idle,
    /// The caller has ended.
    Orphaned,
    /// The kernel refused a step.
    Os,
}

const ENDS: [End; 10] = [
    End::Unborn,
    End::Asked,
    End::TooLong,
    End::TargetGone,
    End::Replaced,
    End::Elsewhere,
    End::Killed,
    End::Idle,
    End::Orphaned,
    End::Os,
];

#[derive(Debug)]
pub(super) struct Mailbox {
    turn: AtomicU32,
    count: AtomicU32,
    done: AtomicU32,
    why: AtomicU32,
    /// No further call; the one that runs has a moment to end by itself.
    stop: AtomicBool,
    /// How long a call may take, in nanoseconds.
    pub(super) call_ns: AtomicU64,
    /// How long the birth waited for a harmless moment, in nanoseconds.
    waited_ns: AtomicU64,
    slots: [Slot; SLOTS],
}

impl Mailbox {
    pub(super) fn new(call_ns: u64) -> Mailbox {
        Mailbox {
            turn: AtomicU32::new(STARTING),
            count: AtomicU32::new(0),
            done: AtomicU32::new(0),
            why: AtomicU32::new(0),
            stop: AtomicBool::new(false),
            call_ns: AtomicU64::new(call_ns),
            waited_ns: AtomicU64::new(0),
            slots: std::array::from_fn(|_| Slot::default()),
        }
    }

    pub(super) fn turn(&self) -> u32 {
        self.turn.load(Ordering::Acquire)
    }

    fn pass(&self, turn: u32) {
        self.turn.store(turn, Ordering::Release);
        crate::raw::futex::wake(&self.turn);
    }

    /// Waits until the turn is another than this, for at most so long; returns whose it is.
    pub(super) fn wait_while(&self, turn: u32, ns: u64) -> u32 {
        if self.turn() == turn {
            crate::raw::futex::wait(&self.turn, turn, ns);
        }
        self.turn()
    }

    // The caller's side.

    /// Hands over calls, as many as there is room for; returns how many.
    pub(super) fn post<'a>(&self, calls: impl Iterator<Item = &'a SyscallArgs>) -> usize {
        let mut count = 0;
        for (slot, call) in self.slots.iter().zip(calls) {
            slot.number.store(call.number, Ordering::Relaxed);
            for (word, arg) in slot.args.iter().zip(call.args) {
                word.store(arg, Ordering::Relaxed);
            }
            count += 1;
        }
        self.done.store(0, Ordering::Relaxed);
        self.count
            .store(u32::try_from(count).unwrap_or(0), Ordering::Relaxed);
        // The shield may have ended meanwhile; its last word stands.
        let turn = self
            .turn
            .compare_exchange(READY, POSTED, Ordering::AcqRel, Ordering::Acquire);
        if turn.is_ok() {
            crate::raw::futex::wake(&self.turn);
        }
        count
    }

    pub(super) fn done(&self) -> usize {
        usize::try_from(self.done.load(Ordering::Acquire)).unwrap_or(0)
    }

    /// What a call returned, and how long it took in nanoseconds.
    pub(super) fn result(&self, index: usize) -> (i64, u64) {
        self.slots.get(index).map_or((0, 0), |slot| {
            (
                slot.result.load(Ordering::Relaxed),
                slot.took_ns.load(Ordering::Relaxed),
            )
        })
    }

    pub(super) fn waited_ns(&self) -> u64 {
        self.waited_ns.load(Ordering::Relaxed)
    }

    pub(super) fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::Release);
        crate::raw::futex::wake(&self.turn);
    }

    // The shield's side.

    pub(super) fn note_waited(&self, ns: u64) {
        self.waited_ns.store(ns, Ordering::Relaxed);
    }

    pub(super) fn is_to_stop(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(super) fn count(&self) -> usize {
        usize::try_from(self.count.load(Ordering::Relaxed)).unwrap_or(0)
    }

    pub(super) fn call(&self, index: usize) -> Option<SyscallArgs> {
        let slot = self.slots.get(index)?;
        let mut args = [0; 6];
        for (arg, word) in args.iter_mut().zip(&slot.args) {
            *arg = word.load(Ordering::Relaxed);
        }
        Some(SyscallArgs {
            number: slot.number.load(Ordering::Relaxed),
            args,
        })
    }

    pub(super) fn record(&self, index: usize, result: i64, took_ns: u64) {
        if let Some(slot) = self.slots.get(index) {
            slot.result.store(result, Ordering::Relaxed);
            slot.took_ns.store(took_ns, Ordering::Relaxed);
        }
        let done = u32::try_from(index + 1).unwrap_or(0);
        self.done.store(done, Ordering::Release);
    }

    pub(super) fn ready(&self) {
        self.pass(READY);
    }

    pub(super) fn end(&self, why: End) {
        let number = ENDS.iter().position(|end| *end == why).unwrap_or(0);
        self.why
            .store(u32::try_from(number).unwrap_or(0), Ordering::Relaxed);
        self.pass(ENDED);
    }

    pub(super) fn why(&self) -> End {
        let number = usize::try_from(self.why.load(Ordering::Relaxed)).unwrap_or(0);
        ENDS.get(number).copied().unwrap_or(End::Unborn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_go_there_and_results_come_back() {
        let mailbox = Mailbox::new(1);
        let call = |n: u64| SyscallArgs {
            number: n,
            args: [n, 2, 3, 4, 5, 6],
        };
        let calls: Vec<SyscallArgs> = (0..SLOTS as u64 + 5).map(call).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                mailbox.ready();
                while mailbox.wait_while(READY, 1_000_000_000) == READY {}
                for index in 0..mailbox.count() {
                    let call = mailbox.call(index).unwrap();
                    mailbox.record(index, call.args[0].cast_signed() * 2, 7);
                }
                mailbox.end(End::Idle);
            });
            while mailbox.wait_while(STARTING, 1_000_000_000) == STARTING {}
            assert_eq!(mailbox.post(calls.iter()), SLOTS);
            while mailbox.turn() != ENDED {
                mailbox.wait_while(POSTED, 1_000_000_000);
            }
        });
        assert_eq!((mailbox.done(), mailbox.why()), (SLOTS, End::Idle));
        let last = (2 * (SLOTS as u64 - 1)).cast_signed();
        assert_eq!(mailbox.result(SLOTS - 1), (last, 7));
    }

    #[test]
    fn every_end_has_its_number() {
        for why in ENDS {
            let mailbox = Mailbox::new(1);
            mailbox.end(why);
            assert_eq!((mailbox.turn(), mailbox.why()), (ENDED, why));
        }
    }
}
