//! What is put back into a thread whose finite wait the stop has ended.

use super::raw;
use crate::arch::{Arch, Native};
use crate::time::monotonic_ns;

type Regs = <Native as Arch>::Regs;

/// The image to put back, for a wait that failed and shall go on to this moment of CLOCK_MONOTONIC, in nanoseconds.
/// Where the time cannot be written it goes on with its whole timeout.
///
/// The last thing before the registers are set: what passes in between, the wait ends later.
pub(super) fn until(tid: i32, back: Regs, end: Option<u64>) -> Regs {
    const SECOND: u64 = 1_000_000_000;
    let (Some(end), Some(at)) = (end, Native::room_below(&back)) else {
        return back;
    };
    let left = end.saturating_sub(monotonic_ns());
    let written = raw::poke(tid, at, left / SECOND)
        .and_then(|()| raw::poke(tid, at.wrapping_add(8), left % SECOND));
    match written {
        Ok(()) => Native::waits_for(&back, at),
        Err(_) => back,
    }
}
