//! Dividing a mapping into cells, and filling them.

use mctl_abi::Errno;

use super::{Cell, MAX_CELLS, Regions, Resolution, State};
use crate::coverage::{Bytes, Vma};

/// Makes room for a mapping's cells, all empty, and returns the size of one.
pub(super) fn prepare(cells: &mut Vec<Cell>, vma: &Vma<'_>, resolution: Resolution) -> u64 {
    let page = rustix::param::page_size() as u64;
    let step = step(vma.len(), resolution, page);
    // At most MAX_CELLS by the choice of the step.
    let count = vma.len().div_ceil(step).min(u64::from(MAX_CELLS));
    cells.clear();
    cells.resize(usize::try_from(count).unwrap_or(0), Cell::default());
    step
}

/// The size of a cell in whole pages.
fn step(len: u64, resolution: Resolution, page: u64) -> u64 {
    let page = page.max(1);
    let pages = len.div_ceil(page).max(1);
    let least = pages.div_ceil(u64::from(MAX_CELLS));
    let wanted = match resolution {
        Resolution::Cells(count) => pages.div_ceil(u64::from(count.max(1))),
        Resolution::CellBytes(bytes) => bytes.div_ceil(page),
    };
    wanted.max(least).max(1).saturating_mul(page)
}

/// Fills the cells from the page tables.
pub(super) fn scan(
    cells: &mut [Cell],
    vma: &Vma<'_>,
    step: u64,
    regions: &mut Regions,
) -> Result<(), Errno> {
    let coverage = &vma.coverage;
    let there = coverage.rss + coverage.swap + coverage.hugetlb;
    // Most of a large address space holds nothing: that is known without another look.
    if !there.is_zero() {
        regions.between(vma.start, vma.end, |from, to, state| {
            add(cells, vma, step, from, to, state);
        })?;
    }
    complete(cells, vma.len(), step);
    Ok(())
}

/// Spreads the counters of a mapping evenly over its cells.
pub(super) fn spread(cells: &mut [Cell], vma: &Vma<'_>, step: u64) {
    let (coverage, len) = (&vma.coverage, vma.len());
    let thp = coverage.anon_huge + coverage.shmem_huge + coverage.file_huge;
    let huge = (thp + coverage.hugetlb).0.min(len);
    let small = coverage.rss.less(thp).0.min(len.saturating_sub(huge));
    let swapped = coverage
        .swap
        .0
        .min(len.saturating_sub(huge).saturating_sub(small));
    let mut from = 0;
    for cell in cells.iter_mut() {
        let to = len.min(u64::saturating_add(from, step));
        // What lies between two places of the mapping: these add up to the whole.
        let part =
            |amount: u64| Bytes(up_to(amount, to, len).saturating_sub(up_to(amount, from, len)));
        let room = Bytes(to.saturating_sub(from));
        cell.huge = part(huge).min(room);
        cell.small = part(small).min(room.less(cell.huge));
        cell.swapped = part(swapped).min(room.less(cell.huge).less(cell.small));
        from = to;
    }
    complete(cells, len, step);
}

/// The part of an amount that lies before a place, if it is spread evenly over `len`.
fn up_to(amount: u64, place: u64, len: u64) -> u64 {
    let product = u128::from(amount).saturating_mul(u128::from(place));
    u64::try_from(product / u128::from(len.max(1))).unwrap_or(u64::MAX)
}

fn add(cells: &mut [Cell], vma: &Vma<'_>, step: u64, from: u64, to: u64, state: State) {
    let mut place = from.saturating_sub(vma.start);
    let end = to.saturating_sub(vma.start);
    let first = usize::try_from(place / step).unwrap_or(usize::MAX);
    for cell in cells.iter_mut().skip(first) {
        if place >= end {
            return;
        }
        let border = (place / step).saturating_add(1).saturating_mul(step);
        let bytes = Bytes(border.min(end).saturating_sub(place));
        match state {
            State::Huge => cell.huge += bytes,
            State::Small => cell.small += bytes,
            State::Swapped => cell.swapped += bytes,
            State::NotPresent => {}
        }
        place = border;
    }
}

/// What is in no other state is not present.
fn complete(cells: &mut [Cell], len: u64, step: u64) {
    let mut left = len;
    for cell in cells {
        let there = cell.huge + cell.small + cell.swapped;
        cell.not_present = Bytes(step.min(left)).less(there);
        left = left.saturating_sub(step);
    }
}
