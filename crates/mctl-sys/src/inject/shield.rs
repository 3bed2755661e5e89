//! The shield: a sibling task in which the injector's critical window runs.
//!
//! A tracer that dies between changing and restoring a tracee's registers leaves the target
//! running on the changed ones. So the window runs in a task that shares our memory and files but
//! neither our thread group, our session nor our name: a SIGKILL to this process, to its process group
//! or to all of its name, Ctrl-C and hang-up do not reach it, and it blocks every signal that can be
//! blocked. It finishes its few microseconds of work and ends.
//!
//! Nor does it share our file-system context (CLONE_FS). The kernel refuses a task that is to share
//! it while one of our threads is in execve(2), and a thread that executes a set-id program while a
//! task of another thread group shares it gets no privileges.
//!
//! What remains: whatever kills *every* task at once while the window is open (`cgroup.kill`, the
//! OOM killer choosing us, `kill -9 -1`, `pkill -f` with words of our command line, the machine going
//! down).
//!
//! The calling thread only watches meanwhile, so the shield may use that thread's thread-local storage
//! (errno). It must not allocate, lock or panic: if our process is killed at that moment, a lock held by
//! one of its other threads is never released.
//!
//! Only where it waits for others and holds nothing may it be killed (see [`crate::bounded`]): while it
//! attaches, and then with us.

mod quota;

use mctl_abi::Errno;

use self::quota::WayOut;
use crate::bounded::{End, Kind, PATIENCE_MS, Timer, run_task, set_death_signal};

/// Its name, in which no part of ours is found.
const NAME: &std::ffi::CStr = c"tracee-holder";

/// Runs `work` in a shield and waits for its end.
///
/// `work` must not allocate, lock or panic (see the module's text).
///
/// # Errors
/// `EAGAIN`/`ENOMEM`: no task or stack to be had; nothing was run then.
pub(crate) fn run<F: FnOnce()>(work: F) -> Result<End, Errno> {
    let way_out = WayOut::look();
    run_task(Kind::Shield, || {
        // It holds nobody yet.
        if let Some(way_out) = &way_out
            && !has_priority()
            && way_out.take()
        {
            take_priority();
        }
        work();
    })
}

/// The name of a shield for the calling thread, for the moment in which it starts one: it is handed down, and a walk over
/// all processes by name (`pkill mctl`) must not meet a newborn one that still has ours, to kill it a moment later.
pub(crate) struct NameLent([u8; 16]);

impl NameLent {
    pub(crate) fn lend() -> NameLent {
        let mut name = [0u8; 16];
        // SAFETY: the kernel writes 16 bytes.
        unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
        // SAFETY: a string that lives for ever. It names this thread only.
        unsafe { libc::prctl(libc::PR_SET_NAME, NAME.as_ptr()) };
        NameLent(name)
    }
}

impl Drop for NameLent {
    fn drop(&mut self) {
        // SAFETY: the kernel reads up to 16 bytes, which it has written and ended itself.
        unsafe { libc::prctl(libc::PR_SET_NAME, self.0.as_ptr()) };
    }
}

/// The first that a shield does.
pub(crate) fn begin() {
    // SAFETY: integers only. Out of our session: a hang-up or Ctrl-C does not reach this task.
    unsafe { libc::syscall(libc::SYS_setsid) };
    // The signal handlers are a copy (no CLONE_SIGHAND). SIGCHLD must be queued while blocked,
    // which it is not where the program ignores it or asked for no stop notices.
    // SAFETY: all-zero is a valid sigaction: SIG_DFL, no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = libc::SIG_DFL;
    // SAFETY: a valid action, no old one asked for.
    unsafe { libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut()) };
    take_priority();
    quota::note_priority(has_priority());
}

/// A shield that is preempted, or throttled, holds its target stopped. Where the caller may, the shield goes first; where
/// not (EPERM), it takes its turn.
fn take_priority() {
    let priority = libc::sched_param { sched_priority: 1 };
    // The call itself: musl's function of that name does nothing.
    let call = libc::SYS_sched_setscheduler;
    // SAFETY: a valid parameter; it concerns this task only, which ends in a moment.
    unsafe { libc::syscall(call, 0, libc::SCHED_FIFO, &raw const priority) };
}

fn has_priority() -> bool {
    // SAFETY: an integer only; of this task.
    unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) == i64::from(libc::SCHED_FIFO) }
}

/// A wait in which the shield holds nobody: it may be cut short. It ends with us, unless something is left to do then
/// (`outlives`); a timer bounds it where nobody watches.
pub(crate) fn holding_nobody<R>(outlives: bool, wait: impl FnOnce() -> R) -> R {
    let alone = outlives || is_orphaned();
    let timer = match alone {
        true => Timer::kill_me_after(PATIENCE_MS * 1_000_000).ok(),
        false => {
            set_death_signal(libc::SIGKILL);
            None
        }
    };
    let result = crate::bounded::may_wait(wait);
    if !alone {
        set_death_signal(0);
    }
    drop(timer);
    result
}

/// Whether the process that the shield works for has ended.
pub(crate) fn is_orphaned() -> bool {
    // SAFETY: no arguments.
    unsafe { libc::getppid() != crate::bounded::our_pid() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::sigprocmask;

    fn pid_and_session() -> (i32, i32) {
        // SAFETY: no arguments.
        let pid = unsafe { libc::getpid() };
        // SAFETY: an integer only.
        (pid, unsafe { libc::getsid(0) })
    }

    #[test]
    fn the_shield_is_another_process_in_another_session_on_our_memory() {
        let ours = pid_and_session();
        let mut seen = (0, 0);
        assert_eq!(run(|| seen = pid_and_session()), Ok(End::Done));
        assert_ne!(seen.0, 0);
        assert_ne!(seen.0, ours.0);
        assert_eq!(seen.0, seen.1, "a session of its own");
    }

    #[test]
    fn its_name_is_not_ours() {
        let mut name = [0u8; 16];
        // SAFETY: the kernel writes 16 bytes.
        let mut see = || unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
        let mut told = -1;
        assert_eq!(run(|| told = see()), Ok(End::Done));
        assert_eq!(told, 0);
        assert!(name.starts_with(NAME.to_bytes_with_nul()), "{name:?}");
        assert!(!name.windows(4).any(|part| part == b"mctl"));
    }

    #[test]
    fn the_callers_signal_mask_is_put_back() {
        let before = sigprocmask(1 << 11).unwrap();
        let mut inside = 0;
        assert_eq!(
            run(|| inside = sigprocmask(u64::MAX).unwrap_or(0)),
            Ok(End::Done)
        );
        assert_eq!(
            inside | 1 << 8 | 1 << 18,
            u64::MAX,
            "all but KILL and STOP, which cannot be"
        );
        assert_eq!(sigprocmask(before).unwrap(), 1 << 11);
    }

    #[test]
    fn many_in_a_row_leave_nothing_behind() {
        let mut n = 0u32;
        for _ in 0..200 {
            assert_eq!(run(|| n += 1), Ok(End::Done));
        }
        assert_eq!(n, 200);
    }
}
