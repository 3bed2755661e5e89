//! What SPECIFICATION.md promises of `kapi`: how fast it finds specifications in a kernel tree,
//! beside ripgrep in the same run, and how fast it reads many of them.
//!
//!     KAPI_TREE=linux-6.12 cargo bench -p kapi
//!
//! Without KAPI_TREE, or without ripgrep, the first part is left out. The least of several runs
//! counts, as time on the clock and as time of the processors: the machine may have other work.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench fails by panicking"
)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kapi::diag::Source;
use kapi::emit::{Format, emit};
use kapi::front::{kdoc, macros};

const RUNS: usize = 7;

/// Seconds on the clock and of processors, with what children took.
fn timed(work: impl FnOnce()) -> (f64, f64) {
    let (start, before) = (Instant::now(), processors());
    work();
    (start.elapsed().as_secs_f64(), processors() - before)
}

/// From /proc/self/stat: user and system time of this process and its children that ended.
fn processors() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let ticks: u64 = rest
        .split_whitespace()
        .skip(11)
        .take(4)
        .map(|t| t.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10).as_secs_f64()
}

fn least(best: &mut (f64, f64), now: (f64, f64)) {
    *best = (best.0.min(now.0), best.1.min(now.1));
}

fn promise(what: &str, kept: bool) {
    println!("promise {what}: {}", if kept { "kept" } else { "BROKEN" });
}

fn quietly(command: &mut Command) {
    // ripgrep ends with 1 where there is nothing to be found.
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.expect("the program can be run");
}

fn tree(tree: &Path) {
    let kapi = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kapi"));
        quietly(command.args(["list", "--source"]).arg(tree));
    };
    let ripgrep = || {
        let mut command = Command::new("rg");
        command.args(["--no-ignore", "--hidden", "--count", "-g", "*.{c,h,kapi}"]);
        for marker in macros::MARKERS.iter().chain(&kdoc::MARKERS) {
            command.args(["-e", marker]);
        }
        quietly(command.arg(tree));
    };
    // The first round warms the page cache.
    kapi();
    ripgrep();
    let (mut ours, mut theirs) = ((f64::MAX, f64::MAX), (f64::MAX, f64::MAX));
    for _ in 0..RUNS {
        least(&mut ours, timed(kapi));
        least(&mut theirs, timed(ripgrep));
    }
    println!(
        "tree: kapi list {:.2} s ({:.2} s of processors), rg {:.2} s ({:.2} s)",
        ours.0, ours.1, theirs.0, theirs.1
    );
    promise(
        "kapi list --source TREE ≤ 1.5 × rg for the markers",
        ours.0 <= 1.5 * theirs.0,
    );
    promise("the same in time of processors", ours.1 <= 1.5 * theirs.1);
}

fn many() {
    let one = include_str!("../../../specs/pidfd_open.kapi");
    let text: String = (0..10_000)
        .map(|n| one.replace("pidfd_open", &format!("call{n}")))
        .collect();
    let mut best = (f64::MAX, f64::MAX);
    for _ in 0..RUNS {
        let now = timed(|| {
            let parsed = kdoc::parse(&Source::new("many.kapi", &text));
            assert_eq!(parsed.specs.len(), 10_000);
            let json = emit(&parsed.specs, Format::Json);
            assert!(json.len() > text.len());
        });
        least(&mut best, now);
    }
    println!(
        "10,000 specifications, {} MB: {:.2} s ({:.2} s of processors)",
        text.len() / 1_000_000,
        best.0,
        best.1
    );
    promise(
        "10,000 specifications parsed and emitted as JSON ≤ 1 s",
        best.0 <= 1.0,
    );
    promise("the same in time of processors", best.1 <= 1.0);
}

fn main() {
    many();
    let found = std::env::var_os("KAPI_TREE");
    let ripgrep = Command::new("rg").arg("--version").output().is_ok();
    match found {
        Some(path) if ripgrep => tree(Path::new(&path)),
        Some(_) => println!("the tree is left out: needs ripgrep (rg)"),
        None => println!("the tree is left out: set KAPI_TREE to a kernel source tree"),
    }
}
