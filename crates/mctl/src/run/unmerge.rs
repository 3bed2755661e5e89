//! Taking merging back from another process: a carrier walks its memory in pieces, and the switch is
//! turned off when there is nothing left to walk.

use mctl_abi::Errno;
use mctl_sys::arch::{NR_MADVISE, NR_PRCTL};
use mctl_sys::inject::{CarriedCall, ScriptCall};
use mctl_sys::raw::madvise::Range;
use mctl_sys::raw::prctl::PR_GET_MEMORY_MERGE;

use crate::error::{Error, Result};
use crate::op::advice::Advice;
use crate::op::advice::listing::each_mapping;
use crate::op::advice::served::joined;
use crate::op::outcome::{Note, Outcome};
use crate::op::policy::plan::Step;
use crate::run::carrier::{Carrying, Halt, Size};
use crate::see::coverage::Bytes;
use crate::target::Target;

/// So many pieces are handed over at a time.
const PIECES: usize = 64;

/// Runs the calls of [`script`](super::switch::script) that turn merging off, with the walk before the
/// one that would otherwise do it all at once, and takes the time into the outcome.
/// `walked` counts the bytes that are unmergeable by then, also where it fails.
pub(super) fn run(
    target: &Target,
    calls: &mut [ScriptCall],
    outcome: &mut Outcome,
    walked: &mut u64,
) -> Result<()> {
    let mut carrying = Carrying::new(target)?;
    let ran = in_order(target, calls, &mut carrying, walked);
    outcome.stopped += carrying.end().total;
    if let Some(what) = carrying.note() {
        outcome.notes.push(Note::Disturbed { what });
    }
    ran
}

/// What a failure says where a part was done: the mappings cannot be told from those that were unmergeable before, so
/// nothing is taken back.
pub(super) fn half_done(pid: i32, error: Error, walked: u64) -> Error {
    if walked == 0 || error.errno() == Errno::ESRCH {
        return error;
    }
    Error::HalfDone {
        pid,
        what: "clear mergeable".to_owned(),
        source: Box::new(error),
        left: format!(
            "{} of its memory are unmergeable since, and what it maps from now on is mergeable as before: \
             the same command goes on from there",
            Bytes(walked)
        ),
    }
}

fn in_order(
    target: &Target,
    calls: &mut [ScriptCall],
    carrying: &mut Carrying<'_>,
    walked: &mut u64,
) -> Result<()> {
    for index in 0..calls.len() {
        let Some(script) = calls.get(index).copied() else {
            break;
        };
        let earlier = |at: usize| calls.get(at).and_then(|call| call.result);
        if !script.when.is_due(earlier) {
            continue;
        }
        let [option, ..] = script.call.args;
        let is_getter =
            script.call.number.cast_signed() != NR_PRCTL || option == PR_GET_MEMORY_MERGE;
        if !is_getter {
            walk(target, carrying, walked)?;
        }
        let ret = match carrying.call(script.call.number.cast_signed(), script.call.args)? {
            Ok(ret) => ret,
            Err(Halt::Failed(errno)) => -i64::from(errno.raw()),
            Err(Halt::Cancelled) => break,
        };
        if let Some(slot) = calls.get_mut(index) {
            slot.result = Some(ret);
        }
    }
    Ok(())
}

/// What fails here the switch fails at too, or sees to.
fn walk(target: &Target, carrying: &mut Carrying<'_>, walked: &mut u64) -> Result<()> {
    *walked = 0;
    let mut mappings = Vec::new();
    each_mapping(target, |line| {
        // Only private memory is ever merged (mm/ksm.c, `vma_ksm_compatible()`).
        if !line.perms.shared {
            let range = Range {
                start: line.start,
                len: line.end - line.start,
            };
            mappings.push((range, ()));
        }
    })?;
    let mut mappings: Vec<Range> = joined(mappings)
        .into_iter()
        .map(|(range, ())| range)
        .collect();
    let mut size = Size::measured();
    let advice = i64::from(Advice::UNMERGEABLE.number()).cast_unsigned();
    let mut at = 0;
    while at < mappings.len() {
        // The mappings that are left: whole ones, but for the first.
        let left = mappings.get(at..).unwrap_or_default();
        let pieces = size.cut(left, PIECES);
        let mut calls: Vec<CarriedCall> = pieces
            .iter()
            .map(|piece| CarriedCall::new(NR_MADVISE, [piece.start, piece.len, advice, 0, 0, 0]))
            .collect();
        let mut first = 0;
        while let Some(rest) = calls.get_mut(first..).filter(|rest| !rest.is_empty()) {
            let ran = carrying.run(rest);
            *walked += calls_len(rest.iter().take_while(|call| call.result == Some(0)));
            let (well, halt) = ran?;
            match halt {
                None => break,
                Some(Halt::Cancelled) => return Ok(()),
                Some(Halt::Failed(_)) => first += well + 1,
            }
        }
        if let Some(slowest) = calls.iter().map(|call| call.took).max() {
            size.learn(slowest);
        }
        for piece in pieces {
            if let Some(mapping) = mappings.get_mut(at) {
                mapping.start += piece.len;
                mapping.len -= piece.len;
                at += usize::from(mapping.len == 0);
            }
        }
    }
    Ok(())
}

fn calls_len<'a>(calls: impl Iterator<Item = &'a CarriedCall>) -> u64 {
    calls.map(|call| call.call.args[1]).sum()
}

/// Whether anything of a process may be merged, told without touching it. Where that cannot be told it
/// may.
fn may_have_merged(target: &Target) -> bool {
    let Ok(text) = crate::target::read_all(target, "ksm_stat") else {
        return true;
    };
    let text = String::from_utf8_lossy(&text);
    !text
        .lines()
        .any(|line| line.trim_end() == "ksm_merge_any: no")
}

/// Whether a step takes as long as memory is large.
pub(super) fn wants_a_carrier(target: &Target, step: &Step) -> bool {
    matches!(step, Step::SetMerge { on: false }) && may_have_merged(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_is_told_as_one() {
        let busy = || Error::TargetCall {
            pid: 7,
            call: "prctl(PR_SET_MEMORY_MERGE)",
            errno: Errno::ENOMEM,
        };
        assert_eq!(half_done(7, busy(), 0).to_string(), busy().to_string());
        let told = half_done(7, busy(), 3 << 20);
        assert_eq!((told.errno(), told.changed()), (Errno::ENOMEM, true));
        let words = told.to_string();
        assert!(
            words.contains("3 MiB") && words.contains("PR_SET_MEMORY_MERGE"),
            "{words}"
        );
        let gone = half_done(7, Error::NoProcess { pid: 7 }, 3 << 20);
        assert_eq!(gone.errno(), Errno::ESRCH);
    }
}
