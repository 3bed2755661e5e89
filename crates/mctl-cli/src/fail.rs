//! How a command ends when it cannot go on.

use std::io;

use crate::exit;

/// Why a command stops. Failures of single processes do not stop a command: they are reported
/// and counted.
#[derive(Debug)]
pub(crate) enum Fail {
    /// The words make no sense.
    Usage { why: String, hint: Option<String> },
    /// The operation failed.
    Failed { why: String, hint: Option<String> },
    /// Standard output could not be written.
    Output(io::Error),
}

/// What a command returns: its exit code.
pub(crate) type Ended = Result<u8, Fail>;

impl Fail {
    pub(crate) fn usage(why: impl Into<String>) -> Fail {
        Fail::Usage {
            why: why.into(),
            hint: None,
        }
    }

    pub(crate) fn failed(why: impl Into<String>) -> Fail {
        Fail::Failed {
            why: why.into(),
            hint: None,
        }
    }

    /// Says it on standard error and returns the exit code.
    pub(crate) fn report(&self) -> u8 {
        match self {
            Fail::Usage { why, hint } => {
                crate::report::error(why, hint.as_deref());
                exit::USAGE
            }
            Fail::Failed { why, hint } => {
                crate::report::error(why, hint.as_deref());
                exit::FAILED
            }
            // The reader has what it wanted (`mctl get … | head`).
            Fail::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::DONE,
            Fail::Output(error) => {
                crate::report::error(&format!("standard output: {}", plain(error)), hint(error));
                exit::FAILED
            }
        }
    }
}

/// What helps where a file or standard output cannot be written.
pub(crate) fn hint(error: &io::Error) -> Option<&'static str> {
    let errno = error.raw_os_error().map(mctl::Errno::from_raw);
    (errno == Some(mctl::Errno::EFBIG))
        .then_some("ulimit -f (RLIMIT_FSIZE) bounds the files that this program may write")
}

/// An I/O error as other tools say it, with the name of its errno.
pub(crate) fn plain(error: &io::Error) -> String {
    match error.raw_os_error().map(mctl::Errno::from_raw) {
        Some(errno) => format!("{} ({errno})", text(error)),
        None => error.to_string(),
    }
}

/// The same, without the errno.
pub(crate) fn text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next();
    text.unwrap_or_default().to_owned()
}

impl From<mctl::Error> for Fail {
    fn from(error: mctl::Error) -> Fail {
        let (why, hint) = (error.to_string(), error.hint());
        match error {
            mctl::Error::BadTarget { .. } | mctl::Error::Invalid { .. } => {
                Fail::Usage { why, hint }
            }
            _ => Fail::Failed { why, hint },
        }
    }
}

impl From<io::Error> for Fail {
    fn from(error: io::Error) -> Fail {
        Fail::Output(error)
    }
}
