//! How long a tree of processes takes. Starts its own children.
//!
//! `cargo run --release -p mctl --example tree_time [PROCESSES]`

use std::error::Error;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use mctl::{AcrossExec, Atomicity, HostCaps, PolicyKind, Request, Target, apply_tree};

fn main() -> Result<(), Box<dyn Error>> {
    let count: usize = std::env::args()
        .nth(1)
        .map_or(Ok(1000), |arg| arg.parse())?;
    // One shell that forks the rest, so that the tree has a root other than ourselves.
    let script = format!("i=0; while [ $i -lt {count} ]; do sleep 1000 & i=$((i+1)); done; wait");
    let mut root = Command::new("sh")
        .args(["-c", &script])
        .process_group(0)
        .spawn()?;
    let result = measure(&root, count);
    rustix::process::kill_process_group(
        rustix::process::Pid::from_child(&root),
        rustix::process::Signal::KILL,
    )?;
    root.wait()?;
    result
}

fn measure(root: &Child, count: usize) -> Result<(), Box<dyn Error>> {
    let target = Target::open(root.id().to_string().parse()?)?;
    while mctl::tree::members_of_tree(&target)?.len() < count + 1 {
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(300));
    for round in 0..10 {
        let set = Request::set(&[PolicyKind::Nohugepage], AcrossExec::Inherit)?;
        let clear = Request::clear(&[PolicyKind::Nohugepage])?;
        let request = if round % 2 == 0 { set } else { clear };
        let caps = HostCaps::probe_for(&request.kinds())?;
        let begun = Instant::now();
        let outcome = apply_tree(&request, &target, &caps, Atomicity::Each, &mut |_| ())?;
        let took = begun.elapsed();
        let stopped: Duration = outcome
            .members
            .iter()
            .flat_map(|m| m.result.as_ref())
            .map(|o| o.stopped)
            .sum();
        println!(
            "{:6.1} ms: {} processes, {} passes, done {}; stopped {:.1} µs each",
            took.as_secs_f64() * 1e3,
            outcome.members.len(),
            outcome.passes,
            outcome.all_done(),
            stopped.as_secs_f64() * 1e6 / outcome.members.len() as f64
        );
    }
    Ok(())
}
