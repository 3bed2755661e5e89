//! Work that may block for ever, in a task that is killed when its time is up.

use mctl_abi::Errno;

use crate::inject::shield;
use crate::raw::checked;

/// Runs `work` in a task of its own for at most so long; false: it was cut short. It must neither
/// allocate nor lock, and may end between any two instructions.
pub(super) fn run(ns: u64, work: impl FnOnce()) -> Result<bool, Errno> {
    let mut finished = false;
    shield::run(|| {
        // Its end is the timer's too.
        if kill_me_after(ns).is_ok() {
            work();
            finished = true;
        }
    })?;
    Ok(finished)
}

fn kill_me_after(ns: u64) -> Result<(), Errno> {
    // SAFETY: integers and pointers only, for which zero is a value.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = libc::SIGKILL;
    let mut timer = 0i32;
    // SAFETY: the raw call: it reads the event and writes one int, and no C library keeps a record.
    checked(unsafe {
        libc::syscall(
            libc::SYS_timer_create,
            libc::CLOCK_MONOTONIC,
            &raw const event,
            &raw mut timer,
        )
    })?;
    let never = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let once = libc::itimerspec {
        it_interval: never,
        it_value: libc::timespec {
            tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(1),
            tv_nsec: i64::try_from(ns % 1_000_000_000).unwrap_or(0).max(1),
        },
    };
    let no_old = std::ptr::null_mut::<libc::itimerspec>();
    // SAFETY: the timer just made, a valid time, no old one asked for.
    checked(unsafe { libc::syscall(libc::SYS_timer_settime, timer, 0, &raw const once, no_old) })
        .map(drop)
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
