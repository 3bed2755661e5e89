//! What can go wrong between a test and its fixture.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// An error of the harness, or a fixture that this machine cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KitError {
    /// The machine lacks what the program needs; the test should say so and skip.
    #[error("{program} cannot run here: {reason}")]
    Unavailable {
        /// The program's name.
        program: String,
        /// Its own words, or the compiler's.
        reason: String,
    },
    /// The C compiler refused a program.
    #[error("compiling {program} failed:\n{output}")]
    Compile {
        /// The program's name.
        program: String,
        /// What the compiler wrote.
        output: String,
    },
    /// There is no such program.
    #[error("no test program at {0}")]
    NoSuchProgram(PathBuf),
    /// A system call of the harness failed.
    #[error("{step}: {source}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The program did not do in time what was waited for.
    #[error("{program}: no {awaited} within {waited:?} ({state})")]
    Timeout {
        /// The program's name.
        program: String,
        /// What was waited for.
        awaited: &'static str,
        /// How long.
        waited: Duration,
        /// What its threads were doing instead.
        state: String,
    },
    /// The program ended, or spoke, out of turn.
    #[error("{program}: {what}")]
    Protocol {
        /// The program's name.
        program: String,
        /// What was seen.
        what: String,
    },
}

impl KitError {
    pub(crate) fn io(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { step, source }
    }

    pub(crate) fn errno(step: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Io {
            step,
            source: errno.into(),
        }
    }
}
