//! When a thread can be stopped without harm, and what a stop would do where it cannot.

use super::blocked::{BlockedCall, continues_by_another};

/// What a thread is doing, as far as a stop is concerned. In the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Asleep in a call that a stop leaves alone: it can be interrupted now.
    Asleep,
    /// Stopped by a signal (SIGSTOP, Ctrl-Z): it stands still already.
    Stopped,
    /// On a processor, or about to be: it can be stopped the next time that it runs its own code.
    Running,
    /// Asleep in a call that a stop would be seen in: it can be stopped when that call has returned.
    Elsewhere,
    /// It never runs code of its own (a worker of io_uring), or not for the time being (uninterruptible sleep).
    Unreachable,
}

/// What an interruption does to a call. In the order of preference for those who accept one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// Its timeout starts afresh.
    Late,
    /// Not in a call when it was looked at: whatever it is in when it is stopped.
    Running,
    /// It may return a short count or `EINTR`, as with a signal or SIGSTOP.
    Short,
    /// Not known.
    Unknown,
}

impl Harm {
    /// Of an interruption of this call.
    #[must_use]
    pub fn of(call: Option<&BlockedCall>) -> Harm {
        let Some(call) = call else {
            return Harm::Running;
        };
        let number = i64::try_from(call.number).unwrap_or(-1);
        // Which call it goes on with nobody knows any more, so it can only fail.
        if number == libc::SYS_restart_syscall {
            return Harm::Short;
        }
        if LATE.contains(&number)
            || number == super::blocked::EPOLL_WAIT
            || continues_by_another(call)
        {
            return Harm::Late;
        }
        if SHORT.contains(&number) {
            Harm::Short
        } else {
            Harm::Unknown
        }
    }

    /// In words, of "it".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Harm::Late => "its timeout would start afresh",
            Harm::Running => "the call that it is in might return early",
            Harm::Short => "it might return a short count, or EINTR",
            Harm::Unknown => "what it then returns is not known",
        }
    }

    /// In words, once it was done.
    #[must_use]
    pub const fn done(self) -> &'static str {
        match self {
            Harm::Late => "its timeout has started afresh",
            Harm::Running => "a call that it was in may have returned early",
            Harm::Short => "it may have returned a short count, or EINTR",
            Harm::Unknown => "what it returned is not known",
        }
    }
}

const LATE: &[i64] = &[
    libc::SYS_epoll_pwait,
    441, // epoll_pwait2
    libc::SYS_semtimedop,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_io_getevents,
    426, // io_uring_enter
];

const SHORT: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_vmsplice,
    libc::SYS_copy_file_range,
    libc::SYS_getrandom,
];

/// The names of the calls that are met asleep, for messages. Others are told by their number.
fn call_name(number: u64) -> Option<&'static str> {
    let number = i64::try_from(number).ok()?;
    NAMES
        .iter()
        .find(|(known, _)| *known == number)
        .map(|(_, name)| *name)
}

macro_rules! names {
    ($($name:ident)+) => {
        &[$((libc::$name, stringify!($name)),)+]
    };
}

const PREFIX: usize = "SYS_".len();

#[cfg(target_arch = "x86_64")]
const NAMES: &[(i64, &str)] = names!(
    SYS_epoll_wait SYS_poll SYS_select SYS_pause SYS_open SYS_epoll_pwait SYS_semtimedop SYS_rt_sigtimedwait SYS_ppoll
    SYS_pselect6 SYS_io_getevents SYS_read SYS_readv SYS_pread64 SYS_preadv SYS_write SYS_writev SYS_pwrite64
    SYS_pwritev SYS_recvfrom SYS_recvmsg SYS_recvmmsg SYS_sendto SYS_sendmsg SYS_sendmmsg SYS_accept SYS_accept4
    SYS_connect SYS_sendfile SYS_splice SYS_vmsplice SYS_copy_file_range SYS_getrandom SYS_openat SYS_close SYS_ioctl
    SYS_fcntl SYS_flock SYS_futex SYS_fsync SYS_wait4 SYS_waitid SYS_nanosleep SYS_clock_nanosleep SYS_mkdir SYS_clone
    SYS_vfork SYS_execve SYS_stat SYS_newfstatat SYS_unlink SYS_unlinkat SYS_restart_syscall
);
#[cfg(not(target_arch = "x86_64"))]
const NAMES: &[(i64, &str)] = names!(
    SYS_epoll_pwait SYS_semtimedop SYS_rt_sigtimedwait SYS_ppoll SYS_pselect6 SYS_io_getevents SYS_read SYS_readv
    SYS_pread64 SYS_preadv SYS_write SYS_writev SYS_pwrite64 SYS_pwritev SYS_recvfrom SYS_recvmsg SYS_recvmmsg
    SYS_sendto SYS_sendmsg SYS_sendmmsg SYS_accept SYS_accept4 SYS_connect SYS_sendfile SYS_splice SYS_vmsplice
    SYS_copy_file_range SYS_getrandom SYS_openat SYS_close SYS_ioctl SYS_fcntl SYS_flock SYS_futex SYS_fsync
    SYS_wait4 SYS_waitid SYS_nanosleep SYS_clock_nanosleep SYS_clone SYS_execve SYS_newfstatat SYS_unlinkat
    SYS_restart_syscall
);

/// A call for a message: its name, or its number.
pub(super) fn call_words(number: Option<u64>) -> String {
    const NEWER: &[(u64, &str)] = &[
        (426, "io_uring_enter"),
        (435, "clone3"),
        (441, "epoll_pwait2"),
        (449, "futex_waitv"),
    ];
    let Some(number) = number else {
        return "no call that can be seen".to_owned();
    };
    let newer = NEWER.iter().find(|(newer, _)| *newer == number);
    match (call_name(number), newer) {
        (Some(name), _) => format!("{}(2)", name.get(PREFIX..).unwrap_or(name)),
        (None, Some((_, name))) => format!("{name}(2)"),
        (None, None) => format!("system call {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: i64) -> BlockedCall {
        BlockedCall {
            number: number.cast_unsigned(),
            args: [0; 6],
        }
    }

    #[test]
    fn harms_in_order() {
        assert_eq!(Harm::of(Some(&call(libc::SYS_epoll_pwait))), Harm::Late);
        assert_eq!(Harm::of(Some(&call(libc::SYS_write))), Harm::Short);
        assert_eq!(Harm::of(Some(&call(9999))), Harm::Unknown);
        assert_eq!(Harm::of(Some(&call(libc::SYS_nanosleep))), Harm::Late);
        assert_eq!(
            Harm::of(Some(&call(libc::SYS_restart_syscall))),
            Harm::Short
        );
        assert_eq!(Harm::of(None), Harm::Running);
        assert!(Harm::Late < Harm::Short);
    }

    #[test]
    fn calls_by_name() {
        assert_eq!(
            call_words(Some(libc::SYS_write.cast_unsigned())),
            "write(2)"
        );
        assert_eq!(call_words(Some(441)), "epoll_pwait2(2)");
        let restart = libc::SYS_restart_syscall.cast_unsigned();
        assert_eq!(call_words(Some(restart)), "restart_syscall(2)");
        assert_eq!(call_words(Some(9999)), "system call 9999");
    }
}
