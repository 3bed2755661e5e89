//! What is decided before advice is given: what it may cost, and what is passed over for that.

use serde::Serialize;

use super::{Advice, Advise, AdviseFacts, Range, Selection, What};
use crate::error::{Error, Result};
use crate::op::Detail;
use crate::op::budget::{
    Ahead, Chosen, Cost, Growth, Purpose, Room, Spared, SwapRoom, choose, cost, without,
};
use crate::run::each;
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
    /// The mapped memory that the advice would be given to. A plan that is carried out lists no more than it has to:
    /// of an entire address space it is one range.
    #[serde(skip)]
    pub ranges: Vec<Range>,
    /// Bytes that would be passed over because somebody serves their pages by userfaultfd(2).
    pub left_to_server: u64,
    /// What bounds it.
    pub bounds: Bounds,
    /// Each range is a mapping, or a part of one, that was listed just now.
    #[serde(skip)]
    pub(super) listed: bool,
    /// The entries are those that the operation itself names, and not `ranges`.
    #[serde(skip)]
    pub(super) named: bool,
}

/// Whether the entries are one, from 0 to the end of user space, of which most is not mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    Yes,
    No,
}

/// Entries that were made for one target.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) ranges: Vec<Range>,
    pub(super) whole: Whole,
}

/// What a decision about the entries depends on.
#[derive(Debug)]
pub(super) enum Front {
    /// Nothing: it costs nothing, and finds a place for everything.
    Clear,
    /// What would come in.
    BringsIn(Cost),
    /// The blocks that are worth a huge page, and the room for them.
    Collapses { chosen: Chosen, room: Room },
    /// There is no swap, and these parts of the address space have nowhere else to go.
    NoSwap {
        why: String,
        nowhere: Vec<(u64, u64)>,
    },
}

impl Advise {
    /// What would be done, after all the checks of [`give`](Advise::give). The target is not
    /// stopped, and nothing of it changes.
    ///
    /// # Errors
    /// As [`give`](Advise::give). What only a mapping refuses is not found out.
    pub fn plan(&self, target: &Target) -> Result<Plan> {
        each::dry_run(self, target)
    }

    /// The entries, unless they are those that the operation itself names. Only a dry run lists an entire address
    /// space, or the mapped parts of ranges.
    pub(super) fn entries(&self, target: &Target, detail: Detail) -> Result<Option<Entries>> {
        let listed = |selection: &Selection| {
            let ranges = selection.ranges(target)?;
            let whole = Whole::No;
            Ok(Some(Entries { ranges, whole }))
        };
        match (&self.what, detail) {
            (What::Selected(selection), _) => listed(selection),
            (What::Entire, Detail::Shown) => listed(&Selection::all()),
            (What::Ranges(ranges), Detail::Shown) => listed(&within(ranges)),
            (What::Ranges(_), Detail::Needed) => Ok(None),
            (What::Entire, Detail::Needed) => Ok(Some(Entries {
                ranges: vec![Range {
                    start: 0,
                    len: super::listing::task_size(),
                }],
                whole: Whole::Yes,
            })),
        }
    }

    /// Reads what the decision depends on, and lists the mappings where it goes by them.
    pub(super) fn look_in_front(
        &self,
        target: &Target,
        entries: &mut Option<Entries>,
    ) -> Result<Front> {
        let growth = self.bound();
        if self.advice == Advice::PAGEOUT && growth != Growth::AsAsked {
            return self.look_for_swap(target, entries);
        }
        let Some(purpose) = Purpose::of(self.advice) else {
            return Ok(Front::Clear);
        };
        if self.advice != Advice::COLLAPSE || growth == Growth::AsAsked {
            let ranges = self.ranges_of(entries);
            return Ok(Front::BringsIn(cost(target, purpose, ranges)?));
        }
        // No huge page reaches from one mapping into the next.
        self.list(target, entries, self.flags.allows_gaps())?;
        let ranges = match entries {
            Some(entries) => std::mem::take(&mut entries.ranges),
            None => self.ranges_of(&None).to_vec(),
        };
        Ok(Front::Collapses {
            chosen: choose(target, ranges, growth)?,
            room: Room::of(target)?,
        })
    }

    /// Of an entire address space, and of ranges with gaps, the mappings.
    fn list(&self, target: &Target, entries: &mut Option<Entries>, gaps: bool) -> Result<()> {
        let ranges = match (&self.what, &entries) {
            (What::Ranges(ranges), None) if gaps => within(ranges).ranges(target)?,
            (_, Some(entries)) if entries.whole == Whole::Yes => Selection::all().ranges(target)?,
            _ => return Ok(()),
        };
        let whole = Whole::No;
        *entries = Some(Entries { ranges, whole });
        Ok(())
    }

    fn ranges_of<'r>(&'r self, entries: &'r Option<Entries>) -> &'r [Range] {
        match (entries, &self.what) {
            (Some(entries), _) => &entries.ranges,
            (None, What::Ranges(ranges)) => ranges,
            (None, _) => &[],
        }
    }

    /// What reclaim cannot put anywhere: without swap, all but the pages of files.
    fn look_for_swap(&self, target: &Target, entries: &mut Option<Entries>) -> Result<Front> {
        let Some(why) = SwapRoom::of(target)?.nowhere() else {
            return Ok(Front::Clear);
        };
        self.list(target, entries, false)?;
        let nowhere = Selection::all()
            .anonymous()
            .shmem()
            .ranges(target)?
            .iter()
            .map(|range| (range.start, range.start.saturating_add(range.len)))
            .collect();
        Ok(Front::NoSwap { why, nowhere })
    }

    /// Chooses among the entries, and refuses what has no room. Pure.
    pub(super) fn decide_in_front(&self, facts: &AdviseFacts<'_>, ahead: &Ahead) -> Result<Plan> {
        let pid = facts.target.pid();
        let growth = self.bound();
        let named = facts.entries.is_none();
        let whole = |entries: &Entries| entries.whole == Whole::Yes;
        let mut plan = Plan {
            left_to_server: facts.left_to_server,
            listed: !named && !facts.entries.as_ref().is_some_and(whole),
            named,
            ..Plan::default()
        };
        match &facts.front {
            Front::Clear => {}
            Front::BringsIn(cost) => {
                let mut cost = cost.clone();
                cost.room = cost.room.after(ahead);
                if let Some(purpose) = Purpose::of(self.advice) {
                    cost.check(pid, purpose, growth)?;
                }
                plan.bounds.cost = Some(cost);
            }
            Front::Collapses { chosen, room } => {
                let cost = Cost {
                    bytes: chosen.need,
                    shared: Bytes::ZERO,
                    room: room.clone().after(ahead),
                };
                cost.check(pid, Purpose::Collapse, growth)?;
                plan.bounds.cost = Some(cost);
                if chosen.spared != Spared::default() {
                    plan.bounds.sparse = Some(chosen.spared);
                    plan.listed = true;
                }
                (plan.ranges, plan.bounds.too_small) = large_enough(chosen.ranges.clone());
                plan.named = false;
                return Ok(plan);
            }
            Front::NoSwap { why, nowhere } => {
                let entries = self.ranges_of(&facts.entries);
                let left = without(entries, nowhere);
                let bytes = |ranges: &[Range]| Bytes(ranges.iter().map(|range| range.len).sum());
                let out = bytes(entries).less(bytes(&left));
                if !out.is_zero() {
                    if left.is_empty() {
                        return Err(nowhere_to_go(pid, why));
                    }
                    plan.bounds.left_out = Some(LeftOut {
                        bytes: out,
                        why: why.clone(),
                    });
                    plan.ranges = left;
                    plan.listed = true;
                    plan.named = false;
                    return Ok(plan);
                }
            }
        }
        if let Some(entries) = &facts.entries {
            plan.ranges.clone_from(&entries.ranges);
        }
        Ok(plan)
    }
}

fn nowhere_to_go(pid: i32, why: &str) -> Error {
    Error::Unsupported {
        what: format!("process {pid}: pageout"),
        why: format!(
            "{why}: anonymous and shared memory has nowhere to go, and its huge pages would be split for \
             nothing; nothing was touched"
        ),
    }
}

/// The mapped parts of ranges.
fn within(ranges: &[Range]) -> Selection {
    ranges
        .iter()
        .copied()
        .fold(Selection::all(), Selection::within)
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
