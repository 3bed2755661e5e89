//! Mappings by what advice on huge pages would do to them, in numbers.

use mctl_abi::Errno;
use serde::Serialize;

/// What to do with mappings for which the program chose NOHUGEPAGE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Override {
    /// They are left alone: userfaultfd users and thread stacks depend on it.
    #[default]
    Respect,
    /// They are advised HUGEPAGE like the rest. For those who know what they do.
    Advice,
}

/// Mappings that were advised or left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MappingCounts {
    /// Stretches of neighbouring mappings that were advised.
    pub runs: u64,
    /// Mappings that were advised.
    pub changed: u64,
    /// Mappings that had the advice already.
    pub already: u64,
    /// Left alone: the program chose NOHUGEPAGE, or the kernel did (thread stacks).
    pub skipped_nohugepage: u64,
    /// Left alone: file mappings, where the advice would change readahead.
    pub skipped_file: u64,
    /// Left alone: hugetlb, device and special mappings.
    pub skipped_special: u64,
    /// Could not be advised, by errno.
    pub failed: Vec<Failure>,
}

/// A run that could not be advised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// First byte.
    #[serde(serialize_with = "address")]
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// Why.
    #[serde(serialize_with = "errno_name")]
    pub errno: Errno,
}

fn errno_name<S: serde::Serializer>(errno: &Errno, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(errno)
}

/// Hexadecimal text, as everywhere: the highest addresses do not fit a double.
pub(crate) fn address<S: serde::Serializer>(
    address: &u64,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{address:#x}"))
}
