//! A program whose own seccomp filter kills for restart_syscall(2), asleep in a call that the kernel goes on with by that
//! one: every command leaves it alive, and what cannot be done without disturbing it says so.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use common::mctl;
use mctl_testkit::Fixture;

#[test]
fn no_command_kills_it() {
    if !cfg!(target_arch = "x86_64") || !mctl_testkit::is_root() {
        mctl_testkit::skip!(
            "only root changes a filtered program, and the number is that of x86-64"
        );
    }
    if mctl_testkit::has_native_call() {
        mctl_testkit::skip!("the kernel has mctl() itself: nothing is injected");
    }
    let start = Fixture::builder("nanosleep").under(["kill=219"]);
    let fixture = start.arg("every=0").start().unwrap();
    fixture
        .wait_blocked(std::time::Duration::from_secs(60))
        .unwrap();
    let pid = fixture.pid().to_string();
    // In a container root may lack CAP_SYS_ADMIN, or be under a filter itself.
    let first = mctl(&["set", "nohugepage", "-q", &pid]);
    if first.code != Some(0) && first.err.contains("seccomp") {
        mctl_testkit::skip!("no filter can be passed over here");
    }
    first.assert(0);
    for words in ["set nohugepage -q", "clear nohugepage -q", "get --exact"] {
        let words: Vec<&str> = words.split(' ').chain([pid.as_str()]).collect();
        mctl(&words).assert(0);
    }
    // A carrier would be born in the middle of the sleep.
    let refused = mctl(&["lock", "--wait", "100ms", &pid]).assert(1);
    assert!(
        refused.err.contains("EBUSY") && refused.err.contains("restart_syscall(2)"),
        "{refused:#?}"
    );
    let disturbed = mctl(&["lock", "--wait", "100ms", "--disturb", &pid]).assert(0);
    assert!(disturbed.err.contains("was interrupted"), "{disturbed:#?}");
    mctl(&["set", "nohugepage", "-q", &pid]).assert(0);
    fixture.finish().unwrap();
}
