//! What a thread is blocked in, and how much stopping it there disturbs.
//!
//! A stop by ptrace wakes a sleeping thread as a signal would. Most calls are then restarted by
//! the kernel and the program sees nothing. Some return a bare `EINTR` (ptrace(2), BUGS;
//! signal(7), "Interruption of system calls … by stop signals"): the injector has them entered
//! again. A finite timeout of such a call starts afresh. And some return a short result: those
//! cannot be mended afterwards, so another thread, or another moment, is better.

/// A system call that a thread was seen blocked in (`/proc/PID/task/TID/syscall`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockedCall {
    /// Its number.
    pub number: u64,
    /// Its arguments.
    pub args: [u64; 6],
}

/// How much a stop disturbs a thread. In the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disturbance {
    /// The kernel restarts the call by itself, timeout included.
    None,
    /// Running: no call is interrupted, but it is at work.
    Running,
    /// Entered again by us; it waits for ever, so no one can tell.
    Reissued,
    /// Not known: likely restarted.
    Unknown,
    /// Entered again by us with its whole timeout: at most one timeout late.
    Late,
    /// May return a short result, as with any signal or SIGSTOP/SIGCONT.
    Short,
    /// Cannot be stopped now (uninterruptible sleep).
    Unreachable,
}

#[cfg(target_arch = "x86_64")]
mod nr {
    pub(super) const INFINITE_OR_RESTARTED: &[i64] = &[
        libc::SYS_poll,
        libc::SYS_ppoll,
        libc::SYS_select,
        libc::SYS_pselect6,
        libc::SYS_nanosleep,
        libc::SYS_pause,
        libc::SYS_futex,
        libc::SYS_wait4,
        libc::SYS_waitid,
        libc::SYS_clock_nanosleep,
        libc::SYS_rt_sigsuspend,
        libc::SYS_restart_syscall,
        libc::SYS_flock,
        libc::SYS_fcntl,
        libc::SYS_msgrcv,
        libc::SYS_msgsnd,
        libc::SYS_mq_timedreceive,
        libc::SYS_mq_timedsend,
        449, // futex_waitv
        455, // futex_wait
    ];
    pub(super) const EPOLL_WAIT: i64 = libc::SYS_epoll_wait;
    /// As ppoll and pselect6.
    pub(super) const EINTR_TOO: &[i64] = &[libc::SYS_select];
}
#[cfg(not(target_arch = "x86_64"))]
mod nr {
    pub(super) const INFINITE_OR_RESTARTED: &[i64] = &[
        libc::SYS_ppoll,
        libc::SYS_pselect6,
        libc::SYS_nanosleep,
        libc::SYS_futex,
        libc::SYS_wait4,
        libc::SYS_waitid,
        libc::SYS_clock_nanosleep,
        libc::SYS_rt_sigsuspend,
        libc::SYS_restart_syscall,
        libc::SYS_flock,
        libc::SYS_fcntl,
        libc::SYS_msgrcv,
        libc::SYS_msgsnd,
        libc::SYS_mq_timedreceive,
        libc::SYS_mq_timedsend,
        449, // futex_waitv
        455, // futex_wait
    ];
    /// Newer processors have only epoll_pwait.
    pub(super) const EPOLL_WAIT: i64 = libc::SYS_epoll_pwait;
    pub(super) const EINTR_TOO: &[i64] = &[];
}

const EPOLL_PWAIT2: i64 = 441;
const IO_URING_ENTER: i64 = 426;
const IO_URING_ENTER_EXT_ARG: u64 = 1 << 3;

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

/// How much a stop disturbs a thread that was seen in this call.
#[must_use]
pub fn disturbance(call: &BlockedCall) -> Disturbance {
    let [_, _, a2, a3, ..] = call.args;
    let number = as_number(call.number);
    let forever = |endless: bool| {
        if endless {
            Disturbance::Reissued
        } else {
            Disturbance::Late
        }
    };
    if nr::INFINITE_OR_RESTARTED.contains(&number) {
        return Disturbance::None;
    }
    match number {
        // The timeout is an int of milliseconds; negative is for ever.
        n if n == nr::EPOLL_WAIT || n == libc::SYS_epoll_pwait => {
            forever(a3.to_le_bytes()[3] & 0x80 != 0)
        }
        EPOLL_PWAIT2 => forever(a3 == 0),
        libc::SYS_semop => Disturbance::Reissued,
        libc::SYS_semtimedop => forever(a3 == 0),
        libc::SYS_rt_sigtimedwait => forever(a2 == 0),
        // Some of several awaited completions may be there: it returns with those.
        libc::SYS_io_getevents | 333 if call.args[1] > 1 => Disturbance::Short,
        libc::SYS_io_getevents | 333 => forever(call.args[4] == 0),
        // Having submitted something, it returns that count at once instead of waiting on.
        IO_URING_ENTER if call.args[1] & 0xffff_ffff != 0 => Disturbance::Short,
        IO_URING_ENTER if a2 & 0xffff_ffff > 1 => Disturbance::Short,
        // The extended argument may hold a timeout; we do not read the target's memory for it.
        IO_URING_ENTER => forever(a3 & IO_URING_ENTER_EXT_ARG == 0),
        libc::SYS_read | libc::SYS_accept | libc::SYS_accept4 => Disturbance::None,
        libc::SYS_recvfrom if a3 & libc::MSG_WAITALL.unsigned_abs() as u64 != 0 => {
            Disturbance::Short
        }
        libc::SYS_recvmsg if a2 & libc::MSG_WAITALL.unsigned_abs() as u64 != 0 => {
            Disturbance::Short
        }
        libc::SYS_recvfrom | libc::SYS_recvmsg => Disturbance::None,
        libc::SYS_write
        | libc::SYS_writev
        | libc::SYS_pwrite64
        | libc::SYS_sendto
        | libc::SYS_sendmsg
        | libc::SYS_sendmmsg
        | libc::SYS_recvmmsg
        | libc::SYS_sendfile
        | libc::SYS_splice
        | libc::SYS_vmsplice
        | libc::SYS_copy_file_range
        | libc::SYS_readv
        | libc::SYS_getrandom => Disturbance::Short,
        _ => Disturbance::Unknown,
    }
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;

    fn call(number: i64, args: [u64; 6]) -> BlockedCall {
        BlockedCall {
            number: number.cast_unsigned(),
            args,
        }
    }

    #[test]
    fn timeouts_decide() {
        let minus_one = 0xffff_ffff;
        for (number, endless, finite) in [
            (
                libc::SYS_epoll_wait,
                [3, 1, 1, minus_one, 0, 0],
                [3, 1, 1, 1000, 0, 0],
            ),
            (
                libc::SYS_epoll_pwait,
                [3, 1, 1, u64::MAX, 0, 0],
                [3, 1, 1, 0x7fff_ffff, 0, 0],
            ),
            (
                EPOLL_PWAIT2,
                [3, 1, 1, 0, 0, 0],
                [3, 1, 1, 0x7ffe_0000, 0, 0],
            ),
            (
                libc::SYS_semtimedop,
                [1, 1, 1, 0, 0, 0],
                [1, 1, 1, 0x7ffe_0000, 0, 0],
            ),
            (
                libc::SYS_rt_sigtimedwait,
                [1, 1, 0, 8, 0, 0],
                [1, 1, 0x7ffe_0000, 8, 0, 0],
            ),
            (
                libc::SYS_io_getevents,
                [1, 1, 1, 1, 0, 0],
                [1, 1, 1, 1, 0x7ffe_0000, 0],
            ),
            (
                IO_URING_ENTER,
                [3, 0, 1, 1, 0, 0],
                [3, 0, 1, 9, 0x7ffe_0000, 24],
            ),
        ] {
            assert_eq!(
                disturbance(&call(number, endless)),
                Disturbance::Reissued,
                "{number}"
            );
            assert_eq!(
                disturbance(&call(number, finite)),
                Disturbance::Late,
                "{number}"
            );
            assert!(reissuable(number.cast_unsigned()), "{number}");
        }
    }

    #[test]
    fn short_results_come_last() {
        for (number, args) in [
            (libc::SYS_write, [1, 2, 3, 0, 0, 0]),
            (IO_URING_ENTER, [3, 1, 1, 1, 0, 0]),
            (libc::SYS_recvfrom, [3, 1, 1, 0x100, 0, 0]),
        ] {
            assert_eq!(disturbance(&call(number, args)), Disturbance::Short);
        }
        assert!(Disturbance::None < Disturbance::Reissued);
        assert!(Disturbance::Late < Disturbance::Short);
    }

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
