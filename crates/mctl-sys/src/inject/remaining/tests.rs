//! Real waits, stopped again and again.

use super::*;
use crate::arch::SyscallArgs;
use crate::inject::shield;
use crate::inject::vdso;
use crate::ptrace::tracee::Seized;
use crate::time::Deadline;
use mctl_testkit::Fixture;

/// What became of one stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// It was refused before the thread was touched.
    Refused,
    /// prctl(PR_GET_THP_DISABLE) was run in it.
    Ran,
    Lost,
}

fn stop_in_its_wait(pid: i32) -> Done {
    let Some(finite) = Finite::look(pid, pid, 0) else {
        return Done::Refused;
    };
    let mut auxv = [0u8; 1024];
    let auxv = read_small(&format!("/proc/{pid}/auxv"), &mut auxv).unwrap();
    let insn = vdso::find(pid, pid, auxv, || None).vdso.unwrap();
    let mut done = Done::Refused;
    shield::run(|| {
        let Some(known) = finite.know() else { return };
        done = Done::Lost;
        let Ok(seized) = Seized::seize(pid) else {
            return;
        };
        let Ok(mut stopped) = seized.stop(Deadline::after(5_000_000_000)) else {
            return;
        };
        known.mend(&mut stopped);
        let Ok(mut borrowed) = stopped.borrow(insn, false, None) else {
            return;
        };
        let call = SyscallArgs {
            number: libc::SYS_prctl.unsigned_abs(),
            args: [42, 0, 0, 0, 0, 0],
        };
        if borrowed.call(call, 1_000_000_000) == Ok(0) {
            done = Done::Ran;
        }
        borrowed.release();
    })
    .unwrap();
    done
}

fn can_be_tried() -> bool {
    cfg!(target_arch = "x86_64")
        && has_epoll_pwait2()
        && std::fs::File::open("/proc/timer_list").is_ok()
}

/// Stops it for so long, with pauses; how often it was.
fn keep_stopping(fixture: &Fixture, seconds: u64, pause_ms: u64) -> [u32; 2] {
    let begun = std::time::Instant::now();
    let mut count = [0, 0];
    while begun.elapsed().as_secs() < seconds {
        match stop_in_its_wait(fixture.pid()) {
            Done::Ran => count[0] += 1,
            Done::Refused => count[1] += 1,
            Done::Lost => panic!("lost in the middle"),
        }
        std::thread::sleep(std::time::Duration::from_millis(pause_ms));
    }
    count
}

/// Without the rest of the time none of its waits would ever end: each is stopped some dozen times.
#[test]
fn a_wait_ends_in_time_however_often_it_is_stopped() {
    if !can_be_tried() {
        mctl_testkit::skip!("needs /proc/timer_list (root) and epoll_pwait2, on x86-64");
    }
    let late = format!("late={}", 500 * mctl_testkit::slower());
    let fixture = mctl_testkit::start!("epoll_wait_libc", "timeout=700", late);
    let [ran, refused] = keep_stopping(&fixture, 8, 10);
    let verdict = fixture.finish().unwrap();
    verdict.assert_clean(3);
    assert!(ran >= 30, "{ran} of {} served", ran + refused);
}

/// Where the call stands in the program's own code, a compiler may keep the timeout in its register.
#[test]
fn a_call_that_was_made_inline_is_left_alone() {
    if !can_be_tried() {
        mctl_testkit::skip!("needs /proc/timer_list (root) and epoll_pwait2, on x86-64");
    }
    let fixture = mctl_testkit::start!("epoll_wait", "timeout=700");
    for _ in 0..50 {
        assert_eq!(stop_in_its_wait(fixture.pid()), Done::Refused);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    fixture.finish().unwrap().assert_clean(0);
}

/// With a second thread the C library keeps its cancellation state in r8 meanwhile.
#[test]
fn a_wait_that_can_be_cancelled_is_left_alone() {
    if !can_be_tried() {
        mctl_testkit::skip!("needs /proc/timer_list (root) and epoll_pwait2, on x86-64");
    }
    let fixture = mctl_testkit::start!("epoll_wait_libc", "timeout=700", "threads=2");
    for _ in 0..50 {
        assert_eq!(stop_in_its_wait(fixture.pid()), Done::Refused);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    fixture.finish().unwrap().assert_clean(0);
}

#[test]
fn a_wait_without_end_is_none_of_these() {
    if !can_be_tried() {
        mctl_testkit::skip!("needs /proc/timer_list (root) and epoll_pwait2, on x86-64");
    }
    let fixture = mctl_testkit::start!("epoll_wait", "every=0");
    assert_eq!(stop_in_its_wait(fixture.pid()), Done::Refused);
    fixture.finish().unwrap().assert_clean(0);
}

#[test]
fn the_c_library_by_name() {
    for (path, wanted) in [
        (&b"/usr/lib/x86_64-linux-gnu/libc.so.6"[..], true),
        (b"/lib/libc.so.6 (deleted)", true),
        (b"/lib/libc-2.31.so", true),
        (b"/lib/libc.so.6.bak", false),
        (b"/lib/libcurl.so.4", false),
        (b"/lib/ld-musl-x86_64.so.1", false),
        (b"[vdso]", false),
        (b"", false),
    ] {
        assert_eq!(is_c_library(path), wanted, "{path:?}");
    }
}

/// Beside another with the same timeout and another end: taken for each other, one would end half a second early, or
/// late.
#[test]
fn waits_that_look_alike_are_told_apart() {
    if !can_be_tried() {
        mctl_testkit::skip!("needs /proc/timer_list (root) and epoll_pwait2, on x86-64");
    }
    let late = format!("late={}", 450 * mctl_testkit::slower());
    let other = mctl_testkit::start!("epoll_wait_libc", "timeout=1000", &late);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let fixture = mctl_testkit::start!("epoll_wait_libc", "timeout=1000", &late);
    let [ran, refused] = keep_stopping(&fixture, 10, 3);
    fixture.finish().unwrap().assert_clean(5);
    other.finish().unwrap().assert_clean(5);
    assert!(ran >= 30, "{ran} of {} served", ran + refused);
}
