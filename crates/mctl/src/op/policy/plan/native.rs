//! The plan on a kernel that has mctl() itself: one call a policy, exact by construction. What is
//! left to decide is who makes the call.

use mctl_abi::permission::Holds;
use mctl_abi::thp::{Host, ThpDisable};
use mctl_abi::{Action, Flags, Policy, PolicyKind, Request, Verb};
use mctl_sys::raw::madvise::MADV_HUGEPAGE;
use serde::Serialize;

use super::{Draft, Follow, Standing, Step, Whose, deciding_knob, unsupported};
use crate::error::Result;
use crate::host::{HostCaps, Support};
use crate::op::outcome::{Guarantee, Guarantees, Mechanism, Note};
use crate::op::policy::request::Rule;
use crate::see::address_space::AddressSpace;

/// Who makes the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CalledBy {
    /// We, on the target's pidfd. Nothing is stopped.
    Us,
    /// The target, on itself: a user may manage the user's own processes, and the call asks for
    /// no capability there.
    Target,
}

/// How one policy change is made.
enum Way {
    Call(CalledBy),
    /// The prctl(2) switch that carries the same policy: the kernel allows its inheritance
    /// without privilege, and mctl()'s only with.
    Switch,
}

/// The calls that lead from one record to another.
pub(crate) fn calls_between(now: Policy, wanted: Policy) -> Vec<Request> {
    let mut calls = Vec::new();
    let mut add = |verb: Verb, kind: PolicyKind, flags: Flags| {
        if let Ok(call) = Request::new(Action::of(verb, kind), flags) {
            calls.push(call);
        }
    };
    let state = |policy: Policy, kind| (policy.has(kind), policy.survives_exec(kind));
    // Taking off first: a SET among the THP policies replaces what stands anyway.
    for kind in PolicyKind::ALL {
        if now.has(kind) && !wanted.has(kind) {
            add(Verb::Clear, kind, Flags::NONE);
        }
    }
    for kind in PolicyKind::ALL {
        if wanted.has(kind) && state(now, kind) != state(wanted, kind) {
            let flags = if wanted.survives_exec(kind) {
                Flags::DEFAULT_EXEC
            } else {
                Flags::NONE
            };
            add(Verb::Set, kind, flags);
        }
    }
    calls
}

impl Draft {
    /// Plans one call. `false`: it goes by the stock kernel's switch.
    pub(super) fn native(
        &mut self,
        (verb, kind): (Verb, PolicyKind),
        inherit: bool,
        rule: Rule,
        caps: &HostCaps,
    ) -> Result<bool> {
        let standing = self.standing;
        let image = standing.whose == Whose::Image;
        if image && verb == Verb::Set && kind == PolicyKind::FadeOnDeath {
            return Err(unsupported(
                "set fade-on-death",
                "it ends at exec; start the program and then use 'mctl set fade-on-death PID'",
            ));
        }
        // What a new image is to start with has to survive the exec that starts it.
        let survives = verb == Verb::Set && (inherit || image);
        let by = match way(standing, (verb, kind), survives)? {
            Way::Call(by) => by,
            Way::Switch => {
                self.note(Note::BySwitch);
                return Ok(false);
            }
        };
        let flags = if survives {
            Flags::DEFAULT_EXEC
        } else {
            Flags::NONE
        };
        let Ok(call) = Request::new(Action::of(verb, kind), flags) else {
            return Ok(false); // Request::set refuses it long before
        };
        self.plan.steps.push(Step::Call { call, by });
        self.mechanism(match by {
            CalledBy::Us => Mechanism::NativeCall,
            CalledBy::Target => Mechanism::InjectedNativeCall,
        });
        if survives && !inherit {
            self.weaken(Guarantees {
                exec: Guarantee::Exceeds,
                ..Guarantees::ENFORCED
            });
            self.note(Note::KeptForExec);
        }
        let by_switch = rule == Rule::Owner && standing.admin == Holds::No && !image;
        if by_switch && verb == Verb::Clear && self.clear_switch(kind, caps) {
            return Ok(true);
        }
        self.native_notes(verb, kind, caps);
        if image && caps.thp_disable != Support::No {
            self.own_switch(verb, kind);
        }
        Ok(true)
    }

    /// The kernel's "always" respects NOHUGEPAGE. Who does not want that has the mappings themselves
    /// advised, after the call: that can be taken back where this fails, and advice cannot.
    pub(super) fn override_refusing(&mut self, space: Option<&AddressSpace>) {
        let Some(space) = space else { return };
        let runs = space.runs().to_vec();
        self.plan.promised.mappings = Some(space.counts().clone());
        if runs.is_empty() {
            return;
        }
        self.plan.steps.push(Step::Advise {
            advice: MADV_HUGEPAGE,
            runs,
            follow: Follow::Nothing,
        });
        self.mechanism(match self.standing.whose {
            Whose::Own | Whose::Image => Mechanism::OwnMadvise,
            Whose::Other => Mechanism::InjectedMadvise,
        });
        // A policy that is taken back leaves nothing behind; this does.
        self.weaken(Guarantees {
            now: Guarantee::Exceeds,
            ..Guarantees::ENFORCED
        });
        self.note(Note::Overridden {
            mappings: space.counts().changed,
        });
    }

    /// Who set a policy by the switch ([`Way::Switch`]) takes it back by the same words. An
    /// administrator's call never touches it. Whether it is touched here.
    fn clear_switch(&mut self, kind: PolicyKind, caps: &HostCaps) -> bool {
        let from = match kind {
            PolicyKind::Nohugepage if self.standing.thp_switch == Some(ThpDisable::Full) => {
                ThpDisable::Full
            }
            // It does not show from outside.
            PolicyKind::HugepageAdvised if caps.except_advised.is_yes() => {
                ThpDisable::ExceptAdvised
            }
            _ => return false,
        };
        self.clear_thp(from);
        true
    }

    /// The switch of prctl(2) is stricter than the policy. In the process that is about to become
    /// the program it is ours to set.
    fn own_switch(&mut self, verb: Verb, kind: PolicyKind) {
        let only_from = match (verb, kind) {
            (Verb::Set, PolicyKind::Hugepage) => None,
            (Verb::Set, PolicyKind::HugepageAdvised) | (Verb::Clear, PolicyKind::Nohugepage) => {
                Some(ThpDisable::Full)
            }
            (Verb::Clear, PolicyKind::HugepageAdvised) => Some(ThpDisable::ExceptAdvised),
            _ => return,
        };
        self.plan.steps.push(Step::SetThpDisable {
            to: ThpDisable::Off,
            only_from,
        });
        self.by_prctl();
    }

    fn native_notes(&mut self, verb: Verb, kind: PolicyKind, caps: &HostCaps) {
        if let (Verb::Set, PolicyKind::Hugepage, Some(host)) = (verb, kind, &caps.thp)
            && host.overall() == Host::Never
        {
            self.note(Note::HostForbids {
                knob: deciding_knob(host),
            });
        }
        let forbids = verb == Verb::Set && kind == PolicyKind::Nohugepage;
        if kind.is_thp()
            && !forbids
            && self.standing.whose != Whose::Image
            && self.standing.thp_switch == Some(ThpDisable::Full)
        {
            self.note(Note::HeldBack);
        }
        if kind == PolicyKind::Mergeable {
            match verb {
                Verb::Clear => self.note(Note::UnmergeWalks),
                Verb::Set if caps.ksm_run.is_some_and(|run| run != 1) => {
                    self.note(Note::KsmNotRunning);
                }
                Verb::Set => {}
            }
        }
    }
}

fn way(standing: Standing, (verb, kind): (Verb, PolicyKind), survives: bool) -> Result<Way> {
    if standing.admin == Holds::Yes {
        return Ok(Way::Call(CalledBy::Us));
    }
    if !survives {
        return Ok(Way::Call(match standing.whose {
            Whose::Own | Whose::Image => CalledBy::Us,
            Whose::Other => CalledBy::Target,
        }));
    }
    match kind {
        PolicyKind::Nohugepage | PolicyKind::HugepageAdvised | PolicyKind::Mergeable => {
            Ok(Way::Switch)
        }
        PolicyKind::Hugepage | PolicyKind::FadeOnDeath => Err(unsupported(
            &match verb {
                Verb::Set => format!("set {kind}"),
                Verb::Clear => format!("clear {kind}"),
            },
            "for a policy that survives exec mctl() wants CAP_SYS_ADMIN, and no prctl(2) carries \
             this one",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every record to every other, by the state machine itself.
    #[test]
    fn the_way_back_leads_back() {
        let records: Vec<Policy> = (0..0x2000).filter_map(Policy::from_mask).collect();
        assert!(records.len() > 40);
        for now in &records {
            for wanted in &records {
                let calls = calls_between(*now, *wanted);
                let end = calls.iter().fold(*now, |policy, call| policy.apply(*call));
                assert_eq!(end, *wanted, "{now:?} to {wanted:?} by {calls:?}");
                assert_eq!(calls.is_empty(), now == wanted);
            }
        }
    }
}
