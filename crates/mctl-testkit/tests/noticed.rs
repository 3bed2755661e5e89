//! The negative control: a rude tracer disturbs each program, and each notices. A program that cannot
//! fail proves nothing.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use mctl_testkit::{Fixture, Verdict, run_tool, start};

fn disturb(tid: i32, args: &[&str]) {
    let pid = tid.to_string();
    let out = run_tool("rude_tracer", &[&[pid.as_str()], args].concat()).expect("the tracer runs");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

fn verdict_after(fixture: Fixture, args: &[&str]) -> Verdict {
    let task = fixture
        .wait_blocked(Duration::from_secs(120))
        .expect("blocks");
    let before = fixture.progress().expect("counts");
    disturb(task.tid, args);
    // It comes out of its call and looks.
    fixture
        .wait_progress(|now| now.rounds > before.rounds || now.violations > before.violations)
        .expect("goes on");
    fixture.finish().expect("a verdict")
}

/// Interrupted and let go, which the kernel cannot make good for these calls.
macro_rules! bare {
    ($($test:ident: $name:literal $(, $arg:literal)*;)+) => {$(
        #[test]
        fn $test() {
            let verdict = verdict_after(start!($name $(, $arg)*), &["mode=bare", "times=5"]);
            assert!(verdict.has("spurious EINTR"), "{verdict:?}");
        }
    )+};
}

bare! {
    bare_epoll_wait: "epoll_wait";
    bare_epoll_wait_timeout: "epoll_wait", "timeout=300";
    bare_epoll_pwait: "epoll_pwait", "every=300";
    bare_epoll_pwait2: "epoll_pwait2", "every=300";
    bare_semop: "semop", "every=300";
    bare_semtimedop: "semop", "timeout=300";
    bare_sigwaitinfo: "sigtimedwait", "every=300";
    bare_io_uring_enter: "io_uring_enter", "every=300";
    bare_fuse_pread: "fuse_calls", "kind=pread", "every=300";
    bare_fuse_preadv: "fuse_calls", "kind=preadv", "every=300";
    bare_fuse_write: "fuse_calls", "kind=write", "every=300";
    bare_fuse_open: "fuse_calls", "kind=open", "every=300";
    bare_fuse_stat: "fuse_calls", "kind=stat", "every=300";
    bare_fuse_unlink: "fuse_calls", "kind=unlink", "every=300";
    bare_fuse_mkdir: "fuse_calls", "kind=mkdir", "every=300";
    bare_fuse_fsync: "fuse_calls", "kind=fsync", "every=300";
    bare_recv_timeout: "recv", "timeout=300";
    bare_accept_timeout: "accept", "timeout=300";
}

/// Forced to return what it should not.
macro_rules! forced {
    ($($test:ident: $name:literal $(, $arg:literal)*;)+) => {$(
        #[test]
        fn $test() {
            let verdict = verdict_after(start!($name $(, $arg)*), &["mode=eintr", "times=10", "gap=10000"]);
            assert!(!verdict.is_clean(), "{verdict:?}");
        }
    )+};
}

forced! {
    eintr_poll: "poll", "every=300";
    eintr_ppoll: "ppoll", "every=300";
    eintr_select: "select", "every=300";
    eintr_pselect6: "pselect6", "every=300";
    eintr_nanosleep: "nanosleep", "every=300";
    eintr_clock_nanosleep: "clock_nanosleep", "every=300";
    eintr_futex_wait: "futex_wait", "every=300";
    eintr_read_pipe: "read_pipe", "every=300";
    eintr_read_pty: "read_pty", "every=300";
    eintr_read_eventfd: "read_eventfd", "every=300";
    eintr_read_signalfd: "read_signalfd", "every=300";
    eintr_read_timerfd: "read_timerfd", "every=300";
    eintr_read_inotify: "read_inotify", "every=300";
    eintr_read_fanotify: "read_fanotify", "every=300";
    eintr_read_userfaultfd: "read_userfaultfd", "every=300";
    eintr_accept: "accept", "every=300";
    eintr_recv: "recv", "every=300";
    eintr_recvmsg: "recvmsg", "every=300";
    eintr_sigsuspend: "sigsuspend", "every=300";
    eintr_pause: "pause", "every=300";
    eintr_msgrcv: "msgrcv", "every=300";
    eintr_msgsnd: "msgsnd", "every=300";
    eintr_mq_timedreceive: "mq_timedreceive", "every=300";
    eintr_io_getevents: "io_getevents", "every=300";
    eintr_wait4: "wait4", "every=300";
    eintr_waitid: "wait4", "op=waitid", "every=300";
    eintr_flock: "lock", "every=300";
    eintr_fcntl_lock: "lock", "op=fcntl", "every=300";
    eintr_write_pipe: "write_pipe", "every=300";
    eintr_leader_exit: "leader_exit", "every=300";
    eintr_exec_loop: "exec_loop", "every=300";
    eintr_misc_loop: "misc_loop", "every=300";
    eintr_nolibc_static: "nolibc_static";
    eintr_i386: "i386";
    eintr_vmas: "vmas", "every=300";
    eintr_storm: "storm", "gap=100000", "every=300";
}

#[test]
fn an_early_return_is_noticed() {
    for (name, every) in [("nanosleep", "every=300"), ("epoll_wait", "timeout=300")] {
        let verdict = verdict_after(start!(name, every), &["mode=early"]);
        assert!(verdict.has("early"), "{verdict:?}");
    }
    let verdict = verdict_after(start!("semop", "every=300"), &["mode=early"]);
    assert!(verdict.has("early"), "{verdict:?}");
}

#[test]
fn a_changed_register_is_noticed() {
    for (mode, what) in [
        ("clobber", "register"),
        ("vector", "register"),
        ("redzone", "register"),
    ] {
        let verdict = verdict_after(start!("poll", "every=60"), &[&format!("mode={mode}")]);
        assert!(verdict.has(what), "{mode}: {verdict:?}");
    }
}

#[test]
fn a_changed_mask_is_noticed() {
    let verdict = verdict_after(start!("poll", "every=60"), &["mode=mask"]);
    assert!(verdict.has("signal mask"), "{verdict:?}");
}

#[test]
fn a_register_changed_in_user_mode_is_noticed() {
    for mode in ["mode=clobber", "mode=vector", "mode=redzone"] {
        let fixture = start!("spin", "turns=100000000");
        // Between two rounds it is for a moment only.
        fixture.wait_rounds(1).expect("spins");
        disturb(fixture.pid(), &[mode]);
        let verdict = fixture.finish().expect("a verdict");
        assert!(verdict.has("register"), "{mode}: {verdict:?}");
    }
}

#[test]
fn a_swallowed_signal_is_noticed() {
    for call in ["call=epoll_wait", "call=ppoll"] {
        let fixture = start!("storm", call);
        disturb(fixture.pid(), &["mode=swallow", "gap=50000"]);
        let verdict = fixture.finish().expect("a verdict");
        assert!(verdict.has("signal"), "{verdict:?}");
    }
}

#[test]
fn a_section_that_should_have_been_aborted_is_noticed() {
    let fixture = start!("rseq");
    // The kernel sees the borrowed syscall instruction, not the section that was left for it.
    disturb(fixture.pid(), &["mode=inject", "times=100", "gap=300"]);
    let verdict = fixture.finish().expect("a verdict");
    assert!(!verdict.is_clean(), "{verdict:?}");
}

#[test]
fn a_traced_syscall_in_a_dispatching_program_is_noticed() {
    let fixture = start!("misc_loop", "kind=dispatch");
    let task = fixture
        .wait_blocked(Duration::from_secs(120))
        .expect("blocks");
    disturb(task.tid, &["mode=inject", "times=3"]);
    // SIGSYS's handler, or death by the tracer's own stray SIGTRAP.
    assert!(!fixture.finish().is_ok_and(|verdict| verdict.is_clean()));
}

#[test]
fn one_disturbed_thread_of_many_is_noticed() {
    let fixture = start!("threads", "every=300");
    fixture
        .wait_blocked(Duration::from_secs(120))
        .expect("blocks");
    let all_sleep = || fixture.tasks().iter().all(|task| task.state == 'S');
    while !all_sleep() {
        std::thread::yield_now();
    }
    for task in fixture.tasks().iter().skip(1) {
        disturb(task.tid, &["mode=eintr"]);
    }
    fixture
        .wait_progress(|now| now.violations >= 7)
        .expect("each notices");
    let verdict = fixture.finish().expect("a verdict");
    assert!(verdict.total >= 7, "{verdict:?}");
}

#[test]
fn a_write_cut_short_is_noticed() {
    let verdict = verdict_after(
        start!("write_pipe", "size=262144", "take=100000", "every=40"),
        &["mode=bare", "times=30"],
    );
    assert!(verdict.has("result"), "{verdict:?}");
}

#[test]
fn a_stray_sigtrap_is_noticed() {
    for kind in ["kind=sigtrap-handler", "kind=sigtrap-blocked"] {
        let fixture = start!("misc_loop", kind);
        fixture.signal(rustix::process::Signal::TRAP).expect("sent");
        let verdict = fixture.finish().expect("a verdict");
        assert!(verdict.has("signal"), "{verdict:?}");
    }
}

#[test]
fn a_call_into_a_filter_is_noticed() {
    // SIGSYS's handler, or death: both are what the filter's author meant for a prctl.
    let kinds = ["kind=seccomp-trap", "kind=seccomp-kill"].map(|kind| ("misc_loop", kind));
    for (program, kind) in kinds.into_iter().chain([("seccomp_strict", "")]) {
        let fixture = start!(program, kind);
        let task = fixture
            .wait_blocked(Duration::from_secs(120))
            .expect("blocks");
        disturb(task.tid, &["mode=prctl"]);
        let verdict = fixture.finish();
        assert!(
            !verdict.is_ok_and(|verdict| verdict.is_clean()),
            "{program} {kind}"
        );
    }
}

#[test]
fn pages_thrown_away_are_noticed() {
    let fixture = start!("counters", "mib=16", "discard=1");
    fixture
        .wait_progress(|now| now.violations > 0)
        .expect("one is missed");
    let verdict = fixture.finish().expect("a verdict");
    assert!(verdict.has("data"), "{verdict:?}");
}
