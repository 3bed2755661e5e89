//! The runs of "always" on a `madvise` host.

use std::sync::Arc;
use std::time::Duration;

use mctl_abi::Errno;
use mctl_sys::inject::{Job, Limits, RunResult, Runs, run};
use mctl_sys::raw::madvise::{MADV_HUGEPAGE, Range, takes_own_advice};

use super::Work;
use crate::address_space::AddressSpace;
use crate::error::{Error, Result};
use crate::outcome::{Failure, Outcome};
use crate::patience::{note_disturbance, take_off};
use crate::plan::Follow;

/// How often the mappings are read again for what the target mapped meanwhile.
const PASSES: u32 = 3;

pub(super) fn fail_run(outcome: &mut Outcome, run: Range, errno: Errno) {
    if let Some(counts) = &mut outcome.mappings {
        counts.failed.push(Failure {
            start: run.start,
            len: run.len,
            errno,
        });
    }
}

/// Advises a target's runs, and what it mapped meanwhile, until a look finds nothing new.
pub(super) fn advise_target(
    work: &mut Work<'_>,
    advice: i32,
    runs: Vec<Range>,
    follow: Follow,
    left: &mut Limits,
) -> Result<()> {
    let vectored = takes_own_advice(MADV_HUGEPAGE);
    let mut runs = runs;
    let respect = crate::request::Override::Respect;
    let mut memory = None;
    for pass in 0..PASSES {
        let prepared = match work.prepared.take() {
            Some(prepared) => prepared,
            None => work.target.look()?,
        };
        // The mappings of later passes are listed after this, and have to be of the same program.
        let memory = memory.get_or_insert_with(|| prepared.memory().map(Arc::new));
        let mut list = Runs::new(advice, runs, vectored).of(memory.clone());
        let report = {
            let mut jobs = [Job::runs(prepared, &mut list, *left)];
            take_off(left, run(&mut jobs));
            jobs.first().map(Job::outcome)
        };
        match report {
            Some(Ok(report)) => {
                work.outcome.stopped += Duration::from_nanos(report.stopped_ns);
                note_disturbance(&mut work.outcome, &report);
            }
            Some(Err(error)) => return Err(Error::inject(work.target.pid(), error)),
            None => return Ok(()),
        }
        let mut refused = false;
        for (range, result) in list.ranges().iter().zip(list.results()) {
            match result {
                RunResult::Done | RunResult::Failed(Errno::ENOMEM) => {}
                RunResult::Failed(errno) => {
                    refused = true;
                    fail_run(&mut work.outcome, *range, *errno);
                }
                RunResult::NotDone => {
                    refused = true;
                    fail_run(&mut work.outcome, *range, Errno::ECANCELED);
                }
            }
        }
        if refused || follow == Follow::Nothing || pass + 1 == PASSES {
            break;
        }
        // What it mapped between the listing and the stop. Overridden mappings are not looked
        // for again: they carry the advice now like the others.
        let space = AddressSpace::read(work.target, respect)?;
        if space.runs().is_empty() {
            break;
        }
        if let Some(counts) = &mut work.outcome.mappings {
            counts.runs += space.counts().runs;
            counts.changed += space.counts().changed;
        }
        runs = space.runs().to_vec();
    }
    Ok(())
}
