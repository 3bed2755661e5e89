//! What stays in huge pages under a policy that forbids new ones, and splitting it.

use mctl::budget::Ahead;
use mctl::coverage::{Bytes, Coverage};
use mctl::{Error, ProcessSpec, Target, Thp};

use super::{Changed, Group, Work};
use crate::interrupt::Interrupt;
use crate::operate::{Manner, Operate, Row, Sum, Tell, Turn, split};
use crate::report;

/// So many processes are held by a descriptor each.
const AT_ONCE: usize = 256;

impl Work<'_> {
    /// Looks what of each process is still huge, where that matters, and splits it where that was
    /// asked for. Returns whether Ctrl-C came.
    pub(super) fn look_after(&self, sum: &mut Sum<Changed>, group: &Group) -> bool {
        let told = self.after.split || self.args.json || !self.args.quiet;
        let forbids = self.request.sets_thp() == Some(Thp::Never);
        if !forbids || !told || group.rollback.is_some() {
            return false;
        }
        let interrupt = self.after.split.then(Interrupt::install);
        let mut changed: Vec<(ProcessSpec, &mut Changed)> =
            sum.rows.iter_mut().filter_map(of_row).collect();
        for changed in changed.chunks_mut(AT_ONCE) {
            self.look_at(changed, interrupt.as_ref());
        }
        interrupt.is_some_and(|interrupt| interrupt.pressed())
    }

    fn look_at(&self, changed: &mut [(ProcessSpec, &mut Changed)], interrupt: Option<&Interrupt>) {
        // One that has ended holds nothing any more.
        let (mut held, targets): (Vec<&mut Changed>, Vec<_>) = changed
            .iter_mut()
            .filter_map(|(spec, changed)| Some((&mut **changed, Target::open(*spec).ok()?)))
            .unzip();
        for (changed, total) in held.iter_mut().zip(Coverage::totals(&targets)) {
            changed.still_huge = total.ok().map(|memory| memory.anon_huge);
        }
        let Some(interrupt) = interrupt else {
            return;
        };
        for (changed, target) in held.iter_mut().zip(&targets) {
            if interrupt.pressed() {
                return;
            }
            changed.split = self.split(target, interrupt);
            if changed.split.is_some() {
                changed.still_huge = still_huge(target);
            }
        }
    }

    fn split(&self, target: &Target, interrupt: &Interrupt) -> Option<Result<split::Done, Error>> {
        let how = split::How {
            dry_run: self.args.dry_run,
            ..split::How::default()
        };
        let mut ahead = Ahead::default();
        let manner = Manner {
            quiet: self.args.quiet || self.args.json,
            ..how.manner()
        };
        match how.one(target, &mut Turn::new(interrupt, &mut ahead, manner)) {
            Err(Error::NoProcess { .. }) => None,
            result => Some(result),
        }
    }
}

fn of_row(row: &mut Row<Changed>) -> Option<(ProcessSpec, &mut Changed)> {
    let changed = row.result.as_mut().ok()?;
    Some((row.spec, changed))
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
