//! The speed promises about advice, each measured here and now beside a loop written by hand in C
//! (`mctl-testkit/programs/advise_loop.c`) on the same target:
//!
//! - COLD and PAGEOUT over 10,000 mappings: at most 1.1 times the C loop of maximal batches, and
//!   choosing the mappings at most a tenth of it;
//! - COLLAPSE: within 5 % of the kernel's own cost, and how long a thread that uses the memory had
//!   to wait.
//!
//! Compared is the processor time of the calling thread, kernel included, the least of several
//! rounds in turns: other processes on the machine say less in it than in wall time, which is
//! printed too.
//!
//! `cargo bench -p mctl --bench advise [-- mappings|collapse]`; `MCTL_BENCH_MIB=4096` makes the
//! collapsed memory as large. As root: PAGEOUT gets a swap file of its own for the time
//! of the bench, in the temporary directory, or a loop device where the file system refuses. The
//! lines with "promise" say whether the ratio held in this run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a bench may panic"
)]

use std::io::Read;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use mctl::Target;
use mctl::advise::{Advice, Advise, Range, Selection};
use mctl::reclaim::{Change, Look, host_has_swap};
use mctl_testkit::{Fixture, run_tool};

/// How often each is measured, in turns. The least of each is compared: noise only adds.
const ROUNDS: usize = 15;

fn target(f: &Fixture) -> Target {
    Target::open(f.pid().to_string().parse().unwrap()).unwrap()
}

fn base(f: &Fixture) -> Range {
    let words: Vec<&str> = f.info("base").unwrap().split(' ').collect();
    Range {
        start: u64::from_str_radix(words[0].trim_start_matches("0x"), 16).unwrap(),
        len: words[1].parse().unwrap(),
    }
}

/// Whether this part is to be run: all are, unless one is named.
fn wanted(part: &str) -> bool {
    let named = |name: &str| std::env::args().any(|arg| arg == name);
    named(part) || !(named("mappings") || named("collapse"))
}

fn verdict(kept: bool) -> &'static str {
    if kept { "kept" } else { "BROKEN" }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn least(times: impl Iterator<Item = Duration>) -> Duration {
    times.min().unwrap()
}

/// The processor time of this thread so far.
fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        now.tv_sec.try_into().unwrap(),
        now.tv_nsec.try_into().unwrap(),
    )
}

/// What one run took.
struct Took {
    choosing: Duration,
    calls: Duration,
    wall: Duration,
    bytes: u64,
}

/// The hand-written loop.
fn by_hand(f: &Fixture, advice: Advice, at: Range) -> Took {
    let args = [
        f.pid().to_string(),
        advice.number().to_string(),
        format!("{:#x}", at.start),
        format!("{:#x}", at.start + at.len),
    ];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = run_tool("advise_loop", &args).unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let words: Vec<u64> = text
        .split(' ')
        .filter_map(|word| word.trim().parse().ok())
        .collect();
    Took {
        choosing: Duration::from_nanos(words[0]),
        calls: Duration::from_nanos(words[1]),
        bytes: words[2],
        wall: Duration::from_nanos(words[4]),
    }
}

/// Ours, choosing included in the calls.
fn ours(target: &Target, advice: Advice, at: Range) -> Took {
    let (begun, begun_cpu) = (Instant::now(), cpu());
    let advise = Advise::new(advice)
        .selected(Selection::all().within(at))
        .skip_errors();
    let advised = advise.give(target).unwrap();
    Took {
        choosing: Duration::ZERO,
        calls: cpu() - begun_cpu,
        wall: begun.elapsed(),
        bytes: advised.advised,
    }
}

fn bring_in(target: &Target, at: Range) {
    for advice in [Advice::POPULATE_WRITE, Advice::POPULATE_READ] {
        let all = Selection::all().within(at);
        Advise::new(advice)
            .selected(all)
            .skip_errors()
            .give(target)
            .unwrap();
    }
}

/// 10,000 mappings of 64 KiB, every other one filled: 320 MiB.
fn mappings(criterion: &mut Criterion) {
    if !wanted("mappings") {
        return;
    }
    let f = Fixture::start("vmas", &["n=10000", "size=65536", "touch=1"]).unwrap();
    let (target, at) = (target(&f), base(&f));
    bring_in(&target, at);
    compare(&f, &target, at, Advice::COLD, ROUNDS);
    println!("without swap:");
    compare(&f, &target, at, Advice::PAGEOUT, ROUNDS);
    match Swap::on() {
        Ok(swap) => {
            println!("with a swap file of our own ({}):", swap.path.display());
            let before = Look::take(&target).unwrap();
            ours(&target, Advice::PAGEOUT, at);
            let after = Look::take(&target).unwrap();
            let change = Change { before, after };
            println!(
                "pageout moved {} to swap, {} left memory",
                change.went_to_swap(),
                change.left_memory()
            );
            compare(&f, &target, at, Advice::PAGEOUT, 5);
        }
        Err(why) => println!("PAGEOUT into swap not measured: {why}"),
    }
    let mut group = criterion.benchmark_group("10,000 mappings");
    group.sample_size(10);
    group.bench_function("cold", |b| b.iter(|| ours(&target, Advice::COLD, at).bytes));
    let all = Selection::all().within(at);
    group.bench_function("select", |b| b.iter(|| all.ranges(&target).unwrap().len()));
    group.finish();
    f.finish().unwrap().assert_clean(0);
}

fn compare(f: &Fixture, target: &Target, at: Range, advice: Advice, rounds: usize) {
    let all = Selection::all().within(at);
    let (mut us, mut c, mut select, mut read) = (vec![], vec![], vec![], vec![]);
    let refill = advice == Advice::PAGEOUT && host_has_swap();
    for round in 0..2 * rounds {
        if refill {
            bring_in(target, at);
        }
        if round % 2 == 0 {
            us.push(ours(target, advice, at));
        } else {
            c.push(by_hand(f, advice, at));
        }
        let begun = cpu();
        assert!(all.ranges(target).unwrap().len() >= 10_000);
        select.push(cpu() - begun);
        read.push(only_read(f.pid()));
    }
    assert_eq!(us[0].bytes, c[0].bytes, "the same work");
    let ours = least(us.iter().map(|took| took.calls));
    let hand = least(c.iter().map(|took| took.calls));
    let hand_choosing = least(c.iter().map(|took| took.choosing));
    let select = least(select.into_iter());
    let ratio = |of: Duration, to: Duration| of.as_secs_f64() / to.as_secs_f64();
    println!(
        "{advice} over 10,000 mappings: {ours:?} choosing included; C program {hand:?} and \
         {hand_choosing:?} to choose (wall, medians: {:?}, {:?})",
        median(us.iter().map(|took| took.wall).collect()),
        median(c.iter().map(|took| took.wall).collect())
    );
    let whole = ratio(ours, hand + hand_choosing);
    println!(
        "{advice}: {whole:.2} times the C program; promise <= 1.1: {}",
        verdict(whole <= 1.1)
    );
    println!(
        "{advice}: {:.2} times its calls alone; promise <= 1.1: {}",
        ratio(ours, hand),
        verdict(ratio(ours, hand) <= 1.1)
    );
    let share = ratio(select, hand);
    println!(
        "{advice}: choosing the mappings {select:?}, {:.1} % of the calls; promise <= 10 %: {}",
        100.0 * share,
        verdict(share <= 0.1)
    );
    let floor = least(read.into_iter());
    println!(
        "{advice}: the kernel's price for /proc/PID/maps alone {floor:?}, {:.1} % of the calls; \
         ours on top of it {:.1} %",
        100.0 * ratio(floor, hand),
        100.0 * ratio(select.saturating_sub(floor), hand)
    );
}

/// Reads `/proc/PID/maps` and looks at nothing: what no choice can go below.
fn only_read(pid: i32) -> Duration {
    let mut buffer = vec![0; 64 << 10];
    let begun = cpu();
    let mut maps = std::fs::File::open(format!("/proc/{pid}/maps")).unwrap();
    while maps.read(&mut buffer).unwrap() > 0 {}
    cpu() - begun
}

/// Half a GiB of small pages, again and again.
fn collapse(_: &mut Criterion) {
    if !wanted("collapse") {
        return;
    }
    let mib = std::env::var("MCTL_BENCH_MIB").ok();
    let mib: u64 = mib.and_then(|text| text.parse().ok()).unwrap_or(512);
    let mut f = Fixture::start("gaps", &[&format!("mib={mib}")]).unwrap();
    let (target, at) = (target(&f), base(&f));
    let gap = |f: &mut Fixture| -> u64 {
        let answer = f.ask("gap").unwrap();
        answer.strip_prefix("gap ").unwrap().parse().unwrap()
    };
    gap(&mut f);
    std::thread::sleep(Duration::from_secs(1));
    println!(
        "a thread using {mib} MiB, undisturbed: its longest access {} us",
        gap(&mut f)
    );
    let (mut us, mut us_wall, mut c, mut c_wall) = (vec![], vec![], vec![], vec![]);
    let (mut our_gap, mut c_gap) = (0, 0);
    for _ in 0..5 {
        assert_eq!(f.ask("again").unwrap(), "ok");
        let before = Look::take(&target).unwrap();
        let begun = cpu();
        let advised = Advise::new(Advice::COLLAPSE).ranges(vec![at]).skip_errors();
        let advised = advised.give(&target).unwrap();
        us.push(cpu() - begun);
        us_wall.push(advised.took);
        our_gap = our_gap.max(gap(&mut f));
        let change = Change {
            before,
            after: Look::take(&target).unwrap(),
        };
        assert!(advised.advised == at.len, "{advised:?}");
        assert!(change.after.memory.anon_huge.0 >= at.len, "{change:?}");
        assert_eq!(f.ask("again").unwrap(), "ok");
        let took = by_hand(&f, Advice::COLLAPSE, at);
        c.push(took.calls);
        c_wall.push(took.wall);
        c_gap = c_gap.max(gap(&mut f));
    }
    let (us, c) = (least(us.into_iter()), least(c.into_iter()));
    let ratio = us.as_secs_f64() / c.as_secs_f64();
    println!(
        "collapse of {mib} MiB: {us:?}, C loop {c:?} (wall, medians: {:?}, {:?}): {ratio:.3} \
         times; promise <= 1.05: {}",
        median(us_wall),
        median(c_wall),
        verdict(ratio <= 1.05)
    );
    println!("its thread's longest access meanwhile: {our_gap} us, under the C loop {c_gap} us");
    assert_eq!(f.ask("again").unwrap(), "ok");
    let paced = Advise::new(Advice::COLLAPSE).ranges(vec![at]).skip_errors();
    let advised = paced.pace(Duration::from_millis(3)).give(&target).unwrap();
    println!(
        "the same with a pause of 3 ms every 2 MiB: {:?}, its longest access {} us",
        advised.took,
        gap(&mut f)
    );
    f.finish().unwrap().assert_clean(0);
}

/// A swap file of our own, gone again at the end, also if the bench fails.
struct Swap {
    path: PathBuf,
    device: Option<String>,
    _dir: tempfile::TempDir,
}

impl Swap {
    fn on() -> Result<Swap, String> {
        if !mctl_testkit::is_root() {
            return Err("it needs root".to_owned());
        }
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let path = dir.path().join("swap");
        run(Command::new("dd")
            .arg("if=/dev/zero")
            .arg(format!("of={}", path.display()))
            .args(["bs=1M", "count=1024", "status=none"]))?;
        run(Command::new("chmod").arg("600").arg(&path))?;
        run(Command::new("mkswap").arg("-q").arg(&path))?;
        let mut swap = Swap {
            path,
            device: None,
            _dir: dir,
        };
        if let Err(file) = run(Command::new("swapon").arg(&swap.path)) {
            let device = run(Command::new("losetup")
                .args(["--find", "--show"])
                .arg(&swap.path));
            let device = device.map_err(|device| format!("{file}; {device}"))?;
            swap.device = Some(device.trim().to_owned());
            run(Command::new("swapon").arg(device.trim()))?;
        }
        Ok(swap)
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        let on = self
            .device
            .clone()
            .map_or_else(|| self.path.clone(), PathBuf::from);
        if let Err(why) = run(Command::new("swapoff").arg(&on)) {
            eprintln!("the swap of this bench is still on: {why}");
        }
        if let Some(device) = &self.device {
            let _ = run(Command::new("losetup").arg("--detach").arg(device));
        }
    }
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(format!("{command:?}: {why}"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

criterion_group!(benches, mappings, collapse);
criterion_main!(benches);
