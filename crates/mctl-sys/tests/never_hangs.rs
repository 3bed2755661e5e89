//! Whatever a process does to hold the kernel's answers about it back, we do not wait for ever, and leave nothing.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::io::Read as _;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use common::{inject, prctl, set};
use mctl_sys::bounded::ProcFile;
use mctl_sys::inject::{CarriedCall, Carrier, InjectError, Job, Limits, Prepared, Refusal, run};
use mctl_sys::raw::pidfd::pidfd_open;
use mctl_sys::raw::prctl::PR_GET_THP_DISABLE;
use mctl_testkit::start;

/// Far beyond the bound, on any machine; without one it would be for ever.
const NEVER: Duration = Duration::from_secs(60);

fn children() -> Vec<String> {
    let own = rustix::thread::gettid().as_raw_nonzero();
    let text = std::fs::read_to_string(format!("/proc/self/task/{own}/children"));
    let text = text.unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// Whether the kernel tells about this process what a look needs, asked by ourselves.
fn is_told_of(pid: i32) -> bool {
    let mut text = String::new();
    ProcFile::open(format!("/proc/{pid}/syscall"))
        .and_then(|mut file| file.read_to_string(&mut text))
        .is_ok()
}

/// Where the kernel does not tell, there was no answer; where it does, the process is in execve(2), which is not
/// interrupted: it was not touched at all.
fn refused_as_it_is(pid: i32, error: &InjectError) -> bool {
    match error {
        InjectError::Refused(Refusal::NoAnswer) => !is_told_of(pid),
        InjectError::Refused(Refusal::NoHarmlessMoment { call, .. }) => {
            is_told_of(pid) && call.starts_with("execve")
        }
        _ => false,
    }
}

/// A vDSO that is not the kernel's is not used, nor is what lies in its place read: the thread's own instruction does
/// as well, and no handler is lost.
#[test]
fn an_odd_vdso_is_left_alone() {
    for kind in [
        "kind=not-executable",
        "kind=gone",
        "kind=moved",
        "kind=patched",
        "kind=unserved",
    ] {
        let fixture = start!("vdso_odd", kind);
        fixture.wait_blocked(NEVER).expect("asleep");
        let begun = Instant::now();
        for n in 0..20 {
            set(fixture.pid(), fixture.pidfd(), n % 2 == 0).expect(kind);
        }
        assert!(begun.elapsed() < NEVER, "{kind}");
        fixture.finish().expect("a verdict").assert_clean(1);
    }
}

/// A carrier has its name from the vDSO's text: what lies in its place is not read for it either.
#[test]
fn a_carrier_in_a_process_with_an_odd_vdso() {
    for kind in ["kind=gone", "kind=moved", "kind=unserved"] {
        let fixture = start!("vdso_odd", kind);
        fixture.wait_blocked(NEVER).expect("asleep");
        let pid = fixture.pid();
        let pidfd = pidfd_open(pid).expect("a pidfd");
        let (tell, told) = std::sync::mpsc::channel();
        // Without the bound it would never be born: the thread is left behind then.
        std::thread::spawn(move || {
            let never = || false;
            let carrier =
                Carrier::start(pid, pidfd.as_fd(), None, Limits::default(), NEVER, &never);
            let end = carrier.map(|mut carrier| {
                let mut calls = [CarriedCall::new(libc::SYS_madvise, [0; 6])];
                let done = carrier.run(&mut calls, &never);
                (done, calls[0].result, carrier.end().left)
            });
            let _ = tell.send(end);
        });
        let end = told.recv_timeout(NEVER).expect("born within the bound");
        let end = end.expect("a carrier");
        assert_eq!(end, (Ok(()), Some(0), None), "{kind}");
        fixture.finish().expect("a verdict").assert_clean(1);
    }
}

#[test]
fn a_process_that_executes_from_a_stuck_file_system() {
    for how in ["how=exec", "how=flush"] {
        let fixture = start!("fuse_stuck", how);
        let pid = fixture.target();
        let pidfd = pidfd_open(pid).expect("a pidfd");
        let (before, begun) = (children(), Instant::now());
        let outcome = inject(pid, pidfd.as_fd(), &mut [prctl(PR_GET_THP_DISABLE, 0)]);
        assert!(
            matches!(&outcome, Err(error) if refused_as_it_is(pid, error)),
            "{how}: {outcome:?}"
        );
        assert!(begun.elapsed() < NEVER, "{how}");
        assert_eq!(children(), before, "{how}");
        drop(fixture);
    }
}

/// The others of the same call are served, before and behind it.
#[test]
fn one_that_does_not_answer_keeps_nobody_else() {
    let stuck = start!("fuse_stuck", "how=exec");
    let good = [start!("poll", "every=0"), start!("poll", "every=0")];
    let pid = stuck.target();
    let pidfd = pidfd_open(pid).expect("a pidfd");
    let mut calls = [prctl(PR_GET_THP_DISABLE, 0); 3];
    let [first, second, third] = &mut calls;
    let look = |pid, pidfd| Prepared::look(pid, pidfd).expect("may be looked at");
    let mut jobs = [
        Job::script(
            look(good[0].pid(), good[0].pidfd()),
            std::slice::from_mut(first),
            Limits::default(),
        ),
        Job::script(
            look(pid, pidfd.as_fd()),
            std::slice::from_mut(second),
            Limits::default(),
        ),
        Job::script(
            look(good[1].pid(), good[1].pidfd()),
            std::slice::from_mut(third),
            Limits::default(),
        ),
    ];
    let before = children();
    run(&mut jobs);
    assert_eq!(children(), before);
    let outcomes: Vec<_> = jobs.iter().map(Job::outcome).collect();
    drop(jobs);
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    assert!(
        matches!(&outcomes[1], Err(error) if refused_as_it_is(pid, error)),
        "{outcomes:?}"
    );
    assert_eq!(calls.map(|call| call.result), [Some(0), None, Some(0)]);
    for fixture in good {
        fixture.finish().expect("a verdict").assert_clean(1);
    }
}
