//! Standard output: buffered, and a closed pipe is no failure.

use std::io::{self, BufWriter, IsTerminal, Seek, StdoutLock, Write};

use mctl::{Errno, Error};
use serde::Serialize;
use tempfile::SpooledTempFile;

/// Which form the JSON has. A field more is no new version; one that goes or changes its meaning is.
pub(crate) const JSON_VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a, T> {
    version: u32,
    #[serde(flatten)]
    value: &'a T,
}

/// Standard output, locked. What is written counts as written only after [`Out::finish`].
#[derive(Debug)]
pub(crate) struct Out(BufWriter<StdoutLock<'static>>);

impl Out {
    pub(crate) fn new() -> Out {
        crate::limits::writes_fail();
        Out(BufWriter::with_capacity(32 << 10, io::stdout().lock()))
    }

    /// A document of docs/JSON.md: the version of the format and the fields of the value, indented, with one final
    /// newline.
    pub(crate) fn json<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        let document = Document {
            version: JSON_VERSION,
            value,
        };
        serde_json::to_writer_pretty(&mut self.0, &document).map_err(io::Error::from)?;
        self.0.write_all(b"\n")
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// So much of a listing is kept in memory: that of 6,000 mappings. More goes to a file without a name.
const IN_MEMORY: usize = 1 << 20;

/// Output that is kept.
pub(crate) type Kept = BufWriter<SpooledTempFile>;

/// Keeps what is written until all of it is there, and hands it on then; also what came before an error. So whoever
/// takes the output as slowly as it likes holds up no look at a process.
pub(crate) fn kept<E: From<Error> + From<io::Error>>(
    out: &mut Out,
    write: impl FnOnce(&mut Kept) -> Result<(), E>,
) -> Result<(), E> {
    let mut page = BufWriter::new(SpooledTempFile::new(IN_MEMORY));
    let written = write(&mut page);
    let mut page = page
        .into_inner()
        .map_err(|error| cannot_keep(error.error()))?;
    page.rewind().map_err(|error| cannot_keep(&error))?;
    io::copy(&mut page, out)?;
    written
}

/// Not standard output failed.
pub(crate) fn cannot_keep(error: &io::Error) -> Error {
    Error::Read {
        what: "the listing".to_owned(),
        why: format!(
            "it cannot be kept in a temporary file: {}",
            crate::fail::text(error)
        ),
        errno: error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
    }
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Colour {
    pub(crate) fn wanted(self) -> bool {
        match self {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => {
                io::stdout().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                    && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        }
    }
}
