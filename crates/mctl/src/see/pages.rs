//! A picture of an address space: what its pages are, mapping by mapping, at any resolution.
//!
//! A mapping is divided into cells of equal size, and each says how much of it is huge, small,
//! swapped out and not present. The memory used depends on the number of cells alone, also for
//! reservations of terabytes. Where the kernel has no `PAGEMAP_SCAN` (before Linux 6.7), the
//! counters of smaps are spread over the cells, and the result says so.

mod cells;
mod regions;

use std::fmt;

use mctl_abi::Errno;
use mctl_abi::thp::Advice;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::error::{Error, Result};
use crate::see::coverage::{Bytes, Coverage, Vma, each_vma};
use crate::target::Target;

use regions::Regions;

/// The state of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// In huge pages of the full size, or hugetlb pages.
    Huge,
    /// In smaller pages.
    Small,
    /// On swap, or on its way to another place.
    Swapped,
    /// Not there: never written, given back, or the zero page.
    NotPresent,
}

impl State {
    /// Every state.
    pub const ALL: [State; 4] = [State::Huge, State::Small, State::Swapped, State::NotPresent];

    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            State::Huge => "huge",
            State::Small => "small",
            State::Swapped => "swapped",
            State::NotPresent => "not-present",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// How much of a stretch of memory is in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Cell {
    /// [`State::Huge`].
    pub huge: Bytes,
    /// [`State::Small`].
    pub small: Bytes,
    /// [`State::Swapped`].
    pub swapped: Bytes,
    /// [`State::NotPresent`].
    pub not_present: Bytes,
}

impl Cell {
    /// What is in that state.
    #[must_use]
    pub const fn of(&self, state: State) -> Bytes {
        match state {
            State::Huge => self.huge,
            State::Small => self.small,
            State::Swapped => self.swapped,
            State::NotPresent => self.not_present,
        }
    }

    /// The state of most of it; of equal parts the earlier in [`State::ALL`].
    #[must_use]
    pub fn dominant(&self) -> State {
        self.populated()
            .filter(|state| self.of(*state) >= self.not_present)
            .unwrap_or(State::NotPresent)
    }

    /// The state of most of what is there, however little: in a picture with large cells it shows
    /// what [`Cell::dominant`] passes over. `None` where nothing is there.
    #[must_use]
    pub fn populated(&self) -> Option<State> {
        [State::Huge, State::Small, State::Swapped]
            .into_iter()
            .filter(|state| !self.of(*state).is_zero())
            .max_by_key(|state| (self.of(*state), std::cmp::Reverse(*state)))
    }

    /// Adds another part.
    pub fn add(&mut self, other: &Cell) {
        self.huge += other.huge;
        self.small += other.small;
        self.swapped += other.swapped;
        self.not_present += other.not_present;
    }
}

/// Where the states come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The page tables: every cell shows its own pages.
    Pages,
    /// The counters of the whole mapping, spread evenly: only their sums are right.
    Proportions,
}

/// How fine a picture is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// At most so many cells a mapping. At least one, at most [`MAX_CELLS`].
    Cells(u32),
    /// Cells of so many bytes, in whole pages; larger ones where there would be more than
    /// [`MAX_CELLS`].
    CellBytes(u64),
}

/// The most cells that a mapping is divided into: they take 2 MiB then.
pub const MAX_CELLS: u32 = 1 << 16;

/// A stretch of neighbouring cells of one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Run {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// The state of most of each cell.
    pub state: State,
}

/// One mapping and the state of its pages.
#[derive(Clone, Copy, Debug)]
pub struct VmaPages<'a> {
    /// The mapping.
    pub vma: &'a Vma<'a>,
    /// Its cells, lowest address first.
    pub cells: &'a [Cell],
    /// The size of a cell in bytes; the last one may be smaller.
    pub cell_bytes: u64,
    /// Where the states come from.
    pub source: Source,
}

impl VmaPages<'_> {
    /// Whether the mapping is advised against huge pages, by the program or as a thread stack.
    #[must_use]
    pub fn is_advised_never(&self) -> bool {
        self.vma.advice == Advice::Nohugepage
    }

    /// The whole mapping in one cell.
    #[must_use]
    pub fn sum(&self) -> Cell {
        let mut sum = Cell::default();
        self.cells.iter().for_each(|cell| sum.add(cell));
        sum
    }

    /// The cells as runs of the same state. With cells of one page they are exact.
    pub fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        let mut cells = self.cells.iter().map(Cell::dominant).peekable();
        let mut start = self.vma.start;
        std::iter::from_fn(move || {
            let state = cells.next()?;
            let mut end = start.saturating_add(self.cell_bytes);
            while cells.next_if_eq(&state).is_some() {
                end = end.saturating_add(self.cell_bytes);
            }
            end = end.min(self.vma.end);
            let run = Run { start, end, state };
            start = end;
            Some(run)
        })
    }
}

/// The mapping, and `cells` as lists of four numbers in the order of [`State::ALL`].
impl Serialize for VmaPages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let cells: Vec<[Bytes; 4]> = self
            .cells
            .iter()
            .map(|cell| State::ALL.map(|state| cell.of(state)))
            .collect();
        let mut out = serializer.serialize_struct("VmaPages", 4)?;
        out.serialize_field("vma", self.vma)?;
        out.serialize_field("source", &self.source)?;
        out.serialize_field("cell_bytes", &self.cell_bytes)?;
        out.serialize_field("cells", &cells)?;
        out.end()
    }
}

/// Shows an address space mapping by mapping, lowest address first. Returns the sum of its
/// counters.
///
/// smaps and the page tables are read as streams, one beside the other: it is not one moment's
/// picture of a process that is mapping meanwhile. An error of the visitor ends the walk and is
/// returned.
///
/// ```
/// use mctl::Target;
/// use mctl::pages::{Resolution, by_vma};
///
/// by_vma(&Target::own()?, Resolution::Cells(8), |pages| {
///     assert!((1..=8).contains(&pages.cells.len()));
///     let last = pages.runs().last();
///     assert_eq!(last.map(|run| run.end), Some(pages.vma.end));
///     Ok::<(), mctl::Error>(())
/// })?;
/// # Ok::<(), mctl::Error>(())
/// ```
///
/// # Errors
/// As [`Coverage::by_vma`], and the visitor's.
pub fn by_vma<E: From<Error>>(
    target: &Target,
    resolution: Resolution,
    mut visitor: impl FnMut(&VmaPages<'_>) -> Result<(), E>,
) -> Result<Coverage, E> {
    let mut cells = Vec::new();
    let mut tables = Tables::Closed;
    each_vma(target, |prefix, vma| {
        let cell_bytes = cells::prepare(&mut cells, vma, resolution);
        let source = tables.fill(target, prefix, vma, &mut cells, cell_bytes)?;
        visitor(&VmaPages {
            vma,
            cells: &cells,
            cell_bytes,
            source,
        })
    })
}

/// As [`by_vma`] on a kernel without `PAGEMAP_SCAN`: the counters of smaps, spread evenly. It
/// costs no second walk over the page tables.
///
/// # Errors
/// As [`by_vma`].
pub fn proportions_by_vma<E: From<Error>>(
    target: &Target,
    resolution: Resolution,
    mut visitor: impl FnMut(&VmaPages<'_>) -> Result<(), E>,
) -> Result<Coverage, E> {
    let mut cells = Vec::new();
    each_vma(target, |_, vma| {
        let cell_bytes = cells::prepare(&mut cells, vma, resolution);
        cells::spread(&mut cells, vma, cell_bytes);
        visitor(&VmaPages {
            vma,
            cells: &cells,
            cell_bytes,
            source: Source::Proportions,
        })
    })
}

/// The page tables of a target, as far as they can be had.
enum Tables {
    Closed,
    Open(Regions),
    Missing,
}

impl Tables {
    fn fill(
        &mut self,
        target: &Target,
        prefix: &str,
        vma: &Vma<'_>,
        cells: &mut [Cell],
        cell_bytes: u64,
    ) -> Result<Source> {
        if matches!(self, Tables::Closed) {
            *self = match target.open_proc(&format!("{prefix}pagemap")) {
                Ok(file) => Tables::Open(Regions::new(file)),
                Err(error) if error.errno() == Errno::ESRCH => return Err(error),
                Err(_) => Tables::Missing,
            };
        }
        if let Tables::Open(regions) = self {
            match cells::scan(cells, vma, cell_bytes, regions) {
                Ok(()) => return Ok(Source::Pages),
                Err(Errno::ENOTTY) => *self = Tables::Missing,
                Err(errno) => {
                    return Err(Error::Read {
                        what: format!("/proc/{}/pagemap", target.pid()),
                        why: "its pages cannot be scanned".to_owned(),
                        errno,
                    });
                }
            }
        }
        cells::spread(cells, vma, cell_bytes);
        Ok(Source::Proportions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_call_the_counters_are_spread() {
        // It answers ENOTTY, as a pagemap file does before Linux 6.7.
        let file = mctl_sys::bounded::ProcFile::open("/dev/null").unwrap();
        let mut tables = Tables::Open(Regions::new(file));
        let own = Target::own().unwrap();
        let mut cells = Vec::new();
        let (mut small, mut huge) = (Bytes::ZERO, Bytes::ZERO);
        let sum = each_vma(&own, |prefix, vma| {
            let cell_bytes = cells::prepare(&mut cells, vma, Resolution::Cells(1));
            let source = tables.fill(&own, prefix, vma, &mut cells, cell_bytes)?;
            // What holds nothing is known without a look at the page tables.
            assert!(source == Source::Proportions || vma.coverage.rss.is_zero());
            small += cells[0].small;
            huge += cells[0].huge;
            Ok::<(), Error>(())
        })
        .unwrap();
        assert!(matches!(tables, Tables::Missing));
        assert_eq!(small + huge, sum.rss + sum.hugetlb);
    }
}
