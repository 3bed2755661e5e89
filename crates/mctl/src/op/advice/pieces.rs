//! Pure: from the entries of a request and a listing of what is mapped to the pieces that are
//! handed to the kernel, in order.

use mctl_abi::Errno;
use mctl_sys::raw::madvise::{MAX_BYTES, Range};

/// Page size in bytes. Both processors that mctl knows use it here; a larger one only makes the
/// kernel's own check stricter.
pub(crate) const PAGE: u64 = 4096;
/// Pieces are cut at multiples of this, so that no huge page is cut in two.
pub(crate) const HUGE: u64 = 2 << 20;

/// A stretch of memory of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) range: Range,
    /// Index of the entry that it belongs to.
    pub(crate) entry: usize,
    /// The end of the mapping that it is a part of, as far as the entry goes; its own end where
    /// the mappings are not told apart.
    pub(crate) mapping_end: u64,
    /// How many mappings it holds, as far as they were counted.
    pub(crate) mappings: usize,
    /// How often it was given again, because the target unmapped a part of it or had it in use.
    pub(crate) retries: u8,
}

impl Piece {
    pub(crate) fn end(&self) -> u64 {
        self.range.start.saturating_add(self.range.len)
    }
}

/// The bounds of a piece, and of what is handed to the kernel at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Most {
    /// Bytes.
    pub(crate) bytes: u64,
    /// Mappings.
    pub(crate) mappings: usize,
}

/// How an entry is cut up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// As it is given: the kernel walks it, gaps and all.
    Whole,
    /// Into its mapped stretches: gaps are no error.
    Extents,
    /// Into its mappings: one that fails can be passed over.
    Mappings,
}

/// Checks an entry as madvise(2) does (mm/madvise.c, `is_valid_madvise()`) and rounds its length up
/// to whole pages. `None`: nothing to do.
pub(crate) fn checked(entry: Range) -> Result<Option<Range>, Errno> {
    if !entry.start.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    let len = entry
        .len
        .checked_next_multiple_of(PAGE)
        .ok_or(Errno::EINVAL)?;
    if entry.start.checked_add(len).is_none() {
        return Err(Errno::EINVAL);
    }
    Ok((len > 0).then_some(Range {
        start: entry.start,
        len,
    }))
}

/// A sorted listing of mappings, first byte and end of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mapped(Vec<(u64, u64)>);

impl Mapped {
    pub(crate) fn new(mappings: Vec<(u64, u64)>) -> Mapped {
        Mapped(mappings)
    }

    /// As if these were not mapped.
    pub(crate) fn without(mut self, ranges: &[Range]) -> Mapped {
        if ranges.is_empty() {
            return self;
        }
        let all: Vec<Range> = self
            .0
            .iter()
            .map(|(start, end)| Range {
                start: *start,
                len: end - start,
            })
            .collect();
        let (left, _) = super::served::without(&all, ranges);
        self.0 = left
            .iter()
            .map(|range| (range.start, range.start + range.len))
            .collect();
        self
    }

    /// The place of the first mapping that ends above an address.
    fn first_above(&self, address: u64) -> usize {
        self.0.partition_point(|(_, end)| *end <= address)
    }

    /// The mapping at a place, cut to a range; `None` if it lies above it.
    fn cut_to(&self, place: usize, range: Range) -> Option<(u64, u64)> {
        let end = range.start.saturating_add(range.len);
        let (start, stop) = *self.0.get(place)?;
        (start < end).then_some((start.max(range.start), stop.min(end)))
    }

    /// The mappings that touch a range, cut to it.
    fn within(&self, range: Range) -> impl Iterator<Item = (u64, u64)> + '_ {
        (self.first_above(range.start)..).map_while(move |place| self.cut_to(place, range))
    }

    /// How many bytes of a range are mapped.
    pub(crate) fn bytes(&self, range: Range) -> u64 {
        self.within(range).map(|(start, stop)| stop - start).sum()
    }

    /// Whether every byte of a range is mapped.
    pub(crate) fn covers(&self, range: Range) -> bool {
        let mut at = range.start;
        for (start, stop) in self.within(range) {
            if start > at {
                return false;
            }
            at = stop;
        }
        at >= range.start.saturating_add(range.len)
    }
}

/// One entry that is cut into pieces within the bounds, one after the other: of tens of thousands
/// only those are kept that come next.
#[derive(Debug)]
pub(crate) struct Cutter {
    /// Index of the entry.
    pub(crate) entry: usize,
    range: Range,
    how: Cut,
    most: Most,
    /// The place of the mapping that comes next.
    place: usize,
    /// What is left of the stretch before it: where it goes on, its end, and its mappings.
    open: (u64, u64, usize),
}

impl Cutter {
    /// `range` is the entry's, as [`checked`] returns it.
    pub(crate) fn new(entry: usize, range: Range, how: Cut, mapped: &Mapped, most: Most) -> Cutter {
        let end = range.start.saturating_add(range.len);
        let (place, open) = match how {
            Cut::Whole => (usize::MAX, (range.start, end, 1)),
            Cut::Extents | Cut::Mappings => (mapped.first_above(range.start), (end, end, 0)),
        };
        Cutter {
            entry,
            range,
            how,
            most,
            place,
            open,
        }
    }

    /// Where the entry ends.
    pub(crate) fn end(&self) -> u64 {
        self.range.start.saturating_add(self.range.len)
    }

    /// The next piece, by the listing that it began with.
    pub(crate) fn next(&mut self, mapped: &Mapped) -> Option<Piece> {
        let (at, stop, mappings) = if self.open.0 < self.open.1 {
            self.open
        } else {
            self.stretch(mapped)?
        };
        let largest = self.most.bytes.clamp(PAGE, MAX_BYTES);
        let mut end = stop.min(at.saturating_add(largest));
        if end < stop && largest >= HUGE {
            let aligned = end - end % HUGE;
            if aligned > at {
                end = aligned;
            }
        }
        self.open = (end, stop, mappings);
        Some(Piece {
            range: Range {
                start: at,
                len: end - at,
            },
            entry: self.entry,
            mapping_end: stop,
            mappings,
            retries: 0,
        })
    }

    /// The next mapping, or as many neighbours as may be given at a time.
    fn stretch(&mut self, mapped: &Mapped) -> Option<(u64, u64, usize)> {
        let (start, mut end) = mapped.cut_to(self.place, self.range)?;
        self.place += 1;
        let mut count = 1;
        while self.how == Cut::Extents
            && count < self.most.mappings
            && let Some((next, stop)) = mapped.cut_to(self.place, self.range)
            && next == end
        {
            end = stop;
            count += 1;
            self.place += 1;
        }
        Some((start, end, count))
    }
}

/// Cuts one entry into pieces within the bounds.
pub(crate) fn cut(
    entry: usize,
    range: Range,
    how: Cut,
    mapped: &Mapped,
    most: Most,
    into: &mut Vec<Piece>,
) {
    let mut cutter = Cutter::new(entry, range, how, mapped, most);
    while let Some(piece) = cutter.next(mapped) {
        into.push(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(start: u64, len: u64) -> Range {
        Range { start, len }
    }

    fn pieces(range: Range, how: Cut, mapped: &[(u64, u64)], largest: u64) -> Vec<(u64, u64)> {
        let mut into = Vec::new();
        cut(
            0,
            range,
            how,
            &Mapped::new(mapped.to_vec()),
            Most {
                bytes: largest,
                mappings: usize::MAX,
            },
            &mut into,
        );
        into.iter()
            .map(|p| (p.range.start, p.range.start + p.range.len))
            .collect()
    }

    #[test]
    fn entries_are_checked_as_the_kernel_does() {
        assert_eq!(checked(range(0x1001, 0x1000)), Err(Errno::EINVAL));
        assert_eq!(
            checked(range(0x1000, u64::MAX)),
            Err(Errno::EINVAL),
            "rounds to 0"
        );
        assert_eq!(
            checked(range(u64::MAX - 4095, 0x2000)),
            Err(Errno::EINVAL),
            "wraps"
        );
        assert_eq!(checked(range(0x1000, 0)), Ok(None));
        assert_eq!(checked(range(0x1000, 1)), Ok(Some(range(0x1000, 0x1000))));
    }

    const MAPPED: [(u64, u64); 3] = [(0x1000, 0x3000), (0x3000, 0x4000), (0x6000, 0x8000)];

    #[test]
    fn three_ways_to_cut() {
        let all = range(0, 0x9000);
        assert_eq!(pieces(all, Cut::Whole, &MAPPED, MAX_BYTES), [(0, 0x9000)]);
        assert_eq!(
            pieces(all, Cut::Extents, &MAPPED, MAX_BYTES),
            [(0x1000, 0x4000), (0x6000, 0x8000)]
        );
        assert_eq!(pieces(all, Cut::Mappings, &MAPPED, MAX_BYTES), MAPPED);
        let inner = range(0x2000, 0x5000);
        assert_eq!(
            pieces(inner, Cut::Extents, &MAPPED, MAX_BYTES),
            [(0x2000, 0x4000), (0x6000, 0x7000)]
        );
    }

    #[test]
    fn extents_hold_so_many_mappings_and_no_more() {
        let mapped: Vec<(u64, u64)> = (1..=10).map(|n| (n * PAGE, (n + 1) * PAGE)).collect();
        let mut into = Vec::new();
        let most = Most {
            bytes: MAX_BYTES,
            mappings: 4,
        };
        let all = range(0, 0x10_0000);
        cut(0, all, Cut::Extents, &Mapped::new(mapped), most, &mut into);
        let counts: Vec<usize> = into.iter().map(|piece| piece.mappings).collect();
        assert_eq!(counts, [4, 4, 2]);
        assert_eq!(into.iter().map(|p| p.range.len).sum::<u64>(), 10 * PAGE);
    }

    #[test]
    fn large_pieces_are_cut_between_huge_pages() {
        let got = pieces(range(0x1000, 5 * HUGE), Cut::Whole, &[], 2 * HUGE);
        assert_eq!(got.first(), Some(&(0x1000, 2 * HUGE)));
        assert!(got.iter().skip(1).all(|(start, _)| start % HUGE == 0));
        assert_eq!(got.last().map(|(_, end)| *end), Some(0x1000 + 5 * HUGE));
    }

    #[test]
    fn coverage() {
        let mapped = Mapped::new(MAPPED.to_vec());
        assert!(mapped.covers(range(0x1000, 0x3000)));
        assert!(mapped.covers(range(0x2000, 0x1000)));
        for (start, len) in [
            (0, 0x2000),
            (0x1000, 0x4000),
            (0x4000, 0x1000),
            (0x7000, 0x2000),
        ] {
            assert!(!mapped.covers(range(start, len)), "{start:#x}+{len:#x}");
        }
    }

    proptest! {
        /// Pieces are in order, do not overlap, are no larger than allowed, and make up exactly
        /// the mapped part of the entry (or all of it, if it is left whole).
        #[test]
        fn pieces_make_up_the_entry(
            gaps in proptest::collection::vec((0u64..4, 1u64..2000), 0..20),
            start in 0u64..3000, len in 1u64..20_000, largest in 1u64..3000,
        ) {
            let mut mapped = Vec::new();
            let mut at = 0;
            for (gap, size) in gaps {
                at += gap;
                mapped.push((at * PAGE, (at + size) * PAGE));
                at += size;
            }
            let entry = range(start * PAGE, len * PAGE);
            let end = entry.start + entry.len;
            let inside: u64 = mapped
                .iter()
                .map(|(a, b)| (*b).min(end).saturating_sub((*a).max(entry.start)))
                .sum();
            for (how, total) in
                [(Cut::Whole, entry.len), (Cut::Extents, inside), (Cut::Mappings, inside)]
            {
                let got = pieces(entry, how, &mapped, largest * PAGE);
                prop_assert_eq!(got.iter().map(|(a, b)| b - a).sum::<u64>(), total);
                prop_assert!(got.windows(2).all(|w| w[0].1 <= w[1].0));
                prop_assert!(got.iter().all(|(a, b)| b > a && b - a <= largest * PAGE));
            }
        }
    }
}
