//! The speed promises about policies on running processes, each measured here and now:
//!
//! - Never, Advised, Mergeable-get and CLEAR cost the same at 40 and at 60,000 mappings;
//! - a tree of 1,000 processes takes at most 100 ms, and 5,000 at most five times that (+20 %).
//!
//! `cargo bench -p mctl`. It starts its own processes and ends them. Criterion keeps the
//! series; the lines with "promise" say whether the ratio held in this run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a bench may panic"
)]

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use mctl::tree::members_of_tree;
use mctl::{
    AcrossExec, Atomicity, HostCaps, Outcome, PolicyKind, Request, Support, Target, apply,
    apply_tree,
};
use mctl_testkit::Fixture;

fn target(pid: i32) -> Target {
    Target::open(pid.to_string().parse().unwrap()).unwrap()
}

fn set(kind: PolicyKind) -> Request {
    Request::set(&[kind], AcrossExec::Inherit).unwrap()
}

fn clear(kind: PolicyKind) -> Request {
    Request::clear(&[kind]).unwrap()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn verdict(kept: bool) -> &'static str {
    if kept { "kept" } else { "BROKEN" }
}

/// How long the target was stopped for a set and a clear of a policy, the median of both.
fn stopped(kind: PolicyKind, target: &Target, caps: &HostCaps) -> (Duration, Duration) {
    let one = |request: &Request| -> Outcome { apply(request, target, caps).unwrap() };
    let (sets, clears) = (0..201)
        .map(|_| (one(&set(kind)), one(&clear(kind))))
        .unzip::<_, _, Vec<_>, Vec<_>>();
    let times = |list: Vec<Outcome>| median(list.into_iter().map(|o| o.stopped).collect());
    (times(sets), times(clears))
}

const SIZES: [u32; 3] = [40, 1_000, 60_000];

fn switches(criterion: &mut Criterion) {
    let caps = HostCaps::probe().unwrap();
    let fixtures: Vec<(u32, Fixture)> = SIZES
        .into_iter()
        .map(|n| (n, Fixture::start("vmas", &[&format!("n={n}")]).unwrap()))
        .collect();
    let mut kinds = vec![PolicyKind::Nohugepage];
    if caps.except_advised == Support::Yes {
        kinds.push(PolicyKind::HugepageAdvised);
    }
    for kind in kinds {
        let rows: Vec<(u32, (Duration, Duration))> = fixtures
            .iter()
            .map(|(n, fixture)| (*n, stopped(kind, &target(fixture.pid()), &caps)))
            .collect();
        for (n, (set, clear)) in &rows {
            println!("{kind} at {n} mappings: stopped {set:?} to set, {clear:?} to clear");
        }
        let (few, many) = (rows[0].1, rows[rows.len() - 1].1);
        let ratio = many.0.as_secs_f64() / few.0.as_secs_f64();
        println!(
            "{kind}: 60,000 mappings take {ratio:.2} times as long as 40; promise <= 1.5: {}",
            verdict(ratio <= 1.5)
        );
    }
    let mut group = criterion.benchmark_group("set and clear nohugepage, whole call");
    group.sample_size(20);
    for (n, fixture) in &fixtures {
        let target = target(fixture.pid());
        group.bench_function(format!("{n} mappings"), |b| {
            b.iter(|| {
                apply(&set(PolicyKind::Nohugepage), &target, &caps).unwrap();
                apply(&clear(PolicyKind::Nohugepage), &target, &caps).unwrap()
            });
        });
    }
    group.finish();
}

/// A shell with `count` sleeping children.
struct Tree(Child);

impl Tree {
    fn new(count: usize) -> Tree {
        let script =
            format!("i=0; while [ $i -lt {count} ]; do sleep 1000 & i=$((i+1)); done; wait");
        let root = Command::new("sh")
            .args(["-c", &script])
            .process_group(0)
            .spawn()
            .unwrap();
        let tree = Tree(root);
        while members_of_tree(&tree.target()).unwrap().processes.len() <= count {
            std::thread::sleep(Duration::from_millis(50));
        }
        // Until the last of them has executed its program and sleeps.
        std::thread::sleep(Duration::from_millis(500));
        tree
    }

    fn target(&self) -> Target {
        target(i32::try_from(self.0.id()).unwrap())
    }

    /// The median time of a whole `apply_tree`, and how long each member was stopped.
    fn time(&self, count: usize) -> (Duration, Duration) {
        let caps = HostCaps::probe().unwrap();
        let mut each = Vec::new();
        let mut times = Vec::new();
        for round in 0..10 {
            let request = if round % 2 == 0 {
                set(PolicyKind::Nohugepage)
            } else {
                clear(PolicyKind::Nohugepage)
            };
            let root = self.target();
            let begun = Instant::now();
            let outcome = apply_tree(&request, &root, &caps, Atomicity::Each, &mut |_| ()).unwrap();
            times.push(begun.elapsed());
            assert!(outcome.all_done() && outcome.members.len() == count + 1);
            each.extend(
                outcome
                    .members
                    .iter()
                    .map(|m| m.result.as_ref().unwrap().stopped),
            );
        }
        (median(times), median(each))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

fn trees(_: &mut Criterion) {
    let (thousand, each) = Tree::new(1_000).time(1_000);
    println!(
        "tree of 1,000: {thousand:?}, each stopped {each:?}; promise <= 100 ms: {}",
        verdict(thousand <= Duration::from_millis(100))
    );
    let (five, each) = Tree::new(5_000).time(5_000);
    let ratio = five.as_secs_f64() / thousand.as_secs_f64();
    println!(
        "tree of 5,000: {five:?}, each stopped {each:?}: {ratio:.1} times; promise <= 6 (linear): {}",
        verdict(ratio <= 6.0)
    );
}

criterion_group!(benches, switches, trees);
criterion_main!(benches);
