//! What a thread is doing, by its state letter. Runs in the shield: no allocation.

use super::files::{path_of, read_small};

/// The state letter of proc_pid_stat(5). `None`: it has ended.
pub(crate) fn state_of(tid: i32) -> Option<u8> {
    let mut buffer = [0u8; 1024];
    state(tid, &mut buffer)
}

fn state(tid: i32, buffer: &mut [u8]) -> Option<u8> {
    let stat = read_small(path_of(tid, "stat", &mut [0; 40])?, buffer).ok()?;
    // The name stands in parentheses and may hold any byte; the last one ends it.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(end.checked_add(2)?).copied()
}

/// How long the thread has had a processor, in nanoseconds (/proc/PID/schedstat). `None`: it has ended, or the
/// kernel does not say.
pub(crate) fn run_time_ns(tid: i32) -> Option<u64> {
    let mut buffer = [0u8; 96];
    let text = read_small(path_of(tid, "schedstat", &mut [0; 40])?, &mut buffer).ok()?;
    let number = text.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_thread() {
        use std::sync::atomic::{AtomicBool, Ordering};
        static DONE: AtomicBool = AtomicBool::new(false);
        // Of another thread: whoever asks waits for the task that looks.
        let (tell, told) = std::sync::mpsc::channel();
        let busy = std::thread::spawn(move || {
            // SAFETY: no arguments.
            tell.send(unsafe { libc::gettid() }).unwrap();
            while !DONE.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let state = state_of(told.recv().unwrap());
        DONE.store(true, Ordering::Relaxed);
        busy.join().unwrap();
        assert_eq!(state, Some(b'R'));
        assert_eq!(state_of(i32::MAX), None);
        assert_eq!(state_of(-1), None);
    }
}
