//! Splitting huge pages, so that what they hold as all-zero memory goes back to the kernel.
//!
//! A program that touches little of each huge page, or clears what it frees, keeps memory that
//! holds nothing but zeroes. When the kernel splits such a page it looks at every small page of it
//! and maps the shared zero page where it finds only zeroes (Linux 6.12, commit b1f202060afe "mm:
//! remap unused subpages to shared zeropage when splitting isolated thp"); all of it while no one
//! can write to the page. A later write gets a fresh page.
//!
//! The split is asked for with `MADV_COLD` on a single small page of each huge page: advice that
//! reaches only a part of a huge page has it split, and COLD neither discards nor reclaims. The
//! other advices that split are not used: DONTNEED, FREE and REMOVE discard, and PAGEOUT would
//! write to swap. Whether a split gives anything back here is tried on our own memory first.
//!
//! ```
//! use mctl::Target;
//! use mctl::split::Split;
//!
//! let mut child = std::process::Command::new("sleep").arg("10").spawn()?;
//! let target = Target::open(child.id().to_string().parse()?)?;
//! match Split::new().run(&target) {
//!     Ok(done) => assert!(done.given_back <= done.huge.eligible),
//!     Err(error) => eprintln!("{error}"), // a kernel that keeps what it splits
//! }
//! # child.kill()?; child.wait()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blocks;
mod probe;

use std::time::{Duration, Instant};

use mctl_abi::Errno;
use mctl_sys::procfs::status::Status;
use mctl_sys::raw::madvise::Range;
use serde::Serialize;

use crate::error::Result;
use crate::op::advice::{Advice, Reached, Stopping, Way, giver_keeping, reach};
use crate::op::budget::Ahead;
use crate::op::{Detail, Hooks, Operation, Progress, Ready};
use crate::run::each;
use crate::see::coverage::{Bytes, Coverage};
use crate::target::{Target, read_all};
use blocks::{Became, Tables, stretches};

pub use blocks::HugePages;
pub use probe::probe;

/// Page size in bytes.
const PAGE: usize = 4096;
/// Size of a huge page in bytes, which is also that of a block.
const HUGE: u64 = 2 << 20;
/// So many huge pages a call: about a millisecond each, during which the target can fault and run,
/// but not map or unmap.
const BATCH: usize = 8;
/// What is left huge by the first round was in use for a moment, most likely.
const ROUNDS: u32 = 2;
/// A pause is cut into steps of this, so that it can be cancelled.
const STEP: Duration = Duration::from_millis(20);

/// What a split did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    /// What was in huge pages at the beginning.
    pub huge: HugePages,
    /// How many huge pages were split.
    pub split: u64,
    /// How many stayed huge: in use or pinned just then.
    pub stayed_huge: u64,
    /// How many were gone when it was their turn.
    pub gone: u64,
    /// What the kernel gave back of those that were split, because it was all zero.
    pub given_back: Bytes,
    /// The target's memory before.
    pub before: Coverage,
    /// And after; `None` where it has ended meanwhile.
    pub after: Option<Coverage>,
    /// Whether the kernel may make huge pages of the target's memory again by itself.
    pub may_become_huge_again: bool,
    /// By whom the kernel was asked.
    pub way: Way,
    /// Whether it was cancelled between two calls.
    pub cancelled: bool,
    /// The longest that a thread of the target was stopped at a time, where it made the calls.
    #[serde(rename = "longest_stop_us", serialize_with = "micros")]
    pub longest_stop: Duration,
    /// How long it took.
    #[serde(rename = "took_us", serialize_with = "micros")]
    pub took: Duration,
}

fn micros<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// A split of all huge pages of a target's private anonymous memory. See the [module](self).
#[derive(Clone, Copy, Debug, Default)]
pub struct Split {
    pause: Duration,
}

impl Split {
    /// A split without pauses.
    #[must_use]
    pub fn new() -> Split {
        Split::default()
    }

    /// A pause between calls, which then split one huge page each.
    #[must_use]
    pub fn pace(mut self, pause: Duration) -> Split {
        self.pause = pause;
        self
    }

    /// Splits. Nothing that the target wrote is lost, whatever it does meanwhile.
    ///
    /// # Errors
    /// `EOPNOTSUPP` a split gives nothing back on this kernel ([`probe`]); `ESRCH`; `EPERM`,
    /// `EBUSY` as for `MADV_COLD`. Nothing was changed then.
    pub fn run(&self, target: &Target) -> Result<Done> {
        each::run(self, target, &mut Hooks::default())
    }

    fn rest(&self, hooks: &Hooks<'_>) {
        let mut left = self.pause;
        while !left.is_zero() && !hooks.is_cancelled() {
            let step = left.min(STEP);
            std::thread::sleep(step);
            left -= step;
        }
    }
}

/// What a split depends on, of one process.
#[derive(Debug)]
pub struct SplitFacts<'t> {
    reached: Reached<'t>,
    stretches: Vec<Range>,
    tables: Option<Tables>,
    huge: HugePages,
}

impl Operation for Split {
    type Facts<'t> = SplitFacts<'t>;
    /// How much of it is all zero is known only by splitting: to read it would touch the target's memory and make
    /// its pages look used.
    type Plan = HugePages;
    type Outcome = Done;

    fn name(&self) -> String {
        "split".to_owned()
    }

    fn check<'t>(&self, target: &'t Target, detail: Detail) -> Result<SplitFacts<'t>> {
        probe()?;
        let reached = reach(Advice::COLD, target)?;
        let (stretches, tables, mut huge) = stretches(target)?;
        // The work counts them one by one.
        if let (Detail::Shown, Some(tables)) = (detail, &tables) {
            (huge.eligible, huge.shared) = (Bytes::ZERO, Bytes::ZERO);
            for stretch in &stretches {
                tables.huge_pages(*stretch, |_, own| {
                    huge.count(own);
                    Ok(())
                })?;
            }
        }
        Ok(SplitFacts {
            reached,
            stretches,
            tables,
            huge,
        })
    }

    fn plan(&self, facts: &SplitFacts<'_>, _: &Ahead) -> Result<HugePages> {
        Ok(facts.huge)
    }

    fn run<'t>(&self, ready: Ready<'t, Self>, hooks: &mut Hooks<'_>) -> Result<Done> {
        let begun = Instant::now();
        let Ready {
            target,
            facts,
            plan: huge,
        } = ready;
        let mut giver = giver_keeping(Advice::COLD, target, facts.reached);
        let mut done = Done {
            huge,
            split: 0,
            stayed_huge: 0,
            gone: 0,
            given_back: Bytes::ZERO,
            before: Coverage::total(target)?,
            after: None,
            may_become_huge_again: may_become_huge(target),
            way: giver.way(),
            cancelled: false,
            longest_stop: Duration::ZERO,
            took: Duration::ZERO,
        };
        if let Some(tables) = facts.tables {
            let total = huge.eligible.0;
            (done.huge.eligible, done.huge.shared) = (Bytes::ZERO, Bytes::ZERO);
            let mut round = Round {
                split: self,
                hooks,
                tables: &tables,
                done: &mut done,
                begun,
                total,
                first: true,
            };
            for number in 0..ROUNDS {
                round.first = number == 0;
                round.done.stayed_huge = 0;
                for stretch in &facts.stretches {
                    match round.stretch(*stretch, giver.as_mut()) {
                        Ok(()) => {}
                        // What was split is split; it is said with what is known.
                        Err(error) if round.done.split > 0 && error.errno() == Errno::ESRCH => {}
                        Err(error) => return Err(error),
                    }
                }
                if round.done.stayed_huge == 0 || round.done.cancelled {
                    break;
                }
            }
        }
        done.longest_stop = giver.stops().longest;
        done.after = Coverage::total(target).ok();
        done.took = begun.elapsed();
        Ok(done)
    }
}

impl HugePages {
    fn count(&mut self, own: bool) {
        let class = if own {
            &mut self.eligible
        } else {
            &mut self.shared
        };
        *class += Bytes(HUGE);
    }
}

/// One walk over the huge pages.
struct Round<'r, 'h> {
    split: &'r Split,
    hooks: &'r mut Hooks<'h>,
    tables: &'r Tables,
    done: &'r mut Done,
    begun: Instant,
    total: u64,
    first: bool,
}

impl Round<'_, '_> {
    fn stretch(&mut self, stretch: Range, giver: &mut (dyn Stopping + '_)) -> Result<()> {
        let most = if self.split.pause.is_zero() { BATCH } else { 1 };
        let mut batch: Vec<u64> = Vec::with_capacity(most);
        let tables = self.tables;
        tables.huge_pages(stretch, |block, own| {
            if self.first {
                self.done.huge.count(own);
            }
            if own && !self.done.cancelled {
                batch.push(block);
            }
            if batch.len() == most {
                self.give(&mut batch, giver)?;
            }
            Ok(())
        })?;
        if batch.is_empty() {
            return Ok(());
        }
        self.give(&mut batch, giver)
    }

    /// Has the blocks of a batch split, and looks what became of each.
    fn give(&mut self, batch: &mut Vec<u64>, giver: &mut (dyn Stopping + '_)) -> Result<()> {
        if self.hooks.is_cancelled() {
            self.done.cancelled = true;
        }
        if self.done.cancelled {
            batch.clear();
            return Ok(());
        }
        // Of each its last page: it counts as old afterwards, and is the least likely to be used.
        let pages: Vec<Range> = batch
            .iter()
            .map(|block| Range {
                start: block + HUGE - PAGE as u64,
                len: PAGE as u64,
            })
            .collect();
        let mut left = pages.as_slice();
        while !left.is_empty() {
            let given = giver.give(left)?;
            let pages = usize::try_from(given.bytes).unwrap_or(usize::MAX) / PAGE;
            // The one that failed was unmapped or locked meanwhile.
            let failed = usize::from(given.error.is_some() || pages == 0);
            left = left.get(pages.saturating_add(failed)..).unwrap_or_default();
        }
        for block in batch.drain(..) {
            match self.tables.after(block)? {
                Became::StayedHuge => self.done.stayed_huge += 1,
                Became::Gone => self.done.gone += 1,
                Became::Split(zero) => {
                    self.done.split += 1;
                    self.done.given_back += zero;
                }
            }
        }
        self.hooks.report(&Progress {
            bytes: (self.done.split * HUGE).min(self.total),
            total: self.total,
            elapsed: self.begun.elapsed(),
        });
        self.split.rest(self.hooks);
        Ok(())
    }
}

/// Whether khugepaged may have the target's memory: `THP_enabled` of its status says 1 unless huge
/// pages were disabled for it, and the host's knob may exclude it.
fn may_become_huge(target: &Target) -> bool {
    let disabled = read_all(target, "status")
        .is_ok_and(|text| Status::parse(&text).is_ok_and(|status| status.thp_enabled == Some(0)));
    let host_never = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
        .is_ok_and(|text| text.contains("[never]"));
    !disabled && !host_never
}
