//! Work that may block for ever, in a task that is killed when its time is up.

use mctl_abi::Errno;

use crate::bounded::Timer;
use crate::inject::shield;

/// Runs `work` in a task of its own for at most so long; false: it was cut short. It must neither
/// allocate nor lock, and may end between any two instructions.
pub(super) fn run(ns: u64, work: impl FnOnce()) -> Result<bool, Errno> {
    let mut finished = false;
    shield::run(|| {
        // Its end is the timer's too.
        if let Ok(_timer) = Timer::kill_me_after(ns) {
            work();
            finished = true;
        }
    })
    .map(drop)?;
    Ok(finished)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_in_time_and_what_does_not() {
        let mut done = 0;
        assert_eq!(run(60_000_000_000, || done += 1), Ok(true));
        let cut = run(20_000_000, || {
            done += 1;
            // SAFETY: no arguments; it waits for a signal, all of which are blocked.
            unsafe { libc::pause() };
            done += 100;
        });
        assert_eq!((cut, done), (Ok(false), 2));
    }
}
