//! What reading a process costs it in locks: how long its own mapping and unmapping takes while it is
//! read without a pause, beside the same with nobody reading.
//!
//! - a policy that `/proc/PID/status` and `ksm_stat` tell costs no more than reading `ksm_stat`, for which the
//!   kernel looks at every mapping;
//! - the whole of `mctl get` costs no more than reading smaps, and reading smaps no more than the
//!   walk over the largest mapping.
//!
//! `cargo bench -p mctl --bench reading`; `MCTL_BENCH_MIB` sets the size of the largest mapping (256),
//! in pages of 4 KiB. Rounds take turns, so that a busy machine is busy for all.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a bench may panic"
)]

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mctl::coverage::Coverage;
use mctl::why::Setting;
use mctl::{Look, Target, ThpHost, read_policy};
use mctl_testkit::Fixture;

const ROUNDS: usize = 8;
const ROUND_MS: u64 = 1000;

/// One turn of mapping, touching and unmapping, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Turns {
    count: u64,
    median: u64,
    p99: u64,
    p999: u64,
    longest: u64,
}

fn turns(fixture: &mut Fixture) -> Turns {
    let answer = fixture.ask(&format!("times {ROUND_MS}")).unwrap();
    let numbers: Vec<u64> = answer
        .split(' ')
        .skip(1)
        .map(|word| word.parse().unwrap())
        .collect();
    let [count, median, p99, p999, longest] = numbers[..] else {
        panic!("{answer}")
    };
    Turns {
        count,
        median,
        p99,
        p999,
        longest,
    }
}

/// What is read, again and again, while the program maps.
type Reader<'a> = (&'static str, Box<dyn Fn() + Send + Sync + 'a>);

fn drain(pid: i32, file: &str) {
    let mut file = std::fs::File::open(format!("/proc/{pid}/{file}")).unwrap();
    let mut buffer = vec![0; 64 << 10];
    while file.read(&mut buffer).unwrap() > 0 {}
}

fn beside(fixture: &mut Fixture, read: &(dyn Fn() + Send + Sync)) -> (Turns, u64) {
    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let turns = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                read();
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        let turns = turns(fixture);
        stop.store(true, Ordering::Relaxed);
        turns
    });
    (turns, reads.load(Ordering::Relaxed))
}

fn median(values: impl Iterator<Item = u64>) -> f64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0) as f64
}

fn promise(what: &str, ratio: f64, most: f64) {
    let verdict = if ratio <= most { "kept" } else { "BROKEN" };
    println!("promise {what}: {ratio:.2}, at most {most}: {verdict}");
}

fn main() {
    let mib = std::env::var("MCTL_BENCH_MIB").unwrap_or_else(|_| "256".to_owned());
    let mut fixture = Fixture::start("map_times", &["n=10000", &format!("mib={mib}")]).unwrap();
    let pid = fixture.pid();
    let target = Target::open(pid.to_string().parse().unwrap()).unwrap();
    let host = ThpHost::read().unwrap();
    let whole = || {
        let reading = read_policy(&target, Look::Proc).unwrap();
        let setting = Setting::new(host.as_ref(), reading.thp());
        setting.report(&target).unwrap();
    };
    let readers: Vec<Reader<'_>> = vec![
        ("nobody", Box::new(std::thread::yield_now)),
        (
            "policy",
            Box::new(|| assert!(read_policy(&target, Look::Proc).is_ok())),
        ),
        ("ksm_stat", Box::new(|| drain(pid, "ksm_stat"))),
        ("maps", Box::new(|| drain(pid, "maps"))),
        (
            "coverage",
            Box::new(|| assert!(Coverage::total(&target).is_ok())),
        ),
        ("smaps_rollup", Box::new(|| drain(pid, "smaps_rollup"))),
        ("get", Box::new(whole)),
        ("smaps", Box::new(|| drain(pid, "smaps"))),
    ];
    let mut seen = vec![Vec::new(); readers.len()];
    for _ in 0..ROUNDS {
        for (rounds, (_, read)) in seen.iter_mut().zip(&readers) {
            rounds.push(beside(&mut fixture, read));
        }
    }
    println!(
        "one turn of mmap, a touch and munmap of 64 KiB, beside {mib} MiB in small pages and 10,000 mappings"
    );
    let of = |name: &str, what: fn(&Turns) -> u64| {
        let at = readers.iter().position(|(reader, _)| *reader == name);
        median(seen[at.unwrap()].iter().map(|(turns, _)| what(turns)))
    };
    for (name, _) in &readers {
        let us = |what: fn(&Turns) -> u64| of(name, what) / 1000.0;
        let at = readers
            .iter()
            .position(|(reader, _)| reader == name)
            .unwrap();
        println!(
            "{name:>13}: median {:.1} µs, p99 {:.1} µs, p99.9 {:.1} µs, longest {:.0} µs; {:.0} turns, {:.0} reads a round",
            us(|t| t.median),
            us(|t| t.p99),
            us(|t| t.p999),
            us(|t| t.longest),
            of(name, |t| t.count),
            median(seen[at].iter().map(|(_, reads)| *reads)),
        );
    }
    let ratio = |a, b, what: fn(&Turns) -> u64| of(a, what) / of(b, what).max(1.0);
    promise(
        "the policy alone, p99.9 of a turn against ksm_stat read by hand",
        ratio("policy", "ksm_stat", |t| t.p999),
        1.2,
    );
    promise(
        "coverage, p99.9 of a turn against smaps_rollup read by hand",
        ratio("coverage", "smaps_rollup", |t| t.p999),
        1.2,
    );
    promise(
        "the whole of get, p99.9 of a turn against smaps read by hand",
        ratio("get", "smaps", |t| t.p999),
        1.2,
    );
    drop(readers);
    fixture.finish().unwrap().assert_clean(1);
}
