//! How long a sleeping process is stopped for one injected prctl. Starts its own `sleep`.
//!
//! `cargo run --release -p mctl-sys --example inject_latency [ROUNDS]`

use std::error::Error;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use mctl_sys::inject::{Job, Limits, Prepared, ScriptCall, run};
use mctl_sys::raw::pidfd::pidfd_open;
use mctl_sys::raw::prctl::PR_GET_THP_DISABLE;

fn main() -> Result<(), Box<dyn Error>> {
    let rounds: usize = std::env::args()
        .nth(1)
        .map_or(Ok(2000), |arg| arg.parse())?;
    let mut child = Command::new("sleep").arg("1000").spawn()?;
    let result = measure(i32::try_from(child.id())?, rounds);
    child.kill()?;
    child.wait()?;
    result
}

fn measure(pid: i32, rounds: usize) -> Result<(), Box<dyn Error>> {
    std::thread::sleep(Duration::from_millis(50));
    let pidfd = pidfd_open(pid)?;
    let mut stopped = Vec::new();
    let mut whole = Vec::new();
    for _ in 0..rounds {
        let begun = Instant::now();
        let prepared = Prepared::look(pid, pidfd.as_fd())?;
        let number = libc::SYS_prctl;
        let mut calls = [ScriptCall::new(number, [PR_GET_THP_DISABLE, 0, 0, 0, 0, 0])];
        let mut jobs = [Job::script(prepared, &mut calls, Limits::default())];
        run(&mut jobs);
        let report = jobs.first().ok_or("no job")?.outcome()?;
        stopped.push(report.stopped_ns);
        whole.push(u64::try_from(begun.elapsed().as_nanos())?);
    }
    for (name, mut list) in [("stopped", stopped), ("whole", whole)] {
        list.sort_unstable();
        let at = |per_mille: usize| {
            list.get(list.len() * per_mille / 1000)
                .copied()
                .unwrap_or(0)
        };
        println!(
            "{name}: median {} ns, p90 {} ns, p99 {} ns, max {} ns",
            at(500),
            at(900),
            at(990),
            list.last().copied().unwrap_or(0)
        );
    }
    Ok(())
}
