//! Policies on real processes: set, seen from inside and outside, cleared.

#![allow(clippy::unwrap_used, reason = "a test helper may panic")]

use std::time::Duration;

use mctl::{
    AcrossExec, Atomicity, Errno, Exactness, Guarantee, HostCaps, Known, Look, Mechanism,
    PolicyKind, Request, Rule, Support, Target, Thp, apply, apply_list, dry_run, read_policy,
};
use mctl_testkit::{Fixture, has_native_call, start};

fn target(fixture: &Fixture) -> Target {
    Target::open(fixture.pid().to_string().parse().unwrap()).unwrap()
}

fn set(fixture: &Fixture, kind: PolicyKind, across: AcrossExec) -> mctl::Result<mctl::Outcome> {
    let request = Request::set(&[kind], across)?;
    apply(
        &request,
        &target(fixture),
        &HostCaps::probe_for(&request.kinds())?,
    )
}

fn clear(fixture: &Fixture, kind: PolicyKind) -> mctl::Result<mctl::Outcome> {
    let request = Request::clear(&[kind])?;
    apply(
        &request,
        &target(fixture),
        &HostCaps::probe_for(&request.kinds())?,
    )
}

fn thp(fixture: &Fixture) -> Known<Thp> {
    read_policy(&target(fixture), Look::Exact).unwrap().thp()
}

#[test]
fn never_is_set_read_and_cleared() {
    let fixture = start!("epoll_wait", "every=20");
    fixture.wait_blocked(Duration::from_secs(120)).unwrap();
    assert_eq!(thp(&fixture), Known::Is(Thp::Inherit));
    let outcome = set(&fixture, PolicyKind::Nohugepage, AcrossExec::Inherit).unwrap();
    assert!(outcome.is_exact() && outcome.changed());
    if has_native_call() {
        assert_eq!(outcome.mechanisms, [Mechanism::NativeCall]);
        assert_eq!(outcome.stopped, Duration::ZERO);
    } else {
        assert_eq!(
            (outcome.thp_disable_before, outcome.thp_disable_after),
            (Some(0), Some(1))
        );
        assert!(outcome.stopped > Duration::ZERO);
    }
    assert_eq!(thp(&fixture), Known::Is(Thp::Never));
    let again = set(&fixture, PolicyKind::Nohugepage, AcrossExec::Inherit).unwrap();
    assert!(!again.changed());
    let other = clear(&fixture, PolicyKind::HugepageAdvised).unwrap();
    assert!(
        !other.changed(),
        "clearing what does not stand changes nothing"
    );
    assert_eq!(thp(&fixture), Known::Is(Thp::Never));
    let cleared = clear(&fixture, PolicyKind::Nohugepage).unwrap();
    assert!(cleared.is_exact() && cleared.changed());
    assert_eq!(thp(&fixture), Known::Is(Thp::Inherit));
    fixture.finish().unwrap().assert_clean(1);
}

#[test]
fn without_inherit_it_exceeds_and_strict_refuses() {
    let fixture = start!("pause");
    let outcome = set(&fixture, PolicyKind::Nohugepage, AcrossExec::Ends).unwrap();
    if has_native_call() {
        assert!(outcome.is_exact(), "{outcome:?}");
        return;
    }
    assert_eq!(outcome.guarantees.exec, Guarantee::Exceeds);
    assert!(!outcome.is_exact());
    clear(&fixture, PolicyKind::Nohugepage).unwrap();
    let mut strict = Request::set(&[PolicyKind::Nohugepage], AcrossExec::Ends).unwrap();
    strict.exactness = Exactness::Strict;
    let caps = HostCaps::probe().unwrap();
    let error = apply(&strict, &target(&fixture), &caps).unwrap_err();
    assert_eq!(error.errno(), Errno::EOPNOTSUPP, "{error}");
    assert_eq!(thp(&fixture), Known::Is(Thp::Inherit), "nothing changed");
}

#[test]
fn advised_and_mergeable_together() {
    let caps = HostCaps::probe().unwrap();
    if caps.except_advised != Support::Yes || caps.memory_merge != Support::Yes {
        mctl_testkit::skip!("needs PR_THP_DISABLE_EXCEPT_ADVISED and PR_SET_MEMORY_MERGE");
    }
    let fixture = start!("nanosleep");
    let kinds = [PolicyKind::HugepageAdvised, PolicyKind::Mergeable];
    let request = Request::set(&kinds, AcrossExec::Inherit).unwrap();
    let outcome = apply(&request, &target(&fixture), &caps).unwrap();
    if !has_native_call() {
        assert_eq!(
            (outcome.thp_disable_after, outcome.merge_after),
            (Some(3), Some(1))
        );
    }
    let reading = read_policy(&target(&fixture), Look::Exact).unwrap();
    assert_eq!(reading.policy().unwrap().mask(), 0x1818);
    let request = Request::clear(&kinds).unwrap();
    apply(&request, &target(&fixture), &caps).unwrap();
    let reading = read_policy(&target(&fixture), Look::Exact).unwrap();
    assert_eq!(reading.policy().unwrap().mask(), 0);
    fixture.finish().unwrap().assert_clean(1);
}

#[test]
fn a_new_thp_policy_replaces_the_old_one() {
    let fixture = start!("pause");
    set(&fixture, PolicyKind::Nohugepage, AcrossExec::Inherit).unwrap();
    if set(&fixture, PolicyKind::HugepageAdvised, AcrossExec::Inherit).is_ok() {
        assert_eq!(thp(&fixture), Known::Is(Thp::Advised));
    }
    if set(&fixture, PolicyKind::Hugepage, AcrossExec::Ends).is_ok() {
        // A stock kernel has no place for it.
        let shown = if has_native_call() {
            Thp::Always
        } else {
            Thp::Inherit
        };
        assert_eq!(
            thp(&fixture),
            Known::Is(shown),
            "always takes the disabling off"
        );
    }
}

#[test]
fn fade_is_not_pretended() {
    let fixture = start!("pause");
    if has_native_call() {
        let outcome = set(&fixture, PolicyKind::FadeOnDeath, AcrossExec::Ends).unwrap();
        assert!(outcome.is_exact() && outcome.changed());
        let cleared = clear(&fixture, PolicyKind::FadeOnDeath).unwrap();
        assert!(cleared.is_exact() && cleared.changed());
        return;
    }
    let error = set(&fixture, PolicyKind::FadeOnDeath, AcrossExec::Ends).unwrap_err();
    assert_eq!(error.errno(), Errno::EOPNOTSUPP, "{error}");
    assert!(
        clear(&fixture, PolicyKind::FadeOnDeath).unwrap().is_exact(),
        "it does not stand"
    );
}

#[test]
fn a_dry_run_touches_nothing() {
    let fixture = start!("pause");
    let request = Request::set(&[PolicyKind::Nohugepage], AcrossExec::Inherit).unwrap();
    let plan = dry_run(&request, &target(&fixture), &HostCaps::probe().unwrap()).unwrap();
    assert_eq!(plan.steps.len(), 1);
    assert!(plan.promised.is_exact());
    assert_eq!(thp(&fixture), Known::Is(Thp::Inherit));
}

#[test]
fn dead_targets_answer_esrch_for_ever() {
    let fixture = start!("pause");
    let held = target(&fixture);
    drop(fixture);
    for _ in 0..2 {
        let request = Request::set(&[PolicyKind::Nohugepage], AcrossExec::Ends).unwrap();
        let error = apply(&request, &held, &HostCaps::probe().unwrap()).unwrap_err();
        assert_eq!(error.errno(), Errno::ESRCH, "{error}");
        assert_eq!(
            read_policy(&held, Look::Exact).unwrap_err().errno(),
            Errno::ESRCH
        );
    }
}

#[test]
fn kernel_threads_and_zombies_have_no_memory() {
    let request = Request::set(&[PolicyKind::Nohugepage], AcrossExec::Ends).unwrap();
    let caps = HostCaps::probe().unwrap();
    let zombie = start!("zombie");
    let held = Target::open(zombie.target().to_string().parse().unwrap()).unwrap();
    let error = apply(&request, &held, &caps).unwrap_err();
    assert_eq!(error.errno(), Errno::ESRCH, "{error}");
    // kthreadd is only looked at: no kernel thread can be attached to.
    if std::fs::read_to_string("/proc/2/comm").is_ok_and(|name| name.trim() == "kthreadd") {
        let thread = Target::open("2".parse().unwrap()).unwrap();
        let error = dry_run(&request, &thread, &caps).unwrap_err();
        assert_eq!(error.errno(), Errno::ESRCH, "{error}");
    }
}

#[test]
fn the_admin_rule_lets_root_do_it() {
    mctl_testkit::require_root!();
    let fixture = start!("pause");
    let mut request = Request::set(&[PolicyKind::Nohugepage], AcrossExec::Inherit).unwrap();
    request.rule = Rule::Admin;
    apply(&request, &target(&fixture), &HostCaps::probe().unwrap()).unwrap();
    assert_eq!(thp(&fixture), Known::Is(Thp::Never));
}

#[test]
fn a_process_whose_first_thread_has_exited_is_alive() {
    let fixture = start!("leader_exit");
    let caps = HostCaps::probe().unwrap();
    let mut merges = false;
    for kind in [
        PolicyKind::Nohugepage,
        PolicyKind::Mergeable,
        PolicyKind::Hugepage,
    ] {
        let request = Request::set(&[kind], AcrossExec::Ends).unwrap();
        match apply(&request, &target(&fixture), &caps) {
            Ok(outcome) => {
                assert!(outcome.changed(), "{kind}: {outcome:?}");
                merges |= kind == PolicyKind::Mergeable;
            }
            Err(error) => assert_eq!(error.errno(), Errno::EOPNOTSUPP, "{kind}: {error}"),
        }
    }
    let reading = read_policy(&target(&fixture), Look::Exact).unwrap();
    // Before Linux 6.4 there is no PR_SET_MEMORY_MERGE.
    assert_eq!(reading.mergeable, Known::Is(merges));
    fixture.finish().unwrap().assert_clean(1);
}

#[test]
fn a_list_is_done_to_all_or_to_none() {
    let fixture = start!("epoll_wait", "every=20");
    fixture.wait_blocked(Duration::from_secs(120)).unwrap();
    let mut child = std::process::Command::new("sleep")
        .arg("20")
        .spawn()
        .unwrap();
    let gone = Target::open(child.id().to_string().parse().unwrap()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let alive = target(&fixture);
    let request = Request::set(&[PolicyKind::Nohugepage], AcrossExec::Inherit).unwrap();
    let caps = HostCaps::probe_for(&request.kinds()).unwrap();
    let list = |atomicity| apply_list(&request, &[&alive, &gone], &caps, atomicity);

    let none = list(Atomicity::AllOrNothing);
    assert!(
        none.results[0].is_none(),
        "left as it is: the other one failed"
    );
    let error = none.results[1].as_ref().unwrap().as_ref().unwrap_err();
    assert_eq!(error.errno(), Errno::ESRCH);
    assert_eq!(none.rollback.unwrap().restored, 0);
    assert_eq!(thp(&fixture), Known::Is(Thp::Inherit));

    let each = list(Atomicity::Each);
    assert!(each.results[0].as_ref().unwrap().is_ok());
    assert!(each.results[1].as_ref().unwrap().is_err() && each.rollback.is_none());
    assert_eq!(thp(&fixture), Known::Is(Thp::Never));
}
