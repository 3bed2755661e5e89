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
            (Some(want), Some(is)) => is == want || RESTART_SYSCALL.contains(&is),
        };
        in_call && matches!(self.state, 'S' | 'D')
    }
}

/// `restart_syscall` of the 64-bit and of the 32-bit table.
const RESTART_SYSCALL: [u64; 2] = if cfg!(target_arch = "x86_64") {
    [219, 0]
} else {
    [128, 0]
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
    let syscall = call
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok());
    Some(Task {
        tid,
        state,
        syscall,
    })
}

#[cfg(test)]
mod tests {
    use super::Task;

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
