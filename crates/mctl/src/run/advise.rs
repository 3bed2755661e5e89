//! The runs of "always" on a `madvise` host.

use std::sync::Arc;
use std::time::Duration;

use mctl_abi::Errno;
use mctl_sys::inject::{InjectError, Job, Memory, Prepared, Report, RunResult, Runs};
use mctl_sys::raw::madvise::{MADV_HUGEPAGE, Range, takes_own_advice};

use super::{Work, note_disturbance};
use crate::error::{Error, Result};
use crate::op::outcome::Outcome;
use crate::op::policy::plan::Follow;
use crate::see::address_space::AddressSpace;
use crate::see::mappings::{Failure, Override};
use crate::wait::patience::{limits, run};

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

/// A target whose runs are being advised.
pub(super) struct Advising<'w, 't> {
    work: &'w mut Work<'t>,
    advice: i32,
    runs: Vec<Range>,
    follow: Follow,
    /// What the runs are of: later passes list mappings anew, and they have to be of the same program.
    memory: Option<Option<Arc<Memory>>>,
}

impl<'w, 't> Advising<'w, 't> {
    pub(super) fn new(
        work: &'w mut Work<'t>,
        advice: i32,
        runs: Vec<Range>,
        follow: Follow,
    ) -> Advising<'w, 't> {
        Advising {
            work,
            advice,
            runs,
            follow,
            memory: None,
        }
    }

    /// The look that the next stop needs.
    fn prepare(&mut self) -> Result<Prepared<'t>> {
        let prepared = match self.work.prepared.take() {
            Some(prepared) => prepared,
            None => self.work.target.look()?,
        };
        self.memory
            .get_or_insert_with(|| prepared.memory().map(Arc::new));
        Ok(prepared)
    }

    fn list(&mut self) -> Runs {
        let vectored = takes_own_advice(MADV_HUGEPAGE);
        let runs = std::mem::take(&mut self.runs);
        Runs::new(self.advice, runs, vectored).of(self.memory.clone().flatten())
    }

    /// Takes in what one pass did. Whether there is more to be advised.
    fn take(
        &mut self,
        list: &Runs,
        report: std::result::Result<Report, InjectError>,
    ) -> Result<bool> {
        let target = self.work.target;
        let report = report.map_err(|error| Error::inject(target.pid(), error))?;
        let outcome = &mut self.work.outcome;
        outcome.stopped += Duration::from_nanos(report.stopped_ns);
        note_disturbance(outcome, &report);
        let mut refused = false;
        for (range, result) in list.ranges().iter().zip(list.results()) {
            let errno = match result {
                RunResult::Done | RunResult::Failed(Errno::ENOMEM) => continue,
                RunResult::Failed(errno) => *errno,
                RunResult::NotDone => Errno::ECANCELED,
            };
            refused = true;
            fail_run(outcome, *range, errno);
        }
        Ok(!refused && self.follow != Follow::Nothing)
    }

    /// Lists what it mapped between the listing and the stop. Overridden mappings are not looked for again: they carry
    /// the advice now like the others.
    fn follow(&mut self) -> Result<bool> {
        let space = AddressSpace::read(self.work.target, Override::Respect)?;
        if space.runs().is_empty() {
            return Ok(false);
        }
        if let Some(counts) = &mut self.work.outcome.mappings {
            counts.runs += space.counts().runs;
            counts.changed += space.counts().changed;
        }
        self.runs = space.runs().to_vec();
        Ok(true)
    }
}

/// Advises the runs of targets, and what they mapped meanwhile, until a look finds nothing new. They wait for moments
/// together.
pub(super) fn advise_targets(mut open: Vec<Advising<'_, '_>>) {
    for pass in 1..=PASSES {
        let mut prepared = Vec::with_capacity(open.len());
        open.retain_mut(|advising| match advising.prepare() {
            Ok(look) => {
                prepared.push(look);
                true
            }
            Err(error) => {
                advising.work.failed = Some(error);
                false
            }
        });
        if open.is_empty() {
            return;
        }
        let limits = limits();
        let mut lists: Vec<Runs> = open.iter_mut().map(Advising::list).collect();
        let reports: Vec<_> = {
            let mut jobs: Vec<Job<'_>> = prepared
                .into_iter()
                .zip(&mut lists)
                .map(|(look, list)| Job::runs(look, list, limits))
                .collect();
            run(&mut jobs);
            jobs.iter().map(Job::outcome).collect()
        };
        let mut done = lists.iter().zip(reports);
        open.retain_mut(|advising| {
            let Some((list, report)) = done.next() else {
                return false;
            };
            let more = advising.take(list, report).and_then(|more| {
                let more = more && pass < PASSES;
                Ok(more && advising.follow()?)
            });
            more.unwrap_or_else(|error| {
                advising.work.failed = Some(error);
                false
            })
        });
    }
}
