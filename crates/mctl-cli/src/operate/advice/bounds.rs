//! What bounds advice, in words.

use mctl::Target;
use mctl::advise::{Advice, Bounds};
use mctl::budget::SwapRoom;

/// What is passed over, and for what reason.
pub(crate) fn passed_over(bounds: &Bounds) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(left) = &bounds.left_out {
        said.push(format!(
            "{}: {} of anonymous and shared memory has nowhere to go and is left out; its huge pages \
             would be split for nothing",
            left.why, left.bytes
        ));
    }
    if let Some(small) = &bounds.too_small {
        let (mappings, are) = match small.mappings {
            1 => ("1 mapping".to_owned(), "is"),
            count => (format!("{count} mappings"), "are"),
        };
        said.push(format!(
            "{mappings} ({}) {are} too small for a huge page",
            small.bytes
        ));
    }
    if let Some(sparse) = &bounds.sparse
        && sparse.blocks > 0
    {
        let (resident, growth) = (sparse.resident, sparse.growth);
        said.push(match sparse.blocks {
            1 => format!(
                "1 block of 2 MiB holds too little ({resident}) and is passed over: as a huge page it \
                 would add {growth} (--max-growth SIZE allows that)"
            ),
            blocks => format!(
                "{blocks} blocks of 2 MiB hold too little ({resident} in all) and are passed over: as huge \
                 pages they would add {growth} (--max-growth SIZE allows that)"
            ),
        });
    }
    said
}

/// The same for a dry run, with the figures that a refusal would have.
pub(crate) fn planned(bounds: &Bounds) -> Vec<String> {
    let mut said = passed_over(bounds);
    if let Some(cost) = &bounds.cost {
        said.push(format!(
            "it would bring in up to {}, and there is room for {}",
            cost.bytes,
            cost.room.left()
        ));
    }
    said
}

/// Whether all that was chosen was passed over.
pub(crate) fn nothing_left(bounds: &Bounds) -> bool {
    bounds.left_out.is_some() || bounds.sparse.is_some() || bounds.too_small.is_some()
}

/// Whether something may have to be said before the work begins.
pub(crate) fn is_worth_a_look(advice: Advice, target: &Target) -> bool {
    advice == Advice::PAGEOUT && SwapRoom::of(target).is_ok_and(|room| room.nowhere().is_some())
}
