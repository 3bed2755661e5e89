//! Making a history smaller while it still shows what it showed.

use super::generate::History;
use crate::call::Step;

/// The most times a history is run while it is made smaller.
const TRIES: usize = 600;

/// Takes steps out, in ever smaller pieces, as long as `still` says yes.
///
/// # Errors
/// Whatever `still` fails with.
pub fn shrink<E>(
    history: &History,
    still: &mut impl FnMut(&History) -> Result<bool, E>,
) -> Result<History, E> {
    // The files that steps name, and the first process.
    let world = |step: &&Step| matches!(step, Step::File { .. });
    let kept = history.steps.iter().take_while(world).count() + 1;
    let mut best = history.clone();
    let mut piece = best.steps.len() / 2;
    let mut tries = 0;
    while piece > 0 && tries < TRIES {
        let mut at = kept;
        let before = best.steps.len();
        while at < best.steps.len() && tries < TRIES {
            let mut shorter = best.clone();
            let end = (at + piece).min(shorter.steps.len());
            shorter.steps.drain(at..end);
            tries += 1;
            if still(&shorter)? {
                best = shorter;
            } else {
                at += piece;
            }
        }
        if piece > 1 || best.steps.len() == before {
            piece /= 2;
        }
    }
    Ok(best)
}
