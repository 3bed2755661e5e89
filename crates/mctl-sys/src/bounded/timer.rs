//! A bound that holds without a watcher: the kernel's own timer ends the task.

use mctl_abi::Errno;

use crate::raw::checked;

/// Kills the task that made it when it runs out. Dropping it takes it back.
#[derive(Debug)]
pub(crate) struct Timer(i32);

impl Timer {
    /// # Errors
    /// As timer_create(2); `EAGAIN` is the common one.
    pub(crate) fn kill_me_after(ns: u64) -> Result<Timer, Errno> {
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
        let timer = Timer(timer);
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
        checked(unsafe {
            libc::syscall(libc::SYS_timer_settime, timer.0, 0, &raw const once, no_old)
        })?;
        Ok(timer)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: an integer only; the timer is ours.
        unsafe { libc::syscall(libc::SYS_timer_delete, self.0) };
    }
}
