//! The checks of the contract on a stock kernel, in its order, and the plan that they end in.

use mctl_abi::permission::Holds;
use mctl_abi::{Checks, Errno, Thp, check};
use mctl_sys::inject::{InjectError, Prepared, Refusal, may_attach};

use crate::error::{Error, Result};
use crate::host::HostCaps;
use crate::op::budget::Ahead;
use crate::op::outcome::Outcome;
use crate::op::permission;
use crate::op::policy::plan::{Plan, Standing, Step, Whose, plan, unsupported, with_huge_zero};
use crate::op::policy::request::Request;
use crate::op::{Detail, Hooks, Operation, Order, Ready};
use crate::run::{Work, walk_all};
use crate::see::address_space::AddressSpace;
use crate::see::mappings::Override;
use crate::target::Target;

/// A change of policies by one request, on the kernel at hand.
#[derive(Clone, Copy, Debug)]
pub struct PolicyChange<'r> {
    request: &'r Request,
    caps: &'r HostCaps,
    image: bool,
}

impl<'r> PolicyChange<'r> {
    /// For running processes.
    #[must_use]
    pub fn new(request: &'r Request, caps: &'r HostCaps) -> PolicyChange<'r> {
        PolicyChange {
            request,
            caps,
            image: false,
        }
    }

    /// For the program that the calling process is about to execute. The target is the calling process then.
    #[must_use]
    pub fn for_next_image(request: &'r Request, caps: &'r HostCaps) -> PolicyChange<'r> {
        PolicyChange {
            image: true,
            ..PolicyChange::new(request, caps)
        }
    }

    fn whose(&self, target: &Target) -> Whose {
        match (self.image, target.is_own()) {
            (true, _) => Whose::Image,
            (false, true) => Whose::Own,
            (false, false) => Whose::Other,
        }
    }

    /// The plan from the facts. Pure.
    fn decide(
        &self,
        standing: Standing,
        space: Option<&AddressSpace>,
        huge_zero: u64,
        through_filter: bool,
    ) -> Result<Plan> {
        let plan = plan(self.request, self.caps, standing, space)?;
        let plan = with_huge_zero(self.request, plan, huge_zero)?;
        if through_filter && !plan.steps.iter().all(is_one_prctl) {
            return Err(unsupported(
                &self.request.words(),
                "through a seccomp filter nothing but prctl(2) is called, and this takes more",
            ));
        }
        Ok(plan)
    }
}

/// What a change of policies depends on, of one process.
#[derive(Debug)]
pub struct PolicyFacts<'t> {
    standing: Standing,
    space: Option<AddressSpace>,
    huge_zero: u64,
    through_filter: bool,
    /// The look that the first stop uses; `None` for ourselves.
    pub(crate) prepared: Option<Prepared<'t>>,
}

impl Operation for PolicyChange<'_> {
    type Facts<'t> = PolicyFacts<'t>;
    type Plan = Plan;
    type Outcome = Outcome;

    const ORDER: Order = Order::SideBySide;

    fn name(&self) -> String {
        self.request.words()
    }

    fn check<'t>(&self, target: &'t Target, _: Detail) -> Result<PolicyFacts<'t>> {
        let mut facts = Facts {
            change: self,
            target,
            whose: self.whose(target),
            standing: None,
            looked: None,
            mappings: None,
            error: None,
        };
        for call in self.request.calls() {
            let action = call.action().number();
            if let Err(errno) = check(action, call.flags().bits(), &mut facts) {
                return Err(facts.error.take().unwrap_or_else(|| Error::Invalid {
                    why: format!("{errno}: {}", self.request.words()),
                }));
            }
        }
        let standing = facts.standing();
        let Some(Mappings {
            space, huge_zero, ..
        }) = facts.mappings
        else {
            return Err(Error::Invalid {
                why: "nothing was asked".to_owned(),
            });
        };
        Ok(PolicyFacts {
            standing,
            space,
            huge_zero,
            through_filter: target.goes_through_filter(),
            prepared: facts.looked.and_then(Result::ok),
        })
    }

    fn plan(&self, facts: &PolicyFacts<'_>, _: &Ahead) -> Result<Plan> {
        self.decide(
            facts.standing,
            facts.space.as_ref(),
            facts.huge_zero,
            facts.through_filter,
        )
    }

    fn run<'t>(&self, ready: Ready<'t, Self>, hooks: &mut Hooks<'_>) -> Result<Outcome> {
        let mut results = self.run_each(vec![Ok(ready)], hooks);
        results.pop().unwrap_or_else(|| {
            Err(Error::Invalid {
                why: "no target".to_owned(),
            })
        })
    }

    fn run_each<'t>(
        &self,
        ready: Vec<Result<Ready<'t, Self>>>,
        _: &mut Hooks<'_>,
    ) -> Vec<Result<Outcome>> {
        let works = ready.into_iter().map(|ready| {
            let ready = ready?;
            Ok(Work::new(ready.target, ready.facts.prepared, ready.plan))
        });
        walk_all(works.collect(), &self.request.words())
    }
}

/// What of the target's memory the plan depends on.
#[derive(Debug)]
struct Mappings {
    space: Option<AddressSpace>,
    huge_zero: u64,
    /// Whether a step is run in the target, so that it has to be reached.
    injects: bool,
}

/// The facts, each found out once and only when the checks before it have passed.
struct Facts<'r, 't> {
    change: &'r PolicyChange<'r>,
    target: &'t Target,
    whose: Whose,
    standing: Option<Standing>,
    /// The look at the target; `None` until it was taken, and for ourselves.
    looked: Option<Result<Prepared<'t>, InjectError>>,
    mappings: Option<Mappings>,
    /// The full story of the errno that was returned.
    error: Option<Error>,
}

impl Facts<'_, '_> {
    fn fail<T>(&mut self, error: Error) -> Result<T, Errno> {
        let errno = error.errno();
        self.error = Some(error);
        Err(errno)
    }

    /// How we stand to the target. Only a native call asks for more than whose it is.
    fn standing(&mut self) -> Standing {
        let (whose, target) = (self.whose, self.target);
        let native = self.change.caps.native.is_some();
        *self.standing.get_or_insert_with(|| {
            if native {
                Standing {
                    whose,
                    admin: permission::sys_admin_over(target),
                    thp_switch: crate::see::policy::thp_switch(target),
                }
            } else {
                whose.into()
            }
        })
    }

    /// Whether we make the kernel's own call, on the pidfd: the kernel judges then.
    fn calls_natively(&mut self) -> bool {
        self.change.caps.native.is_some() && self.standing().admin == Holds::Yes
    }

    fn refused(&self) -> Option<InjectError> {
        self.looked
            .as_ref()
            .and_then(|looked| looked.as_ref().err().cloned())
    }

    fn not_permitted(&self) -> Error {
        let pid = self.target.pid();
        if self.target.is_ending() {
            return Error::NoProcess { pid };
        }
        Error::inject(pid, Refusal::NotPermitted.into())
    }
}

impl Facts<'_, '_> {
    /// Bytes that may still turn huge under the policy that is asked for. A kernel that keeps the
    /// policy itself asks it at the write, too.
    fn huge_zero(&self) -> u64 {
        match self.change.request.sets_thp() {
            Some(policy) if self.change.caps.native.is_none() && self.whose != Whose::Image => {
                crate::see::huge_zero::bytes(self.target, policy).0
            }
            _ => 0,
        }
    }

    /// The mappings, where the plan depends on them. A kernel that keeps the policy itself leaves
    /// them alone; only NOHUGEPAGE has to be overridden by hand there.
    fn mappings(&self) -> Option<Result<AddressSpace>> {
        if !self.change.request.needs_mappings() {
            return None;
        }
        let over = self.change.request.override_advice;
        if self.change.caps.native.is_none() {
            return Some(AddressSpace::read(self.target, over));
        }
        let set = self.change.request.sets_thp() == Some(Thp::Always);
        (set && over == Override::Advice && self.whose != Whose::Image)
            .then(|| AddressSpace::read_refusing(self.target))
    }
}

impl Checks for Facts<'_, '_> {
    fn pidfd(&mut self) -> Result<(), Errno> {
        Ok(()) // a Target is one
    }

    fn address_space(&mut self) -> Result<(), Errno> {
        if self.target.is_own() {
            return Ok(());
        }
        if self.looked.is_none() {
            self.looked = Some(self.target.look_for_switches());
        }
        match self.refused() {
            Some(error) if error.errno() == Errno::ESRCH => {
                self.fail(Error::inject(self.target.pid(), error))
            }
            _ => Ok(()),
        }
    }

    fn permission(&mut self, _: mctl_abi::Request) -> Result<(), Errno> {
        if let Err(error) = permission::check(self.change.request, self.target) {
            return self.fail(error);
        }
        if self.calls_natively() {
            return Ok(());
        }
        match self.refused() {
            None => Ok(()),
            Some(InjectError::Refused(Refusal::NotPermitted)) => {
                let error = self.not_permitted();
                self.fail(error)
            }
            Some(error) if error.errno() == Errno::EPERM => {
                self.fail(Error::inject(self.target.pid(), error))
            }
            // Busy for whoever asks; but for a stranger the answer is EPERM all the same.
            Some(_) if !may_attach(self.target.pid()) => {
                let error = self.not_permitted();
                self.fail(error)
            }
            Some(_) => Ok(()),
        }
    }

    fn ability(&mut self, _: mctl_abi::Request) -> Result<(), Errno> {
        if self.mappings.is_some() {
            return Ok(());
        }
        let standing = self.standing();
        let space = match self.mappings().transpose() {
            Ok(space) => space,
            Err(error) => return self.fail(error),
        };
        let through_filter = self.target.goes_through_filter();
        let change = self.change;
        let decide = |huge_zero| change.decide(standing, space.as_ref(), huge_zero, through_filter);
        // The page tables are read only for what can be done at all.
        let decided = decide(0).and_then(|plan| match self.huge_zero() {
            0 => Ok((plan, 0)),
            bytes => decide(bytes).map(|plan| (plan, bytes)),
        });
        match decided {
            Ok((plan, huge_zero)) => {
                self.mappings = Some(Mappings {
                    injects: plan.steps.iter().any(Step::is_injected),
                    space,
                    huge_zero,
                });
                Ok(())
            }
            Err(error) => self.fail(error),
        }
    }

    fn reach(&mut self) -> Result<(), Errno> {
        // Where nothing is run in the target, it need not be reached.
        if self.mappings.as_ref().is_some_and(|known| !known.injects) {
            return Ok(());
        }
        match self.refused() {
            Some(error) => self.fail(Error::inject(self.target.pid(), error)),
            None => Ok(()),
        }
    }
}

/// Whether it is done by short calls of prctl(2) alone. (Taking merging back walks all memory, and a carrier does it.)
fn is_one_prctl(step: &Step) -> bool {
    matches!(
        step,
        Step::SetThpDisable { .. } | Step::SetMerge { on: true }
    )
}
