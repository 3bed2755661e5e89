//! Pages of one address space, kept as runs of equal neighbours.

use crate::tree::{Item, Tree};
use crate::{HUGE, PAGE};

/// What a page-table entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageKind {
    /// The shared zero page: read, never written. It counts in no size.
    Zero,
    /// The shared huge zero page. It counts in no size.
    HugeZero,
    /// A base page.
    Base,
    /// Part of a huge page that is mapped as one.
    Huge,
    /// Written to swap.
    Swapped,
    /// A guard marker: any access is refused.
    Guard,
}

/// A run of pages in the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// What the entries hold.
    pub kind: PageKind,
    /// The first page's identity; the others count up. 0 where the kind has none. Two address
    /// spaces with the same frame share the page.
    pub frame: u64,
    /// Written since it was last clean. A page under `MADV_FREE` is not dirty.
    pub dirty: bool,
    /// Used since this was last cleared.
    pub young: bool,
}

impl Item for Run {
    fn start(&self) -> u64 {
        self.start
    }
    fn end(&self) -> u64 {
        self.end
    }
    fn weights(&self) -> [u64; 2] {
        let pages = (self.end - self.start) / PAGE;
        match self.kind {
            PageKind::Base => [pages, 0],
            PageKind::Huge => [pages, pages],
            PageKind::Zero | PageKind::HugeZero | PageKind::Swapped | PageKind::Guard => [0, 0],
        }
    }
    fn marks(&self) -> u32 {
        match self.kind {
            PageKind::Zero => 1,
            PageKind::HugeZero => 1 << 1,
            PageKind::Base => 1 << 2,
            PageKind::Huge => 1 << 3,
            PageKind::Swapped => 1 << 4,
            PageKind::Guard => 1 << 5,
        }
    }
}

/// The marks of kinds that are mapped by one entry for 2 MiB.
const HUGE_MARKS: u32 = 1 << 1 | 1 << 3;
/// The mark of swapped-out pages.
pub(crate) const SWAP_MARK: u32 = 1 << 4;

impl Run {
    /// Resident pages of the run.
    #[must_use]
    pub fn rss(&self) -> u64 {
        self.weights()[0]
    }

    fn has_frame(&self) -> bool {
        matches!(
            self.kind,
            PageKind::Base | PageKind::Huge | PageKind::Swapped
        )
    }

    fn part(mut self, start: u64, end: u64) -> Run {
        if self.has_frame() {
            self.frame += (start - self.start) / PAGE;
        }
        self.start = start;
        self.end = end;
        self
    }

    fn continues(&self, above: &Run) -> bool {
        self.end == above.start
            && self.kind == above.kind
            && self.dirty == above.dirty
            && self.young == above.young
            && (!self.has_frame() || self.frame + (self.end - self.start) / PAGE == above.frame)
    }
}

/// The pages of one kind of memory in one address space.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pages {
    tree: Tree<Run>,
}

impl Pages {
    /// Resident pages, and those of them that are mapped huge.
    pub(crate) fn totals(&self) -> [u64; 2] {
        self.tree.sum().weights
    }

    /// Whether any page is in a state with this mark.
    pub(crate) fn any(&self, mark: u32) -> bool {
        self.tree.sum().marks & mark != 0
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        self.tree.check()?;
        for run in self.tree.iter() {
            let huge = matches!(run.kind, PageKind::Huge | PageKind::HugeZero);
            if huge && (run.start % HUGE != 0 || run.end % HUGE != 0) {
                return Err(format!("a huge run at {:#x} is not aligned", run.start));
            }
            if run.has_frame() == (run.frame == 0) {
                return Err(format!("a run at {:#x} has a wrong frame", run.start));
            }
        }
        Ok(())
    }

    /// The run at `address`.
    pub(crate) fn at(&self, address: u64) -> Option<Run> {
        self.tree.at(address).copied().map(|run| {
            let page = address & !(PAGE - 1);
            run.part(page, run.end)
        })
    }

    /// The runs inside `start..end`, cut to it.
    pub(crate) fn range(&self, start: u64, end: u64) -> impl Iterator<Item = Run> + '_ {
        self.tree
            .iter_from(start)
            .take_while(move |run| run.start < end)
            .map(move |run| run.part(run.start.max(start), run.end.min(end)))
    }

    /// Whether no page is present in `start..end`.
    pub(crate) fn is_clear(&self, start: u64, end: u64) -> bool {
        !self.tree.overlaps(start, end)
    }

    /// Every run of one kind.
    pub(crate) fn of_kind(&self, kind: PageKind) -> impl Iterator<Item = Run> + '_ {
        let mark = Run {
            start: 0,
            end: PAGE,
            kind,
            frame: 0,
            dirty: false,
            young: false,
        }
        .marks();
        let mut cursor = 0;
        std::iter::from_fn(move || {
            let run = self.tree.find_marked(cursor, mark).copied()?;
            cursor = run.end;
            Some(run)
        })
    }

    /// Resident pages and huge pages inside `start..end`, as for smaps' `Rss` and
    /// `AnonHugePages`.
    pub(crate) fn totals_in(&self, start: u64, end: u64) -> [u64; 2] {
        let mut totals = [0, 0];
        for run in self.range(start, end) {
            let [rss, huge] = run.weights();
            totals[0] += rss;
            totals[1] += huge;
        }
        totals
    }

    /// Puts pages in; the range is clear.
    pub(crate) fn put(&mut self, mut run: Run) {
        if let Some(below) = self.tree.before(run.start).copied()
            && below.continues(&run)
        {
            self.tree.remove(below.start);
            if below.has_frame() {
                run.frame = below.frame;
            }
            run.start = below.start;
        }
        if let Some(above) = self.tree.at(run.end).copied()
            && run.continues(&above)
        {
            self.tree.remove(above.start);
            run.end = above.end;
        }
        self.tree.insert(run);
    }

    /// Maps the 2 MiB block around `address` by base pages where one entry maps it
    /// (`split_huge_pmd`). The pages stay.
    pub(crate) fn break_huge(&mut self, address: u64) {
        if self.tree.sum().marks & HUGE_MARKS == 0 || address.is_multiple_of(HUGE) {
            return;
        }
        self.break_block(address & !(HUGE - 1));
    }

    /// As [`Pages::break_huge`], for the block that starts at `block`.
    pub(crate) fn break_block(&mut self, block: u64) {
        let Some(run) = self.tree.at(block).copied() else {
            return;
        };
        let kind = match run.kind {
            PageKind::Huge => PageKind::Base,
            PageKind::HugeZero => PageKind::Zero,
            _ => return,
        };
        self.take_exact(block, block + HUGE, |mut part| {
            part.kind = kind;
            Some(part)
        });
    }

    /// Takes the pages of `start..end` out; blocks that the ends cut are broken first. What was
    /// taken is handed to `seen`.
    pub(crate) fn zap(&mut self, start: u64, end: u64, mut seen: impl FnMut(Run)) {
        self.break_huge(start);
        self.break_huge(end);
        self.take_exact(start, end, |run| {
            seen(run);
            None
        });
    }

    /// Changes every page of `start..end`; the ends do not cut a block.
    pub(crate) fn change(&mut self, start: u64, end: u64, change: impl FnMut(Run) -> Option<Run>) {
        self.break_huge(start);
        self.break_huge(end);
        self.take_exact(start, end, change);
    }

    fn take_exact(&mut self, start: u64, end: u64, mut change: impl FnMut(Run) -> Option<Run>) {
        let mut cursor = start;
        while cursor < end {
            let Some(run) = self.tree.find(cursor).copied() else {
                break;
            };
            if run.start >= end {
                break;
            }
            let part = run.part(run.start.max(cursor), run.end.min(end));
            cursor = part.end;
            let new = change(part);
            if new == Some(part) {
                continue;
            }
            self.tree.remove(run.start);
            if run.start < part.start {
                self.tree.insert(run.part(run.start, part.start));
            }
            if part.end < run.end {
                self.tree.insert(run.part(part.end, run.end));
            }
            if let Some(new) = new {
                self.put(new);
            }
        }
    }
}
