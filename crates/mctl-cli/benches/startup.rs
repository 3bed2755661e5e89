//! The promises about the whole command, each measured here and now against prlimit(1):
//!
//! - `mctl set nohugepage PID` takes at most 1.5 times `prlimit --pid PID --nofile`;
//! - `mctl run --thp never -- true` takes at most 1.2 times `prlimit --nofile=1024 true`.
//!
//! `cargo bench -p mctl-cli`. The commands take turns, so that a busy machine is busy for both.
//! The binary that is delivered is linked statically and starts faster: bench it with
//! `MCTL=path cargo bench -p mctl-cli`.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 1000;

fn once(words: &[&str]) -> Duration {
    let (program, args) = words.split_first().unwrap();
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status().unwrap();
    let took = start.elapsed();
    assert!(status.success(), "{words:?}: {status}");
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// What the fastest tenth stays under. On a busy machine it says more than the median: `set` has
/// to wait for a process of its own and for the target to be scheduled, prlimit for neither.
fn best_tenth(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times.get(times.len() / 10).copied().unwrap_or_default()
}

/// Runs both in turn; prints the medians and whether the promise was kept.
fn compare(what: &str, ours: &[&str], peer: &[&str], promise: f64) {
    for words in [ours, peer] {
        for _ in 0..20 {
            once(words);
        }
    }
    let (our_times, peer_times): (Vec<_>, Vec<_>) =
        (0..ROUNDS).map(|_| (once(ours), once(peer))).unzip();
    let (our_best, peer_best) = (best_tenth(&our_times), best_tenth(&peer_times));
    let (our_time, peer_time) = (median(our_times), median(peer_times));
    let ratio = our_time.as_secs_f64() / peer_time.as_secs_f64();
    let verdict = if ratio <= promise { "kept" } else { "BROKEN" };
    println!(
        "{what}: {our_time:?}, prlimit {peer_time:?}: {ratio:.2} times, promise {promise}: {verdict} \
         (the best tenth: {our_best:?}, {peer_best:?}: {:.2} times)",
        our_best.as_secs_f64() / peer_best.as_secs_f64()
    );
}

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    if Command::new("prlimit").arg("--version").output().is_err() {
        println!("skipped: prlimit(1) is not installed");
        return;
    }
    let named = std::env::var("MCTL").ok();
    let mctl = named.as_deref().unwrap_or(env!("CARGO_BIN_EXE_mctl"));
    let mut target = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = target.id().to_string();
    compare(
        "set nohugepage",
        &[mctl, "set", "-q", "nohugepage", &pid],
        &["prlimit", "--pid", &pid, "--nofile"],
        1.5,
    );
    compare(
        "run --thp never",
        &[mctl, "run", "-q", "--thp", "never", "--", "true"],
        &["prlimit", "--nofile=1024", "true"],
        1.2,
    );
    target.kill().unwrap();
    target.wait().unwrap();
}
