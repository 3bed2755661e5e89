//! The exit codes, in one place: the help and the man pages are made from this table.

/// Everything was done. What was done less than exactly is said in a note.
pub(crate) const DONE: u8 = 0;
/// At least one process failed; the others were done.
pub(crate) const FAILED: u8 = 1;
/// The words make no sense. Nothing was changed.
pub(crate) const USAGE: u8 = 2;
/// Ctrl-C ended long work between two batches; what was done was reported. As of a shell.
pub(crate) const INTERRUPTED: u8 = 130;
/// `mctl run` failed before the program was executed.
pub(crate) const RUN_FAILED: u8 = 125;
/// `mctl run`: the program cannot be executed.
pub(crate) const CANNOT_EXECUTE: u8 = 126;
/// `mctl run`: there is no such program.
pub(crate) const NOT_FOUND: u8 = 127;

/// Code and meaning, for every command but `run`.
pub(crate) const TABLE: &[(u8, &str)] = &[
    (
        DONE,
        "all was done; where it holds less than was asked, a note on standard error says so",
    ),
    (
        FAILED,
        "it failed for at least one process; the others were done",
    ),
    (
        USAGE,
        "the words on the command line make no sense; nothing was changed",
    ),
    (
        INTERRUPTED,
        "Ctrl-C; long work ends between two batches then, and what was done is said",
    ),
];

/// Code and meaning for `mctl run`, as of env(1) and nice(1).
pub(crate) const RUN_TABLE: &[(u8, &str)] = &[
    (
        RUN_FAILED,
        "mctl itself failed; the program was not executed",
    ),
    (
        CANNOT_EXECUTE,
        "the program was found but cannot be executed",
    ),
    (NOT_FOUND, "the program was not found"),
];
