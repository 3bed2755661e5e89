//! Where result lines go: to a second serial line, where the kernel's own messages cannot tear them,
//! and to the console, where people look.

use std::fs::{File, OpenOptions};
use std::io::Write as _;

use mctl_guest_init::{Line, Outcome, Totals};

/// The ways out.
pub(crate) struct Report {
    outs: Vec<File>,
}

impl Report {
    pub(crate) fn open() -> Self {
        let open = |path| OpenOptions::new().write(true).open(path).ok();
        let outs = ["/dev/ttyS1", "/dev/console"];
        Self {
            outs: outs.into_iter().filter_map(open).collect(),
        }
    }

    pub(crate) fn start(&mut self, name: &str) {
        self.line(&Line::Start(name.to_owned()).to_string());
    }

    pub(crate) fn result(&mut self, outcome: &Outcome) {
        self.line(&Line::Result(outcome.clone()).to_string());
    }

    pub(crate) fn total(&mut self, totals: Totals) {
        self.line(&Line::Total(totals).to_string());
    }

    pub(crate) fn note(&mut self, words: &str) {
        self.line(&format!("note: {words}"));
    }

    /// Waits until the lines have left the machine.
    pub(crate) fn end(&mut self) {
        for out in &self.outs {
            let _ = rustix::termios::tcdrain(out);
        }
    }

    fn line(&mut self, text: &str) {
        for out in &mut self.outs {
            // There is nobody left to tell.
            let _ = out.write_all(format!("{text}\n").as_bytes());
        }
    }
}
