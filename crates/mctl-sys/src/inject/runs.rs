//! Advice on many runs of a target's memory in one stop.
//!
//! Where the kernel takes any advice on oneself through process_madvise(2) (Linux 6.13; with
//! PIDFD_SELF 6.14), up to 1,024 runs go in one injected call, through a list in a scratch
//! mapping that is made in the target for the purpose and removed in the same stop. Else, and for
//! a few runs, it is one madvise(2) a run.

use std::sync::Arc;

use mctl_abi::{Errno, PIDFD_SELF};

use super::memory::Memory;
use crate::arch::SyscallArgs;
use crate::ptrace::tracee::{Borrowed, NoResult};
use crate::raw::madvise::{MADV_HUGEPAGE, MADV_NOHUGEPAGE, MAX_BYTES, MAX_ENTRIES, Range};
use crate::raw::vm::write_memory;
use crate::time::monotonic_ns;

/// What became of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunResult {
    /// Not reached.
    NotDone,
    /// Advised.
    Done,
    /// Advised as far as the kernel went before this error. `ENOMEM`: a part of it is no longer
    /// mapped, the rest was advised.
    Failed(Errno),
}

/// Up to this many runs, plain calls are quicker than making and removing the scratch mapping (a
/// call more costs 7 µs, the mapping 22 µs).
const FEW: usize = 4;

/// Runs of memory to advise, with their results.
#[derive(Debug)]
pub struct Runs {
    advice: i32,
    vectored: bool,
    ranges: Vec<Range>,
    results: Vec<RunResult>,
    bounds: Bounds,
    /// Set when a bound was reached: the rest is left for another stop.
    ended: bool,
    /// What the ranges are of, where that is to be checked.
    memory: Option<Arc<Memory>>,
}

/// When to end a stop although runs are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// At the first run that fails.
    pub stop_at_error: bool,
    /// Once the thread has been kept for so long, in nanoseconds. A call that runs is waited for.
    pub budget_ns: u64,
    /// The most bytes that go into one call.
    pub call_bytes: u64,
}

impl Default for Bounds {
    /// None but the kernel's own.
    fn default() -> Bounds {
        Bounds {
            stop_at_error: false,
            budget_ns: u64::MAX,
            call_bytes: MAX_BYTES,
        }
    }
}

impl Runs {
    /// `vectored`: this kernel takes the advice through process_madvise(PIDFD_SELF).
    #[must_use]
    pub fn new(advice: i32, ranges: Vec<Range>, vectored: bool) -> Runs {
        let results = vec![RunResult::NotDone; ranges.len()];
        Runs {
            advice,
            vectored,
            ranges,
            results,
            bounds: Bounds::default(),
            ended: false,
            memory: None,
        }
    }

    /// Of this memory only: once the target executes another program, the ranges mean nothing. Without it the
    /// address of the vDSO tells, and only what comes between the look at the target and the stop.
    #[must_use]
    pub fn of(mut self, memory: Option<Arc<Memory>>) -> Runs {
        self.memory = memory;
        self
    }

    /// With bounds on the stop.
    #[must_use]
    pub fn bounded(mut self, bounds: Bounds) -> Runs {
        self.bounds = bounds;
        self
    }

    /// The ranges, as given.
    #[must_use]
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// One result a range.
    #[must_use]
    pub fn results(&self) -> &[RunResult] {
        &self.results
    }

    /// Whether the ranges are of a program that is gone. In the shield: no allocation.
    pub(super) fn are_gone(&self) -> bool {
        self.memory.as_deref().is_some_and(Memory::is_gone)
    }

    /// Whether the advice only sets flags: it neither moves nor fills pages.
    pub(super) fn is_short(&self) -> bool {
        matches!(self.advice, MADV_HUGEPAGE | MADV_NOHUGEPAGE)
    }

    /// In the shield: no allocation, no lock, no panic. Returns how many calls were run.
    pub(super) fn advise(
        &mut self,
        borrowed: &mut Borrowed,
        patience: u64,
    ) -> Result<u32, NoResult> {
        let mut calls = 0;
        let end = monotonic_ns().saturating_add(self.bounds.budget_ns);
        if self.vectored && self.ranges.len() > FEW {
            self.advise_vectored(borrowed, patience, end, &mut calls)?;
        }
        for index in 0..self.ranges.len() {
            if self.ended {
                break;
            }
            if self.results.get(index) == Some(&RunResult::NotDone) {
                self.advise_one(borrowed, index, patience, &mut calls)?;
                self.look_at_clock(end);
            }
        }
        Ok(calls)
    }

    fn look_at_clock(&mut self, end: u64) {
        if self.bounds.budget_ns != u64::MAX && monotonic_ns() >= end {
            self.ended = true;
        }
    }

    fn advise_one(
        &mut self,
        borrowed: &mut Borrowed,
        index: usize,
        patience: u64,
        calls: &mut u32,
    ) -> Result<(), NoResult> {
        let Some(range) = self.ranges.get(index).copied() else {
            return Ok(());
        };
        let advice = i64::from(self.advice).cast_unsigned();
        let call = injected(libc::SYS_madvise, [range.start, range.len, advice, 0, 0, 0]);
        let ret = borrowed.call(call, patience)?;
        *calls = calls.saturating_add(1);
        self.record(index, ret);
        Ok(())
    }

    fn record(&mut self, index: usize, ret: i64) {
        if let Some(slot) = self.results.get_mut(index) {
            *slot = if ret < 0 {
                self.ended |= self.bounds.stop_at_error;
                RunResult::Failed(errno(ret))
            } else {
                RunResult::Done
            };
        }
    }

    fn advise_vectored(
        &mut self,
        borrowed: &mut Borrowed,
        patience: u64,
        end: u64,
        calls: &mut u32,
    ) -> Result<(), NoResult> {
        let entries = self.ranges.len().min(MAX_ENTRIES);
        let scratch_len = (entries * size_of::<Range>()) as u64;
        let prot = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE) as u64;
        let map = injected(libc::SYS_mmap, [0, scratch_len, prot, flags, u64::MAX, 0]);
        let scratch = borrowed.call(map, patience)?;
        *calls = calls.saturating_add(1);
        if errno_range(scratch) {
            // No room for it (RLIMIT_AS, RLIMIT_MEMLOCK): one call a run does as well.
            return Ok(());
        }
        let scratch = scratch.cast_unsigned();
        let result = self.advise_batches(borrowed, scratch, patience, end, calls);
        if result != Err(NoResult::Gone) {
            let unmap = injected(libc::SYS_munmap, [scratch, scratch_len, 0, 0, 0, 0]);
            borrowed.call(unmap, patience)?;
            *calls = calls.saturating_add(1);
        }
        result
    }

    fn advise_batches(
        &mut self,
        borrowed: &mut Borrowed,
        scratch: u64,
        patience: u64,
        end: u64,
        calls: &mut u32,
    ) -> Result<(), NoResult> {
        let mut first = 0;
        while first < self.ranges.len() && !self.ended {
            let rest = self.ranges.get(first..).unwrap_or_default();
            let count = batch_len(rest, self.bounds.call_bytes);
            if count == 0 {
                // One run larger than a whole batch may be: its own madvise has no such limit.
                self.advise_one(borrowed, first, patience, calls)?;
                self.look_at_clock(end);
                first += 1;
                continue;
            }
            let batch = self.ranges.get(first..first + count).unwrap_or_default();
            if !write_ranges(borrowed.tid(), scratch, batch) {
                return Ok(());
            }
            let mut done = 0;
            while done < count && !self.ended {
                let list = scratch + (done * size_of::<Range>()) as u64;
                let advice = i64::from(self.advice).cast_unsigned();
                let left = (count - done) as u64;
                let pidfd = i64::from(PIDFD_SELF).cast_unsigned();
                let args = [pidfd, list, left, advice, 0, 0];
                let ret = borrowed.call(injected(libc::SYS_process_madvise, args), patience)?;
                *calls = calls.saturating_add(1);
                let before = done;
                if ret >= 0 {
                    done += self.count_done(first + done, count - done, ret.unsigned_abs());
                }
                if done < count && (ret < 0 || done == before) {
                    // An error is returned only for the first entry; a short count says that the
                    // entry after it failed, and the next call then returns its error.
                    self.record(first + done, ret.min(-1));
                    done += 1;
                }
                self.look_at_clock(end);
            }
            first += count;
        }
        Ok(())
    }

    /// Marks the entries that `bytes` cover as done; returns how many.
    fn count_done(&mut self, first: usize, count: usize, bytes: u64) -> usize {
        let mut left = bytes;
        let mut done = 0;
        while done < count {
            let Some(range) = self.ranges.get(first + done) else {
                break;
            };
            if range.len > left {
                break;
            }
            left -= range.len;
            self.record(first + done, 0);
            done += 1;
        }
        done
    }
}

/// How many of the ranges go into one call: at most [`MAX_ENTRIES`], and as many bytes.
fn batch_len(ranges: &[Range], most: u64) -> usize {
    let most = most.min(MAX_BYTES);
    let mut bytes = 0u64;
    let mut count = 0;
    for range in ranges.iter().take(MAX_ENTRIES) {
        bytes = bytes.saturating_add(range.len);
        if bytes > most {
            break;
        }
        count += 1;
    }
    count
}

/// By the thread's number: a process whose first thread has exited has no memory by its own.
fn write_ranges(tid: i32, scratch: u64, ranges: &[Range]) -> bool {
    let bytes = crate::raw::madvise::as_bytes(ranges);
    write_memory(tid, scratch, bytes) == Ok(bytes.len())
}

fn injected(number: i64, args: [u64; 6]) -> SyscallArgs {
    SyscallArgs {
        number: number.cast_unsigned(),
        args,
    }
}

/// Whether a return value is an error (-4095 to -1), as the kernel tells it from an address.
fn errno_range(ret: i64) -> bool {
    (-4095..0).contains(&ret)
}

fn errno(ret: i64) -> Errno {
    i32::try_from(ret.saturating_neg()).map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(lens: &[u64]) -> Vec<Range> {
        lens.iter()
            .map(|len| Range {
                start: 0x1000,
                len: *len,
            })
            .collect()
    }

    #[test]
    fn batches_keep_to_the_kernels_limits() {
        assert_eq!(batch_len(&[], MAX_BYTES), 0);
        assert_eq!(batch_len(&ranges(&[4096; 3000]), MAX_BYTES), MAX_ENTRIES);
        assert_eq!(batch_len(&ranges(&[MAX_BYTES, 4096]), MAX_BYTES), 1);
        assert_eq!(batch_len(&ranges(&[4096, MAX_BYTES]), MAX_BYTES), 1);
        assert_eq!(
            batch_len(&ranges(&[MAX_BYTES + 4096, 4096]), MAX_BYTES),
            0,
            "alone, by madvise"
        );
        assert_eq!(batch_len(&ranges(&[u64::MAX, 4096]), MAX_BYTES), 0);
    }

    #[test]
    fn bytes_are_turned_into_entries() {
        let mut runs = Runs::new(14, ranges(&[10, 20, 30]), true);
        assert_eq!(runs.count_done(0, 3, 35), 2);
        assert_eq!(
            runs.results(),
            [RunResult::Done, RunResult::Done, RunResult::NotDone]
        );
        runs.record(2, -12);
        assert_eq!(runs.results()[2], RunResult::Failed(Errno::ENOMEM));
    }

    #[test]
    fn errors_are_told_from_addresses() {
        assert!(errno_range(-12));
        assert!(!errno_range(0x7f00_0000_0000));
        assert!(!errno_range(-4096));
    }
}
