//! Every program, left alone: it gets ready, blocks, ends on request, and has noticed nothing.

use std::time::Duration;

use mctl_testkit::start;

macro_rules! left_alone {
    ($($test:ident: $name:literal $(, $arg:literal)*;)+) => {$(
        #[test]
        fn $test() {
            let fixture = start!($name $(, $arg)*);
            fixture.wait_blocked(Duration::from_secs(120)).expect("blocks");
            fixture.finish().expect("a verdict").assert_clean(1);
        }
    )+};
}

left_alone! {
    epoll_wait: "epoll_wait";
    epoll_wait_for_ever: "epoll_wait", "every=0";
    epoll_wait_timeout: "epoll_wait", "timeout=30";
    epoll_pwait: "epoll_pwait";
    epoll_pwait_timeout: "epoll_pwait", "timeout=30";
    epoll_pwait2: "epoll_pwait2";
    epoll_pwait2_timeout: "epoll_pwait2", "timeout=30";
    poll: "poll";
    poll_timeout: "poll", "timeout=30";
    ppoll: "ppoll";
    ppoll_timeout: "ppoll", "timeout=30";
    select: "select";
    select_timeout: "select", "timeout=30";
    pselect6: "pselect6";
    pselect6_timeout: "pselect6", "timeout=30";
    nanosleep: "nanosleep";
    clock_nanosleep: "clock_nanosleep";
    clock_nanosleep_absolute: "clock_nanosleep", "abs=1";
    futex_wait: "futex_wait";
    futex_wait_timeout: "futex_wait", "timeout=30";
    futex_wait_bitset: "futex_wait", "op=bitset", "timeout=30";
    pthread_cond: "pthread_cond";
    pthread_cond_timeout: "pthread_cond", "timeout=30";
    read_pipe: "read_pipe";
    read_pty: "read_pty";
    read_eventfd: "read_eventfd";
    read_signalfd: "read_signalfd";
    read_timerfd: "read_timerfd";
    read_timerfd_for_ever: "read_timerfd", "every=0";
    read_inotify: "read_inotify";
    read_fanotify: "read_fanotify";
    read_userfaultfd: "read_userfaultfd";
    accept: "accept";
    accept_timeout: "accept", "timeout=30";
    recv: "recv";
    recv_timeout: "recv", "timeout=30";
    recvmsg: "recvmsg";
    recvmsg_in_halves: "recvmsg", "waitall=1";
    blocked_write_stream: "blocked", "kind=write-stream";
    blocked_writev_stream: "blocked", "kind=writev-stream";
    blocked_send_tcp: "blocked", "kind=send-tcp";
    blocked_sendmsg_stream: "blocked", "kind=sendmsg-stream";
    blocked_read_stream: "blocked", "kind=read-stream";
    blocked_readv_stream: "blocked", "kind=readv-stream";
    blocked_recv_waitall: "blocked", "kind=recv-waitall";
    blocked_recv_lowat: "blocked", "kind=recv-lowat";
    blocked_recvmmsg: "blocked", "kind=recvmmsg";
    blocked_accept4: "blocked", "kind=accept4";
    blocked_connect: "blocked", "kind=connect";
    blocked_close_linger: "blocked", "kind=close-linger";
    blocked_splice_stream: "blocked", "kind=splice-stream";
    blocked_write_pipe_large: "blocked", "kind=write-pipe-large";
    blocked_vmsplice: "blocked", "kind=vmsplice";
    blocked_vmsplice_read: "blocked", "kind=vmsplice-read";
    blocked_ring_of_two: "blocked", "kind=ring-of-two";
    fuse_calls_pread: "fuse_calls", "kind=pread";
    fuse_calls_preadv: "fuse_calls", "kind=preadv";
    fuse_calls_write: "fuse_calls", "kind=write";
    fuse_calls_open: "fuse_calls", "kind=open";
    fuse_calls_stat: "fuse_calls", "kind=stat";
    fuse_calls_unlink: "fuse_calls", "kind=unlink";
    fuse_calls_mkdir: "fuse_calls", "kind=mkdir";
    fuse_calls_fsync: "fuse_calls", "kind=fsync";
    fuse_calls_for_ever: "fuse_calls", "kind=pread", "every=0";
    fuse_calls_dev: "fuse_calls", "kind=dev";
    blocked_splice_pipe: "blocked", "kind=splice-pipe";
    blocked_tee: "blocked", "kind=tee";
    blocked_read_fifo: "blocked", "kind=read-fifo";
    blocked_open_fifo: "blocked", "kind=open-fifo";
    blocked_readv_pipe: "blocked", "kind=readv-pipe";
    blocked_write_eventfd: "blocked", "kind=write-eventfd";
    blocked_flock: "blocked", "kind=flock";
    blocked_ofd: "blocked", "kind=ofd";
    blocked_futex_pi: "blocked", "kind=futex-pi";
    blocked_futex_waitv: "blocked", "kind=futex-waitv";
    blocked_pidfd_poll: "blocked", "kind=pidfd-poll";
    blocked_ptrace_wait: "blocked", "kind=ptrace-wait";
    blocked_sigwaitinfo: "blocked", "kind=sigwaitinfo";
    blocked_on_time: "blocked", "kind=write-stream", "timeout=40";
    epoll_wait_libc: "epoll_wait_libc", "timeout=30";
    epoll_wait_libc_threads: "epoll_wait_libc", "timeout=30", "threads=2";
    notify: "notify", "every=50";
    served: "served", "every=50";
    int80: "int80";
    sigwaitinfo: "sigtimedwait";
    sigtimedwait: "sigtimedwait", "timeout=30";
    sigsuspend: "sigsuspend";
    pause: "pause";
    semop: "semop";
    semtimedop: "semop", "timeout=30";
    msgrcv: "msgrcv";
    msgsnd: "msgsnd";
    mq_timedreceive: "mq_timedreceive";
    mq_timedreceive_timeout: "mq_timedreceive", "timeout=30";
    io_uring_enter: "io_uring_enter";
    io_uring_enter_timeout: "io_uring_enter", "timeout=30";
    io_getevents: "io_getevents";
    io_getevents_timeout: "io_getevents", "timeout=30";
    wait4: "wait4";
    waitid: "wait4", "op=waitid";
    flock: "lock";
    fcntl_lock: "lock", "op=fcntl";
    write_pipe: "write_pipe";
    write_pipe_large: "write_pipe", "size=262144";
    vfork: "vfork";
    exec_loop: "exec_loop";
    leader_exit: "leader_exit";
    held: "held";
    threads: "threads";
    many_threads_for_ever: "threads", "n=64", "every=0";
    storm_epoll_wait: "storm";
    storm_epoll_pwait: "storm", "call=epoll_pwait";
    storm_ppoll: "storm", "call=ppoll";
    storm_pselect6: "storm", "call=pselect6";
    storm_sigsuspend: "storm", "call=sigsuspend";
    storm_read: "storm", "call=read";
    storm_read_restart: "storm", "call=read", "restart=1";
    seccomp_strict: "seccomp_strict";
    vdso_flips: "vdso_flips", "filter=0";
    vdso_odd: "vdso_odd";
    fuse_stuck: "fuse_stuck";
    seccomp_kill: "misc_loop", "kind=seccomp-kill";
    seccomp_errno: "misc_loop", "kind=seccomp-errno";
    seccomp_trap: "misc_loop", "kind=seccomp-trap";
    seccomp_allow: "misc_loop", "kind=seccomp-allow";
    sigtrap_pending: "misc_loop", "kind=sigtrap-pending";
    sigtrap_blocked: "misc_loop", "kind=sigtrap-blocked";
    sigtrap_ignored: "misc_loop", "kind=sigtrap-ignored";
    sigtrap_handler: "misc_loop", "kind=sigtrap-handler";
    syscall_user_dispatch: "misc_loop", "kind=dispatch";
    vmas: "vmas", "n=5000", "huge=3", "nohuge=5", "touch=1";
    tree: "tree";
    uffd_served: "uffd_served";
    uffd_served_by_another: "uffd_served", "mode=1";
    nolibc_static: "nolibc_static";
    i386: "i386";
}

/// Those that are never found asleep, or not by that: they run, stop, or hold somebody who does.
macro_rules! restless {
    ($($test:ident: $name:literal $(, $arg:literal)*;)+) => {$(
        #[test]
        fn $test() {
            let fixture = start!($name $(, $arg)*);
            fixture.wait_rounds(3).expect("goes round");
            fixture.finish().expect("a verdict").assert_clean(1);
        }
    )+};
}

restless! {
    spin: "spin";
    rseq: "rseq";
    fork_storm: "fork_storm";
    thread_churn: "thread_churn";
    mmap_churn: "mmap_churn";
    counters: "counters", "mib=16";
    no_moment: "no_moment", "every=20", "most=5";
}

/// Those that are what they are when they say that they are ready, and count one round at the end.
#[test]
fn states() {
    for (name, arg) in [
        ("stopped", ""),
        ("misc_loop", "kind=nodump"),
        ("zombie", ""),
    ] {
        let fixture = start!(name, arg);
        // Asleep in its nap, or stopped: a round is begun.
        let begun = || {
            let tasks = mctl_testkit::tasks(fixture.pid());
            tasks.iter().any(|task| matches!(task.state, 'S' | 'T'))
        };
        while !begun() {
            std::thread::yield_now();
        }
        fixture.finish().expect("a verdict").assert_clean(1);
    }
}

/// Those that are long in a call without sleeping.
#[test]
fn long_calls() {
    for kind in [
        "getrandom",
        "dev-zero",
        "dev-urandom",
        "sendfile",
        "bpf-run",
    ] {
        let fixture = start!("blocked", format!("kind={kind}"), "size=100000");
        fixture.wait_rounds(3).expect("goes round");
        fixture.finish().expect("a verdict").assert_clean(1);
    }
}
