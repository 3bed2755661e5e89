//! `/proc/timer_list`: the timers that the kernel has armed.
//!
//! Source: `print_timer()` in `kernel/time/timer_list.c`. Root only. The file grows with the number of sleepers, so
//! it is read in pieces, and nothing is allocated.

use super::num::dec_u64;

/// A high-resolution timer that wakes a sleeping task, in nanoseconds of CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sleeper {
    /// When the task shall be woken.
    pub soft: u64,
    /// The latest moment, where that saves an interrupt.
    pub hard: u64,
}

/// What a piece of the file may end in the middle of: no line that matters is longer.
const LINE: usize = 256;

/// Reads the file as it comes, in pieces of any size.
#[derive(Debug)]
pub struct Scan {
    line: [u8; LINE],
    len: usize,
    /// The line is longer than what is kept of it.
    cut: bool,
    now: Option<u64>,
    monotonic: bool,
    wakes: bool,
}

impl Default for Scan {
    fn default() -> Self {
        Self::new()
    }
}

impl Scan {
    /// Of a file that nothing was read of yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            line: [0; LINE],
            len: 0,
            cut: false,
            now: None,
            monotonic: false,
            wakes: false,
        }
    }

    /// The moment that the file says it is of, in nanoseconds of the kernel's CLOCK_MONOTONIC.
    #[must_use]
    pub const fn now(&self) -> Option<u64> {
        self.now
    }

    /// The next piece. `see` is called for every sleeper whose lines are complete by now.
    pub fn feed(&mut self, piece: &[u8], mut see: impl FnMut(Sleeper)) {
        for byte in piece {
            if *byte != b'\n' {
                match self.line.get_mut(self.len) {
                    Some(slot) => {
                        *slot = *byte;
                        self.len += 1;
                    }
                    None => self.cut = true,
                }
                continue;
            }
            let line = self.line;
            let line = line.get(..self.len).unwrap_or_default();
            if !self.cut
                && let Some(sleeper) = self.take(line.trim_ascii())
            {
                see(sleeper);
            }
            self.len = 0;
            self.cut = false;
        }
    }

    fn take(&mut self, line: &[u8]) -> Option<Sleeper> {
        let expiry = line.strip_prefix(b"# expires at ");
        // What was said of a timer holds for the line behind it.
        let wakes = std::mem::replace(&mut self.wakes, false);
        if let Some(rest) = expiry {
            if !wakes || !self.monotonic {
                return None;
            }
            let (soft, rest) = number_before(rest, b'-')?;
            let (hard, _) = number_before(rest, b' ')?;
            return Some(Sleeper { soft, hard });
        }
        if let Some(rest) = line.strip_prefix(b"now at ") {
            self.now = number_before(rest, b' ').map(|(now, _)| now);
        } else if let Some(rest) = line.strip_prefix(b"clock ") {
            // HRTIMER_BASE_MONOTONIC is the first (include/linux/hrtimer_defs.h).
            self.monotonic = rest == b"0:";
        } else if line.starts_with(b"#") {
            self.wakes = line.windows(16).any(|part| part == b", hrtimer_wakeup");
        }
        None
    }
}

fn number_before(text: &[u8], end: u8) -> Option<(u64, &[u8])> {
    let at = text.iter().position(|byte| *byte == end)?;
    let number = dec_u64(text.get(..at)?, "time").ok()?;
    Some((number, text.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "Timer List Version: v0.10\nHRTIMER_MAX_CLOCK_BASES: 8\nnow at 2402457138121 nsecs\n\n\
        cpu: 0\n clock 0:\n  .base:       000000003bd8412d\n  .index:      0\nactive timers:\n \
        #0: <00000000334c5491>, tick_nohz_handler, S:01\n \
        # expires at 2402460000000-2402460000000 nsecs [in 2861879 to 2861879 nsecs]\n \
        #1: <00000000c0b5e6c8>, hrtimer_wakeup, S:01\n \
        # expires at 2402480204616-2402480254616 nsecs [in 23066495 to 23116495 nsecs]\n \
        #2: <00000000c0b5e6c8>, hrtimer_wakeup, S:01\n \
        # expires at 18446744073709551616-1 nsecs [in 1 to 1 nsecs]\n clock 1:\nactive timers:\n \
        #0: <00000000c0b5e6c9>, hrtimer_wakeup, S:01\n \
        # expires at 5-7 nsecs [in 23066495 to 23116495 nsecs]\ncpu: 1\n clock 0:\nactive timers:\n \
        #0: <00000000c0b5e6c9>, hrtimer_wakeup, S:01\n # expires at 9-11 nsecs [in -3 to 0 nsecs]\n";

    fn read(text: &[u8], pieces: usize) -> (Vec<Sleeper>, Option<u64>) {
        let (mut scan, mut seen) = (Scan::new(), Vec::new());
        for piece in text.chunks(pieces) {
            scan.feed(piece, |sleeper| seen.push(sleeper));
        }
        (seen, scan.now())
    }

    #[test]
    fn sleepers_of_the_monotonic_clock_however_the_file_is_cut() {
        let wanted = vec![
            Sleeper {
                soft: 2_402_480_204_616,
                hard: 2_402_480_254_616,
            },
            Sleeper { soft: 9, hard: 11 },
        ];
        for pieces in [1, 2, 7, 64, 4096] {
            let (seen, now) = read(TEXT.as_bytes(), pieces);
            assert_eq!(seen, wanted, "{pieces}");
            assert_eq!(now, Some(2_402_457_138_121));
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        let text = TEXT.replace("S:01", &"S".repeat(500));
        assert_eq!(read(text.as_bytes(), 64).0, vec![]);
    }

    proptest! {
        #[test]
        fn anything_may_come(text in proptest::collection::vec(any::<u8>(), 0..2000), pieces in 1usize..300) {
            read(&text, pieces);
        }
    }
}
