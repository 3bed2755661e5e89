//! Every program, left alone: it gets ready, blocks, ends on request, and has noticed nothing.

use std::time::Duration;

use mctl_testkit::start;

macro_rules! left_alone {
    ($($test:ident: $name:literal $(, $arg:literal)*;)+) => {$(
        #[test]
        fn $test() {
            let fixture = start!($name $(, $arg)*);
            fixture.wait_blocked(Duration::from_secs(5)).expect("blocks");
            std::thread::sleep(Duration::from_millis(120));
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
}
