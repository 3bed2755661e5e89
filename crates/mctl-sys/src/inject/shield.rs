//! The shield: a sibling task in which the injector's critical window runs.
//!
//! A tracer that dies between changing and restoring a tracee's registers leaves the target
//! running on the changed ones. So the window runs in a task that shares our memory and files but
//! neither our thread group nor our session: a SIGKILL to this process or to its process group,
//! Ctrl-C and hang-up do not reach it, and it blocks every signal that can be blocked. It finishes
//! its few microseconds of work and ends.
//!
//! Nor does it share our file-system context (CLONE_FS). The kernel refuses a task that is to share
//! it while one of our threads is in execve(2), and a thread that executes a set-id program while a
//! task of another thread group shares it gets no privileges.
//!
//! What remains: whatever kills *every* task at once while the window is open (`cgroup.kill`, the
//! OOM killer choosing us, `kill -9 -1`, the machine going down).
//!
//! CLONE_VFORK keeps the calling thread suspended meanwhile, so the shield may use that thread's
//! thread-local storage (errno). It must not allocate, lock or panic: if our process is killed at
//! that moment, a lock held by one of its other threads is never released.

use std::cell::RefCell;

use mctl_abi::Errno;

use crate::raw::last_errno;

const STACK_BYTES: usize = 256 * 1024;

thread_local! {
    /// One stack a thread is enough: the thread is suspended while its shield runs.
    static STACK: RefCell<Option<Stack>> = const { RefCell::new(None) };
}

/// A stack with a guard page below it.
struct Stack {
    base: *mut libc::c_void,
}

impl Stack {
    fn new() -> Result<Stack, Errno> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), STACK_BYTES, prot, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(last_errno());
        }
        let stack = Stack { base };
        // SAFETY: the first page of the mapping just made; nothing uses it.
        if unsafe { libc::mprotect(base, 4096, libc::PROT_NONE) } != 0 {
            return Err(last_errno());
        }
        Ok(stack)
    }

    fn top(&self) -> *mut libc::c_void {
        self.base.wrapping_byte_add(STACK_BYTES)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no shield runs: its thread would be suspended.
        unsafe { libc::munmap(self.base, STACK_BYTES) };
    }
}

/// Runs `work` in a shield and waits for its end.
///
/// `work` must not allocate, lock or panic (see the module's text).
///
/// # Errors
/// `EAGAIN`/`ENOMEM`: no task or stack to be had; nothing was run then.
pub(crate) fn run<F: FnOnce()>(work: F) -> Result<(), Errno> {
    STACK.with(|cell| {
        let mut slot = cell.try_borrow_mut().map_err(|_| Errno::EBUSY)?;
        let stack = match slot.take() {
            Some(stack) => stack,
            None => Stack::new()?,
        };
        let result = run_on(&stack, work);
        *slot = Some(stack);
        result
    })
}

fn run_on<F: FnOnce()>(stack: &Stack, work: F) -> Result<(), Errno> {
    let mut work = Some(work);
    let blocked = BlockedSignals::block()?;
    let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_VFORK;
    // SAFETY: the stack is ours, large enough and not in use; `entry::<F>` takes the pointer to
    // `work`, which outlives the child because CLONE_VFORK suspends this thread until the child
    // has ended. No exit signal: the shield is nobody's business but ours.
    let pid = unsafe {
        libc::clone(
            entry::<F>,
            stack.top(),
            flags,
            (&raw mut work).cast::<libc::c_void>(),
        )
    };
    if pid < 0 {
        let errno = last_errno();
        drop(blocked);
        return Err(errno);
    }
    reap(pid);
    drop(blocked);
    Ok(())
}

fn reap(pid: i32) {
    loop {
        // SAFETY: no status is asked for.
        let ret = unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) };
        if ret >= 0 || last_errno() != Errno::EINTR {
            return;
        }
    }
}

extern "C" fn entry<F: FnOnce()>(work: *mut libc::c_void) -> libc::c_int {
    // SAFETY: integers only. Out of our session: a hang-up or Ctrl-C does not reach this task.
    unsafe { libc::syscall(libc::SYS_setsid) };
    // The signal handlers are a copy (no CLONE_SIGHAND). SIGCHLD must be queued while blocked,
    // which it is not where the program ignores it or asked for no stop notices.
    // SAFETY: all-zero is a valid sigaction: SIG_DFL, no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = libc::SIG_DFL;
    // SAFETY: a valid action, no old one asked for.
    unsafe { libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut()) };
    // A shield that is preempted holds its target stopped. Where the caller may, the shield goes
    // first; where not (EPERM), it takes its turn.
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: a valid parameter; it concerns this task only, which ends in a moment.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) };
    // SAFETY: `run_on` passed the address of its `Option<F>` and waits.
    let slot = unsafe { &mut *work.cast::<Option<F>>() };
    if let Some(work) = slot.take() {
        work();
    }
    0
}

/// All signals blocked in the calling thread, put back on drop. The shield inherits the mask.
struct BlockedSignals {
    old: u64,
}

fn sigprocmask(set: u64) -> Result<u64, Errno> {
    let mut old = 0u64;
    // SAFETY: both masks have the kernel's size of 8 bytes.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const set,
            &raw mut old,
            size_of::<u64>(),
        )
    };
    crate::raw::checked(ret).map(|_| old)
}

impl BlockedSignals {
    fn block() -> Result<BlockedSignals, Errno> {
        sigprocmask(u64::MAX).map(|old| BlockedSignals { old })
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        let _ = sigprocmask(self.old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        run(|| seen = pid_and_session()).unwrap();
        assert_ne!(seen.0, 0);
        assert_ne!(seen.0, ours.0);
        assert_eq!(seen.0, seen.1, "a session of its own");
    }

    #[test]
    fn the_callers_signal_mask_is_put_back() {
        let before = sigprocmask(1 << 11).unwrap();
        let mut inside = 0;
        run(|| inside = sigprocmask(u64::MAX).unwrap_or(0)).unwrap();
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
            run(|| n += 1).unwrap();
        }
        assert_eq!(n, 200);
    }
}
