//! What a program reports at its end.

use serde::Deserialize;

/// One thing that a program saw and should not have seen.
#[derive(Debug, Clone, Deserialize)]
pub struct Violation {
    /// The kind: `spurious EINTR`, `late`, `register` …
    pub what: String,
    /// Numbers and names.
    pub detail: String,
}

/// A program's last line.
#[derive(Debug, Clone, Deserialize)]
pub struct Verdict {
    /// The program.
    pub program: String,
    /// How many times the tested call was carried through, including the one that SIGTERM ended.
    pub iterations: u64,
    /// How many violations there were. Only the first few are kept in `violations`.
    pub total: u64,
    /// By how much its timeouts ended late, all together, in microseconds.
    #[serde(default)]
    pub late_us: u64,
    /// The first violations.
    pub violations: Vec<Violation>,
}

impl Verdict {
    /// Whether nothing was noticed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.total == 0
    }

    /// Fails the test unless nothing was noticed in at least `least` iterations.
    ///
    /// # Panics
    ///
    /// That is its purpose.
    #[track_caller]
    pub fn assert_clean(&self, least: u64) {
        assert!(
            self.is_clean(),
            "{} noticed something: {self:#?}",
            self.program
        );
        assert!(
            self.iterations >= least,
            "{} did too little: {self:?}",
            self.program
        );
    }

    /// Whether a violation of this kind was kept.
    #[must_use]
    pub fn has(&self, what: &str) -> bool {
        self.violations.iter().any(|v| v.what == what)
    }
}
