use super::*;

/// No such descriptor is open.
const NO_FD: u64 = 1_000_000;
const WCHAN: &[u8] = b"somewhere";

fn asleep(number: i64, args: [u64; 6]) -> Asleep<'static> {
    let own = i32::try_from(std::process::id()).unwrap();
    Asleep {
        tid: own,
        call: BlockedCall {
            number: number.cast_unsigned(),
            args,
        },
        sp: 0x7ffe_0000,
        wchan: WCHAN,
    }
}

fn allowed(number: i64, args: [u64; 6]) -> bool {
    leaves_no_trace(&asleep(number, args))
}

#[test]
fn timeouts_decide() {
    let minus_one = 0xffff_ffff;
    let mut cases = vec![
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
        // A timeout on the stack is written back; one elsewhere may not be.
        (
            libc::SYS_ppoll,
            [1, 1, 0x7ffe_0010, 0, 0, 0],
            [1, 1, 0x1000, 0, 0, 0],
        ),
        (
            libc::SYS_pselect6,
            [1, 1, 0, 0, 0x7ffd_ffc0, 0],
            [1, 1, 0, 0, 0x7ffe_9000, 0],
        ),
    ];
    if cfg!(target_arch = "x86_64") {
        cases.push((232, [3, 1, 1, minus_one, 0, 0], [3, 1, 1, 1000, 0, 0]));
    }
    for (number, endless, finite) in cases {
        assert!(allowed(number, endless), "{number}");
        assert!(!allowed(number, finite), "{number}");
    }
}

#[test]
fn what_may_come_back_short_is_left_alone() {
    for (number, args) in [
        (libc::SYS_write, [NO_FD, 2, 3, 0, 0, 0]),
        (libc::SYS_writev, [1, 2, 3, 0, 0, 0]),
        (libc::SYS_pread64, [1, 2, 3, 0, 0, 0]),
        (libc::SYS_fsync, [1, 0, 0, 0, 0, 0]),
        (libc::SYS_getrandom, [1, 2, 3, 0, 0, 0]),
        (libc::SYS_sendfile, [1, 2, 3, 0, 0, 0]),
        (libc::SYS_recvmmsg, [1, 2, 3, 0, 0, 0]),
        (libc::SYS_recvfrom, [1, 2, 3, 0, 0, 0]),
        (libc::SYS_accept, [1, 2, 3, 0, 0, 0]),
        (libc::SYS_connect, [1, 2, 3, 0, 0, 0]),
        (libc::SYS_close, [1, 2, 3, 0, 0, 0]),
        (libc::SYS_ioctl, [1, 2, 3, 0, 0, 0]),
        (libc::SYS_fcntl, [1, 7, 3, 0, 0, 0]),
        (libc::SYS_futex, [1, 0x80 | 11, 3, 0, 0, 0]),
        (libc::SYS_openat, [1, 7, 3, 0, 0, 0]),
        (libc::SYS_waitid, [1, 7, 3, 0, 0, 0]),
        (libc::SYS_io_getevents, [1, 2, 3, 0, 0, 0]),
        (IO_URING_ENTER, [3, 1, 1, 1, 0, 0]),
        (IO_URING_ENTER, [3, 0, 2, 1, 0, 0]),
        (IO_URING_ENTER, [3, 0, 1, 1 | 1 << 2, 0, 0]),
        (9999, [0; 6]),
        (-1, [0; 6]),
    ] {
        assert!(!allowed(number, args), "{number} {args:?}");
    }
}

/// Its own stack holds the argument: two words of signal mask, `min_wait_usec`, and the pointer to a timeout.
#[test]
fn an_extended_argument_of_a_ring_is_looked_at() {
    let wait = |words: &[u32; 6], size: u64, sp_off: u64| {
        let at = std::ptr::from_ref(words) as u64;
        let mut thread = asleep(IO_URING_ENTER, [3, 0, 1, 9, at, size]);
        thread.sp = at.wrapping_sub(sp_off);
        leaves_no_trace(&thread)
    };
    assert!(wait(&[0; 6], 24, 64));
    assert!(wait(&[7, 7, 8, 0, 0, 0], 24, 64), "with a signal mask");
    assert!(!wait(&[0, 0, 0, 5, 0, 0], 24, 64), "a least time to wait");
    assert!(!wait(&[0, 0, 0, 0, 16, 0], 24, 64), "a timeout");
    assert!(!wait(&[0; 6], 16, 64), "of another size");
    assert!(!wait(&[0; 6], 24, 1 << 20), "somewhere else");
}

#[test]
fn where_it_sleeps_decides_over_all_else() {
    let of = |wchan| Asleep {
        wchan,
        ..asleep(libc::SYS_wait4, [0; 6])
    };
    assert!(leaves_no_trace(&of(b"do_wait")));
    for wchan in [
        &b""[..],
        b"0",
        b"handle_userfault",
        b"seccomp_do_user_notification",
        b"__seccomp_filter",
        b"request_wait_answer",
        b"do_freezer_trap",
    ] {
        assert!(!leaves_no_trace(&of(wchan)));
    }
    // A file server without a request, and one that is a client of another.
    assert!(may_be_woken_in(b"fuse_dev_do_read"));
    assert!(!may_be_woken_in(b"fuse_simple_request"));
    let lock = |wchan| Asleep {
        wchan,
        ..asleep(libc::SYS_fcntl, [3, 7, 1, 0, 0, 0])
    };
    assert!(leaves_no_trace(&lock(b"fcntl_setlk")));
    assert!(!leaves_no_trace(&lock(b"nlmclnt_block")));
    let open = |wchan| Asleep {
        wchan,
        ..asleep(libc::SYS_openat, [3, 7, 1, 0, 0, 0])
    };
    assert!(leaves_no_trace(&open(b"wait_for_partner")));
    assert!(!leaves_no_trace(&open(b"fanotify_handle_event")));
}
