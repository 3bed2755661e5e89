//! The calls that a stop leaves alone: a thread asleep in one of them, and only in one of them, may be
//! interrupted.
//!
//! A stop by ptrace wakes a sleeping call as a signal would. Each row names a call that comes out of that as if
//! nothing had been: the kernel restarts it by itself with what is left of its timeout, or it returns a bare
//! `EINTR`, has neither taken nor given anything, waits for ever, and is entered again with the registers that the
//! program gave it. Whatever is not here is not interrupted: a call of unknown kind, on a descriptor of unknown
//! kind, with a timeout that would start afresh, or with a result that may come back short.
//!
//! Each row has a test program (crate `mctl-testkit`) that is taken through hundreds of stops in
//! `tests/cannot_tell.rs`; what is left out on purpose is in `tests/left_alone.rs`.

use super::blocked::BlockedCall;
use super::waits_on::{Kind, sticky_timeouts};
use crate::raw::vm::read_memory;

/// A thread seen asleep in a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asleep<'a> {
    pub(super) tid: i32,
    pub(super) call: BlockedCall,
    /// Its stack pointer.
    pub(super) sp: u64,
    /// The kernel function that it sleeps in (`/proc/PID/task/TID/wchan`).
    pub(super) wchan: &'a [u8],
}

/// What has to be so besides the number.
#[derive(Clone, Copy, Debug)]
enum If {
    Always,
    /// The pointer in this argument is null: no timeout.
    Null(usize),
    /// The `int` in this argument is negative: no timeout.
    Negative(usize),
    /// The timeout in this argument, if any, can be written: the kernel leaves there what remains.
    Remains(usize),
    /// This argument is at most one, and the next condition holds: nothing is there to be returned early.
    OneAwaited(usize, &'static If),
    /// The operation of futex(2) is a wait that the kernel restarts.
    FutexWaits,
    /// The first argument is a descriptor that is read whole or not at all.
    Reads,
    /// As `Reads`; a vector of buffers is filled in one go.
    ReadsVector,
    /// The first argument is a descriptor that takes so few bytes whole or not at all.
    Writes,
    /// The first and the third argument are pipes.
    PipeToPipe,
    /// The first and the second argument are pipes.
    Tee,
    /// It waits for a lock that the kernel itself keeps (not a file server).
    LocalLock,
    /// As `LocalLock`; the command waits.
    LocalRecordLock,
    /// It waits for the other end of a FIFO.
    FifoOpens,
    /// It sleeps in a function of this name: the same number is another call for 32-bit code.
    In(&'static [u8]),
    /// It submits nothing, awaits one completion and has no timeout.
    RingWaits,
}

struct Row(i64, If);

const EPOLL_PWAIT2: i64 = 441;
const FUTEX_WAITV: i64 = 449;
const FUTEX_WAIT: i64 = 455;
const IO_PGETEVENTS: i64 = if cfg!(target_arch = "x86_64") {
    333
} else {
    292
};
const IO_URING_ENTER: i64 = 426;

#[rustfmt::skip]
static ROWS: &[Row] = &[
    // Restarted with what is left of the timeout.
    Row(libc::SYS_nanosleep, If::Always),
    Row(libc::SYS_clock_nanosleep, If::Always),
    Row(libc::SYS_futex, If::FutexWaits),
    Row(FUTEX_WAITV, If::Always),
    Row(FUTEX_WAIT, If::Always),
    Row(libc::SYS_restart_syscall, If::Always),
    Row(libc::SYS_mq_timedreceive, If::Always),
    Row(libc::SYS_mq_timedsend, If::Always),
    // Restarted with the timeout that they write back; EINTR where they cannot.
    Row(libc::SYS_ppoll, If::Remains(2)),
    Row(libc::SYS_pselect6, If::Remains(4)),
    // Restarted; they have no timeout.
    Row(libc::SYS_rt_sigsuspend, If::Always),
    Row(libc::SYS_wait4, If::Always),
    Row(libc::SYS_waitid, If::In(b"do_wait")),
    Row(libc::SYS_msgrcv, If::Always),
    Row(libc::SYS_msgsnd, If::Always),
    Row(libc::SYS_flock, If::LocalLock),
    Row(libc::SYS_fcntl, If::LocalRecordLock),
    Row(libc::SYS_read, If::Reads),
    Row(libc::SYS_readv, If::ReadsVector),
    Row(libc::SYS_write, If::Writes),
    Row(libc::SYS_splice, If::PipeToPipe),
    Row(libc::SYS_tee, If::Tee),
    Row(libc::SYS_openat, If::FifoOpens),
    // A bare EINTR: entered again, with no timeout to start afresh.
    Row(libc::SYS_epoll_pwait, If::Negative(3)),
    Row(EPOLL_PWAIT2, If::Null(3)),
    Row(libc::SYS_semop, If::Always),
    Row(libc::SYS_semtimedop, If::Null(3)),
    Row(libc::SYS_rt_sigtimedwait, If::Null(2)),
    Row(libc::SYS_io_getevents, If::OneAwaited(1, &If::Null(4))),
    Row(IO_PGETEVENTS, If::OneAwaited(1, &If::Null(4))),
    Row(IO_URING_ENTER, If::RingWaits),
];

/// Those that newer processors no longer have.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
static OLD_ROWS: &[Row] = &[
    Row(libc::SYS_poll, If::Always),
    Row(libc::SYS_select, If::Remains(4)),
    Row(libc::SYS_pause, If::Always),
    Row(libc::SYS_epoll_wait, If::Negative(3)),
    Row(libc::SYS_open, If::FifoOpens),
];
#[cfg(not(target_arch = "x86_64"))]
static OLD_ROWS: &[Row] = &[];

/// Kernel functions in which nothing may be interrupted, whatever the call: what they wait for is somebody's
/// answer to a request that would be made twice, or that they would ask for at full speed until it comes.
const NEVER_IN: &[&[u8]] = &[
    // A fault that another thread or process serves (userfaultfd(2)).
    b"handle_userfault",
    // A call that a supervisor answers (seccomp_unotify(2)).
    b"seccomp",
    b"__seccomp",
    // A request to a file server in user space.
    b"request_wait_answer",
    b"fuse_",
    b"__fuse_",
    // Stopped, traced or frozen.
    b"do_freezer_trap",
    b"ptrace_stop",
    b"do_signal_stop",
    b"do_jobctl_trap",
];

/// Among those, where a file server itself waits for the next request: it has taken none.
const SERVER_IDLE: &[u8] = b"fuse_dev_do_read";

/// Whether a thread that sleeps in this kernel function may be woken at all.
pub(super) fn may_be_woken_in(wchan: &[u8]) -> bool {
    // "0": it runs, or the kernel keeps its symbols to itself.
    !wchan.is_empty()
        && wchan != b"0"
        && (wchan.starts_with(SERVER_IDLE) || !NEVER_IN.iter().any(|name| wchan.starts_with(name)))
}

/// Whether the thread can be interrupted without anything of it being seen.
pub(super) fn leaves_no_trace(thread: &Asleep<'_>) -> bool {
    if !may_be_woken_in(thread.wchan) {
        return false;
    }
    let number = i64::try_from(thread.call.number).unwrap_or(-1);
    ROWS.iter()
        .chain(OLD_ROWS)
        .find(|Row(row, _)| *row == number)
        .is_some_and(|Row(_, condition)| holds(condition, thread))
}

fn holds(condition: &If, thread: &Asleep<'_>) -> bool {
    let arg = |index: usize| thread.call.args.get(index).copied().unwrap_or(u64::MAX);
    let kind = |index: usize| Kind::of(thread.tid, arg(index));
    match condition {
        If::Always => true,
        If::Null(index) => arg(*index) == 0,
        If::Negative(index) => as_int(arg(*index)) < 0,
        If::Remains(index) => {
            let at = arg(*index);
            at == 0 || on_own_stack(at, thread.sp) && !sticky_timeouts(thread.tid)
        }
        If::OneAwaited(index, next) => arg(*index) <= 1 && holds(next, thread),
        If::FutexWaits => futex_waits(arg(1)),
        If::Reads => kind(0).is_some(),
        If::ReadsVector => kind(0).is_some_and(Kind::is_filled_in_one_go),
        If::Writes => kind(0).is_some_and(|kind| kind.takes_whole(arg(2))),
        If::PipeToPipe => kind(0) == Some(Kind::Pipe) && kind(2) == Some(Kind::Pipe),
        If::Tee => kind(0) == Some(Kind::Pipe) && kind(1) == Some(Kind::Pipe),
        If::LocalLock => waits_for_local_lock(thread.wchan),
        If::LocalRecordLock => {
            matches!(as_int(arg(1)), F_SETLKW | F_OFD_SETLKW) && waits_for_local_lock(thread.wchan)
        }
        If::FifoOpens => thread.wchan.starts_with(b"wait_for_partner"),
        If::In(name) => thread.wchan.starts_with(name),
        If::RingWaits => ring_waits_endlessly(thread.tid, &thread.call, thread.sp),
    }
}

/// Whether io_uring_enter(2) submits nothing, awaits one completion, and has no timeout.
///
/// An extended argument, which alone can hold one, is looked at where it lies on the thread's own stack: nobody else
/// writes there, and the kernel reads it again when the call is restarted.
pub(super) fn ring_waits_endlessly(tid: i32, call: &BlockedCall, sp: u64) -> bool {
    let [_, submits, awaits, flags, at, size] = call.args;
    let plain = as_int(submits) == 0
        && (awaits & 0xffff_ffff) <= 1
        && flags & !(ENTER_GETEVENTS | ENTER_EXT_ARG | ENTER_REGISTERED_RING) == 0;
    if !plain || flags & ENTER_EXT_ARG == 0 {
        return plain;
    }
    // struct io_uring_getevents_arg: sigmask u64, its size u32, min_wait_usec u32, ts u64.
    let mut bytes = [0u8; 24];
    let read = size == bytes.len() as u64
        && on_own_stack(at, sp)
        && read_memory(tid, at, &mut bytes) == Ok(bytes.len());
    let untimed = |from: usize| {
        bytes
            .get(from..)
            .is_some_and(|rest| rest.iter().all(|b| *b == 0))
    };
    read && untimed(12)
}

const ENTER_GETEVENTS: u64 = 1 << 0;
const ENTER_EXT_ARG: u64 = 1 << 3;
const ENTER_REGISTERED_RING: u64 = 1 << 4;
const F_SETLKW: i32 = 7;
const F_OFD_SETLKW: i32 = 38;

fn as_int(value: u64) -> i32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// Waits that look at the word again when they are restarted, and the takers of a PI lock, whose timeout is
/// absolute. Not the wait that is moved to a PI lock (`FUTEX_WAIT_REQUEUE_PI`): moved, it returns `EWOULDBLOCK`.
fn futex_waits(op: u64) -> bool {
    const WAIT: u64 = 0;
    const LOCK_PI: u64 = 6;
    const WAIT_BITSET: u64 = 9;
    const LOCK_PI2: u64 = 13;
    const COMMAND: u64 = 0x7f;
    matches!(op & COMMAND, WAIT | LOCK_PI | WAIT_BITSET | LOCK_PI2)
}

/// Whether the address is near above the stack pointer, so in memory that the thread writes to. That is where C
/// libraries keep the timeout.
fn on_own_stack(address: u64, sp: u64) -> bool {
    const RED_ZONE: u64 = 128;
    const NEAR: u64 = 16 << 10;
    address.wrapping_sub(sp.wrapping_sub(RED_ZONE)) < NEAR
}

/// Locks on NFS, FUSE and cluster file systems are waited for elsewhere.
fn waits_for_local_lock(wchan: &[u8]) -> bool {
    [
        &b"locks_lock_inode_wait"[..],
        b"posix_lock_inode_wait",
        b"flock_lock_inode_wait",
        b"fcntl_setlk",
        b"do_lock_file_wait",
        b"flock_lock_file_wait",
    ]
    .iter()
    .any(|name| wchan.starts_with(name))
}

#[cfg(test)]
mod tests;
