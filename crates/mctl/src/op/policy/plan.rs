//! `plan()`: pure. From a request, the facts about the kernel and a look at the target to the
//! steps to take and the outcome they promise. It *is* `--dry-run`.

mod native;
mod step;

use mctl_abi::permission::Holds;
use mctl_abi::thp::{Host, ThpDisable};
use mctl_abi::{PolicyKind, Verb};
use mctl_sys::raw::madvise::MADV_HUGEPAGE;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::host::{HostCaps, Support, THP_DIR, ThpHost};
use crate::op::outcome::{Guarantee, Guarantees, Mechanism, Note, Outcome};
use crate::op::policy::request::{Exactness, Request};
use crate::see::address_space::AddressSpace;
use crate::see::mappings::Override;

pub use native::CalledBy;
pub(crate) use native::calls_between;
pub use step::{Follow, Step};

/// What will be done, and what it will be worth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The steps, in order. The one that may fail comes first.
    pub steps: Vec<Step>,
    /// The outcome, as far as it can be told beforehand.
    pub promised: Outcome,
}

/// Whose the address space is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Ours: the calls are made directly.
    Own,
    /// Ours until we execute a program: what is put in force is for that program.
    Image,
    /// Another process's: the calls are injected.
    Other,
}

/// How the caller stands to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whose it is.
    pub whose: Whose,
    /// Whether the caller has CAP_SYS_ADMIN over the address space. It counts only where the
    /// kernel has mctl() itself.
    pub admin: Holds,
    /// The target's PR_SET_THP_DISABLE, where it was looked at. It counts only there, too.
    pub thp_switch: Option<ThpDisable>,
}

impl From<Whose> for Standing {
    /// Without privilege.
    fn from(whose: Whose) -> Standing {
        Standing {
            whose,
            admin: Holds::No,
            thp_switch: None,
        }
    }
}

/// Makes the plan.
///
/// `space` is read only where [`Request::needs_mappings`] says so.
///
/// # Errors
/// `EOPNOTSUPP`: nothing of what was asked can be done here, or, with
/// [`Exactness::Strict`], not exactly.
pub fn plan(
    request: &Request,
    caps: &HostCaps,
    standing: impl Into<Standing>,
    space: Option<&AddressSpace>,
) -> Result<Plan> {
    let mut draft = Draft {
        plan: Plan {
            steps: Vec::new(),
            promised: Outcome::new(),
        },
        standing: standing.into(),
    };
    // Merging walks the mappings and may fail; the THP switches cannot. So it goes first, and a
    // failure leaves nothing changed.
    let mut calls: Vec<&mctl_abi::Request> = request.calls().iter().collect();
    calls.sort_by_key(|call| {
        !matches!(
            call.action().info().effect,
            Some((_, PolicyKind::Mergeable))
        )
    });
    for call in calls {
        let Some((verb, kind)) = call.action().info().effect else {
            continue;
        };
        let inherit = call.flags().default_exec();
        if caps.native.is_some() && draft.native((verb, kind), inherit, request.rule, caps)? {
            if (verb, kind) == (Verb::Set, PolicyKind::Hugepage)
                && request.override_advice == Override::Advice
            {
                draft.override_refusing(space);
            }
            continue;
        }
        match (verb, kind) {
            (_, PolicyKind::Mergeable) => draft.mergeable(verb, inherit, caps)?,
            (Verb::Set, PolicyKind::Nohugepage) => draft.thp(ThpDisable::Full, inherit, caps)?,
            (Verb::Set, PolicyKind::HugepageAdvised) => draft.advised(inherit, caps)?,
            (Verb::Set, PolicyKind::Hugepage) => {
                draft.always(inherit, caps, space)?;
            }
            (Verb::Clear, PolicyKind::Nohugepage) => draft.clear_thp(ThpDisable::Full),
            (Verb::Clear, PolicyKind::HugepageAdvised) => {
                draft.clear_thp(ThpDisable::ExceptAdvised);
            }
            (Verb::Clear, PolicyKind::Hugepage) => draft.clear_always(space),
            (Verb::Set, PolicyKind::FadeOnDeath) => {
                return Err(unsupported(
                    "set fade-on-death",
                    "this kernel has no fade on death, and mctl has no supervisor yet that could \
                     stand in for it",
                ));
            }
            // It never stands on a stock kernel, so taking it back succeeds and does nothing.
            (Verb::Clear, PolicyKind::FadeOnDeath) => {}
        }
    }
    strictly(request, draft.finish())
}

/// Takes into a plan what the look at the target found: memory that may turn huge against the
/// policy. It is counted and said, and never discarded (docs/CONTRACT.md#stock-huge-zero).
///
/// # Errors
/// `EOPNOTSUPP` with [`Exactness::Strict`].
pub(crate) fn with_huge_zero(request: &Request, mut plan: Plan, bytes: u64) -> Result<Plan> {
    if bytes == 0 {
        return Ok(plan);
    }
    plan.promised.guarantees.now = Guarantee::NotCovered;
    plan.promised.notes.push(Note::MayTurnHuge { bytes });
    strictly(request, plan)
}

fn strictly(request: &Request, plan: Plan) -> Result<Plan> {
    if request.exactness == Exactness::Strict && !plan.promised.is_exact() {
        let notes: Vec<String> = plan
            .promised
            .notes
            .iter()
            .map(ToString::to_string)
            .collect();
        return Err(unsupported(
            &request.words(),
            &format!("not exactly on this kernel: {}", notes.join("; ")),
        ));
    }
    Ok(plan)
}

pub(crate) fn unsupported(what: &str, why: &str) -> Error {
    Error::Unsupported {
        what: what.to_owned(),
        why: why.to_owned(),
    }
}

struct Draft {
    plan: Plan,
    standing: Standing,
}

impl Draft {
    fn by_prctl(&mut self) {
        let mechanism = match self.standing.whose {
            Whose::Own | Whose::Image => Mechanism::OwnPrctl,
            Whose::Other => Mechanism::InjectedPrctl,
        };
        self.mechanism(mechanism);
    }

    fn mechanism(&mut self, mechanism: Mechanism) {
        if !self.plan.promised.mechanisms.contains(&mechanism) {
            self.plan.promised.mechanisms.push(mechanism);
        }
    }

    fn note(&mut self, note: Note) {
        if !self.plan.promised.notes.contains(&note) {
            self.plan.promised.notes.push(note);
        }
    }

    /// Takes the weaker of what stands and what comes, field by field.
    fn weaken(&mut self, with: Guarantees) {
        let now = &mut self.plan.promised.guarantees;
        let weaker = |a: Guarantee, b: Guarantee| if a == Guarantee::Enforced { b } else { a };
        *now = Guarantees {
            now: weaker(now.now, with.now),
            future: weaker(now.future, with.future),
            fork: weaker(now.fork, with.fork),
            exec: weaker(now.exec, with.exec),
        };
    }

    /// prctl's switches survive exec whether asked to or not.
    fn exec_by_prctl(&mut self, inherit: bool) {
        if !inherit {
            self.weaken(Guarantees {
                exec: Guarantee::Exceeds,
                ..Guarantees::ENFORCED
            });
            self.note(Note::SurvivesExec);
        }
    }

    fn mergeable(&mut self, verb: Verb, inherit: bool, caps: &HostCaps) -> Result<()> {
        if caps.memory_merge == Support::No {
            if verb == Verb::Clear {
                return Ok(()); // cannot stand, so it is clear
            }
            return Err(unsupported(
                "set mergeable",
                "this kernel has no PR_SET_MEMORY_MERGE (Linux 6.4 with CONFIG_KSM)",
            ));
        }
        self.plan.steps.push(Step::SetMerge {
            on: verb == Verb::Set,
        });
        self.by_prctl();
        if verb == Verb::Clear {
            self.note(Note::UnmergeWalks);
        } else {
            self.exec_by_prctl(inherit);
            self.note(Note::NotTheStackAfterExec);
            if caps.ksm_run.is_some_and(|run| run != 1) {
                self.note(Note::KsmNotRunning);
            }
        }
        Ok(())
    }

    fn thp(&mut self, to: ThpDisable, inherit: bool, caps: &HostCaps) -> Result<()> {
        if caps.thp_disable == Support::No {
            return Err(unsupported(
                "set nohugepage",
                "this kernel has no PR_SET_THP_DISABLE",
            ));
        }
        self.plan.steps.push(Step::SetThpDisable {
            to,
            only_from: None,
        });
        self.by_prctl();
        self.exec_by_prctl(inherit);
        Ok(())
    }

    fn advised(&mut self, inherit: bool, caps: &HostCaps) -> Result<()> {
        if caps.except_advised == Support::No {
            return Err(unsupported(
                "set hugepage-advised",
                "this kernel has no PR_THP_DISABLE_EXCEPT_ADVISED (Linux 6.18); \
                 where the host's knob says 'madvise' it is already so",
            ));
        }
        self.thp(ThpDisable::ExceptAdvised, inherit, caps)
    }

    fn always(
        &mut self,
        inherit: bool,
        caps: &HostCaps,
        space: Option<&AddressSpace>,
    ) -> Result<()> {
        let Some(host) = &caps.thp else {
            let why = caps.thp_hidden.as_deref();
            return Err(unsupported(
                "set hugepage",
                why.unwrap_or("this kernel is built without transparent huge pages"),
            ));
        };
        match host.overall() {
            Host::Never => Err(unsupported(
                "set hugepage",
                &format!(
                    "the host forbids huge pages: {} says 'never'",
                    deciding_knob(host)
                ),
            )),
            Host::Always => {
                self.plan.steps.push(Step::SetThpDisable {
                    to: ThpDisable::Off,
                    only_from: None,
                });
                self.by_prctl();
                self.exec_by_prctl(inherit);
                self.note(Note::HoldsWhileHostKnob {
                    knob: deciding_knob(host),
                    value: "always".to_owned(),
                });
                Ok(())
            }
            Host::Madvise if self.standing.whose == Whose::Image => Err(unsupported(
                "set hugepage",
                "the host's knob says 'madvise', and this kernel cannot carry 'always' over exec; \
                 start the program and then use 'mctl set hugepage PID'",
            )),
            Host::Madvise => {
                self.always_by_advice(caps, space);
                Ok(())
            }
        }
    }

    fn always_by_advice(&mut self, caps: &HostCaps, space: Option<&AddressSpace>) {
        // Whatever other THP policy stood is replaced.
        if caps.thp_disable != Support::No {
            self.plan.steps.push(Step::SetThpDisable {
                to: ThpDisable::Off,
                only_from: None,
            });
            self.by_prctl();
        }
        self.mechanism(match self.standing.whose {
            Whose::Own | Whose::Image => Mechanism::OwnMadvise,
            Whose::Other => Mechanism::InjectedMadvise,
        });
        if let Some(space) = space {
            let runs = space.runs().to_vec();
            self.plan.promised.mappings = Some(space.counts().clone());
            if !runs.is_empty() {
                self.plan.steps.push(Step::Advise {
                    advice: MADV_HUGEPAGE,
                    runs,
                    follow: Follow::New,
                });
                self.note(Note::PopulatedStaySmall);
            }
        }
        self.weaken(Guarantees {
            now: Guarantee::Enforced,
            future: Guarantee::NotCovered,
            fork: Guarantee::Enforced,
            exec: Guarantee::NotCovered,
        });
        self.note(Note::FutureMappings);
        self.note(Note::LostAtExec);
    }

    fn clear_thp(&mut self, from: ThpDisable) {
        self.plan.steps.push(Step::SetThpDisable {
            to: ThpDisable::Off,
            only_from: Some(from),
        });
        self.by_prctl();
    }

    /// A stock kernel keeps no "Always": there is nothing to take back but the advice, and that
    /// cannot be.
    fn clear_always(&mut self, space: Option<&AddressSpace>) {
        let residual = space.map_or(0, AddressSpace::hugepage_mappings);
        if residual > 0 {
            self.weaken(Guarantees {
                now: Guarantee::NotCovered,
                future: Guarantee::Enforced,
                fork: Guarantee::NotCovered,
                exec: Guarantee::Enforced,
            });
            self.note(Note::Residual { mappings: residual });
        }
    }

    fn finish(mut self) -> Plan {
        if self.plan.promised.mechanisms.is_empty() {
            self.plan.promised.mechanisms.push(Mechanism::Nothing);
        }
        self.plan
    }
}

/// The knob that a person has to look at.
fn deciding_knob(host: &ThpHost) -> String {
    let pmd = host.sizes.iter().find(|size| size.kb == host.pmd_kb);
    match pmd {
        Some(size) if size.knob != crate::host::KnobValue::Inherit => {
            format!("{THP_DIR}/hugepages-{}kB/enabled", size.kb)
        }
        _ => format!("{THP_DIR}/enabled"),
    }
}
