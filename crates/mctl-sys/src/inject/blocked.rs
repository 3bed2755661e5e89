//! What a thread is blocked in, and which calls may be entered again.
//!
//! A stop by ptrace wakes a sleeping thread as a signal would. Most calls are then restarted by
//! the kernel and the program sees nothing. Some return a bare `EINTR` (ptrace(2), BUGS;
//! signal(7), "Interruption of system calls … by stop signals"): the injector has them entered
//! again. Which of them may be stopped at all is decided before (`allowed.rs`); here is what is mended
//! also where a stop came at another moment than was meant.

/// A system call that a thread was seen blocked in (`/proc/PID/task/TID/syscall`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockedCall {
    /// Its number.
    pub number: u64,
    /// Its arguments.
    pub args: [u64; 6],
}

#[cfg(target_arch = "x86_64")]
mod nr {
    pub(in crate::inject) const EPOLL_WAIT: i64 = libc::SYS_epoll_wait;
    /// As ppoll and pselect6.
    pub(super) const EINTR_TOO: &[i64] = &[libc::SYS_select];
}
#[cfg(not(target_arch = "x86_64"))]
mod nr {
    /// Newer processors have only epoll_pwait.
    pub(in crate::inject) const EPOLL_WAIT: i64 = libc::SYS_epoll_pwait;
    pub(super) const EINTR_TOO: &[i64] = &[];
}

pub(in crate::inject) use nr::EPOLL_WAIT;

const EPOLL_PWAIT2: i64 = 441;
const IO_URING_ENTER: i64 = 426;

fn as_number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(-1)
}

/// Calls that return a bare `EINTR` when stopped and that may safely be entered again: the
/// kernel has then neither taken nor given anything. Nothing else is ever entered again: a
/// second close(2), say, could close someone else's descriptor.
#[must_use]
pub fn reissuable(number: u64) -> bool {
    let number = as_number(number);
    number == nr::EPOLL_WAIT
        || matches!(
            number,
            libc::SYS_epoll_pwait
                | EPOLL_PWAIT2
                | libc::SYS_semop
                | libc::SYS_semtimedop
                | libc::SYS_rt_sigtimedwait
                | libc::SYS_io_getevents
                | 333 // io_pgetevents
                | IO_URING_ENTER
                // With SO_RCVTIMEO the socket calls return EINTR where they else restart
                // (sock_intr_errno(), net/core/sock.c); read(2) also on inotify before 2.6.
                | libc::SYS_read
                | libc::SYS_recvfrom
                | libc::SYS_recvmsg
                | libc::SYS_accept
                | libc::SYS_accept4
                // EINTR from these means that nothing was taken or sent (no short count).
                | libc::SYS_readv
                | libc::SYS_recvmmsg
                | libc::SYS_sendto
                | libc::SYS_sendmsg
                | libc::SYS_sendmmsg
                // EINTR where the time left cannot be written back (a timeout in read-only
                // memory, personality STICKY_TIMEOUTS): poll_select_finish(), fs/select.c.
                | libc::SYS_ppoll
                | libc::SYS_pselect6
        )
        || nr::EINTR_TOO.contains(&number)
}

/// Whether a call that something else makes fail with `EINTR` is mended by entering it again, but for the time that
/// it had waited: nothing may have been taken by then.
pub(super) fn loses_only_time(call: &BlockedCall) -> bool {
    let [_, a1, a2, a3, ..] = call.args;
    const MSG_WAITALL: u64 = 0x100;
    match as_number(call.number) {
        libc::SYS_recvfrom => a3 & MSG_WAITALL == 0,
        libc::SYS_recvmsg => a2 & MSG_WAITALL == 0,
        libc::SYS_io_getevents | 333 => a1 <= 1,
        IO_URING_ENTER => a1 & 0xffff_ffff == 0 && a2 & 0xffff_ffff <= 1,
        libc::SYS_recvmmsg
        | libc::SYS_sendto
        | libc::SYS_sendmsg
        | libc::SYS_sendmmsg
        | libc::SYS_readv => false,
        _ => reissuable(call.number),
    }
}

/// Whether a call returns a bare `EINTR` when it is interrupted, and has no timeout: entered again, it is as it was.
pub(super) fn loses_nothing(call: &BlockedCall) -> bool {
    let [_, a1, a2, a3, a4, _] = call.args;
    let negative = |value: u64| value & 0x8000_0000 != 0;
    match as_number(call.number) {
        n if n == nr::EPOLL_WAIT || n == libc::SYS_epoll_pwait => negative(a3),
        EPOLL_PWAIT2 | libc::SYS_semtimedop => a3 == 0,
        libc::SYS_semop => true,
        libc::SYS_rt_sigtimedwait => a2 == 0,
        libc::SYS_io_getevents | 333 => a1 <= 1 && a4 == 0,
        _ => false,
    }
}

/// Whether the kernel goes on with it through restart_syscall(2) once it was interrupted, a call that seccomp filters see.
pub(super) fn continues_by_another(call: &BlockedCall) -> bool {
    const TIMER_ABSTIME: u64 = 1;
    const FUTEX_WAIT: u64 = 0;
    const FUTEX_WAIT_BITSET: u64 = 9;
    const FUTEX_COMMAND: u64 = 0x7f;
    let [_, a1, a2, a3, ..] = call.args;
    match as_number(call.number) {
        libc::SYS_nanosleep | libc::SYS_restart_syscall => true,
        libc::SYS_clock_nanosleep => a1 & TIMER_ABSTIME == 0,
        libc::SYS_futex => matches!(a1 & FUTEX_COMMAND, FUTEX_WAIT | FUTEX_WAIT_BITSET) && a3 != 0,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll => a2 & 0x8000_0000 == 0,
        _ => false,
    }
}

/// Whether it is io_uring_enter(2), whose timeout, if any, is in memory.
pub(super) fn is_ring_wait(call: &BlockedCall) -> bool {
    as_number(call.number) == IO_URING_ENTER
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;

    #[test]
    fn what_must_never_run_twice() {
        for number in [
            libc::SYS_close,
            libc::SYS_write,
            libc::SYS_connect,
            libc::SYS_execve,
            libc::SYS_dup2,
            libc::SYS_futex,
        ] {
            assert!(!reissuable(number.cast_unsigned()), "{number}");
        }
        assert!(!reissuable(u64::MAX));
    }
}
