//! The library on a stack of 16 KiB, the smallest that a thread may have.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mctl::advise::{Advice, Advise};
use mctl::memlock::{Lock, lock, unlock};
use mctl::process::ProcessFacts;
use mctl::{
    AcrossExec, Atomicity, Coverage, HostCaps, Look, PolicyKind, Request, Saved, Target, apply,
    apply_tree, dry_run, mctl_errno, read_policy,
};
use mctl_testkit::start;

fn small<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(16 << 10)
            .spawn_scoped(scope, work)
            .unwrap()
            .join()
            .unwrap()
    })
}

/// An overflow ends the whole test by SIGABRT.
#[test]
fn nothing_overflows_a_stack_of_16_kib() {
    let fixture = start!("pause");
    let spec = fixture.pid().to_string().parse().unwrap();
    let target = small(|| Target::open(spec).unwrap());
    let caps = small(|| HostCaps::probe().unwrap());
    let kinds = [PolicyKind::Nohugepage];
    let request = Request::set(&kinds, AcrossExec::Inherit).unwrap();
    small(|| dry_run(&request, &target, &caps).map(drop).unwrap());
    small(|| apply(&request, &target, &caps).map(drop).unwrap());
    small(|| {
        apply_tree(&request, &target, &caps, Atomicity::Each, &mut |_| ())
            .map(drop)
            .unwrap()
    });
    let saved = small(|| Saved::of(&target, Look::Proc).unwrap());
    small(|| saved.dry_run().map(drop).unwrap());
    small(|| saved.restore().map(drop).unwrap());
    small(|| read_policy(&target, Look::Proc).map(drop).unwrap());
    small(|| ProcessFacts::read(&target).map(drop).unwrap());
    small(|| Coverage::total(&target).map(drop).unwrap());
    small(|| {
        Coverage::by_vma(&target, |_| Ok::<(), mctl::Error>(()))
            .map(drop)
            .unwrap()
    });
    small(|| mctl::tree::members_of_tree(&target).map(drop).unwrap());
    let everything = |advice| Advise::new(advice).entire_address_space().skip_errors();
    for advice in [Advice::COLD, Advice::MERGEABLE] {
        small(|| everything(advice).plan(&target).map(drop).unwrap());
        small(|| everything(advice).give(&target).map(drop).unwrap());
    }
    let what = Lock {
        current: true,
        on_fault: true,
        ..Lock::default()
    };
    // Its limit may not allow it; that is an answer too.
    let _ = small(|| lock(&target, what).map(drop));
    small(|| unlock(&target).map(drop).unwrap());
    small(|| mctl_errno(-10_000, 256, 0).map(drop).unwrap());
}
