//! What is decided before advice is given: what it may cost, and what is passed over for that.

use serde::Serialize;

use super::{Advice, Advise, Range, Selection, What};
use crate::error::{Error, Result};
use crate::op::budget::{Cost, Growth, Purpose, Room, Spared, SwapRoom, choose, cost, without};
use crate::see::coverage::Bytes;
use crate::target::Target;

/// Memory that is left out as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// How much is mapped of it.
    pub bytes: Bytes,
    /// Why.
    pub why: String,
}

/// What bounds advice, besides errors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bounds {
    /// What would come in, and what it was compared with; only of advice that brings memory in.
    pub cost: Option<Cost>,
    /// Blocks that `MADV_COLLAPSE` passes over.
    pub sparse: Option<Spared>,
    /// Mappings that `MADV_COLLAPSE` passes over, because no aligned huge page fits in.
    pub too_small: Option<TooSmall>,
    /// What `MADV_PAGEOUT` leaves out, because it has no swap to go to.
    pub left_out: Option<LeftOut>,
    /// Why it ended before all was done although nothing failed: the most growth was reached.
    pub ended: Option<String>,
}

/// Mappings in which no huge page fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TooSmall {
    /// How many.
    pub mappings: u64,
    /// How much is mapped of them.
    pub bytes: Bytes,
}

/// The kernel answers EINVAL for them, each time, and for other things too.
fn large_enough(ranges: Vec<Range>) -> (Vec<Range>, Option<TooSmall>) {
    let mut small = TooSmall::default();
    let mut left = ranges;
    left.retain(|range| {
        let holds = holds_a_huge_page(*range);
        if !holds {
            small.mappings += 1;
            small.bytes += Bytes(range.len);
        }
        holds
    });
    (left, (small.mappings > 0).then_some(small))
}

/// Whether an aligned huge page fits in.
fn holds_a_huge_page(range: Range) -> bool {
    let end = range.start.saturating_add(range.len);
    let first = range.start.checked_next_multiple_of(super::pieces::HUGE);
    first
        .and_then(|first| first.checked_add(super::pieces::HUGE))
        .is_some_and(|first| first <= end)
}

/// What would be done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The mapped memory that the advice would be given to.
    #[serde(skip)]
    pub ranges: Vec<Range>,
    /// Bytes that would be passed over because somebody serves their pages by userfaultfd(2).
    pub left_to_server: u64,
    /// What bounds it.
    pub bounds: Bounds,
}

/// Whether the entries are one, from 0 to the end of user space, of which most is not mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    Yes,
    No,
}

impl Advise<'_> {
    /// What would be done, after all the checks of [`give`](Advise::give). The target is not
    /// stopped, and nothing of it changes.
    ///
    /// # Errors
    /// As [`give`](Advise::give). What only a mapping refuses is not found out.
    pub fn plan(mut self, target: &Target) -> Result<Plan> {
        self.rehearse(target)?;
        self.growth = Some(self.bound());
        let what = match std::mem::replace(&mut self.what, What::Entire) {
            What::Entire => Selection::all().ranges(target)?,
            What::Ranges(ranges) => ranges
                .into_iter()
                .fold(Selection::all(), Selection::within)
                .ranges(target)?,
            What::Selected(selection) => selection.ranges(target)?,
        };
        let served = self.passed_over_for_their_server(target)?;
        let (what, left_to_server) = super::served::without(&what, &served);
        let (ranges, bounds) = self.in_front(target, what, Whole::No)?;
        Ok(Plan {
            ranges,
            left_to_server,
            bounds,
        })
    }

    /// Chooses among the entries, and refuses what has no room.
    pub(super) fn in_front(
        &mut self,
        target: &Target,
        entries: Vec<Range>,
        whole: Whole,
    ) -> Result<(Vec<Range>, Bounds)> {
        let mut bounds = Bounds::default();
        let growth = self.bound();
        if self.advice == Advice::PAGEOUT && growth != Growth::AsAsked {
            let entries = self.with_somewhere_to_go(target, entries, whole, &mut bounds)?;
            return Ok((entries, bounds));
        }
        let Some(purpose) = Purpose::of(self.advice) else {
            return Ok((entries, bounds));
        };
        if self.advice != Advice::COLLAPSE || growth == Growth::AsAsked {
            let mut cost = cost(target, purpose, &entries)?;
            cost.room = self.left_by_others(cost.room);
            cost.check(target.pid(), purpose, growth)?;
            bounds.cost = Some(cost);
            return Ok((entries, bounds));
        }
        let entries = match whole {
            Whole::Yes => {
                self.parts_of_mappings();
                Selection::all().ranges(target)?
            }
            // What the dry run does too: no huge page reaches from one mapping into the next.
            Whole::No if self.flags.allows_gaps() && !self.listed => {
                self.parts_of_mappings();
                let all = entries.into_iter();
                all.fold(Selection::all(), Selection::within)
                    .ranges(target)?
            }
            Whole::No => entries,
        };
        let chosen = choose(target, entries, growth)?;
        let cost = Cost {
            bytes: chosen.need,
            shared: Bytes::ZERO,
            room: self.left_by_others(Room::of(target)?),
        };
        cost.check(target.pid(), purpose, growth)?;
        bounds.cost = Some(cost);
        if chosen.spared != Spared::default() {
            bounds.sparse = Some(chosen.spared);
            self.parts_of_mappings();
        }
        let (ranges, too_small) = large_enough(chosen.ranges);
        bounds.too_small = too_small;
        Ok((ranges, bounds))
    }

    /// Of a dry run of several processes, what those before it leave.
    fn left_by_others(&self, room: Room) -> Room {
        match self.after {
            Some(ahead) => room.after(ahead),
            None => room,
        }
    }

    /// The entries are parts of mappings now, listed just before.
    fn parts_of_mappings(&mut self) {
        self.listed = true;
        self.flags = self.flags.with(super::PmadvFlags::NO_ERROR_ON_UNMAPPED);
    }

    /// Of the entries what reclaim can put anywhere: where there is no swap, the pages of files.
    fn with_somewhere_to_go(
        &mut self,
        target: &Target,
        entries: Vec<Range>,
        whole: Whole,
        bounds: &mut Bounds,
    ) -> Result<Vec<Range>> {
        let Some(why) = SwapRoom::of(target)?.nowhere() else {
            return Ok(entries);
        };
        let entries = match whole {
            Whole::Yes => Selection::all().ranges(target)?,
            Whole::No => entries,
        };
        let nowhere: Vec<(u64, u64)> = Selection::all()
            .anonymous()
            .shmem()
            .ranges(target)?
            .iter()
            .map(|range| (range.start, range.start.saturating_add(range.len)))
            .collect();
        let left = without(&entries, &nowhere);
        let bytes = |ranges: &[Range]| Bytes(ranges.iter().map(|range| range.len).sum());
        let out = bytes(&entries).less(bytes(&left));
        if out.is_zero() {
            return Ok(entries);
        }
        if left.is_empty() {
            return Err(Error::Unsupported {
                what: format!("process {}: pageout", target.pid()),
                why: format!(
                    "{why}: anonymous and shared memory has nowhere to go, and its huge pages would \
                     be split for nothing; nothing was touched"
                ),
            });
        }
        bounds.left_out = Some(LeftOut { bytes: out, why });
        self.parts_of_mappings();
        Ok(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_small_is_counted() {
        let range = |start, len| Range { start, len };
        let huge = 2 << 20;
        let list = vec![
            range(huge, huge),
            range(huge + 4096, huge),
            range(0, huge - 4096),
            range(u64::MAX - 4096, 4096),
            range(4096, 3 * huge),
        ];
        let (left, small) = large_enough(list.clone());
        assert_eq!(left, [list[0], list[4]]);
        let small = small.unwrap();
        assert_eq!((small.mappings, small.bytes), (3, Bytes(2 * huge)));
        assert_eq!(large_enough(left).1, None);
    }
}
