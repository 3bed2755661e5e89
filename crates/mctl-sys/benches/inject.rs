//! How long a target stands still.
//!
//! - One prctl in a sleeping single-threaded process, beside `gdb --batch -ex 'call …'` on an equal
//!   one. Promised: median ≤ 40 µs, p99 ≤ 150 µs, 1,000 times less than gdb.
//! - Advice on N runs of memory, beside a process that calls madvise on itself over equal runs.
//!   Promised: ≤ 1.15 times that, plus 30 µs.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a bench fails by panicking"
)]
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use mctl_sys::inject::{Job, Limits, Prepared, Runs, ScriptCall, run};
use mctl_sys::raw::madvise::{MADV_HUGEPAGE, MADV_NOHUGEPAGE, Range, madvise_self};
use mctl_sys::raw::pidfd::pidfd_open;
use mctl_sys::raw::prctl::PR_GET_THP_DISABLE;
use mctl_testkit::Fixture;

/// Times in nanoseconds, to be told as median and p99.
#[derive(Default)]
struct Times(Vec<u64>);

impl Times {
    fn at(&mut self, per_mille: usize) -> u64 {
        self.0.sort_unstable();
        let index = self.0.len() * per_mille / 1000;
        self.0.get(index).copied().expect("some times")
    }

    fn tell(&mut self, what: &str) -> u64 {
        let median = self.at(500);
        let (p99, count) = (self.at(990), self.0.len());
        println!("{what}: median {median} ns, p99 {p99} ns of {count}");
        median
    }
}

fn sleeper() -> Fixture {
    let fixture = Fixture::start("epoll_wait", &["every=0"]).expect("a target");
    fixture
        .wait_blocked(Duration::from_secs(5))
        .expect("asleep");
    fixture
}

fn one_prctl(target: &Fixture) -> u64 {
    let prepared = Prepared::look(target.pid(), target.pidfd()).expect("a target");
    let mut calls = [ScriptCall::new(
        libc::SYS_prctl,
        [PR_GET_THP_DISABLE, 0, 0, 0, 0, 0],
    )];
    let mut jobs = [Job::script(prepared, &mut calls, Limits::default())];
    run(&mut jobs);
    jobs[0].outcome().expect("injected").stopped_ns
}

/// gdb's whole run: the target stands still for nearly all of it. Where gdb cannot write the
/// processor's extended state back (gdb 13 on processors with a larger one) it gives up half-way,
/// which counts for it: the time is then that of the attempt.
fn by_gdb() -> Option<Times> {
    let mut times = Times::default();
    for _ in 0..7 {
        let target = sleeper();
        let begun = Instant::now();
        let out = Command::new("gdb")
            .args(["--nx", "--batch", "-p", &target.pid().to_string()])
            .args(["-ex", "call (int)prctl(42,0,0,0,0)"])
            .output()
            .ok()?;
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        if !said.contains("$1 = 0") {
            let why = String::from_utf8_lossy(&out.stderr).into_owned();
            println!("gdb attached and gave up: {}", why.trim());
        }
        times
            .0
            .push(u64::try_from(begun.elapsed().as_nanos()).expect("short"));
    }
    Some(times)
}

fn prctl(criterion: &mut Criterion) {
    let target = sleeper();
    let mut times = Times::default();
    criterion.bench_function("prctl, time stopped", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut sum = 0;
            for _ in 0..rounds {
                let stopped = one_prctl(&target);
                times.0.push(stopped);
                sum += stopped;
            }
            Duration::from_nanos(sum)
        });
    });
    if times.0.is_empty() {
        return; // filtered out
    }
    let ours = times.tell("prctl by us, time stopped");
    match by_gdb() {
        Some(mut gdb) => {
            let gdb = gdb.tell("prctl by gdb");
            println!("gdb / us: {}", gdb / ours.max(1));
        }
        None => println!("prctl by gdb: there is no gdb here"),
    }
    target.finish().expect("a verdict").assert_clean(1);
}

const RUN: u64 = 4096;

/// Every second mapping of such a stretch.
fn every_second(base: u64, count: u64) -> Vec<Range> {
    let at = |i| Range {
        start: base + 2 * i * RUN,
        len: RUN,
    };
    (0..count).map(at).collect()
}

/// Equal mappings of our own.
fn own_runs(count: u64) -> Vec<Range> {
    let len = usize::try_from(2 * count * RUN).expect("an address");
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
    assert_ne!(base, libc::MAP_FAILED);
    let base = base as u64;
    for range in every_second(base + RUN, count) {
        let at = std::ptr::without_provenance_mut(usize::try_from(range.start).expect("fits"));
        // SAFETY: a page of the mapping just made, which nobody uses.
        assert_eq!(unsafe { libc::mprotect(at, 4096, libc::PROT_READ) }, 0);
    }
    every_second(base, count)
}

fn advise(criterion: &mut Criterion) {
    for count in [1, 8, 64, 1000] {
        let n = format!("n={}", 2 * count);
        let target = Fixture::start("vmas", &[&n, "every=3600000"]).expect("a target");
        target.wait_blocked(Duration::from_secs(5)).expect("asleep");
        let base = target.info("base").and_then(|text| text.split(' ').next());
        let base =
            base.and_then(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok());
        let theirs = every_second(base.expect("its base"), count);
        let ours = own_runs(count);
        let pidfd = pidfd_open(target.pid()).expect("a pidfd");
        let (mut by_itself, mut by_us) = (Times::default(), Times::default());
        let mut advices = [MADV_HUGEPAGE, MADV_NOHUGEPAGE].into_iter().cycle();
        criterion.bench_function(&format!("advise {count} runs, time stopped"), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut sum = 0;
                for _ in 0..rounds {
                    let advice = advices.next().expect("for ever");
                    let begun = Instant::now();
                    for range in &ours {
                        madvise_self(*range, advice).expect("advised");
                    }
                    by_itself
                        .0
                        .push(u64::try_from(begun.elapsed().as_nanos()).expect("short"));
                    let prepared = Prepared::look(target.pid(), pidfd.as_fd()).expect("looked at");
                    let mut runs = Runs::new(advice, theirs.clone(), true);
                    let mut jobs = [Job::runs(prepared, &mut runs, Limits::default())];
                    run(&mut jobs);
                    let stopped = jobs[0].outcome().expect("advised").stopped_ns;
                    by_us.0.push(stopped);
                    sum += stopped;
                }
                Duration::from_nanos(sum)
            });
        });
        if !by_us.0.is_empty() {
            let itself = by_itself.tell(&format!("{count} runs by itself"));
            let us = by_us.tell(&format!("{count} runs by us"));
            let promised = itself * 115 / 100 + 30_000;
            println!("{count} runs: {us} ns, promised {promised} ns");
        }
        target.finish().expect("a verdict").assert_clean(1);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(50);
    targets = prctl, advise
}
criterion_main!(benches);
