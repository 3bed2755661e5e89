//! Policies are read without touching the process, and what is said of them is true.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mctl::{Errno, KnobValue, Known, Look, Rule, Target, Thp, ThpHost, policy_mask, read_policy};
use mctl_testkit::{Fixture, has_native_call, start};

fn target(fixture: &Fixture) -> Target {
    Target::open(fixture.pid().to_string().parse().unwrap()).unwrap()
}

/// Puts the program in a state of `PR_SET_THP_DISABLE` and says what that is as a policy.
fn states(fixture: &mut Fixture) -> Vec<(&'static str, Thp)> {
    let mut states = vec![("setthp 0 0", Thp::Inherit), ("setthp 1 0", Thp::Never)];
    if fixture.ask("setthp 1 2").unwrap() == "ok" {
        states.push(("setthp 1 2", Thp::Advised));
    }
    states
}

/// Whatever the host, what /proc is taken to say holds, and the process is not stopped for it.
#[test]
fn what_is_said_is_true() {
    if has_native_call() {
        mctl_testkit::skip!("the kernel keeps a record, and shows it");
    }
    let mut fixture = start!("touch");
    for map in ["pid", "map 8388608"] {
        fixture.ask(map).unwrap();
        for (ask, truth) in states(&mut fixture) {
            assert_eq!(fixture.ask(ask).unwrap(), "ok");
            let read = read_policy(&target(&fixture), Look::Proc).unwrap();
            assert!(read.stopped.is_zero());
            match read.thp() {
                Known::Is(thp) => assert_eq!(thp, truth, "{map} {ask}"),
                Known::Either(one, other) => {
                    assert_eq!((one, other), (Thp::Inherit, Thp::Advised));
                    assert_ne!(truth, Thp::Never, "that shows");
                }
                Known::Other(raw) => assert_eq!(raw, -1, "no such state"),
                Known::Unknown => assert_ne!(truth, Thp::Never, "that shows"),
            }
            let exact = read_policy(&target(&fixture), Look::Exact).unwrap();
            assert_eq!(exact.thp(), Known::Is(truth));
        }
    }
}

/// On a host that gives some size to everybody, a mapping with room shows which it is; on one that
/// gives none to those who did not ask, nothing does.
#[test]
fn what_can_show_shows() {
    let mut fixture = start!("touch");
    let states = states(&mut fixture);
    if has_native_call() || states.len() < 3 {
        mctl_testkit::skip!("needs PR_THP_DISABLE_EXCEPT_ADVISED without a policy record");
    }
    let host = ThpHost::read().unwrap().unwrap();
    let always = host.enabled == KnobValue::Always
        && host
            .sizes
            .iter()
            .any(|size| size.knob == KnobValue::Inherit);
    fixture.ask("map 8388608").unwrap();
    for (ask, truth) in states {
        assert_eq!(fixture.ask(ask).unwrap(), "ok");
        let read = read_policy(&target(&fixture), Look::Proc).unwrap();
        match read.thp() {
            Known::Is(thp) => assert_eq!(thp, truth),
            Known::Either(..) => {
                assert!(!always && truth != Thp::Never, "{host:?}");
                assert_eq!(read.thp_word(), "inherit-or-advised");
            }
            other => assert!(!always && truth != Thp::Never, "{other:?} {host:?}"),
        }
    }
}

#[test]
fn what_does_not_show_is_not_supported() {
    let mut fixture = start!("touch");
    let states = states(&mut fixture);
    for (ask, truth) in states {
        assert_eq!(fixture.ask(ask).unwrap(), "ok");
        let target = target(&fixture);
        let read = read_policy(&target, Look::Proc).unwrap();
        let mask = policy_mask(&target, Rule::Owner, Look::Proc);
        match read.policy() {
            Some(policy) => assert_eq!(mask.unwrap(), policy.mask()),
            None => {
                let error = mask.unwrap_err();
                assert_eq!(error.errno(), Errno::EOPNOTSUPP);
                assert!(!read.doubts().is_empty());
                assert!(error.to_string().contains(&read.doubts()[0]), "{error}");
            }
        }
        let exact = policy_mask(&target, Rule::Owner, Look::Exact).unwrap();
        if !has_native_call() {
            let kinds = truth.kind().map_or(0, |kind| kind.bit() | kind.exec_bit());
            assert_eq!(exact & 0x1717, kinds);
        }
    }
}

/// A process that cannot be reached is read as any other; only asking it fails.
#[test]
fn whom_another_tracer_holds_is_read_all_the_same() {
    let fixture = start!("held");
    let held = Target::open(fixture.target().to_string().parse().unwrap()).unwrap();
    let read = read_policy(&held, Look::Proc).unwrap();
    if read.policy().is_none() {
        let error = read_policy(&held, Look::Exact).unwrap_err();
        assert_eq!(error.errno(), Errno::EBUSY, "{error}");
    }
}
