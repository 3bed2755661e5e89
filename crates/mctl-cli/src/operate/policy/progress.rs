//! A counter on standard error.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use mctl::Member;

/// How many processes make a counter worth showing.
const MANY: u64 = 200;
const EVERY: Duration = Duration::from_millis(100);

/// A counter on standard error, only on a terminal and only for many processes.
pub(super) struct Progress {
    terminal: bool,
    count: u64,
    shown: Option<Instant>,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress {
            terminal: std::io::stderr().is_terminal(),
            count: 0,
            shown: None,
        }
    }

    pub(super) fn step(&mut self, _: &Member) {
        self.count += 1;
        if !self.terminal || self.count <= MANY {
            return;
        }
        if self.shown.is_none_or(|at| at.elapsed() >= EVERY) {
            self.shown = Some(Instant::now());
            let _ = write!(std::io::stderr(), "\r{} processes", self.count);
        }
    }

    pub(super) fn end(self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
