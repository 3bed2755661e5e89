//! What came of giving advice.

use std::time::Duration;

use mctl_abi::Errno;
use mctl_sys::raw::madvise::Range;
use serde::Serialize;

use super::front::Bounds;
use crate::op::outcome::Outcome;
use crate::see::mappings::address;

/// So many passed-over mappings are named; beyond that they are counted.
const NAMED_SKIPS: usize = 1000;

/// A mapping, or a part of one, that was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
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

fn opt_errno_name<S: serde::Serializer>(
    errno: &Option<Errno>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match errno {
        Some(errno) => serializer.collect_str(errno),
        None => serializer.serialize_none(),
    }
}

fn opt_span<S: serde::Serializer>(range: &Option<Range>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Span {
        #[serde(serialize_with = "address")]
        start: u64,
        len: u64,
    }
    let span = range.map(|Range { start, len }| Span { start, len });
    span.serialize(serializer)
}

fn micros<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// By whom advice is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// madvise(2) by the calling process itself.
    Own,
    /// process_madvise(2).
    Remote,
    /// madvise(2), run in a thread of the target.
    Injected,
    /// madvise(2), run in the target's memory by a task of ours; no thread of the target makes the
    /// call.
    Carrier,
}

/// One entry of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// First byte, as given.
    #[serde(serialize_with = "address")]
    pub start: u64,
    /// Length in bytes, as given.
    pub len: u64,
    /// Bytes of it that the advice was really given to.
    pub advised: u64,
    /// Mappings of it that were passed over.
    pub skipped: u64,
    /// Whether it was carried out to its end.
    pub done: bool,
    /// Why not.
    #[serde(serialize_with = "opt_errno_name")]
    pub error: Option<Errno>,
}

impl Entry {
    pub(crate) fn range(&self) -> Range {
        Range {
            start: self.start,
            len: self.len,
        }
    }
}

/// What came of giving advice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advised {
    /// What the system call returns: the bytes of the entries that were carried out with nothing
    /// passed over, counted up to the first that was not carried out; of an entire address space
    /// the mapped bytes that were advised.
    pub bytes: u64,
    /// The bytes of address space that the advice was really given to. What the target unmapped
    /// meanwhile may be missing.
    pub advised: u64,
    /// By whom.
    pub way: Way,
    /// One an entry.
    pub entries: Vec<Entry>,
    /// The part of the entry that failed in which it did, where it is known: one mapping, or
    /// several where the call does not tell them apart.
    #[serde(serialize_with = "opt_span")]
    pub failed_in: Option<Range>,
    /// What was passed over, at most the first thousand.
    pub skipped: Vec<Skipped>,
    /// How many were passed over in all.
    pub skipped_total: u64,
    /// In how many calls.
    pub batches: u64,
    /// Whether it was cancelled between two of them.
    pub cancelled: bool,
    /// Why it ended before its time although something had been done: the target is gone, or
    /// could not be reached any more.
    pub ended: Option<String>,
    /// Bytes of mappings that were passed over because somebody serves their pages by userfaultfd(2);
    /// of the entire address space, or of what was selected.
    pub left_to_server: u64,
    /// What is to be known about what was left behind in the target.
    pub note: Option<String>,
    /// What bounded it, besides errors.
    pub bounds: Bounds,
    /// What became of the default, where `SET_FORK_EXEC_DEFAULT` asked for one. Without
    /// `ENTIRE_ADDRESS_SPACE` it reaches further than the entries: its `now` says so.
    pub default: Option<Outcome>,
    /// The longest that a thread of the target was stopped at a time, where the advice was run in
    /// it.
    #[serde(rename = "longest_stop_us", serialize_with = "micros")]
    pub longest_stop: Duration,
    /// How long threads of the target were stopped in all.
    #[serde(rename = "stopped_us", serialize_with = "micros")]
    pub stopped: Duration,
    /// How long it took.
    #[serde(rename = "took_us", serialize_with = "micros")]
    pub took: Duration,
}

impl Advised {
    pub(crate) fn new(entries: &[Range], way: Way) -> Advised {
        let entry = |range: &Range| Entry {
            start: range.start,
            len: range.len,
            advised: 0,
            skipped: 0,
            done: false,
            error: None,
        };
        Advised {
            bytes: 0,
            advised: 0,
            way,
            entries: entries.iter().map(entry).collect(),
            failed_in: None,
            skipped: Vec::new(),
            skipped_total: 0,
            batches: 0,
            cancelled: false,
            ended: None,
            left_to_server: 0,
            note: None,
            bounds: Bounds::default(),
            default: None,
            longest_stop: Duration::ZERO,
            stopped: Duration::ZERO,
            took: Duration::ZERO,
        }
    }

    pub(crate) fn advised(&mut self, entry: usize, bytes: u64) {
        self.advised += bytes;
        if let Some(entry) = self.entries.get_mut(entry) {
            entry.advised += bytes;
        }
    }

    pub(crate) fn fail(&mut self, entry: usize, errno: Errno, failed_in: Option<Range>) {
        if let Some(entry) = self.entries.get_mut(entry)
            && entry.error.is_none()
        {
            entry.error = Some(errno);
            self.failed_in = failed_in;
        }
    }

    /// Takes down what was passed over. Neighbours within one mapping are one.
    pub(crate) fn skip(&mut self, entry: usize, skipped: Skipped, same_mapping: bool) {
        if same_mapping
            && let Some(last) = self.skipped.last_mut()
            && last.errno == skipped.errno
            && last.start.saturating_add(last.len) == skipped.start
        {
            last.len += skipped.len;
            return;
        }
        self.skipped_total += 1;
        if self.skipped.len() < NAMED_SKIPS {
            self.skipped.push(skipped);
        }
        if let Some(entry) = self.entries.get_mut(entry) {
            entry.skipped += 1;
        }
    }

    /// As [`Advised::close_entries`]; of an entire address space the system call returns the mapped
    /// bytes that were advised (docs/CONTRACT.md#pmadv-entire-returns).
    pub(crate) fn close(&mut self, end: usize, entire: bool) {
        self.close_entries(end);
        if entire {
            self.bytes = self.advised;
        }
    }

    /// Marks the entries before `end`, and before the first that failed, as carried out and counts
    /// what the system call returns.
    fn close_entries(&mut self, end: usize) {
        for entry in self.entries.iter_mut().take(end) {
            if entry.error.is_some() {
                break;
            }
            entry.done = true;
        }
        self.bytes = self
            .entries
            .iter()
            .take_while(|entry| entry.done)
            .filter(|entry| entry.skipped == 0)
            .fold(0u64, |sum, entry| sum.saturating_add(entry.len));
    }

    /// The result as the system call gives it: an error only if no entry was carried out, else the
    /// bytes, fewer than asked where an entry failed.
    ///
    /// # Errors
    /// The errno of the entry that failed.
    pub fn as_syscall(&self) -> Result<u64, Errno> {
        let failed = self.entries.iter().find_map(|entry| entry.error);
        // An empty entry counts for nothing, as in the kernel.
        let any_done =
            self.bytes > 0 || self.entries.iter().any(|entry| entry.done && entry.len > 0);
        match failed {
            Some(errno) if !any_done => Err(errno),
            _ => Ok(self.bytes),
        }
    }

    /// Whether everything asked was carried out with nothing passed over.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.cancelled && self.skipped_total == 0 && self.entries.iter().all(|entry| entry.done)
    }
}
