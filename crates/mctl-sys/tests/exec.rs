//! execve(2) that fails, and what it does to others of the same process meanwhile. In a file of its own: while a
//! thread is in execve, the kernel refuses every new task that is to share its file-system context, which is each
//! thread that anybody starts (EAGAIN, `fs->in_exec` in copy_fs()).
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::ffi::OsStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{rounds, set};
use mctl_abi::Errno;
use mctl_sys::program::write_program;
use mctl_sys::raw::exec::exec_in_place;
use mctl_testkit::{SetOnDrop, start};

/// One after the other: each would disturb the other's threads.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn a_program_that_is_not_there() {
    let _turn = TURN.lock();
    assert_eq!(
        exec_in_place(OsStr::new("/no/such/program"), &[]),
        Errno::ENOENT
    );
    assert_eq!(exec_in_place(OsStr::new("/etc/passwd"), &[]), Errno::EACCES);
    assert_eq!(exec_in_place(OsStr::new("a\0b"), &[]), Errno::EINVAL);
}

/// The shield is a new task of this process, but shares no file-system context.
#[test]
fn injection_while_another_thread_fails_to_execute() {
    let _turn = TURN.lock();
    let fixture = start!("pause", "every=0");
    // Linux 6.18 opens the file before others are refused anything: only what comes after can be in the way.
    let dir = tempfile::tempdir().expect("made");
    let script = dir.path().join("script");
    write_program(&script, b"#!/no/such/interpreter\n", 0o755).expect("written");
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                let errno = exec_in_place(script.as_os_str(), &[]);
                assert_eq!(errno, Errno::ENOENT);
            }
        });
        let _ends = SetOnDrop(&end);
        for n in 0..rounds("MCTL_INJECTIONS", 300) {
            set(fixture.target(), fixture.pidfd(), n % 2 == 0).expect("injected");
        }
    });
    fixture.finish().expect("a verdict").assert_clean(1);
}
