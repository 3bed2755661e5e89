//! A futex(2) of this process, also for a task that shares its memory only.

use std::sync::atomic::AtomicU32;

/// Sleeps while the word is `value`, for at most `ns` nanoseconds.
pub(crate) fn wait(word: &AtomicU32, value: u32, ns: u64) {
    let timeout = libc::timespec {
        tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(0),
        tv_nsec: i64::try_from(ns % 1_000_000_000).unwrap_or(0),
    };
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word lives as long as the reference, and the timeout is ours. Whatever the result,
    // the caller looks at the word again.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            operation,
            value,
            &raw const timeout,
        )
    };
}

/// Wakes all who wait.
pub(crate) fn wake(word: &AtomicU32) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word lives as long as the reference; the kernel takes its address only.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, i32::MAX) };
}
