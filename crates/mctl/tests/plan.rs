//! `plan()` for every kind of kernel and host there is: the table of docs/CONTRACT.md#2-honest-outcomes, row by row.

#![allow(clippy::unwrap_used, reason = "a test helper may panic")]

use mctl::address_space::ShmemDevices;
use mctl::{
    AcrossExec, AddressSpace, Errno, Exactness, Guarantee, HostCaps, KnobValue, Mechanism, Note,
    Override, Plan, PolicyKind, Request, Step, Support, ThpHost, ThpSize, Whose, plan,
};
use mctl_abi::thp::ThpDisable;

/// A host with this knob, PMD size by `inherit`, the smaller size off.
fn thp(knob: KnobValue) -> ThpHost {
    let sizes = vec![
        ThpSize {
            kb: 64,
            knob: KnobValue::Never,
        },
        ThpSize {
            kb: 2048,
            knob: KnobValue::Inherit,
        },
    ];
    ThpHost {
        enabled: knob,
        sizes,
        pmd_kb: 2048,
    }
}

/// The newest kernel, host on `madvise`.
fn newest() -> HostCaps {
    HostCaps {
        thp: Some(thp(KnobValue::Madvise)),
        thp_hidden: None,
        thp_disable: Support::Yes,
        except_advised: Support::Yes,
        memory_merge: Support::Yes,
        ksm_run: Some(1),
        vectored_advice: Support::Yes,
        native: None,
    }
}

fn with_host(knob: KnobValue) -> HostCaps {
    HostCaps {
        thp: Some(thp(knob)),
        ..newest()
    }
}

/// Two runs of plain memory, one thread stack, one file; some of it advised if asked.
fn space(advised: bool) -> AddressSpace {
    let flags = if advised { "rd wr hg" } else { "rd wr" };
    let text = format!(
        "1000-3000 rw-p 00000000 00:00 0 \nVmFlags: {flags} \n\
         3000-4000 rw-p 00000000 00:00 0 \nVmFlags: rd wr nh \n\
         4000-5000 rw-p 00000000 00:00 0 \nVmFlags: {flags} \n\
         5000-6000 r--p 00000000 08:01 7                          /bin/x\nVmFlags: rd \n"
    );
    AddressSpace::from_smaps(text.as_bytes(), &ShmemDevices::default(), Override::Respect).unwrap()
}

fn set(kind: PolicyKind, across: AcrossExec) -> Request {
    Request::set(&[kind], across).unwrap()
}

fn made(request: &Request, caps: &HostCaps) -> mctl::Result<Plan> {
    plan(request, caps, Whose::Other, Some(&space(false)))
}

fn words(plan: &Plan) -> [Guarantee; 4] {
    let g = plan.promised.guarantees;
    [g.now, g.future, g.fork, g.exec]
}

use Guarantee::{Enforced, Exceeds, NotCovered};

/// (policy, host knob, guarantees without and with inheritance; `None`: EOPNOTSUPP).
type Row = (
    PolicyKind,
    KnobValue,
    Option<[Guarantee; 4]>,
    Option<[Guarantee; 4]>,
);

#[test]
fn the_table_of_the_contract() {
    let all = [Enforced; 4];
    let exceeds = [Enforced, Enforced, Enforced, Exceeds];
    let advice = [Enforced, NotCovered, Enforced, NotCovered];
    let knobs = || [KnobValue::Always, KnobValue::Madvise, KnobValue::Never];
    let mut rows: Vec<Row> = Vec::new();
    for knob in knobs() {
        for kind in [
            PolicyKind::Nohugepage,
            PolicyKind::HugepageAdvised,
            PolicyKind::Mergeable,
        ] {
            rows.push((kind, knob.clone(), Some(exceeds), Some(all)));
        }
        rows.push((PolicyKind::FadeOnDeath, knob, None, None));
    }
    rows.push((
        PolicyKind::Hugepage,
        KnobValue::Always,
        Some(exceeds),
        Some(all),
    ));
    rows.push((
        PolicyKind::Hugepage,
        KnobValue::Madvise,
        Some(advice),
        Some(advice),
    ));
    rows.push((PolicyKind::Hugepage, KnobValue::Never, None, None));
    for (kind, knob, ends, inherits) in rows {
        let caps = with_host(knob.clone());
        for (across, wanted) in [(AcrossExec::Ends, ends), (AcrossExec::Inherit, inherits)] {
            let Ok(request) = Request::set(&[kind], across) else {
                assert_eq!(kind, PolicyKind::FadeOnDeath);
                continue;
            };
            let got = made(&request, &caps);
            let context = format!("{kind} {knob:?} {across:?}");
            match (&got, wanted) {
                (Ok(plan), Some(wanted)) => assert_eq!(words(plan), wanted, "{context}"),
                (Err(error), None) => assert_eq!(error.errno(), Errno::EOPNOTSUPP, "{context}"),
                _ => panic!("{context}: {got:?}"),
            }
            // Strict: exactly, or nothing is touched.
            let mut strict = request.clone();
            strict.exactness = Exactness::Strict;
            let exact = wanted == Some(all) && kind != PolicyKind::Hugepage;
            match made(&strict, &caps) {
                Ok(plan) => assert!(exact && plan.promised.is_exact(), "{context}"),
                Err(error) => {
                    assert!(!exact, "{context}: {error}");
                    assert_eq!(error.errno(), Errno::EOPNOTSUPP);
                }
            }
        }
    }
}

#[test]
fn every_shortfall_is_said() {
    for knob in [KnobValue::Always, KnobValue::Madvise] {
        for kind in PolicyKind::ALL {
            let Ok(plan) = made(&set(kind, AcrossExec::Ends), &with_host(knob.clone())) else {
                continue;
            };
            assert!(!plan.promised.is_exact());
            assert!(!plan.promised.notes.is_empty(), "{kind}");
            for note in &plan.promised.notes {
                assert!(!note.to_string().is_empty());
            }
        }
    }
}

#[test]
fn older_kernels() {
    let no_except = HostCaps {
        except_advised: Support::No,
        ..newest()
    };
    let no_merge = HostCaps {
        memory_merge: Support::No,
        ..newest()
    };
    let no_thp = HostCaps {
        thp: None,
        thp_disable: Support::No,
        ..newest()
    };
    for (kind, caps) in [
        (PolicyKind::HugepageAdvised, &no_except),
        (PolicyKind::Mergeable, &no_merge),
        (PolicyKind::Nohugepage, &no_thp),
        (PolicyKind::Hugepage, &no_thp),
    ] {
        let error = made(&set(kind, AcrossExec::Inherit), caps).unwrap_err();
        assert_eq!(error.errno(), Errno::EOPNOTSUPP, "{kind}");
        let clear = Request::clear(&[kind]).unwrap();
        assert!(
            made(&clear, caps).is_ok(),
            "what cannot stand is clear: {kind}"
        );
    }
    assert!(
        made(
            &set(PolicyKind::Nohugepage, AcrossExec::Inherit),
            &no_except
        )
        .is_ok()
    );
}

#[test]
fn always_advises_what_is_not_advised_and_takes_the_disabling_off() {
    let request = set(PolicyKind::Hugepage, AcrossExec::Ends);
    let plan = made(&request, &newest()).unwrap();
    assert_eq!(
        plan.steps.first(),
        Some(&Step::SetThpDisable {
            to: ThpDisable::Off,
            only_from: None
        })
    );
    let Some(Step::Advise { runs, .. }) = plan.steps.get(1) else {
        panic!("{:?}", plan.steps)
    };
    assert_eq!(runs.len(), 2);
    let counts = plan.promised.mappings.unwrap();
    assert_eq!(
        (
            counts.changed,
            counts.skipped_nohugepage,
            counts.skipped_file
        ),
        (2, 1, 1)
    );
    let done = super_plan(&request, Some(&space(true)));
    assert_eq!(done.steps.len(), 1, "advised already");
    assert_eq!(
        done.promised.mechanisms,
        [Mechanism::InjectedPrctl, Mechanism::InjectedMadvise]
    );
}

fn super_plan(request: &Request, space: Option<&AddressSpace>) -> Plan {
    plan(request, &newest(), Whose::Other, space).unwrap()
}

#[test]
fn clearing_always_counts_what_stays() {
    let request = Request::clear(&[PolicyKind::Hugepage]).unwrap();
    let plan = super_plan(&request, Some(&space(true)));
    assert!(plan.steps.is_empty());
    assert_eq!(words(&plan), [NotCovered, Enforced, NotCovered, Enforced]);
    assert_eq!(plan.promised.notes, [Note::Residual { mappings: 2 }]);
    let plan = super_plan(&request, Some(&space(false)));
    assert!(plan.promised.is_exact());
    assert_eq!(plan.promised.mechanisms, [Mechanism::Nothing]);
}

#[test]
fn clearing_touches_only_its_own_policy() {
    for (kind, from) in [
        (PolicyKind::Nohugepage, ThpDisable::Full),
        (PolicyKind::HugepageAdvised, ThpDisable::ExceptAdvised),
    ] {
        let plan = super_plan(&Request::clear(&[kind]).unwrap(), None);
        assert_eq!(
            plan.steps,
            [Step::SetThpDisable {
                to: ThpDisable::Off,
                only_from: Some(from)
            }]
        );
        assert!(plan.promised.is_exact());
    }
}

#[test]
fn the_step_that_may_fail_comes_first() {
    for kinds in [
        [PolicyKind::Nohugepage, PolicyKind::Mergeable],
        [PolicyKind::Mergeable, PolicyKind::Nohugepage],
    ] {
        let request = Request::set(&kinds, AcrossExec::Inherit).unwrap();
        let plan = super_plan(&request, None);
        assert!(matches!(
            plan.steps[..],
            [
                Step::SetMerge { on: true },
                Step::SetThpDisable {
                    to: ThpDisable::Full,
                    ..
                }
            ]
        ));
    }
}

#[test]
fn our_own_process_needs_no_injection() {
    for (kind, mechanism) in [
        (PolicyKind::Nohugepage, Mechanism::OwnPrctl),
        (PolicyKind::Mergeable, Mechanism::OwnPrctl),
    ] {
        let request = set(kind, AcrossExec::Inherit);
        let plan = plan(&request, &newest(), Whose::Own, None).unwrap();
        assert_eq!(plan.promised.mechanisms, [mechanism]);
    }
}

#[test]
fn a_ksm_that_sleeps_is_mentioned() {
    let request = set(PolicyKind::Mergeable, AcrossExec::Inherit);
    let asleep = HostCaps {
        ksm_run: Some(0),
        ..newest()
    };
    assert_eq!(
        made(&request, &asleep).unwrap().promised.notes,
        [Note::NotTheStackAfterExec, Note::KsmNotRunning]
    );
    assert_eq!(
        made(&request, &newest()).unwrap().promised.notes,
        [Note::NotTheStackAfterExec]
    );
}

#[test]
fn the_knob_that_decides_is_named() {
    let mut host = thp(KnobValue::Always);
    host.sizes = vec![ThpSize {
        kb: 2048,
        knob: KnobValue::Never,
    }];
    let caps = HostCaps {
        thp: Some(host),
        ..newest()
    };
    let error = made(&set(PolicyKind::Hugepage, AcrossExec::Ends), &caps).unwrap_err();
    assert!(
        error.to_string().contains("hugepages-2048kB/enabled"),
        "{error}"
    );
    let error = made(
        &set(PolicyKind::Hugepage, AcrossExec::Ends),
        &with_host(KnobValue::Never),
    );
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("transparent_hugepage/enabled")
    );
}
