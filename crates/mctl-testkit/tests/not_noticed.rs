//! The other control: a tracer that makes everything good is not noticed. What a program then reported
//! would be a false alarm.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]
#![cfg(target_arch = "x86_64")]

use std::time::Duration;

use mctl_testkit::{Fixture, require_root, run_tool, start};

fn inject(fixture: Fixture, tid: i32) {
    let out = run_tool(
        "rude_tracer",
        &[&tid.to_string(), "mode=polite", "times=100", "gap=500"],
    );
    let out = out.expect("the tracer runs");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let said = String::from_utf8_lossy(&out.stdout);
    let injected: u64 = said
        .trim()
        .trim_start_matches("injected ")
        .parse()
        .expect("a number");
    assert!(injected >= 20, "{said}");
    fixture.finish().expect("a verdict").assert_clean(1);
}

macro_rules! polite {
    ($($test:ident: $name:literal $(, $arg:literal)*;)+) => {$(
        #[test]
        fn $test() {
            let fixture = start!($name $(, $arg)*);
            let task = fixture.wait_blocked(Duration::from_secs(120)).expect("blocks");
            inject(fixture, task.tid);
        }
    )+};
}

polite! {
    epoll_wait: "epoll_wait";
    epoll_wait_for_ever: "epoll_wait", "every=0";
    epoll_wait_timeout: "epoll_wait", "timeout=100";
    epoll_pwait: "epoll_pwait";
    epoll_pwait2: "epoll_pwait2";
    epoll_pwait2_timeout: "epoll_pwait2", "timeout=100";
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
    read_inotify: "read_inotify";
    read_fanotify: "read_fanotify";
    read_userfaultfd: "read_userfaultfd";
    accept: "accept";
    accept_timeout: "accept", "timeout=100";
    recv: "recv";
    recv_timeout: "recv", "timeout=100";
    recvmsg: "recvmsg";
    sigwaitinfo: "sigtimedwait";
    sigtimedwait: "sigtimedwait", "timeout=100";
    sigsuspend: "sigsuspend";
    pause: "pause";
    semop: "semop";
    semtimedop: "semop", "timeout=100";
    msgrcv: "msgrcv";
    msgsnd: "msgsnd";
    mq_timedreceive: "mq_timedreceive";
    io_uring_enter: "io_uring_enter";
    io_uring_enter_timeout: "io_uring_enter", "timeout=100";
    io_getevents: "io_getevents";
    io_getevents_timeout: "io_getevents", "timeout=100";
    wait4: "wait4";
    waitid: "wait4", "op=waitid";
    flock: "lock";
    fcntl_lock: "lock", "op=fcntl";
    write_pipe: "write_pipe";
    write_pipe_large: "write_pipe", "size=262144", "take=100000", "short=1";
    leader_exit: "leader_exit";
    threads: "threads";
    storm_epoll_wait: "storm";
    storm_epoll_pwait: "storm", "call=epoll_pwait";
    storm_ppoll: "storm", "call=ppoll";
    storm_pselect6: "storm", "call=pselect6";
    storm_sigsuspend: "storm", "call=sigsuspend";
    storm_read: "storm", "call=read";
    storm_read_restart: "storm", "call=read", "restart=1";
    seccomp_errno: "misc_loop", "kind=seccomp-errno";
}

/// In user mode all the time, so there is nothing to wait for.
#[test]
fn spin() {
    let fixture = start!("spin");
    let pid = fixture.pid();
    inject(fixture, pid);
}

/// Only root may look into it, and see whether it is blocked.
#[test]
fn nodump() {
    require_root!();
    let fixture = start!("misc_loop", "kind=nodump");
    let task = fixture
        .wait_blocked(Duration::from_secs(120))
        .expect("blocks");
    inject(fixture, task.tid);
}
