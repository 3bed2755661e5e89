//! What stays in huge pages under a policy that forbids new ones, and splitting it.

use mctl::coverage::{Bytes, Coverage};
use mctl::{Target, Thp};

use super::{Entry, Sum, Work};
use crate::interrupt::Interrupt;
use crate::{report, splitting};

/// So many processes are held by a descriptor each.
const AT_ONCE: usize = 256;

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
        let mut changed: Vec<&mut Entry> = sum
            .entries
            .iter_mut()
            .filter(|entry| entry.result.is_ok())
            .collect();
        for entries in changed.chunks_mut(AT_ONCE) {
            self.look_at(entries, interrupt.as_ref());
        }
        interrupt.is_some_and(|interrupt| interrupt.pressed())
    }

    fn look_at(&self, entries: &mut [&mut Entry], interrupt: Option<&Interrupt>) {
        // One that has ended holds nothing any more.
        let (mut held, targets): (Vec<_>, Vec<_>) = entries
            .iter_mut()
            .filter_map(|entry| Some((Target::open(entry.spec).ok()?, entry)))
            .map(|(target, entry)| (entry, target))
            .unzip();
        for (entry, total) in held.iter_mut().zip(Coverage::totals(&targets)) {
            entry.still_huge = total.ok().map(|memory| memory.anon_huge);
        }
        let Some(interrupt) = interrupt else {
            return;
        };
        for (entry, target) in held.iter_mut().zip(&targets) {
            if interrupt.pressed() {
                return;
            }
            entry.split = self.split(target, interrupt);
            if entry.split.is_some() {
                entry.still_huge = still_huge(target);
            }
        }
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
