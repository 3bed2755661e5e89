//! `plan()` on a kernel that has mctl() itself: every outcome exact, and who makes the call.

#![allow(clippy::unwrap_used, reason = "a test helper may panic")]

use mctl::address_space::ShmemDevices;
use mctl::{
    AcrossExec, AddressSpace, CalledBy, Errno, Exactness, Follow, Guarantee, Holds, HostCaps,
    KnobValue, Mechanism, Note, Override, Plan, PolicyKind, Request, Standing, Step, Support,
    ThpHost, Whose, plan,
};
use mctl_abi::thp::ThpDisable;

fn native(knob: KnobValue) -> HostCaps {
    HostCaps {
        thp_hidden: None,
        thp: Some(ThpHost {
            enabled: knob,
            sizes: Vec::new(),
            pmd_kb: 2048,
        }),
        thp_disable: Support::Yes,
        except_advised: Support::No,
        memory_merge: Support::Yes,
        ksm_run: Some(1),
        vectored_advice: Support::Yes,
        native: Some(548),
    }
}

fn standing(whose: Whose, admin: bool) -> Standing {
    Standing {
        whose,
        admin: Holds::from_bool(admin),
        thp_switch: Some(ThpDisable::Off),
    }
}

fn made(request: &Request, standing: Standing) -> mctl::Result<Plan> {
    plan(request, &native(KnobValue::Madvise), standing, None)
}

/// The flags and the caller of the one call that a plan has.
fn call(plan: &Plan) -> (u32, CalledBy) {
    let calls: Vec<_> = plan
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Call { call, by } => Some((call.flags().bits(), *by)),
            _ => None,
        })
        .collect();
    assert_eq!(calls.len(), 1, "{plan:?}");
    calls[0]
}

#[test]
fn an_administrator_gets_everything_exactly() {
    for kind in PolicyKind::ALL {
        for across in [AcrossExec::Ends, AcrossExec::Inherit] {
            let Ok(mut request) = Request::set(&[kind], across) else {
                assert_eq!(kind, PolicyKind::FadeOnDeath);
                continue;
            };
            request.exactness = Exactness::Strict;
            for whose in [Whose::Own, Whose::Other] {
                let plan = made(&request, standing(whose, true)).unwrap();
                assert!(plan.promised.is_exact(), "{plan:?}");
                assert_eq!(
                    call(&plan),
                    (u32::from(across == AcrossExec::Inherit), CalledBy::Us)
                );
                assert_eq!(plan.promised.mechanisms, [Mechanism::NativeCall]);
                assert!(
                    !plan.steps.iter().any(Step::is_injected),
                    "nothing is stopped"
                );
            }
        }
        let plan = made(
            &Request::clear(&[kind]).unwrap(),
            standing(Whose::Other, true),
        );
        assert!(plan.unwrap().promised.is_exact());
    }
}

#[test]
fn a_user_manages_the_users_own_processes() {
    for kind in PolicyKind::ALL {
        for request in [
            Request::set(&[kind], AcrossExec::Ends).unwrap(),
            Request::clear(&[kind]).unwrap(),
        ] {
            let own = made(&request, standing(Whose::Own, false)).unwrap();
            assert_eq!(call(&own), (0, CalledBy::Us));
            let other = made(&request, standing(Whose::Other, false)).unwrap();
            assert_eq!(call(&other), (0, CalledBy::Target));
            assert!(other.promised.is_exact());
            assert_eq!(other.promised.mechanisms, [Mechanism::InjectedNativeCall]);
        }
    }
}

#[test]
fn inheritance_without_privilege_goes_by_the_switch_or_not_at_all() {
    let by_switch = |kind| {
        let request = Request::set(&[kind], AcrossExec::Inherit).unwrap();
        made(&request, standing(Whose::Other, false))
    };
    for kind in [PolicyKind::Nohugepage, PolicyKind::Mergeable] {
        let plan = by_switch(kind).unwrap();
        assert!(plan.promised.is_exact());
        assert!(plan.promised.notes.contains(&Note::BySwitch));
        assert_eq!(plan.promised.mechanisms, [Mechanism::InjectedPrctl]);
    }
    // This kernel's switch has no EXCEPT_ADVISED, and none has "always".
    for kind in [PolicyKind::HugepageAdvised, PolicyKind::Hugepage] {
        assert_eq!(by_switch(kind).unwrap_err().errno(), Errno::EOPNOTSUPP);
    }
}

#[test]
fn a_program_about_to_start_keeps_what_survives_its_exec() {
    for kind in [PolicyKind::Hugepage, PolicyKind::HugepageAdvised] {
        let request = Request::set(&[kind], AcrossExec::Ends).unwrap();
        let plan = made(&request, standing(Whose::Image, true)).unwrap();
        assert_eq!(call(&plan), (1, CalledBy::Us));
        assert_eq!(plan.promised.guarantees.exec, Guarantee::Exceeds);
        assert!(plan.promised.notes.contains(&Note::KeptForExec));
        // Our own switch would be stricter.
        assert!(plan.steps.iter().any(|step| matches!(
            step,
            Step::SetThpDisable {
                to: ThpDisable::Off,
                ..
            }
        )));
        let inherit = Request::set(&[kind], AcrossExec::Inherit).unwrap();
        let plan = made(&inherit, standing(Whose::Image, true)).unwrap();
        assert!(plan.promised.is_exact());
    }
    let fade = Request::set(&[PolicyKind::FadeOnDeath], AcrossExec::Ends).unwrap();
    let error = made(&fade, standing(Whose::Image, true)).unwrap_err();
    assert_eq!(error.errno(), Errno::EOPNOTSUPP);
    // Without privilege: as on a stock kernel.
    let never = Request::set(&[PolicyKind::Nohugepage], AcrossExec::Ends).unwrap();
    let plan = made(&never, standing(Whose::Image, false)).unwrap();
    assert_eq!(plan.promised.mechanisms, [Mechanism::OwnPrctl]);
}

/// What a user put in force by the switch is taken back by the same words; the call itself, and
/// whoever goes by the admin rule, never changes the switch.
#[test]
fn the_switch_is_taken_back_by_whoever_had_to_use_it() {
    let held = Standing {
        thp_switch: Some(ThpDisable::Full),
        ..standing(Whose::Other, false)
    };
    let switches = |plan: &Plan| {
        plan.steps
            .iter()
            .filter(|step| matches!(step, Step::SetThpDisable { .. }))
            .count()
    };
    let clear = Request::clear(&[PolicyKind::Nohugepage]).unwrap();
    let taken = made(&clear, held).unwrap();
    assert_eq!((switches(&taken), taken.promised.notes.len()), (1, 0));
    let nothing = made(&clear, standing(Whose::Other, false)).unwrap();
    assert_eq!(switches(&nothing), 0, "it is not set");
    let mut admin = clear;
    admin.rule = mctl::Rule::Admin;
    let own = Standing {
        whose: Whose::Own,
        ..held
    };
    let left = made(&admin, own).unwrap();
    assert_eq!(switches(&left), 0);
    assert_eq!(left.promised.notes, [Note::HeldBack]);
}

#[test]
fn what_holds_a_policy_back_is_said() {
    let always = Request::set(&[PolicyKind::Hugepage], AcrossExec::Ends).unwrap();
    let held = Standing {
        thp_switch: Some(ThpDisable::Full),
        ..standing(Whose::Other, true)
    };
    let plan_held = made(&always, held).unwrap();
    assert_eq!(plan_held.promised.notes, [Note::HeldBack]);
    // EXCEPT_ADVISED does not hold back Always.
    let except = Standing {
        thp_switch: Some(ThpDisable::ExceptAdvised),
        ..held
    };
    assert_eq!(made(&always, except).unwrap().promised.notes, []);
    let forbidden = plan(
        &always,
        &native(KnobValue::Never),
        standing(Whose::Other, true),
        None,
    );
    let notes = forbidden.unwrap().promised.notes;
    assert!(
        matches!(notes.as_slice(), [Note::HostForbids { .. }]),
        "{notes:?}"
    );
    let never = Request::set(&[PolicyKind::Nohugepage], AcrossExec::Ends).unwrap();
    assert_eq!(made(&never, held).unwrap().promised.notes, []);
}

/// The kernel's "always" respects NOHUGEPAGE: overriding it goes by advice, after the call, which can be taken back, and never exactly.
#[test]
fn overriding_advises_what_refuses_last() {
    let listing = "1000-2000 rw-p 00000000 00:00 0 \nVmFlags: rd wr nh \n\
                   3000-4000 rw-p 00000000 00:00 0 \nVmFlags: rd wr nh \n";
    let shmem = ShmemDevices::default();
    let space = AddressSpace::from_smaps(listing.as_bytes(), &shmem, Override::Advice).unwrap();
    let mut request = Request::set(&[PolicyKind::Hugepage], AcrossExec::Ends).unwrap();
    let caps = native(KnobValue::Madvise);
    let root = standing(Whose::Other, true);
    // Not asked for: the mappings play no part.
    let plain = plan(&request, &caps, root, Some(&space)).unwrap();
    assert_eq!(plain.steps.len(), 1);
    request.override_advice = Override::Advice;
    let over = plan(&request, &caps, root, Some(&space)).unwrap();
    assert!(
        matches!(
            over.steps.as_slice(),
            [
                Step::Call { .. },
                Step::Advise {
                    runs,
                    follow: Follow::Nothing,
                    ..
                }
            ] if runs.len() == 2
        ),
        "{over:?}"
    );
    assert_eq!(over.promised.guarantees.now, Guarantee::Exceeds);
    assert_eq!(over.promised.notes, [Note::Overridden { mappings: 2 }]);
    request.exactness = Exactness::Strict;
    let error = plan(&request, &caps, root, Some(&space)).unwrap_err();
    assert_eq!(error.errno(), Errno::EOPNOTSUPP);
}

#[test]
fn steps_are_shown_as_calls() {
    let request = Request::set(&[PolicyKind::FadeOnDeath], AcrossExec::Ends).unwrap();
    let plan = made(&request, standing(Whose::Other, false)).unwrap();
    let shown: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["mctl(PIDFD_SELF, MCTL_SET_FADE_ON_DEATH, 0)"]);
    let json = serde_json::to_value(&plan.steps).unwrap();
    assert_eq!(
        json,
        serde_json::json!([{
            "step": "call", "action": "MCTL_SET_FADE_ON_DEATH", "flags": 0, "by": "target"
        }])
    );
}
