//! Whole trees: every process of them, also while they fork, and all or nothing.

#![allow(clippy::unwrap_used, reason = "a test helper may panic")]

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use mctl::tree::members_of_tree;
use mctl::{
    AcrossExec, Atomicity, Errno, HostCaps, Known, Look, PolicyKind, Request, Saved, Target, Thp,
    apply_cgroup, apply_tree, read_policy,
};
use mctl_testkit::{Fixture, has_native_call, slower, spawn_tree, start};

fn target(pid: i32) -> Target {
    Target::open(pid.to_string().parse().unwrap()).unwrap()
}

fn never() -> Request {
    Request::set(&[PolicyKind::Nohugepage], AcrossExec::Inherit).unwrap()
}

fn thp(target: &Target) -> Known<Thp> {
    read_policy(target, Look::Exact).unwrap().thp()
}

#[test]
fn every_process_of_a_tree_is_reached() {
    let tree = spawn_tree(3, 3).unwrap();
    let root = target(tree.pid());
    let before = members_of_tree(&root).unwrap().processes;
    assert!(before.len() >= 1 + 3 + 9, "{}", before.len());
    let mut told = 0;
    let caps = HostCaps::probe().unwrap();
    let outcome = apply_tree(&never(), &root, &caps, Atomicity::Each, &mut |_| told += 1).unwrap();
    assert!(outcome.all_done(), "{outcome:?}");
    assert_eq!(outcome.members.len(), told);
    assert_eq!(outcome.members.len(), before.len());
    for member in &before {
        assert_eq!(thp(member), Known::Is(Thp::Never), "{}", member.pid());
    }
    let clear = Request::clear(&[PolicyKind::Nohugepage]).unwrap();
    apply_tree(&clear, &root, &caps, Atomicity::Each, &mut |_| ()).unwrap();
    for member in &before {
        assert_eq!(thp(member), Known::Is(Thp::Inherit), "{}", member.pid());
    }
}

#[test]
fn a_tree_that_forks_meanwhile_is_caught() {
    let storm = start!("fork_storm");
    let root = target(storm.pid());
    let caps = HostCaps::probe().unwrap();
    let outcome = apply_tree(&never(), &root, &caps, Atomicity::Each, &mut |_| ()).unwrap();
    let failed = outcome.members.iter().filter_map(|member| {
        let error = member.result.as_ref().err()?;
        Some(format!("{}: {error}", member.spec))
    });
    assert!(
        outcome.complete,
        "{} passes, {} ended; {:?}",
        outcome.passes,
        outcome.ended,
        failed.collect::<Vec<_>>()
    );
    // From now on nothing in the tree is without it, however often it forks.
    let end = Instant::now() + Duration::from_millis(500 * slower());
    let mut looked = 0;
    while Instant::now() < end {
        for member in members_of_tree(&root).unwrap().processes {
            match read_policy(&member, Look::Proc) {
                Ok(reading) => {
                    assert_eq!(reading.thp(), Known::Is(Thp::Never), "{}", member.pid());
                    looked += 1;
                }
                Err(error) => assert_eq!(error.errno(), Errno::ESRCH, "{error}"),
            }
        }
    }
    assert!(looked > 10, "{looked}");
    storm.finish().unwrap().assert_clean(1);
}

/// One pass after the other finds new ones that have no moment: all passes together wait no longer than one may.
#[test]
fn a_tree_waits_once_however_many_passes_it_takes() {
    if has_native_call() {
        mctl_testkit::skip!("the kernel's own call waits for nobody");
    }
    let wait = Duration::from_secs(2);
    mctl::set_patience(mctl::Patience {
        wait,
        disturb: false,
    });
    let fixture = start!("no_moment", "every=400");
    let root = target(fixture.pid());
    let caps = HostCaps::probe().unwrap();
    let begun = Instant::now();
    let mut told = 0;
    let outcome = apply_tree(&never(), &root, &caps, Atomicity::Each, &mut |_| told += 1).unwrap();
    let took = begun.elapsed();
    // With the whole wait for every pass it were as many times two seconds as there are passes, 64 at last.
    assert!(
        took < Duration::from_secs(60),
        "{took:?} in {} passes",
        outcome.passes
    );
    assert_eq!(told, outcome.members.len(), "each is told of once");
    let (done, left): (Vec<_>, Vec<_>) = outcome.members.iter().partition(|m| m.result.is_ok());
    assert!(!left.is_empty() && outcome.passes > 1, "{outcome:?}");
    for member in left {
        let error = member.result.as_ref().unwrap_err();
        assert_eq!(error.errno(), Errno::EBUSY, "{error}");
    }
    eprintln!(
        "{} of {} in {} passes and {took:?}",
        done.len(),
        outcome.members.len(),
        outcome.passes
    );
    drop(fixture);
}

#[test]
fn one_failure_puts_all_back() {
    // A child that someone else traces cannot be reached. The fixture "held" is such a pair; its
    // parent is the tracer, so the tree under it fails for exactly one member.
    let held = start!("held");
    let root = target(held.pid());
    let caps = HostCaps::probe().unwrap();
    let outcome = apply_tree(&never(), &root, &caps, Atomicity::AllOrNothing, &mut |_| ()).unwrap();
    if has_native_call() {
        // The kernel's own call stops nobody: a tracer is no hindrance.
        assert!(
            outcome.all_done() && outcome.rollback.is_none(),
            "{outcome:?}"
        );
        assert_eq!(thp(&root), Known::Is(Thp::Never));
        return;
    }
    let rollback = outcome.rollback.as_ref().expect("one member is traced");
    assert!(
        rollback.restored >= 1 && rollback.failed.is_empty(),
        "{rollback:?}"
    );
    assert!(!outcome.all_done());
    assert_eq!(thp(&root), Known::Is(Thp::Inherit), "as it was");
    let each = apply_tree(&never(), &root, &caps, Atomicity::Each, &mut |_| ()).unwrap();
    let busy: Vec<Errno> = each
        .members
        .iter()
        .filter_map(|m| m.result.as_ref().err().map(|e| e.errno()))
        .collect();
    assert_eq!(busy, [Errno::EBUSY]);
    assert_eq!(thp(&root), Known::Is(Thp::Never), "the others keep it");
}

#[test]
fn a_dead_root_is_an_error() {
    let fixture = start!("pause");
    let root = target(fixture.pid());
    drop(fixture);
    let caps = HostCaps::probe().unwrap();
    let error = apply_tree(&never(), &root, &caps, Atomicity::Each, &mut |_| ()).unwrap_err();
    assert_eq!(error.errno(), Errno::ESRCH);
}

#[test]
fn saved_and_restored() {
    let fixture = start!("epoll_wait", "every=20");
    let target = target(fixture.pid());
    let saved = Saved::of(&target, Look::Exact).unwrap();
    // Where the policy shows without a stop, none is made for the program's own switch.
    assert!(saved.thp_disable == Some(0) || (has_native_call() && saved.thp_disable.is_none()));
    assert_eq!(saved.mergeable, Some(false));
    let request = never();
    mctl::apply(&request, &target, &HostCaps::probe().unwrap()).unwrap();
    assert_eq!(thp(&target), Known::Is(Thp::Never));
    let outcome = saved.restore().unwrap();
    assert!(outcome.changed());
    assert_eq!(thp(&target), Known::Is(Thp::Inherit));
    fixture.finish().unwrap().assert_clean(1);
}

/// A cgroup of our own, removed with the value.
struct Cgroup(std::path::PathBuf);

impl Cgroup {
    fn new() -> Option<Cgroup> {
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        let root = roots.iter().find(|root| {
            std::path::Path::new(root)
                .join("cgroup.controllers")
                .exists()
        })?;
        let dir = std::path::Path::new(root).join(format!("mctl-test-{}", std::process::id()));
        std::fs::create_dir(&dir).ok()?;
        std::fs::create_dir(dir.join("below")).ok()?;
        Some(Cgroup(dir))
    }

    fn spawn(&self, below: &str) -> Child {
        let file = self.0.join(below).join("cgroup.procs");
        let child = Command::new("sleep")
            .arg("1000")
            .process_group(0)
            .spawn()
            .unwrap();
        std::fs::write(file, child.id().to_string()).unwrap();
        child
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for dir in [self.0.join("below"), self.0.clone()] {
            for _ in 0..50 {
                if std::fs::remove_dir(&dir).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

#[test]
fn every_member_of_a_cgroup_is_reached() {
    mctl_testkit::require_root!();
    let Some(group) = Cgroup::new() else {
        mctl_testkit::skip!("needs a writable cgroup v2 hierarchy");
    };
    let mut children = [group.spawn(""), group.spawn("below"), group.spawn("")];
    let caps = HostCaps::probe().unwrap();
    let outcome = apply_cgroup(&never(), &group.0, &caps, Atomicity::Each, &mut |_| ());
    let name = group.0.file_name().unwrap();
    let by_name = apply_cgroup(
        &never(),
        std::path::Path::new(name),
        &caps,
        Atomicity::Each,
        &mut |_| (),
    );
    let seen: Vec<Known<Thp>> = children
        .iter()
        .map(|child| thp(&target(i32::try_from(child.id()).unwrap())))
        .collect();
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let outcome = outcome.unwrap();
    assert!(
        outcome.all_done() && outcome.members.len() == 3,
        "{outcome:?}"
    );
    assert_eq!(
        by_name.unwrap().members.len(),
        3,
        "also by the cgroup's own path"
    );
    assert_eq!(seen, [Known::Is(Thp::Never); 3]);
}

#[test]
fn the_always_policy_cannot_be_rolled_back() {
    let caps = HostCaps::probe().unwrap();
    let by_advice = caps
        .thp
        .as_ref()
        .is_some_and(|host| host.overall() == mctl_abi::thp::Host::Madvise);
    if !by_advice {
        mctl_testkit::skip!("needs a host whose THP knob says madvise");
    }
    let fixture: Fixture = start!("pause");
    let request = Request::set(&[PolicyKind::Hugepage], AcrossExec::Ends).unwrap();
    let root = target(fixture.pid());
    if has_native_call() {
        // There it is a policy like the others, and can.
        let all = Atomicity::AllOrNothing;
        let outcome = apply_tree(&request, &root, &caps, all, &mut |_| ()).unwrap();
        assert!(outcome.all_done(), "{outcome:?}");
        return;
    }
    let error =
        apply_tree(&request, &root, &caps, Atomicity::AllOrNothing, &mut |_| ()).unwrap_err();
    assert_eq!(error.errno(), Errno::EOPNOTSUPP, "{error}");
}
