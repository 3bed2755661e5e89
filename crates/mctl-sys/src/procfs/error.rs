//! What can be wrong with a text of `/proc`.

use std::io;

/// What is wrong with a line. The string names the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The field is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The field is no number of the kind that belongs there.
    #[error("{0} is not a number")]
    NotANumber(&'static str),
    /// The number does not fit its type.
    #[error("{0} is too large")]
    TooLarge(&'static str),
    /// The field is not followed by what the kernel writes after it.
    #[error("{0} is not followed by what belongs there")]
    Separator(&'static str),
    /// The field has a word in it that is not known to belong there.
    #[error("{0} has an unexpected value")]
    Unexpected(&'static str),
    /// The counter's unit is not kB.
    #[error("{0} is not in kB")]
    Unit(&'static str),
    /// A range whose end lies before its start.
    #[error("the range ends before it starts")]
    Reversed,
}

/// A line that could not be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct ParseError {
    /// The line's number in the text, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub kind: Malformed,
}

/// A stream that could not be read or understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The read itself failed. Reading `/proc/PID/…` of a process that has just died gives ESRCH.
    #[error("cannot read: {0}")]
    Io(#[from] io::Error),
    /// A line could not be understood.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// One entry is larger than any that a kernel writes.
    #[error("line {line}: one entry is longer than {limit} bytes")]
    TooLong {
        /// The number of the entry's first line, from 1.
        line: u64,
        /// The limit in bytes.
        limit: usize,
    },
}
