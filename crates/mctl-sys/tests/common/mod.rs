//! What the tests of the injector share.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mctl_sys::inject::{InjectError, Job, Limits, Prepared, Refusal, Report, ScriptCall, run};
use mctl_sys::raw::pidfd::pidfd_open;
use mctl_sys::raw::prctl::{PR_GET_THP_DISABLE, PR_SET_THP_DISABLE};

/// Against hanging only.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Limits that a machine with other work does not reach: what is awaited does come.
pub const PATIENT: Limits = Limits {
    stop_ms: 120_000,
    wait_ms: 120_000,
    disturb: false,
};

pub fn prctl(option: u64, arg: u64) -> ScriptCall {
    ScriptCall::new(libc::SYS_prctl, [option, arg, 0, 0, 0, 0])
}

/// Runs a script once in the process behind the descriptor.
pub fn inject(
    pid: i32,
    pidfd: BorrowedFd<'_>,
    calls: &mut [ScriptCall],
) -> Result<Report, InjectError> {
    inject_within(pid, pidfd, calls, Limits::default())
}

fn inject_within(
    pid: i32,
    pidfd: BorrowedFd<'_>,
    calls: &mut [ScriptCall],
    limits: Limits,
) -> Result<Report, InjectError> {
    let prepared = Prepared::look(pid, pidfd)?;
    let mut jobs = [Job::script(prepared, calls, limits)];
    run(&mut jobs);
    jobs[0].outcome()
}

/// Runs the getter in a process; what it returned.
pub fn get(pid: i32) -> Result<i64, InjectError> {
    let pidfd = pidfd_open(pid).expect("a pidfd");
    let mut calls = [prctl(PR_GET_THP_DISABLE, 0)];
    inject(pid, pidfd.as_fd(), &mut calls)?;
    Ok(calls[0].result.expect("the call was run"))
}

/// Sets or clears and reads back, in one stop. It waits until it can be done.
pub fn set(pid: i32, pidfd: BorrowedFd<'_>, on: bool) -> Result<Report, InjectError> {
    set_within(pid, pidfd, on, PATIENT)
}

/// As [`set`], within these limits.
pub fn set_within(
    pid: i32,
    pidfd: BorrowedFd<'_>,
    on: bool,
    limits: Limits,
) -> Result<Report, InjectError> {
    let mut calls = [
        prctl(PR_SET_THP_DISABLE, u64::from(on)),
        prctl(PR_GET_THP_DISABLE, 0),
    ];
    let report = inject_within(pid, pidfd, &mut calls, limits)?;
    assert_eq!(
        calls.map(|call| call.result),
        [Some(0), Some(i64::from(on))]
    );
    assert_eq!(report.calls, 2);
    Ok(report)
}

/// What /proc says of a thread: huge pages are not forbidden. (By a live thread: a first thread that
/// has exited has no such line.) `None`: it has ended.
pub fn thp_enabled(tid: i32) -> Option<bool> {
    let text = std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with("THP_enabled:"))?;
    Some(line == "THP_enabled:\t1")
}

/// The refusal that an injection meets.
pub fn refusal(pid: i32) -> Refusal {
    match get(pid) {
        Err(InjectError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// A number from the environment, for longer runs than the default.
pub fn rounds(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A little disorder: when a test acts must not keep step with its target.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed | 1)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
