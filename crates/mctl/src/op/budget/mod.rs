//! What work may cost: memory that must come in, against what the host and the target's memory
//! cgroups can give.
//!
//! Locking, populating and making huge pages bring memory in. Where that is more than there is
//! room for, it is refused beforehand with the figures, and the room is looked at again between
//! calls, since others allocate too. Reclaim has the reverse: anonymous memory needs swap to go to.
//!
//! All of it is read from outside; the target is not touched.

mod ahead;
mod cgroup;
mod need;
mod room;
mod sparse;
mod swap;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::op::advice::{Advice, Range};
use crate::see::coverage::Bytes;
use crate::target::{Target, read_all};

pub use ahead::Ahead;
use cgroup::{OomKills, Place};
pub(crate) use need::{Lists, Purpose, need};
pub use room::{Level, Room};
pub use sparse::Spared;
pub(crate) use sparse::{Chosen, choose, without};
pub use swap::SwapRoom;

/// How much a target may grow by advice that brings memory in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Growth {
    /// As far as there is room; `MADV_COLLAPSE` passes over blocks of 2 MiB that are less than half
    /// full, so that what is resident at most doubles, and `MADV_PAGEOUT` leaves out what has no
    /// swap to go to.
    #[default]
    Sparing,
    /// By so much at most; the work ends there. Blocks for `MADV_COLLAPSE` are taken by how full
    /// they are, the fullest first.
    AtMost(Bytes),
    /// As madvise(2) itself: nothing is passed over, and only what there is no room for is refused.
    AsAsked,
}

/// What work would cost and what there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// What has to come in, at most: what is in memory already but not mapped counts too.
    pub bytes: Bytes,
    /// The part of it that other processes may have in memory too: files and shared memory.
    pub shared: Bytes,
    /// What it is compared with.
    pub room: Room,
}

/// The ways out of a refusal.
const LOCKING: &str = "--onfault locks pages as they come in, and brings nothing in; --max-growth SIZE brings in no more \
     than that";
const OTHERS: &str = "--max-growth SIZE brings in no more than that";

impl Cost {
    /// Compares. Pure.
    ///
    /// # Errors
    /// `ENOMEM`: there is not room for it.
    pub(crate) fn check(&self, pid: i32, purpose: Purpose, growth: Growth) -> Result<()> {
        let (bytes, bounded) = match growth {
            Growth::AtMost(most) if most < self.bytes => (most, true),
            Growth::AtMost(_) | Growth::Sparing | Growth::AsAsked => (self.bytes, false),
        };
        let Some(level) = self.room.too_small_for(bytes) else {
            return Ok(());
        };
        let what = if bounded {
            format!("it may grow by {bytes}")
        } else {
            format!("it would bring in up to {bytes}")
        };
        Err(Error::NoRoom {
            pid,
            why: format!("{what}, and there is room for {}: {level}", level.left()),
            remedy: match purpose {
                Purpose::Lock => LOCKING,
                Purpose::Write | Purpose::Read | Purpose::Collapse => OTHERS,
            },
        })
    }
}

impl Purpose {
    /// What an advice brings in; `None` where it brings in nothing that must stay.
    pub(crate) fn of(advice: Advice) -> Option<Purpose> {
        match advice {
            Advice::POPULATE_READ => Some(Purpose::Read),
            Advice::POPULATE_WRITE => Some(Purpose::Write),
            Advice::COLLAPSE => Some(Purpose::Collapse),
            _ => None,
        }
    }
}

/// What the next call may bring in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// So many bytes.
    Bytes(u64),
    /// Nothing: what was asked for as the most has come in.
    Reached(String),
    /// Nothing: there is no room any more.
    NoRoom(String),
}

/// Less than this is not worth a call.
const LEAST: u64 = 64 << 10;
const HUGE: u64 = 2 << 20;

/// Looks between two calls whether the next may go on.
#[derive(Debug)]
pub(crate) struct Guard<'t> {
    target: &'t Target,
    places: Vec<Place>,
    purpose: Purpose,
    most: Option<u64>,
    resident: u64,
    kills: OomKills,
}

impl<'t> Guard<'t> {
    pub(crate) fn new(target: &'t Target, purpose: Purpose, growth: Growth) -> Guard<'t> {
        let places = cgroup::places(target).unwrap_or_default();
        Guard {
            target,
            purpose,
            most: match growth {
                // Its blocks are chosen beforehand.
                Growth::AtMost(bytes) if purpose != Purpose::Collapse => Some(bytes.0),
                Growth::AtMost(_) | Growth::Sparing | Growth::AsAsked => None,
            },
            resident: resident(target).unwrap_or(0),
            kills: OomKills::of(&places),
            places,
        }
    }

    /// What may come in by the next call. A file that cannot be read bounds nothing: that was said
    /// in the beginning.
    pub(crate) fn allowed(&self) -> Allowed {
        let Ok(room) = Room::within(&self.places) else {
            return Allowed::Bytes(u64::MAX);
        };
        let least = match self.purpose {
            Purpose::Collapse => HUGE,
            Purpose::Lock | Purpose::Write | Purpose::Read => LEAST,
        };
        if let Some(level) = room.too_small_for(Bytes(least)) {
            return Allowed::NoRoom(format!(
                "there is no room for more: {level}; what came in stays"
            ));
        }
        // The kernel kills nobody for the sake of a huge page, and cutting one in two helps nobody.
        let left = match self.purpose {
            Purpose::Collapse => u64::MAX,
            Purpose::Lock | Purpose::Write | Purpose::Read => room.left().0,
        };
        let Some(most) = self.most else {
            return Allowed::Bytes(left);
        };
        let grown = resident(self.target)
            .unwrap_or(self.resident)
            .saturating_sub(self.resident);
        if grown.saturating_add(LEAST) > most {
            return Allowed::Reached(format!(
                "it has grown by {}, and may by {}",
                Bytes(grown),
                Bytes(most)
            ));
        }
        Allowed::Bytes(left.min(most - grown))
    }

    /// Why a target that is gone is gone, where it died of the work.
    pub(crate) fn died(&self, error: Error) -> Error {
        let gone = matches!(error, Error::NoProcess { .. });
        if !gone || !self.kills.rose() {
            return error;
        }
        Error::OomKilled {
            pid: self.target.pid(),
            why: self.kills.whose(),
        }
    }
}

/// What a target has in memory (`VmRSS`), from its counters.
fn resident(target: &Target) -> Option<u64> {
    let text = read_all(target, "statm").ok()?;
    let text = String::from_utf8_lossy(&text);
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages.saturating_mul(4096))
}

/// What advice would cost a target in a list of ranges.
///
/// # Errors
/// Its mappings or the room cannot be read.
pub(crate) fn cost(target: &Target, purpose: Purpose, ranges: &[Range]) -> Result<Cost> {
    let need = target.look_in_one_task(|| need(target, purpose, &Lists::new(ranges)))?;
    Ok(Cost {
        bytes: need.own + need.shared,
        shared: need.shared,
        room: Room::of(target)?,
    })
}

/// What locking all that is mapped would cost a target.
///
/// # Errors
/// As [`cost`].
pub(crate) fn cost_of_locking(target: &Target) -> Result<Cost> {
    let everything = Range {
        start: 0,
        len: u64::MAX,
    };
    cost(target, Purpose::Lock, &[everything])
}

#[cfg(test)]
mod tests;
