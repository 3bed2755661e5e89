//! What the threads of a process are doing, as /proc tells it.

use std::fs;

/// One thread.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its thread ID.
    pub tid: i32,
    /// The state letter of /proc/PID/stat: R, S, D, T, t, Z …
    pub state: char,
    /// The system call that it is blocked in, if any.
    pub syscall: Option<u64>,
}

impl Task {
    /// Whether it sleeps inside a system call; `nr` says in which. A call that the kernel has
    /// continued for it shows as `restart_syscall`.
    #[must_use]
    pub fn is_blocked_in(&self, nr: Option<u64>) -> bool {
        let in_call = match (nr, self.syscall) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(want), Some(is)) => is == want || is == RESTART_SYSCALL,
        };
        in_call && matches!(self.state, 'S' | 'D')
    }
}

/// `restart_syscall`, by which the kernel continues a call that was interrupted.
const RESTART_SYSCALL: u64 = if cfg!(target_arch = "x86_64") {
    219
} else {
    128
};

/// Whether this kernel has mctl(2) itself: policies are then the kernel's, and prctl(2) knows nothing of them.
#[must_use]
pub fn has_native_call() -> bool {
    std::path::Path::new("/sys/kernel/mm/mctl/nr").exists()
}

/// Whether a process is forbidden huge pages, as the kernel says: by PR_SET_THP_DISABLE, or by mctl(2) where the
/// kernel has it. `None` if it is gone.
#[must_use]
pub fn is_never(pid: i32) -> Option<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = |key| status.lines().find_map(|line| line.strip_prefix(key));
    let by_switch = line("THP_enabled:").is_some_and(|value| value.trim() == "0");
    let word = line("Mctl:").and_then(|value| u32::from_str_radix(value.trim(), 16).ok());
    // Bit 1: NOHUGEPAGE.
    Some(by_switch || word.is_some_and(|word| word & 2 != 0))
}

/// The threads of a process, by thread ID. Empty if it is gone.
#[must_use]
pub fn tasks(pid: i32) -> Vec<Task> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let mut tasks: Vec<Task> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|tid| task(pid, tid))
        .collect();
    tasks.sort_by_key(|task| task.tid);
    tasks
}

fn task(pid: i32, tid: i32) -> Option<Task> {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
    // The command in parentheses may hold anything; the last one ends it.
    let state = stat.rsplit_once(") ")?.1.chars().next()?;
    let call = fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).unwrap_or_default();
    let syscall = called(&call);
    Some(Task {
        tid,
        state,
        syscall,
    })
}

/// The number in a line of `/proc/PID/syscall`: the call, six arguments, the stack pointer, the instruction pointer.
fn called(line: &str) -> Option<u64> {
    let mut words = line.split_whitespace();
    let number = words.next()?.parse().ok()?;
    let stack = words.nth(6).and_then(|word| word.strip_prefix("0x"));
    let stack = stack.and_then(|word| u64::from_str_radix(word, 16).ok());
    // In the 32-bit table restart_syscall is 0, which is read(2) in the 64-bit one.
    let is_32_bit = stack.is_some_and(|stack| stack <= u64::from(u32::MAX));
    Some(if number == 0 && is_32_bit {
        RESTART_SYSCALL
    } else {
        number
    })
}

#[cfg(test)]
mod tests {
    use super::{RESTART_SYSCALL, Task, called};

    #[test]
    fn a_read_is_no_continued_call() {
        let line = "0 0x5 0x7ffd1 0x1 0x0 0x0 0x0 0x7ffd4f1f8c58 0x7f6ea6ffb19d";
        assert_eq!(called(line), Some(0));
        let line = "0 0x5 0x1 0x1 0x0 0x0 0x0 0xffb3f1f8 0x8049d19d";
        assert_eq!(called(line), Some(RESTART_SYSCALL));
        for line in ["running", "-1 0x7ffd 0x7f", ""] {
            assert_eq!(called(line), None, "{line}");
        }
    }

    #[test]
    fn blocked_means_asleep_in_the_expected_call() {
        let task = |state, syscall| Task {
            tid: 1,
            state,
            syscall,
        };
        assert!(task('S', Some(232)).is_blocked_in(Some(232)));
        assert!(task('D', Some(58)).is_blocked_in(None));
        assert!(!task('R', Some(232)).is_blocked_in(Some(232)));
        assert!(!task('S', Some(1)).is_blocked_in(Some(232)));
        assert!(!task('S', None).is_blocked_in(None));
    }
}
