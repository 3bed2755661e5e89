//! The first process of our test guests.
//!
//! It mounts the host's files read-only, so that compiler, interpreters and test binaries are where
//! the host has them, gives the guest its own `/proc`, `/sys`, `/dev`, `/tmp`, and runs a list of jobs.
//! In the end the machine is powered off, whatever happened.

#![forbid(unsafe_code)]

mod knobs;
mod machine;
mod report;
mod runner;

use std::path::Path;

use mctl_guest_init::{Outcome, PLAN_FILE, Plan, SHARE, TAKEN, Totals, Verdict};
use report::Report;

fn main() {
    if !rustix::process::getpid().is_init() {
        use std::io::Write as _;
        let words = "mctl-guest-init is the first process of a guest and nothing else\n";
        let _ = std::io::stderr().write_all(words.as_bytes());
        std::process::exit(2);
    }
    let basics = machine::basics();
    let mut report = Report::open();
    let done = basics.and_then(|()| all(&mut report));
    if let Err(words) = done {
        report.result(&Outcome {
            name: "guest".to_owned(),
            verdict: Verdict::Fail,
            reason: words,
            time: std::time::Duration::ZERO,
        });
    }
    report.end();
    machine::power_off();
}

fn all(report: &mut Report) -> Result<(), String> {
    machine::modules(Path::new("/modules"))?;
    let plan = machine::share()?;
    let plan: Plan = serde_json::from_slice(&plan).map_err(|e| format!("{PLAN_FILE}: {e}"))?;
    machine::host_files(&plan)?;
    for words in machine::comforts() {
        report.note(&words);
    }
    machine::arrange(&plan.machine)?;
    let knobs = knobs::Knobs::read();
    let mut totals = Totals::default();
    for job in &plan.jobs {
        if !is_ours(&job.name)? {
            continue;
        }
        report.start(&job.name);
        let outcome = runner::run(job, plan.machine.user, Path::new(SHARE));
        for knob in knobs.restore() {
            report.note(&format!("{} leaves {knob} changed", job.name));
        }
        totals.count(outcome.verdict);
        report.result(&outcome);
    }
    report.total(totals);
    Ok(())
}

/// Whether no other guest has begun this job.
fn is_ours(name: &str) -> Result<bool, String> {
    let path = Path::new(SHARE).join(TAKEN).join(name);
    match std::fs::create_dir(&path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(format!("{}: {e}", path.display())),
    }
}
