//! Dividing a mapping into cells, and filling them.

use mctl_abi::Errno;

use super::{Cell, MAX_CELLS, Regions, Resolution, State};
use crate::see::coverage::{Bytes, Vma};

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

#[cfg(test)]
mod tests {
    use mctl_abi::thp::Advice;
    use mctl_sys::procfs::maps::Perms;
    use mctl_sys::procfs::smaps::ThpEligible;
    use mctl_sys::procfs::vmflags::KnownFlags;
    use proptest::prelude::*;

    use super::*;
    use crate::see::address_space::Kind;
    use crate::see::coverage::Coverage;

    const PAGE: u64 = 4096;

    fn vma(start: u64, pages: u64, coverage: Coverage) -> Vma<'static> {
        Vma {
            start,
            end: start + pages * PAGE,
            kind: Kind::Anonymous,
            perms: Perms::default(),
            offset: 0,
            name: b"",
            advice: Advice::None,
            thp_eligible: ThpEligible::Absent,
            coverage,
            flags: KnownFlags::default(),
            flags_text: b"",
        }
    }

    fn sum(cells: &[Cell]) -> Cell {
        let mut sum = Cell::default();
        cells.iter().for_each(|cell| sum.add(cell));
        sum
    }

    fn any_resolution() -> impl Strategy<Value = Resolution> {
        prop_oneof![
            any::<u32>().prop_map(Resolution::Cells),
            (0..200_u32).prop_map(Resolution::Cells),
            any::<u64>().prop_map(Resolution::CellBytes),
            (0..(1_u64 << 22)).prop_map(Resolution::CellBytes),
        ]
    }

    #[test]
    fn steps() {
        for (len, resolution, wanted) in [
            (PAGE, Resolution::Cells(100), PAGE),
            (100 * PAGE, Resolution::Cells(10), 10 * PAGE),
            (101 * PAGE, Resolution::Cells(10), 11 * PAGE),
            (100 * PAGE, Resolution::CellBytes(PAGE + 1), 2 * PAGE),
            (1 << 40, Resolution::CellBytes(1), 1 << 24),
            (0, Resolution::Cells(0), PAGE),
        ] {
            assert_eq!(step(len, resolution, PAGE), wanted, "{len} {resolution:?}");
        }
        assert!(step(u64::MAX, Resolution::CellBytes(u64::MAX), 0) > 0);
    }

    proptest! {
        #[test]
        fn cells_cover_a_mapping(pages in 1..(1_u64 << 36), resolution in any_resolution()) {
            let (mut cells, vma) = (Vec::new(), vma(PAGE, pages, Coverage::default()));
            let step = prepare(&mut cells, &vma, resolution);
            prop_assert!(step.is_multiple_of(PAGE) && !cells.is_empty());
            prop_assert_eq!(cells.len() as u64, vma.len().div_ceil(step));
            prop_assert!(cells.len() <= MAX_CELLS as usize);
            if let Resolution::Cells(count) = resolution {
                prop_assert!(cells.len() <= count.max(1) as usize);
            }
            complete(&mut cells, vma.len(), step);
            prop_assert_eq!(sum(&cells).not_present, Bytes(vma.len()));
        }

        #[test]
        fn stretches_land_in_their_cells(
            pages in 1..500_usize,
            step in 1..40_usize,
            states in prop::collection::vec(0..4_usize, 500),
        ) {
            let vma = vma(7 * PAGE, pages as u64, Coverage::default());
            let (mut cells, cell_pages) = (Vec::new(), step);
            let step = prepare(&mut cells, &vma, Resolution::CellBytes(step as u64 * PAGE));
            let states: Vec<State> = states.iter().take(pages).map(|s| State::ALL[*s]).collect();
            // As the kernel does: neighbours of one state come as one stretch.
            let mut from = 0;
            for run in states.chunk_by(|one, next| one == next) {
                let to = from + run.len() as u64;
                add(&mut cells, &vma, step, vma.start + from * PAGE, vma.start + to * PAGE, run[0]);
                from = to;
            }
            complete(&mut cells, vma.len(), step);
            for (cell, states) in cells.iter().zip(states.chunks(cell_pages)) {
                for state in State::ALL {
                    let pages = states.iter().filter(|s| **s == state).count() as u64;
                    prop_assert_eq!(cell.of(state), Bytes(pages * PAGE));
                }
            }
        }

        #[test]
        fn spread_counters_keep_their_sums(
            pages in 1..(1_u64 << 30),
            parts in prop::array::uniform3(0..(1_u64 << 30)),
            resolution in any_resolution(),
        ) {
            // Up to as much as there is, as the kernel's counters do.
            let [huge, small, swap] = parts.map(|part| part % (pages / 3 + 1) * PAGE);
            let coverage = Coverage {
                rss: Bytes(huge + small),
                anonymous: Bytes(huge + small),
                anon_huge: Bytes(huge),
                swap: Bytes(swap),
                ..Coverage::default()
            };
            let (mut cells, vma) = (Vec::new(), vma(0, pages, coverage));
            let step = prepare(&mut cells, &vma, resolution);
            spread(&mut cells, &vma, step);
            let sum = sum(&cells);
            prop_assert_eq!(sum.huge + sum.small + sum.swapped + sum.not_present, Bytes(vma.len()));
            // A cell that is full may have to drop the rounding of a byte or two.
            let dropped = Bytes(2 * cells.len() as u64);
            for (got, wanted) in [(sum.huge, huge), (sum.small, small), (sum.swapped, swap)] {
                prop_assert!(got <= Bytes(wanted) && got + dropped >= Bytes(wanted));
            }
        }

        #[test]
        fn nonsense_counters_do_no_harm(pages in 1..9_u64, parts in prop::array::uniform4(any::<u64>())) {
            let [rss, anon_huge, swap, hugetlb] = parts.map(Bytes);
            let coverage = Coverage { rss, anon_huge, swap, hugetlb, ..Coverage::default() };
            let (mut cells, vma) = (Vec::new(), vma(0, pages, coverage));
            let step = prepare(&mut cells, &vma, Resolution::Cells(3));
            spread(&mut cells, &vma, step);
            let sum = sum(&cells);
            prop_assert_eq!(sum.huge + sum.small + sum.swapped + sum.not_present, Bytes(vma.len()));
        }
    }
}
