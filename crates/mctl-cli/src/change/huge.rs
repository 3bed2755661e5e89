//! What stays in huge pages under a policy that forbids new ones, and splitting it.

use mctl::coverage::{Bytes, Coverage};
use mctl::{Target, Thp};

use super::{Sum, Work};
use crate::interrupt::Interrupt;
use crate::{report, splitting};

impl Work<'_> {
    /// Looks what of each process is still huge, where that matters, and splits it where that was
    /// asked for. Returns whether Ctrl-C came.
    pub(super) fn look_after(&self, sum: &mut Sum) -> bool {
        let told = self.after.split || self.args.json || !self.args.quiet;
        let forbids = self.request.sets_thp() == Some(Thp::Never);
        if !forbids || !told || sum.rollback.is_some() {
            return false;
        }
        let interrupt = self.after.split.then(Interrupt::install);
        for entry in sum.entries.iter_mut().filter(|entry| entry.result.is_ok()) {
            // One that has ended holds nothing any more.
            let Ok(target) = Target::open(entry.spec) else {
                continue;
            };
            entry.still_huge = still_huge(&target);
            let Some(interrupt) = &interrupt else {
                continue;
            };
            if !interrupt.pressed() {
                entry.split = self.split(&target, interrupt);
                if entry.split.is_some() {
                    entry.still_huge = still_huge(&target);
                }
            }
        }
        interrupt.is_some_and(|interrupt| interrupt.pressed())
    }

    fn split(
        &self,
        target: &Target,
        interrupt: &Interrupt,
    ) -> Option<Result<splitting::Outcome, mctl::Error>> {
        let how = splitting::How {
            dry_run: self.args.dry_run,
            quiet: self.args.quiet || self.args.json,
            ..splitting::How::default()
        };
        match splitting::split(target, how, interrupt) {
            Err(mctl::Error::NoProcess { .. }) => None,
            result => Some(result),
        }
    }
}

fn still_huge(target: &Target) -> Option<Bytes> {
    Coverage::total(target).ok().map(|memory| memory.anon_huge)
}

/// One note for all.
pub(super) fn note(still: &[(i32, Bytes)]) {
    let sum: Bytes = still.iter().map(|(_, bytes)| *bytes).sum();
    match still {
        [] => {}
        [(pid, bytes)] => report::note(&format!(
            "process {pid}: {bytes} is in huge pages and stays so; 'mctl split {pid}' (or --split) \
             gives back what of it is all zero"
        )),
        many => report::note(&format!(
            "{} processes: {sum} is in huge pages and stays so; 'mctl split' (or --split) gives \
             back what of it is all zero",
            many.len()
        )),
    }
}
