//! Readers for the text files of `/proc`: bytes in, typed values out, nothing dropped.
//!
//! Every parser here works on bytes, because names in `/proc` need not be UTF-8. No parser
//! panics on any input, and none allocates per line: names and lists are slices of the input.
//! What a parser does not know it keeps, as raw text, so that a newer kernel loses nothing.
//!
//! The large files ([`maps`], [`smaps`]) can also be read as a stream through one reusable
//! buffer, so that the memory used does not grow with the number of mappings.
//!
//! Nothing here opens a file: the caller decides which process is meant, and by which handle.
//!
//! ```
//! use mctl_sys::procfs::maps::MapLines;
//!
//! let text = std::fs::read("/proc/self/maps")?;
//! let bytes: u64 = MapLines::new(&text).flatten().map(|vma| vma.len()).sum();
//! assert!(bytes > 0);
//! # Ok::<(), std::io::Error>(())
//! ```

#![forbid(unsafe_code)]

pub mod auxv;
pub mod cgroup;
pub mod children;
mod chunk;
pub mod counters;
mod error;
pub mod ksm_stat;
mod lines;
pub mod maps;
pub mod mountinfo;
mod num;
pub mod smaps;
mod smaps_body;
pub mod smaps_reader;
pub mod smaps_rollup;
pub mod stat;
pub mod status;
pub mod syscall;
#[cfg(test)]
mod test_data;
pub mod thp;
pub mod timer_list;
pub mod vmflags;

pub use error::{Malformed, ParseError, ReadError};
