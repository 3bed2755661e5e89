//! Giving advice about another process's memory: process_madvise(2) in full.
//!
//! Any advice of madvise(2), for any process that the caller may act on. What the kernel takes
//! remotely goes through process_madvise(2). Of the rest, what only sets flags is run in a thread of
//! the target, stopped for microseconds; what takes long or may wait is run by a carrier, a task of
//! ours that shares the target's memory, and stops nobody. The kernel's limits (1,024 entries, 2 GiB a call) are not the caller's concern.
//!
//! ```
//! use mctl::advise::{Advice, Advise};
//! use mctl::Target;
//!
//! let mut child = std::process::Command::new("sleep").arg("10").spawn()?;
//! let target = Target::open(child.id().to_string().parse()?)?;
//! // Everything that can be reclaimed, now; what cannot be is passed over.
//! let advised = Advise::new(Advice::COLD).entire_address_space().skip_errors().give(&target)?;
//! assert!(advised.advised > 0);
//! # child.kill()?; child.wait()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod call;
pub(crate) mod carried;
mod flags;
mod front;
mod giver;
mod injected;
mod kind;
pub(crate) mod listing;
mod pieces;
mod result;
mod select;
pub(crate) mod served;
mod walk;

use std::borrow::Cow;
use std::time::Duration;

use mctl_abi::PolicyKind;
use mctl_sys::raw::madvise::knows_advice;

pub use crate::op::Progress;
pub use call::{P_PID, P_PIDFD, call, process_madvise, process_madvise_own_too};
pub use flags::PmadvFlags;
pub use front::{Bounds, LeftOut, Plan, TooSmall};
use front::{Entries, Front, Whole};
pub use kind::{ADVICES, Advice, AdviceInfo, Effect, Reach};
pub use mctl_sys::raw::madvise::{OwnMemoryMayGo, Range};
pub use result::{Advised, Entry, Skipped, Way};
pub use select::Selection;
pub use served::without;

use crate::error::{Error, Result};
use crate::host::HostCaps;
use crate::op::budget::{Ahead, Allowed, Cost, Growth, Guard, Purpose};
use crate::op::outcome::{Guarantee, Outcome};
use crate::op::policy::request::{AcrossExec, Exactness, Request, Rule};
use crate::op::{Detail, Hooks, Operation, Ready};
use crate::run::each;
use crate::run::{apply, dry_run};
use crate::target::Target;
use giver::giver;
pub(crate) use giver::{Reached, Stopping, giver_keeping, reach};
use pieces::Most;
use walk::{Pace, Walk};

/// The longest that a thread of a target is stopped at a time, unless something else is said.
const MAX_STALL: Duration = Duration::from_millis(20);

/// What is advised.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Ranges(Vec<Range>),
    Entire,
    Selected(Selection),
}

/// Advice to be given. See the [module](self).
#[derive(Clone)]
pub struct Advise {
    advice: Advice,
    what: What,
    flags: PmadvFlags,
    destructive: bool,
    own_may_go: Option<OwnMemoryMayGo>,
    strict: bool,
    served_too: bool,
    growth: Option<Growth>,
    pause: Duration,
    max_stall: Duration,
}

impl std::fmt::Debug for Advise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Advise")
            .field("advice", &self.advice)
            .field("what", &self.what)
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

/// The most mappings of one call that is run in the target: some milliseconds' worth.
const INJECTED_MAPPINGS: usize = 4096;
/// The most bytes of one call where the work is long: the walk can be cancelled and reports
/// between two.
const BATCH_BYTES: u64 = 64 << 20;
/// With a pause between calls: small ones, so that the target hardly feels one (measured on redis:
/// 2 MiB and 3 ms keep the client's p99.9 where it was).
const PACED_BYTES: u64 = 2 << 20;

impl Advise {
    /// An advice, for nothing yet.
    #[must_use]
    pub fn new(advice: Advice) -> Advise {
        Advise {
            advice,
            what: What::Ranges(Vec::new()),
            flags: PmadvFlags::NONE,
            destructive: false,
            own_may_go: None,
            strict: false,
            served_too: false,
            growth: None,
            pause: Duration::ZERO,
            max_stall: MAX_STALL,
        }
    }

    /// For these ranges, in this order: any number, of any size.
    #[must_use]
    pub fn ranges(mut self, ranges: Vec<Range>) -> Advise {
        self.what = What::Ranges(ranges);
        self
    }

    /// For every mapping (`PMADV_ENTIRE_ADDRESS_SPACE`). Gaps are no error.
    #[must_use]
    pub fn entire_address_space(mut self) -> Advise {
        self.what = What::Entire;
        self.flags = self.flags.with(PmadvFlags::ENTIRE_ADDRESS_SPACE);
        self
    }

    /// For the mappings of some kind, as they are when they are listed: one that goes away
    /// meanwhile is no error.
    #[must_use]
    pub fn selected(mut self, selection: Selection) -> Advise {
        self.what = What::Selected(selection);
        self
    }

    /// Passes over a mapping that fails and goes on (`PMADV_SKIP_ERRORS`).
    #[must_use]
    pub fn skip_errors(self) -> Advise {
        let flags = PmadvFlags::SKIP_ERRORS;
        self.flags(flags)
    }

    /// More flags.
    #[must_use]
    pub fn flags(mut self, flags: PmadvFlags) -> Advise {
        self.flags = self.flags.with(flags);
        self
    }

    /// Allows advice that may lose the contents of someone else's memory.
    #[must_use]
    pub fn allow_destructive(mut self) -> Advise {
        self.destructive = true;
        self
    }

    /// Allows advice that may lose memory of the calling process itself, as madvise(2) does. It
    /// takes a word that safe Rust cannot give.
    #[must_use]
    pub fn allow_destructive_on_oneself(mut self, word: OwnMemoryMayGo) -> Advise {
        self.own_may_go = Some(word);
        self
    }

    /// Memory that somebody serves by userfaultfd(2) too: its pages are then asked for. Without it such
    /// mappings are passed over by advice that faults pages in or drops them, but for ranges that are
    /// named; how much that was is in the result.
    #[must_use]
    pub fn served_too(mut self) -> Advise {
        self.served_too = true;
        self
    }

    /// `SET_FORK_EXEC_DEFAULT` exactly or not at all, by the admin rule: as the C ABI has it.
    #[must_use]
    pub fn strict(mut self) -> Advise {
        self.strict = true;
        self
    }

    /// How much the target may grow, and what is passed over for that. Unless set, ranges are done
    /// as asked ([`Growth::AsAsked`]), and the rest is [`Growth::Sparing`].
    #[must_use]
    pub fn growth(mut self, growth: Growth) -> Advise {
        self.growth = Some(growth);
        self
    }

    /// A pause between calls, which are then small.
    #[must_use]
    pub fn pace(mut self, pause: Duration) -> Advise {
        self.pause = pause;
        self
    }

    /// The longest that a thread of the target is stopped at a time, where advice that only sets flags
    /// has to be run in it. 20 ms unless set. A single call is not cut short.
    #[must_use]
    pub fn max_stall(mut self, most: Duration) -> Advise {
        self.max_stall = most;
        self
    }

    /// Gives the advice.
    ///
    /// What was not carried out is in the result, entry by entry.
    ///
    /// # Errors
    /// In this order: `EINVAL` flags that do not go together, `SET_FORK_EXEC_DEFAULT` with anything
    /// but HUGEPAGE and NOHUGEPAGE, or an advice that this kernel does not know; `EPERM`
    /// destructive advice without [`allow_destructive`](Advise::allow_destructive), or no
    /// permission; `ESRCH`; `EOPNOTSUPP`, also for `MADV_PAGEOUT` of memory that has no swap to go
    /// to; `EBUSY`; `ENOMEM` what would come in has no room ([`crate::op::budget`]). Nothing was changed
    /// then.
    pub fn give(&self, target: &Target) -> Result<Advised> {
        each::run(self, target, &mut Hooks::default())
    }

    /// The mappings that [`give`](Advise::give) would pass over because somebody serves them by
    /// userfaultfd(2).
    ///
    /// # Errors
    /// `ESRCH` it ended; `EACCES`/`EPERM` not ours to read.
    fn passed_over_for_their_server(&self, target: &Target) -> Result<Vec<Range>> {
        let named = matches!(self.what, What::Ranges(_));
        if target.is_own() || self.served_too || named || !self.advice.may_wait_for_a_server() {
            return Ok(Vec::new());
        }
        served::served(target)
    }

    fn bound(&self) -> Growth {
        self.growth.unwrap_or(match self.what {
            What::Ranges(_) => Growth::AsAsked,
            What::Entire | What::Selected(_) => Growth::Sparing,
        })
    }

    /// The flags against each other and against the advice. They need no target.
    fn check_flags(&self) -> Result<()> {
        let invalid = |why: String| Err(Error::Invalid { why });
        if self.flags.has(PmadvFlags::ENTIRE_ADDRESS_SPACE) != (self.what == What::Entire) {
            return invalid("ENTIRE_ADDRESS_SPACE does not go with ranges".to_owned());
        }
        if self.flags.has(PmadvFlags::SET_FORK_EXEC_DEFAULT) && self.default_policy().is_none() {
            return invalid(format!(
                "{} cannot be a default: only hugepage and nohugepage can",
                self.advice
            ));
        }
        Ok(())
    }

    /// The checks that come before anything is read or touched.
    fn check_advice(&self, target: &Target) -> Result<()> {
        if self.advice.effect() == Effect::Destructive {
            self.check_destructive(target)?;
        }
        if knows_advice(self.advice.number()) {
            return Ok(());
        }
        Err(self.unknown())
    }

    /// An advice that neither we nor the kernel know is a mistake, and no matter of permission.
    fn check_number(&self) -> Result<()> {
        if self.advice.info().is_none() && !knows_advice(self.advice.number()) {
            return Err(self.unknown());
        }
        Ok(())
    }

    fn unknown(&self) -> Error {
        Error::Invalid {
            why: format!("this kernel's madvise does not know {}", self.advice),
        }
    }

    fn check_destructive(&self, target: &Target) -> Result<()> {
        // The entire address space holds the stack of this very call.
        let entire = self.what == What::Entire && self.advice != Advice::GUARD_REMOVE;
        // The one that we act for asked for it; no memory of ours is at stake.
        let its_own = target.principal().is_some();
        let why = match (target.is_own(), self.own_may_go) {
            (true, Some(_)) if !entire => return Ok(()),
            (true, None) if its_own && !entire => return Ok(()),
            (true, _) => format!(
                "{} would take memory from under the calling program itself; \
                 call madvise(2) where that is meant",
                self.advice
            ),
            (false, _) if self.destructive => return Ok(()),
            // What is gone is gone, whatever was to be done to it.
            (false, _) if !target.is_alive() => {
                return Err(Error::NoProcess { pid: target.pid() });
            }
            (false, _) => format!(
                "{} may lose the contents of its memory; it has to be allowed explicitly",
                self.advice
            ),
        };
        Err(Error::Permission {
            pid: target.pid(),
            why,
        })
    }

    /// The policy that `SET_FORK_EXEC_DEFAULT` asks for.
    fn default_policy(&self) -> Option<PolicyKind> {
        if !self.flags.has(PmadvFlags::SET_FORK_EXEC_DEFAULT) {
            return None;
        }
        match self.advice {
            Advice::HUGEPAGE => Some(PolicyKind::Hugepage),
            Advice::NOHUGEPAGE => Some(PolicyKind::Nohugepage),
            _ => None,
        }
    }

    /// The matching SET with DEFAULT_EXEC, checked and not yet done; it always needs
    /// CAP_SYS_ADMIN.
    fn look_at_default(&self, kind: PolicyKind, target: &Target) -> Result<ForkExecDefault> {
        let mut request = Request::set(&[kind], AcrossExec::Inherit)?;
        request.rule = Rule::Admin;
        if self.strict {
            request.exactness = Exactness::Strict;
        }
        let caps = HostCaps::probe_for(&[kind])?;
        dry_run(&request, target, &caps)?;
        Ok(ForkExecDefault { request, caps })
    }

    fn set_default(&self, default: &ForkExecDefault, target: &Target) -> Result<Outcome> {
        let mut outcome = apply(&default.request, target, &default.caps)?;
        if self.what != What::Entire {
            // No kernel has a default that leaves out the mappings that are there already.
            outcome.guarantees.now = Guarantee::Exceeds;
        }
        Ok(outcome)
    }

    /// The size of a call.
    fn most(&self, way: Way) -> Most {
        let bytes = if !self.pause.is_zero() {
            PACED_BYTES
        } else if self.advice.is_long() {
            BATCH_BYTES
        } else {
            mctl_sys::raw::madvise::MAX_BYTES
        };
        let mappings = match way {
            Way::Injected => INJECTED_MAPPINGS,
            Way::Own | Way::Remote | Way::Carrier => usize::MAX,
        };
        Most { bytes, mappings }
    }
}

/// The policy that `SET_FORK_EXEC_DEFAULT` asks for, once it is known that it can be had.
#[derive(Debug)]
struct ForkExecDefault {
    request: Request,
    caps: HostCaps,
}

/// What advice depends on, of one process.
#[derive(Debug)]
pub struct AdviseFacts<'t> {
    target: &'t Target,
    reached: Reached<'t>,
    default: Option<ForkExecDefault>,
    /// What is passed over for the sake of who serves it.
    served: Vec<Range>,
    left_to_server: u64,
    /// `None`: the entries that the operation itself names.
    entries: Option<Entries>,
    front: Front,
}

impl Operation for Advise {
    type Facts<'t> = AdviseFacts<'t>;
    type Plan = Plan;
    type Outcome = Advised;

    fn name(&self) -> String {
        self.advice.to_string()
    }

    fn check<'t>(&self, target: &'t Target, detail: Detail) -> Result<AdviseFacts<'t>> {
        self.check_flags()?;
        self.check_number()?;
        self.check_advice(target)?;
        let reached = reach(self.advice, target)?;
        // Looked at first and done last: a call that fails for its first entry changes nothing.
        let default = match self.default_policy() {
            Some(kind) => Some(self.look_at_default(kind, target)?),
            None => None,
        };
        let served = self.passed_over_for_their_server(target)?;
        let mut entries = self.entries(target, detail)?;
        let mut left_to_server = served.iter().map(|range| range.len).sum();
        if let Some(Entries { ranges, whole }) = &mut entries
            && *whole == Whole::No
            && !served.is_empty()
        {
            (*ranges, left_to_server) = served::without(ranges, &served);
        }
        let front = self.look_in_front(target, &mut entries)?;
        Ok(AdviseFacts {
            target,
            reached,
            default,
            served,
            left_to_server,
            entries,
            front,
        })
    }

    fn plan(&self, facts: &AdviseFacts<'_>, ahead: &Ahead) -> Result<Plan> {
        self.decide_in_front(facts, ahead)
    }

    fn cost<'p>(&self, plan: &'p Plan) -> Option<(&'p Cost, Growth)> {
        plan.bounds.cost.as_ref().map(|cost| (cost, self.bound()))
    }

    fn run<'t>(&self, ready: Ready<'t, Self>, hooks: &mut Hooks<'_>) -> Result<Advised> {
        let Ready {
            target,
            facts,
            plan,
        } = ready;
        let reached = facts.reached;
        let mut giver = giver(self, target, reached, hooks.cancel);
        let guard =
            Purpose::of(self.advice).map(|purpose| Guard::new(target, purpose, self.bound()));
        let mut allow = || {
            guard
                .as_ref()
                .map_or(Allowed::Bytes(u64::MAX), Guard::allowed)
        };
        let served = facts.served;
        let mut list = || listing::listing(target).map(|mapped| mapped.without(&served));
        let mut kinds = listing::Apart::new(target);
        let mut apart = |range| kinds.holds(range);
        let mut flags = self.flags;
        if plan.listed {
            flags = flags.with(PmadvFlags::NO_ERROR_ON_UNMAPPED);
        }
        let walk = Walk {
            advice: self.advice,
            way: giver.way(),
            flags,
            pace: Pace {
                most: self.most(giver.way()),
                pause: self.pause,
            },
            task_size: listing::task_size(),
            cancel: hooks.cancel,
            progress: hooks.progress.as_deref_mut(),
            listed: plan.listed,
            allow: guard.is_some().then_some(&mut allow),
            list: &mut list,
            apart: &mut apart,
        };
        let entries = match (&self.what, plan.named) {
            (What::Ranges(named), true) => Cow::Borrowed(named.as_slice()),
            _ => Cow::Owned(plan.ranges),
        };
        let given = walk.run(entries, giver.as_mut());
        let mut advised = given.map_err(|error| match &guard {
            Some(guard) => guard.died(error),
            None => error,
        })?;
        if let (Some(guard), Some(why)) = (&guard, &mut advised.ended)
            && !target.is_alive()
        {
            *why = guard
                .died(Error::NoProcess { pid: target.pid() })
                .to_string();
        }
        advised.bounds = Bounds {
            ended: advised.bounds.ended.take(),
            ..plan.bounds
        };
        let stops = giver.stops();
        advised.longest_stop = stops.longest;
        advised.stopped = stops.total;
        advised.left_to_server = plan.left_to_server;
        advised.note = giver.note();
        if let Some(default) = &facts.default
            && !advised.cancelled
            && advised.as_syscall().is_ok()
        {
            advised.default = Some(self.set_default(default, target)?);
        }
        Ok(advised)
    }
}
