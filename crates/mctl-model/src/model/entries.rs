//! The entries of `mctl_process_madvise`, one after the other, and the entire address space.

use mctl_abi::Errno;

use super::pmadvise::{IoVec, PmadviseOutcome};
use crate::madv::{Madvise, Pmadv};
use crate::mm::advise::advice_range;
use crate::mm::{Cx, Mm};
use crate::mutant::Mutant;
use crate::vma::{Backing, VmFlags, Vma};
use crate::{HUGE, TASK_SIZE};

/// The entries in order, and the error where nothing was done. Without SKIP_ERRORS the first that
/// fails is the last looked at; a malformed one always is: it is no mapping that fails.
pub(super) fn advise_entries(
    mm: &mut Mm,
    cx: &mut Cx<'_>,
    entries: &[IoVec],
    advice: Madvise,
    flags: Pmadv,
) -> (PmadviseOutcome, Option<Errno>) {
    let skip = flags.has(Pmadv::SKIP_ERRORS);
    let skip = skip && mm.mutant != Some(Mutant::SkipStops);
    let gaps_allowed = flags.has(Pmadv::SKIP_ERRORS)
        || mm.mutant == Some(Mutant::GapIsNoError)
        || flags.has(Pmadv::NO_ERROR_ON_UNMAPPED);
    let mut outcome = PmadviseOutcome {
        bytes: 0,
        entries: Vec::new(),
    };
    let mut any_done = false;
    let mut failed = None;
    for entry in entries {
        let malformed = advice_range(entry.start, entry.len, advice).is_err();
        let done = advise_entry(mm, cx, *entry, advice, skip, gaps_allowed);
        outcome.entries.push(done.map(|()| entry.len));
        match done {
            Ok(()) => outcome.bytes += entry.len,
            Err(_) if skip && mm.mutant == Some(Mutant::SkipCountsAll) => {
                outcome.bytes += entry.len;
            }
            Err(_) if skip && !malformed => {}
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
        any_done |= entry.len > 0;
    }
    (outcome, failed.filter(|_| !any_done))
}

/// One entry: carried out on what is mapped; with `skip` a mapping that fails is passed over
/// and its error returned at the end.
fn advise_entry(
    mm: &mut Mm,
    cx: &mut Cx<'_>,
    entry: IoVec,
    advice: Madvise,
    skip: bool,
    gaps_allowed: bool,
) -> Result<(), Errno> {
    let end = advice_range(entry.start, entry.len, advice)?;
    let mut first = Ok(());
    let gap = mm.walk(entry.start, end, |mm, part| {
        match advise_mapping(mm, cx, &part, advice, skip) {
            Ok(_) => Ok(()),
            Err((_, error)) if skip => {
                first = first.and(Err(error));
                Ok(())
            }
            Err((_, error)) => Err(error),
        }
    })?;
    let trailing = gap && mm.vmas.at(end - 1).is_none();
    let missed = trailing && mm.mutant == Some(Mutant::TrailingGapMissed);
    if gap && !gaps_allowed && !missed {
        return Err(Errno::ENOMEM);
    }
    first
}

/// Every mapping. Gaps are no error, and memory of a kind that the advice means nothing for is
/// passed over: device and special memory, and hugetlb. The bytes are those of mapped memory that
/// was advised.
pub(super) fn advise_entire(
    mm: &mut Mm,
    cx: &mut Cx<'_>,
    advice: Madvise,
    flags: Pmadv,
) -> (PmadviseOutcome, Option<Errno>) {
    let skip = flags.has(Pmadv::SKIP_ERRORS);
    let mut bytes = 0;
    let mut first = None;
    let walked = mm.walk(0, TASK_SIZE, |mm, part| {
        match advise_mapping(mm, cx, &part, advice, skip) {
            Ok(done) => bytes += done,
            Err(_) if stands_apart(&part) && mm.mutant != Some(Mutant::EntireMeetsSpecial) => {}
            Err((done, error)) => {
                bytes += done;
                first = first.or(Some(error));
                if !skip {
                    return Err(error);
                }
            }
        }
        Ok(())
    });
    if mm.mutant == Some(Mutant::EntireCountsRange) {
        bytes = TASK_SIZE;
    }
    let failed = walked.err().filter(|_| bytes == 0);
    let entry = match first {
        Some(error) => Err(error),
        None => Ok(bytes),
    };
    let outcome = PmadviseOutcome {
        bytes,
        entries: vec![entry],
    };
    (outcome, failed)
}

fn stands_apart(vma: &Vma) -> bool {
    let apart = VmFlags::IO | VmFlags::PFNMAP | VmFlags::HUGETLB;
    vma.flags.any(apart) || matches!(vma.backing, Backing::Special)
}

/// One mapping's bytes that were advised, and the first error. With `skip`, advice that works page
/// by page is given to the huge-page blocks one by one where it fails for the whole.
fn advise_mapping(
    mm: &mut Mm,
    cx: &mut Cx<'_>,
    part: &Vma,
    advice: Madvise,
    skip: bool,
) -> Result<u64, (u64, Errno)> {
    let by_page = matches!(
        advice,
        Madvise::COLLAPSE | Madvise::POPULATE_READ | Madvise::POPULATE_WRITE
    );
    let mut give = |mm: &mut Mm, start: u64, end: u64| {
        if by_page {
            mm.madvise(cx, start, end - start, advice)
        } else {
            mm.advise_part(cx, part, advice)
        }
    };
    let error = match give(mm, part.start, part.end) {
        Ok(()) => return Ok(part.end - part.start),
        Err(error) if !(skip && by_page) => return Err((0, error)),
        Err(error) => error,
    };
    let (mut at, mut done) = (part.start, 0);
    while at < part.end {
        let end = (at + 1).next_multiple_of(HUGE).min(part.end);
        if give(mm, at, end).is_ok() {
            done += end - at;
        }
        at = end;
    }
    Err((done, error))
}
