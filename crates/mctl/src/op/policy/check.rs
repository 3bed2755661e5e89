//! The checks of the contract on a stock kernel, in its order, and the plan that they end in.

use mctl_abi::permission::Holds;
use mctl_abi::{Checks, Errno, Thp, check};
use mctl_sys::inject::{InjectError, Prepared, Refusal, may_attach};

use crate::error::{Error, Result};
use crate::host::HostCaps;
use crate::op::permission;
use crate::op::policy::plan::{Plan, Standing, Step, Whose, plan, with_huge_zero};
use crate::op::policy::request::{Override, Request};
use crate::see::address_space::AddressSpace;
use crate::target::Target;

/// A target that passed every check, and what to do with it.
#[derive(Debug)]
pub(crate) struct Ready<'t> {
    pub(crate) target: &'t Target,
    pub(crate) plan: Plan,
    /// `None` for ourselves.
    pub(crate) prepared: Option<Prepared<'t>>,
}

/// Runs the checks for every call of a request and makes the plan. Nothing is touched.
pub(crate) fn ready<'t>(
    request: &Request,
    target: &'t Target,
    whose: Whose,
    caps: &HostCaps,
) -> Result<Ready<'t>> {
    let mut facts = Facts {
        request,
        target,
        whose,
        caps,
        standing: None,
        looked: None,
        plan: None,
        error: None,
    };
    for call in request.calls() {
        let action = call.action().number();
        if let Err(errno) = check(action, call.flags().bits(), &mut facts) {
            return Err(facts.error.take().unwrap_or_else(|| Error::Invalid {
                why: format!("{errno}: {}", request.words()),
            }));
        }
    }
    let prepared = match facts.looked {
        Some(Ok(prepared)) => Some(prepared),
        _ => None,
    };
    let plan = facts.plan.ok_or_else(|| Error::Invalid {
        why: "nothing was asked".to_owned(),
    })?;
    Ok(Ready {
        target,
        plan,
        prepared,
    })
}

/// The facts, each found out once and only when the checks before it have passed.
struct Facts<'r, 't> {
    request: &'r Request,
    target: &'t Target,
    whose: Whose,
    caps: &'r HostCaps,
    standing: Option<Standing>,
    /// The look at the target; `None` until it was taken, and for ourselves.
    looked: Option<Result<Prepared<'t>, InjectError>>,
    plan: Option<Plan>,
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
        let native = self.caps.native.is_some();
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
        self.caps.native.is_some() && self.standing().admin == Holds::Yes
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
        match self.request.sets_thp() {
            Some(policy) if self.caps.native.is_none() && self.whose != Whose::Image => {
                crate::see::huge_zero::bytes(self.target, policy).0
            }
            _ => 0,
        }
    }

    /// The mappings, where the plan depends on them. A kernel that keeps the policy itself leaves
    /// them alone; only NOHUGEPAGE has to be overridden by hand there.
    fn mappings(&self) -> Option<Result<AddressSpace>> {
        if !self.request.needs_mappings() {
            return None;
        }
        let over = self.request.override_advice;
        if self.caps.native.is_none() {
            return Some(AddressSpace::read(self.target, over));
        }
        let set = self.request.sets_thp() == Some(Thp::Always);
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
        if let Err(error) = permission::check(self.request, self.target) {
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
        if self.plan.is_some() {
            return Ok(());
        }
        let standing = self.standing();
        let space = match self.mappings().transpose() {
            Ok(space) => space,
            Err(error) => return self.fail(error),
        };
        let planned = plan(self.request, self.caps, standing, space.as_ref())
            .and_then(|plan| with_huge_zero(self.request, plan, self.huge_zero()));
        match planned {
            Ok(plan)
                if self.target.goes_through_filter() && !plan.steps.iter().all(is_one_prctl) =>
            {
                self.fail(crate::op::policy::plan::unsupported(
                    &self.request.words(),
                    "through a seccomp filter nothing but prctl(2) is called, and this takes more",
                ))
            }
            Ok(plan) => {
                self.plan = Some(plan);
                Ok(())
            }
            Err(error) => self.fail(error),
        }
    }

    fn reach(&mut self) -> Result<(), Errno> {
        // Where nothing is run in the target, it need not be reached.
        let injects = |plan: &Plan| plan.steps.iter().any(Step::is_injected);
        if self.plan.as_ref().is_some_and(|plan| !injects(plan)) {
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
