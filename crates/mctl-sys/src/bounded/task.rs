//! Starting a task on our memory, watching it, and what becomes of it.

use std::sync::atomic::Ordering;

use mctl_abi::Errno;
use rustix::thread::futex;

use super::share::{note_in_vain, patience_ns};
use super::stack::Stack;
use super::watch::Watch;
use crate::raw::last_errno;
use crate::time::monotonic_ns;

/// What a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It looks at other processes, and ends with the thread that asked.
    Reader,
    /// It holds threads of other processes, and outlives us for as long as it does.
    Shield,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With its work done.
    Done,
    /// Killed: it waited too long.
    NoAnswer,
    /// Killed: a signal waits for us.
    Interrupted,
    /// Something else ended it.
    Died,
}

/// How often a task that takes long is looked at, and how long one that must not be killed now.
const SLICE_NS: i64 = 20_000_000;
/// Signals that mostly are to end a program, and which are to do so at once.
const ENDING: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

struct Start<'w, F> {
    work: Option<F>,
    watch: &'w Watch,
    kind: Kind,
}

/// Runs `work` in a task of its own, and waits for its end.
///
/// # Errors
/// `EAGAIN`, `ENOMEM`: no task or stack to be had; nothing was run then.
pub(crate) fn run_task<F: FnOnce()>(kind: Kind, work: F) -> Result<End, Errno> {
    let stack = Stack::take()?;
    // SAFETY: no arguments.
    let watch = Watch::new(unsafe { libc::getpid() });
    let mut start = Start {
        work: Some(work),
        watch: &watch,
        kind,
    };
    let blocked = BlockedSignals::block()?;
    let before = watch.enter();
    let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_CHILD_CLEARTID;
    let nothing = std::ptr::null_mut::<libc::c_void>();
    let lent = (kind == Kind::Shield).then(crate::inject::ShieldName::lend);
    // SAFETY: the stack is ours, large enough and not in use. `entry::<F>` takes the pointer to `start`, and the
    // kernel the one to `alive`; both outlive the task, which is waited for below. This thread, whose
    // thread-local storage the task uses, only makes system calls meanwhile. No exit signal: the task is
    // nobody's business but ours.
    let pid = unsafe {
        libc::clone(
            entry::<F>,
            stack.top(),
            flags,
            (&raw mut start).cast::<libc::c_void>(),
            nothing,
            nothing,
            watch.alive.as_ptr(),
        )
    };
    let failed = (pid < 0).then(last_errno);
    drop(lent);
    if let Some(errno) = failed {
        Watch::leave(before);
        drop(blocked);
        stack.keep();
        return Err(errno);
    }
    let killed = watch_over(pid, &watch, blocked.old);
    reap(pid);
    Watch::leave(before);
    drop(blocked);
    stack.keep();
    if killed.is_some()
        && let Some(fd) = watch.left_open()
    {
        // SAFETY: opened by the task that is gone, whose owner it was; nobody else knows of it.
        unsafe { libc::close(fd) };
    }
    Ok(match killed {
        _ if watch.is_finished() => End::Done,
        Some(end) => end,
        None => End::Died,
    })
}

/// Waits until the task has ended. Answers why it was killed, if it was.
fn watch_over(pid: i32, watch: &Watch, old_mask: u64) -> Option<End> {
    let slice = futex::Timespec {
        tv_sec: 0,
        tv_nsec: SLICE_NS,
    };
    let mut account = Account::new(watch.item());
    loop {
        let alive = watch.alive.load(Ordering::Acquire);
        if alive == 0 {
            return None;
        }
        match futex::wait(&watch.alive, futex::Flags::empty(), alive, Some(&slice)) {
            Err(rustix::io::Errno::TIMEDOUT) => {}
            _ => continue,
        }
        let overdue = account.is_overdue(pid, watch);
        let end = match overdue {
            true => End::NoAnswer,
            false if is_to_end(old_mask) => {
                watch.ask_to_end();
                End::Interrupted
            }
            false => continue,
        };
        if watch.condemn() {
            // It waits in the kernel, with every lock of ours free, and waits killably.
            // SAFETY: integers only; the task is not reaped, so the number is its own.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            wait_for_end(watch);
            if end == End::NoAnswer {
                note_in_vain(account.waited);
            }
            return Some(end);
        }
    }
}

fn wait_for_end(watch: &Watch) {
    loop {
        let alive = watch.alive.load(Ordering::Acquire);
        if alive == 0 {
            return;
        }
        let _ = futex::wait(&watch.alive, futex::Flags::empty(), alive, None);
    }
}

/// For how long a task has waited for others.
struct Account {
    item: u32,
    waited: u64,
    at: u64,
    busy: u64,
}

impl Account {
    /// Of a task that begins now: it has not had a processor yet.
    fn new(item: u32) -> Account {
        Account {
            item,
            waited: 0,
            at: monotonic_ns(),
            busy: 0,
        }
    }

    /// What it spends on a processor, or waiting for one, is not counted: a long list takes its time, and so does
    /// everything on a busy machine.
    fn is_overdue(&mut self, pid: i32, watch: &Watch) -> bool {
        let (at, item) = (monotonic_ns(), watch.item());
        let busy = busy_ns(pid).unwrap_or(self.busy);
        let runnable = watched_state(pid) == Some(b'R');
        let asleep = at
            .saturating_sub(self.at)
            .saturating_sub(busy.saturating_sub(self.busy));
        (self.at, self.busy) = (at, busy);
        if item != self.item {
            (self.item, self.waited) = (item, 0);
        } else if watch.waits() && !runnable {
            self.waited = self.waited.saturating_add(asleep);
        }
        self.waited >= patience_ns()
    }
}

/// For how long the task has had a processor, in nanoseconds, and waited for one (/proc/PID/schedstat).
fn busy_ns(pid: i32) -> Option<u64> {
    let mut buffer = [0u8; 96];
    let text = std::str::from_utf8(read(pid, "schedstat", &mut buffer)?).ok()?;
    let mut numbers = text.split_ascii_whitespace().map(str::parse::<u64>);
    let (run, waited) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(run.saturating_add(waited))
}

/// Its state letter. That of a task which waits for a processor counts only once it has got it.
fn watched_state(pid: i32) -> Option<u8> {
    let mut buffer = [0u8; 512];
    let stat = read(pid, "stat", &mut buffer)?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(end.checked_add(2)?).copied()
}

/// Beside a running task, whose errno this thread shares: no C library, no allocation.
fn read<'a>(pid: i32, file: &str, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut path = [0u8; 40];
    let path = crate::inject::path_of(pid, file, &mut path)?;
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).ok()?;
    let len = rustix::io::read(&file, &mut *buffer).ok()?;
    buffer.get(..len)
}

/// Whether a signal waits that would end this program or be handled, were it not for the task.
fn is_to_end(old_mask: u64) -> bool {
    let mut pending = 0u64;
    // SAFETY: the set has the kernel's size of 8 bytes. The call does not fail, so errno stays as it is.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut pending, 8) };
    ENDING
        .iter()
        .any(|signal| pending & !old_mask & 1 << (signal - 1) != 0 && !is_ignored(*signal))
}

fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: all-zero is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: no new action is given, and the old one goes to ours.
    let ret = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    ret == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Sleeps for so long. True: a signal that is to end this program, or to be handled, has come meanwhile; it has been
/// handled by then.
pub(crate) fn nap(ns: u64) -> bool {
    let blocked = BlockedSignals::block();
    std::thread::sleep(std::time::Duration::from_nanos(ns));
    blocked.is_ok_and(|blocked| is_to_end(blocked.old))
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

extern "C" fn entry<F: FnOnce()>(start: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `run_task` passed the address of its `Start<F>`, leaves it alone and waits.
    let start = unsafe { &mut *start.cast::<Start<'_, F>>() };
    match start.kind {
        Kind::Reader if !ends_with(start.watch.starter) => return 0,
        Kind::Reader => {}
        Kind::Shield => crate::inject::shield_begins(),
    }
    if let Some(work) = start.work.take() {
        work();
        start.watch.finish();
    }
    0
}

/// Has the kernel end this task when the thread that started it ends. False: it has ended already.
fn ends_with(parent: i32) -> bool {
    set_death_signal(libc::SIGKILL);
    // SAFETY: no arguments.
    unsafe { libc::getppid() == parent }
}

/// The signal that this task gets when the thread that started it ends; 0 is none.
pub(crate) fn set_death_signal(signal: i32) {
    // SAFETY: integers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) };
}

/// All signals blocked in the calling thread, put back on drop. The task inherits the mask.
struct BlockedSignals {
    old: u64,
}

pub(crate) fn sigprocmask(set: u64) -> Result<u64, Errno> {
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
