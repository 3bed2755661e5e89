//! How long a program's own threads stand still for long work, by a carrier and beside it by a borrowed
//! thread, in turns on the same target: a lock, an unmerge and a collapse of much memory. And how long
//! its own mmap(2) waits while memory is populated, at once and in the carrier's pieces.
//!
//! Promised: own threads stopped for 100 µs at most (median, quiet machine); mmap(2) waits 1 ms at most.
//!
//! `cargo bench -p mctl --bench carriers`, as root; `MCTL_BENCH_MIB` says how much memory (1024). On a
//! machine that has other work, `MCTL_BENCH_FIRST=1` puts the target before it (SCHED_FIFO), so that the time
//! does not say how long it had to wait for a processor.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a bench may panic"
)]

use std::os::fd::AsFd;
use std::time::Duration;

use mctl::advise::{Advice, Advise, Range};
use mctl::memlock::{Lock, lock, unlock};
use mctl::{AcrossExec, HostCaps, PolicyKind, Request, Target, apply};
use mctl_sys::arch::{NR_MADVISE, NR_MLOCKALL, NR_PRCTL};
use mctl_sys::inject::{CarriedCall, Carrier, Job, Limits, Prepared, ScriptCall, run};
use mctl_testkit::Fixture;

const ROUNDS: usize = 11;

struct Memory {
    fixture: Fixture,
    target: Target,
    range: Range,
}

impl Memory {
    fn new(len: u64) -> Memory {
        let mut fixture = Fixture::start("touch", &[]).expect("a target");
        let answer = fixture.ask(&format!("map {len}")).expect("mapped");
        let start = answer.split(' ').nth(1).expect("an address");
        let start = u64::from_str_radix(start.trim_start_matches("0x"), 16).expect("hex");
        let target = Target::open(fixture.pid().to_string().parse().unwrap()).unwrap();
        if std::env::var_os("MCTL_BENCH_FIRST").is_some() {
            let pid = fixture.pid().to_string();
            let chrt = std::process::Command::new("chrt")
                .args(["-f", "-p", "1", &pid])
                .status();
            assert!(chrt.is_ok_and(|status| status.success()), "chrt -f -p 1");
        }
        Memory {
            fixture,
            target,
            range: Range { start, len },
        }
    }

    fn ask(&mut self, word: &str, advice: &str) {
        let Range { start, len } = self.range;
        let answer = self
            .fixture
            .ask(&format!("{word} {start:#x} {len}{advice}"));
        assert_eq!(answer.expect("an answer"), "ok");
    }

    /// In small pages.
    fn fill(&mut self) {
        self.ask("advise", " 4");
        self.ask("advise", " 15");
        self.ask("touch", "");
        self.fixture
            .wait_blocked(Duration::from_secs(60))
            .expect("asleep");
    }

    /// One call by a borrowed thread: how long it stood still.
    fn borrowed(&self, number: i64, args: [u64; 6]) -> Duration {
        let prepared = Prepared::look(self.target.pid(), self.target.as_fd()).expect("a target");
        let mut calls = [ScriptCall::new(number, args)];
        let report = {
            let mut jobs = [Job::script(prepared, &mut calls, Limits::default())];
            run(&mut jobs);
            jobs[0].outcome().expect("injected")
        };
        // There may be no huge page to be had.
        let enomem = -i64::from(mctl::Errno::ENOMEM.raw());
        assert!(matches!(calls[0].result, Some(ret) if ret == 0 || ret == enomem));
        Duration::from_nanos(report.stopped_ns)
    }
}

/// What any stop costs here and now, for a call that does nothing. A carrier needs two.
fn one_stop(memory: &mut Memory) {
    const PR_GET_KEEPCAPS: u64 = 7;
    memory.fill();
    let mut times: Vec<Duration> = (0..101)
        .map(|_| memory.borrowed(NR_PRCTL, [PR_GET_KEEPCAPS, 0, 0, 0, 0, 0]))
        .collect();
    times.sort_unstable();
    println!(
        "a call that does nothing: {:?} (median of {})",
        times[50],
        times.len()
    );
}

fn tell(what: &str, mut borrowed: Vec<Duration>, mut carried: Vec<Duration>) {
    borrowed.sort_unstable();
    carried.sort_unstable();
    let (old, new) = (borrowed[borrowed.len() / 2], carried[carried.len() / 2]);
    let most = carried.last().copied().unwrap_or_default();
    println!(
        "{what}: own threads stopped for {old:?} by a borrowed thread, {new:?} by a carrier (medians of \
         {}; at most {most:?}): promise of 100 µs {}",
        carried.len(),
        if new <= Duration::from_micros(100) {
            "kept"
        } else {
            "missed"
        }
    );
}

fn locking(memory: &mut Memory) {
    memory.fill();
    let current = Lock {
        current: true,
        ..Lock::default()
    };
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        old.push(memory.borrowed(NR_MLOCKALL, [1, 0, 0, 0, 0, 0]));
        unlock(&memory.target).expect("unlocked");
        new.push(lock(&memory.target, current).expect("locked").stopped);
        unlock(&memory.target).expect("unlocked");
    }
    tell("lock", old, new);
}

fn unmerging(memory: &mut Memory) {
    const SET_MEMORY_MERGE: u64 = 67;
    memory.fill();
    let kinds = [PolicyKind::Mergeable];
    let caps = HostCaps::probe_for(&kinds).expect("probed");
    let set = Request::set(&kinds, AcrossExec::Inherit).unwrap();
    let clear = Request::clear(&kinds).unwrap();
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        if apply(&set, &memory.target, &caps).is_err() {
            println!("unmerge: no merging for whole processes here");
            return;
        }
        old.push(memory.borrowed(NR_PRCTL, [SET_MEMORY_MERGE, 0, 0, 0, 0, 0]));
        apply(&set, &memory.target, &caps).expect("set");
        let outcome = apply(&clear, &memory.target, &caps).expect("cleared");
        assert_eq!(outcome.merge_after, Some(0));
        new.push(outcome.stopped);
    }
    tell("unmerge", old, new);
}

fn collapsing(memory: &mut Memory) {
    let Range { start, len } = memory.range;
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        memory.fill();
        memory.ask("advise", " 14");
        old.push(memory.borrowed(NR_MADVISE, [start, len, 25, 0, 0, 0]));
        memory.fill();
        memory.ask("advise", " 14");
        let never = || false;
        let (pid, fd) = (memory.target.pid(), memory.target.as_fd());
        let limit = Duration::from_secs(60);
        let carrier = Carrier::start(pid, fd, None, Limits::default(), limit, &never);
        let mut carrier = carrier.expect("a carrier");
        let mut calls: Vec<CarriedCall> = (0..len >> 21)
            .map(|n| start + (n << 21))
            .map(|at| CarriedCall::new(NR_MADVISE, [at, 2 << 20, 25, 0, 0, 0]))
            .collect();
        carrier.run(&mut calls, &never).expect("made");
        new.push(carrier.end().stopped);
    }
    tell("collapse", old, new);
}

fn waiting(memory: &mut Memory) {
    let Range { start, len } = memory.range;
    assert_eq!(memory.fixture.ask("churn").expect("an answer"), "ok");
    let longest = |memory: &mut Memory| {
        let answer = memory.fixture.ask("longest").expect("an answer");
        let ns = answer.split(' ').nth(1).and_then(|ns| ns.parse().ok());
        Duration::from_nanos(ns.expect("a time"))
    };
    let (mut alone, mut old, mut new) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        memory.ask("advise", " 4");
        longest(memory);
        std::thread::sleep(Duration::from_millis(300));
        alone.push(longest(memory));
        memory.borrowed(NR_MADVISE, [start, len, 23, 0, 0, 0]);
        old.push(longest(memory));
        memory.ask("advise", " 4");
        longest(memory);
        let advise = Advise::new(Advice::POPULATE_WRITE).ranges(vec![memory.range]);
        assert!(advise.give(&memory.target).expect("given").is_complete());
        new.push(longest(memory));
    }
    for times in [&mut alone, &mut old, &mut new] {
        times.sort_unstable();
    }
    println!(
        "populate of {} MiB: the longest mmap+munmap of another thread {:?} with one call, {:?} with \
         pieces, {:?} with nothing beside it (medians of 5)",
        len >> 20,
        old[2],
        new[2],
        alone[2]
    );
}

fn main() {
    // Under `cargo test` there is nothing to measure.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("only root may lock and collapse as much as this");
        return;
    }
    let mib: u64 = std::env::var("MCTL_BENCH_MIB")
        .ok()
        .and_then(|mib| mib.parse().ok())
        .unwrap_or(1024);
    let mut memory = Memory::new(mib << 20);
    one_stop(&mut memory);
    locking(&mut memory);
    unmerging(&mut memory);
    waiting(&mut memory);
    collapsing(&mut memory);
}
