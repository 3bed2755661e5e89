//! The work of locking and unlocking, piece by piece, by a carrier.
//!
//! mlockall(2) holds the address space for all of it at once: 10 ms and more a GiB in which no thread of
//! the target can map or unmap. So each mapping is locked in pieces that are no part of a huge page
//! (mlock(2) of a part splits it), with their pages brought in first, a mebibyte at a time.

use std::time::Instant;

use mctl_abi::Errno;
use mctl_sys::arch::{NR_MADVISE, NR_MLOCK2, NR_MUNLOCK, NR_MUNLOCKALL};
use mctl_sys::inject::CarriedCall;
use mctl_sys::procfs::maps::Perms;
use mctl_sys::raw::madvise::Range;

use super::{Allowance, Locked};
use crate::error::{Error, Result};
use crate::op::advice::carried::POPULATE;
use crate::op::advice::listing::each_mapping;
use crate::op::advice::served::{joined, without};
use crate::op::advice::{Advice, Way};
use crate::op::budget::{Allowed, Guard};
use crate::op::{Hooks, Progress};
use crate::run::carrier::{Carrying, HUGE, Halt, Size};
use crate::see::coverage::Bytes;
use crate::target::Target;

const MLOCK_ONFAULT: u64 = 1;
/// So many pieces are handed over at a time.
const PIECES: usize = 32;

/// How pages of a mapping are brought in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fill {
    /// By writing: writable private memory gets pages of its own.
    Write,
    /// By reading.
    Read,
    /// Not at all: there is no access to it, or it is locked as it comes in.
    Not,
}

impl Fill {
    fn of(perms: Perms) -> Fill {
        if perms.write && !perms.shared {
            Fill::Write
        } else if perms.read {
            Fill::Read
        } else {
            Fill::Not
        }
    }

    fn advice(self) -> Option<Advice> {
        match self {
            Fill::Write => Some(Advice::POPULATE_WRITE),
            Fill::Read => Some(Advice::POPULATE_READ),
            Fill::Not => None,
        }
    }
}

pub(super) struct Work<'w, 'c> {
    target: &'w Target,
    carrying: Carrying<'w>,
    hooks: &'w mut Hooks<'c>,
    begun: Instant,
    done: u64,
    total: u64,
    left_to_server: u64,
    /// What failed, and why it did first.
    failed: u64,
    first_failure: Option<(Range, Errno)>,
    cancelled: bool,
    guard: Option<Guard<'w>>,
    /// Why no more was brought in.
    bounded: Option<String>,
}

impl<'w, 'c> Work<'w, 'c> {
    pub(super) fn new(
        target: &'w Target,
        carrying: Carrying<'w>,
        guard: Option<Guard<'w>>,
        hooks: &'w mut Hooks<'c>,
    ) -> Work<'w, 'c> {
        Work {
            target,
            carrying: carrying.cancelled_by(hooks.cancel),
            hooks,
            begun: Instant::now(),
            done: 0,
            total: 0,
            left_to_server: 0,
            failed: 0,
            first_failure: None,
            cancelled: false,
            guard,
            bounded: None,
        }
    }

    /// One call that concerns the whole process.
    pub(super) fn one(&mut self, number: i64, args: [u64; 6], name: &'static str) -> Result<()> {
        match self.carrying.call(number, args)? {
            Ok(_) => Ok(()),
            Err(Halt::Cancelled) => {
                self.cancelled = true;
                Ok(())
            }
            Err(Halt::Failed(errno)) => Err(Error::TargetCall {
                pid: self.target.pid(),
                call: name,
                errno,
            }),
        }
    }

    /// What is mapped, and how it is brought in; neighbours of a kind are one.
    fn mappings(&mut self, fill: impl Fn(Perms) -> Fill) -> Result<Vec<(Range, Fill)>> {
        let mut mappings = Vec::new();
        each_mapping(self.target, |line| {
            let range = Range {
                start: line.start,
                len: line.end - line.start,
            };
            mappings.push((range, fill(line.perms)));
        })?;
        self.total = mappings.iter().map(|(range, _)| range.len).sum();
        Ok(joined(mappings))
    }

    /// Passes over what is `served`, unless nothing is brought in.
    pub(super) fn lock(&mut self, on_fault: bool, served: &[Range]) -> Result<()> {
        let mut mappings = self.mappings(Fill::of)?;
        if !on_fault && !served.is_empty() {
            let mut left = Vec::with_capacity(mappings.len());
            for (range, fill) in mappings {
                let (ranges, taken) = without(&[range], served);
                self.left_to_server += taken;
                left.extend(ranges.into_iter().map(|range| (range, fill)));
            }
            mappings = left;
            self.total = self.total.saturating_sub(self.left_to_server);
        }
        let mut size = if on_fault {
            Size::measured()
        } else {
            Size::fixed(HUGE)
        };
        for (range, fill) in mappings {
            let flags = u64::from(on_fault) * MLOCK_ONFAULT;
            let one = |piece: Range| {
                let args = [piece.start, piece.len, flags, 0, 0, 0];
                CarriedCall::new(NR_MLOCK2, args)
            };
            // Where there is no access the mapping is locked all the same, and then ENOMEM says that
            // no page of it could be brought in.
            let tolerated = (fill == Fill::Not).then_some(Errno::ENOMEM);
            let fill = if on_fault { Fill::Not } else { fill };
            self.mapping(range, &mut size, fill, &one, tolerated)?;
            if self.cancelled {
                return Ok(());
            }
            if self.bounded.is_some() && !on_fault {
                // Nothing more comes in: the rest is locked as it does by itself.
                return self.lock(true, served);
            }
        }
        self.nothing_at_all("mlock2")
    }

    pub(super) fn unlock(&mut self) -> Result<()> {
        let mappings = self.mappings(|_| Fill::Not)?;
        let mut size = Size::measured();
        for (range, _) in mappings {
            let one =
                |piece: Range| CarriedCall::new(NR_MUNLOCK, [piece.start, piece.len, 0, 0, 0, 0]);
            self.mapping(range, &mut size, Fill::Not, &one, None)?;
            if self.cancelled {
                return Ok(());
            }
        }
        // The mode for later mappings, and what was mapped meanwhile. The rest has no lock any more, so
        // that this is short.
        self.one(NR_MUNLOCKALL, [0; 6], "munlockall")?;
        self.failed = 0;
        Ok(())
    }

    fn mapping(
        &mut self,
        mapping: Range,
        size: &mut Size,
        fill: Fill,
        one: &dyn Fn(Range) -> CarriedCall,
        tolerated: Option<Errno>,
    ) -> Result<()> {
        let end = mapping.start.saturating_add(mapping.len);
        let mut at = mapping.start;
        while at < end {
            let rest = Range {
                start: at,
                len: end - at,
            };
            let Some(most) = self.pieces(fill) else {
                return Ok(());
            };
            let pieces = size.cut(&[rest], most);
            let mut calls = Vec::with_capacity(pieces.len() * 3);
            let mut of = Vec::with_capacity(pieces.len() * 3);
            for (index, piece) in pieces.iter().enumerate() {
                calls.extend(populate(*piece, fill));
                of.resize(calls.len(), None);
                calls.push(one(*piece));
                of.push(Some(index));
            }
            let mut first = 0;
            while first < calls.len() {
                let part = calls.get_mut(first..).unwrap_or_default();
                let (well, halt) = self.carrying.run(part)?;
                let errno = match halt {
                    None => break,
                    Some(Halt::Cancelled) => {
                        self.cancelled = true;
                        return Ok(());
                    }
                    Some(Halt::Failed(errno)) => errno,
                };
                // What could not be brought in beforehand is the lock's own business.
                let piece = of.get(first + well).copied().flatten();
                if let Some(piece) = piece.and_then(|index| pieces.get(index))
                    && tolerated != Some(errno)
                    && !(errno == Errno::ENOMEM && self.as_a_whole(mapping, *piece, one)?)
                {
                    self.failed += piece.len;
                    self.first_failure.get_or_insert((*piece, errno));
                }
                first += well + 1;
            }
            if let Some(slowest) = calls.iter().map(|call| call.took).max() {
                size.learn(slowest);
            }
            let len: u64 = pieces.iter().map(|piece| piece.len).sum();
            at += len;
            self.progress(len);
        }
        Ok(())
    }

    /// How many pieces may be brought in next. `None`: no more.
    fn pieces(&mut self, fill: Fill) -> Option<usize> {
        let guard = self.guard.as_ref().filter(|_| fill != Fill::Not);
        match guard.map(Guard::allowed) {
            None => Some(PIECES),
            Some(Allowed::Bytes(bytes)) => {
                let pieces = usize::try_from(bytes / HUGE).unwrap_or(PIECES);
                Some(pieces.clamp(1, PIECES))
            }
            Some(Allowed::Reached(why) | Allowed::NoRoom(why)) => {
                self.bounded = Some(why);
                None
            }
        }
    }

    /// Why a target that is gone is gone.
    pub(super) fn died(&self, error: Error) -> Error {
        match &self.guard {
            Some(guard) => guard.died(error),
            None => error,
        }
    }

    /// A process that has nearly as many mappings as it may have cannot have one split: then it is the
    /// mapping or nothing.
    fn as_a_whole(
        &mut self,
        mapping: Range,
        piece: Range,
        one: &dyn Fn(Range) -> CarriedCall,
    ) -> Result<bool> {
        if piece.len == mapping.len {
            return Ok(false);
        }
        let ran = self.carrying.run(&mut [one(mapping)])?;
        Ok(ran == (1, None))
    }

    fn progress(&mut self, bytes: u64) {
        self.done += bytes;
        self.hooks.report(&Progress {
            bytes: self.done,
            total: self.total,
            elapsed: self.begun.elapsed(),
        });
    }

    /// Where all of it failed, that is an error.
    fn nothing_at_all(&self, call: &'static str) -> Result<()> {
        match self.first_failure {
            Some((_, errno)) if self.failed >= self.total => Err(Error::TargetCall {
                pid: self.target.pid(),
                call,
                errno,
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.cancelled {
            notes.push(
                "interrupted: what came before stays as it is now, the rest is as it was; \
                 'mctl unlock' takes a lock back"
                    .to_owned(),
            );
        }
        if let Some(why) = &self.bounded {
            notes.push(format!(
                "{why}: what is there is locked, the rest is locked as it comes in"
            ));
        }
        if self.left_to_server > 0 {
            notes.push(format!(
                "{} are served by userfaultfd and were passed over: to lock them would ask for all \
                 their pages (--userfaultfd)",
                Bytes(self.left_to_server)
            ));
        }
        if let (true, Some((range, errno))) = (self.failed > 0, self.first_failure) {
            notes.push(format!(
                "{} could not be locked, first at {:#x}: {errno}",
                Bytes(self.failed),
                range.start
            ));
        }
        notes
    }

    /// Ends the carrier; what came of it.
    pub(super) fn done(mut self, before: Bytes, mut notes: Vec<String>) -> Result<Locked> {
        let stops = self.carrying.end();
        notes.extend(self.carrying.note());
        Ok(Locked {
            way: Way::Carrier,
            before,
            after: Allowance::of(self.target)?.locked,
            longest_stop: stops.longest,
            stopped: stops.total,
            left_to_server: Bytes(self.left_to_server),
            failed: Bytes(self.failed),
            cancelled: self.cancelled,
            notes,
        })
    }
}

/// The calls that bring a piece in.
fn populate(piece: Range, fill: Fill) -> Vec<CarriedCall> {
    let Some(advice) = fill.advice() else {
        return Vec::new();
    };
    let advice = i64::from(advice.number()).cast_unsigned();
    Size::fixed(POPULATE)
        .cut(&[piece], usize::MAX)
        .iter()
        .map(|part| CarriedCall::new(NR_MADVISE, [part.start, part.len, advice, 0, 0, 0]))
        .collect()
}
