//! The monotonic clock and bounded sleeping, fit for the shield task: no allocation, no lock.

/// Nanoseconds of CLOCK_MONOTONIC.
pub(crate) fn monotonic_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is ours to write.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec
        .unsigned_abs()
        .saturating_mul(1_000_000_000)
        .saturating_add(now.tv_nsec.unsigned_abs())
}

/// A point in time, or never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<u64>);

impl Deadline {
    pub(crate) const NEVER: Deadline = Deadline(None);

    pub(crate) fn after(ns: u64) -> Deadline {
        Deadline(Some(monotonic_ns().saturating_add(ns)))
    }

    pub(crate) fn passed(self, now: u64) -> bool {
        self.0.is_some_and(|end| now >= end)
    }

    pub(crate) fn remaining(self, now: u64) -> u64 {
        self.0.map_or(u64::MAX, |end| end.saturating_sub(now))
    }
}

/// Sleeps until SIGCHLD is pending, or for at most `ns` (and never more than 50 ms, so that a
/// SIGCHLD that was merged with an earlier one costs no more than that).
pub(crate) fn wait_for_sigchld(ns: u64) {
    const SLICE_NS: u64 = 50_000_000;
    let timeout = libc::timespec {
        tv_sec: 0,
        tv_nsec: i64::try_from(ns.min(SLICE_NS)).unwrap_or(0),
    };
    let chld: u64 = 1 << (libc::SIGCHLD - 1);
    let no_info = std::ptr::null_mut::<libc::siginfo_t>();
    // SAFETY: the mask has the kernel's size of 8 bytes; no siginfo is asked for. Whatever the
    // result, the caller looks at the tracee again.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const chld,
            no_info,
            &raw const timeout,
            8,
        )
    };
}
