//! The populated stretches of an address space, one after the other.

use std::os::fd::AsFd;

use mctl_abi::Errno;
use mctl_sys::bounded::ProcFile;
use mctl_sys::raw::pagemap::{Categories, PageRegion, Scan, scan};

use super::State;

/// How many regions one call may return: 24 KiB.
const ROOM: usize = 1024;

/// How far one call looks ahead, so that many small mappings need few calls.
const AHEAD: u64 = 64 << 30;

const POPULATED: Categories = Categories::PRESENT.and(Categories::SWAPPED);
const TOLD: Categories = POPULATED.and(Categories::HUGE).and(Categories::PFNZERO);

/// A stream of regions by rising address. Memory that is asked about must rise too.
#[derive(Debug)]
pub(super) struct Regions {
    pagemap: ProcFile,
    room: Vec<PageRegion>,
    /// The regions not yet handed out are `room[at..filled]`.
    at: usize,
    filled: usize,
    /// First address that was not scanned.
    next: u64,
}

impl Regions {
    /// Takes over an open `/proc/PID/pagemap`.
    pub(super) fn new(pagemap: ProcFile) -> Regions {
        Regions {
            pagemap,
            room: vec![PageRegion::default(); ROOM],
            at: 0,
            filled: 0,
            next: 0,
        }
    }

    /// Hands every populated stretch between two addresses to `see`, cut to them.
    pub(super) fn between(
        &mut self,
        start: u64,
        end: u64,
        mut see: impl FnMut(u64, u64, State),
    ) -> Result<(), Errno> {
        loop {
            for region in self.room.get(self.at..self.filled).unwrap_or_default() {
                if region.start >= end {
                    return Ok(());
                }
                if region.end > start {
                    let (from, to) = (region.start.max(start), region.end.min(end));
                    see(from, to, state(region.categories));
                }
                if region.end > end {
                    return Ok(());
                }
                self.at += 1;
            }
            self.next = self.next.max(start);
            if self.next >= end || !self.scan_on(end)? {
                return Ok(());
            }
        }
    }

    /// Scans on, at least to `end`. `false`: no page tables there (vsyscall).
    fn scan_on(&mut self, end: u64) -> Result<bool, Errno> {
        let ahead = self.next.saturating_add(AHEAD).max(end);
        let found = match self.scan_to(ahead) {
            // Beyond what a process can map; the mapping alone may lie within.
            Err(Errno::EFAULT | Errno::EINVAL) if ahead > end => self.scan_to(end),
            found => found,
        };
        match found {
            Ok(()) => Ok(true),
            Err(Errno::EFAULT | Errno::EINVAL) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn scan_to(&mut self, end: u64) -> Result<(), Errno> {
        let asked = Scan {
            start: self.next,
            end,
            any_of: POPULATED,
            told: TOLD,
        };
        (self.at, self.filled) = (0, 0);
        let found = scan(self.pagemap.as_fd(), asked, &mut self.room)?;
        self.filled = found.regions;
        // A walk that does not get on must not be one without end.
        self.next = if found.walk_end > self.next {
            found.walk_end
        } else {
            end
        };
        Ok(())
    }
}

fn state(categories: Categories) -> State {
    if categories.has(Categories::PFNZERO) {
        State::NotPresent
    } else if categories.has(Categories::SWAPPED) {
        State::Swapped
    } else if categories.has(Categories::HUGE) {
        State::Huge
    } else {
        State::Small
    }
}
