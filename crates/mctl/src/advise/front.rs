//! What is decided before advice is given: what it may cost, and what is passed over for that.

use serde::Serialize;

use super::{Advice, Advise, Range, Selection, What};
use crate::budget::{Cost, Growth, Purpose, Room, Spared, SwapRoom, choose, cost, without};
use crate::coverage::Bytes;
use crate::error::{Error, Result};
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
    /// What `MADV_PAGEOUT` leaves out, because it has no swap to go to.
    pub left_out: Option<LeftOut>,
    /// Why it ended before all was done although nothing failed: the most growth was reached.
    pub ended: Option<String>,
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
            let cost = cost(target, purpose, &entries)?;
            cost.check(target.pid(), purpose, growth)?;
            bounds.cost = Some(cost);
            return Ok((entries, bounds));
        }
        let entries = match whole {
            Whole::Yes => {
                self.parts_of_mappings();
                Selection::all().ranges(target)?
            }
            Whole::No => entries,
        };
        let chosen = choose(target, entries, growth)?;
        let cost = Cost {
            bytes: chosen.need,
            room: Room::of(target)?,
        };
        cost.check(target.pid(), purpose, growth)?;
        bounds.cost = Some(cost);
        if chosen.spared != Spared::default() {
            bounds.sparse = Some(chosen.spared);
            self.parts_of_mappings();
        }
        Ok((chosen.ranges, bounds))
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
