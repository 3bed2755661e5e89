//! What the caller itself is under: a seccomp filter, limits, a small stack. It gets its work done where that
//! can be, and else the reason that is the case.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::process::Command;

use common::{Ran, mctl, ran, thp_enabled};
use mctl_testkit::start;

const PIDFD_OPEN: u32 = 434;
const PROCESS_MADVISE: u32 = 440;
#[cfg(target_arch = "x86_64")]
const PRCTL: u32 = 157;
#[cfg(not(target_arch = "x86_64"))]
const PRCTL: u32 = 167;
const EPERM: u32 = 1;
const EMFILE: u32 = 24;
const ENOSYS: u32 = 38;

/// The command under a filter that answers these calls with these errnos.
fn under(refused: &[(String, u32)], words: &[&str]) -> Option<Ran> {
    let tool = mctl_testkit::compile("under", &[]).ok()?;
    let mut command = Command::new(tool);
    for (call, errno) in refused {
        command.arg(format!("refuse={call}:{errno}"));
    }
    command
        .arg("--")
        .arg(env!("CARGO_BIN_EXE_mctl"))
        .args(words);
    let ran = ran(&mut command);
    (ran.code != Some(77)).then_some(ran)
}

macro_rules! under {
    ($refused:expr, $words:expr) => {
        match under($refused, $words) {
            Some(ran) => ran,
            None => mctl_testkit::skip!("needs a C compiler and seccomp"),
        }
    };
}

/// It acts on itself.
#[test]
fn a_program_is_started_without_a_pidfd() {
    for errno in [EPERM, ENOSYS, EMFILE] {
        let refused = [(PIDFD_OPEN.to_string(), errno)];
        for words in [
            &["run", "--thp", "never", "-q", "--", "echo", "started"][..],
            &["run", "--thp", "never", "-n", "--", "echo"],
        ] {
            let ran = under!(&refused, words).assert(0);
            assert!(
                ran.out.contains("started") || ran.out.contains("would"),
                "{ran:#?}"
            );
        }
    }
}

#[test]
fn why_there_is_no_pidfd_is_said() {
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    for (errno, why) in [
        (EPERM, "refuses pidfd_open"),
        (ENOSYS, "no pidfd_open"),
        (EMFILE, "RLIMIT_NOFILE"),
    ] {
        let ran = under!(&[(PIDFD_OPEN.to_string(), errno)], &["get", &pid]).assert(1);
        assert!(
            ran.err.contains(why) && ran.err.contains("seccomp filter") == (errno != EMFILE),
            "{ran:#?}"
        );
    }
}

/// The target gives the advice to itself then.
#[test]
fn a_filter_on_process_madvise_is_no_obstacle() {
    for errno in [EPERM, ENOSYS, 13] {
        let fixture = start!("touch");
        let pid = fixture.pid().to_string();
        let refused = [(PROCESS_MADVISE.to_string(), errno)];
        let ran = under!(&refused, &["cold", "--json", &pid]);
        // Under a filter of its own the caller cannot suspend that of a target, which this one has not.
        let json = ran.assert(0).json();
        let way = &json["processes"][0]["advised"]["way"];
        assert!(way == "injected" || way == "carrier", "{json}");
    }
}

/// prctl(2) refused to the caller says nothing of the kernel, and nothing of the target.
#[test]
fn a_filter_on_prctl_is_not_taken_for_the_kernel() {
    if mctl_testkit::has_native_call() {
        mctl_testkit::skip!("the kernel has mctl() itself");
    }
    // PR_SET_THP_DISABLE, PR_GET_THP_DISABLE, PR_SET_MEMORY_MERGE, PR_GET_MEMORY_MERGE
    let calls = [41, 42, 67, 68].map(|option| (format!("{PRCTL}/{option}"), EPERM));
    let ran = under!(&calls, &["probe"]).assert(0);
    assert!(
        !ran.out.contains("built without") && !ran.out.contains("has no PR_SET"),
        "{ran:#?}"
    );
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    under!(&calls, &["set", "nohugepage", "-q", &pid]).assert(0);
    assert!(!thp_enabled(fixture.pid()));
    under!(&calls, &["clear", "nohugepage", "-q", &pid]).assert(0);
    let ran = under!(&calls, &["run", "--thp", "never", "--", "true"]).assert(125);
    assert!(
        ran.err.contains("seccomp filter") && ran.err.contains("EPERM"),
        "{ran:#?}"
    );
}

/// `ulimit -s` in KiB. The first thread's stack then holds the words and the environment too.
#[test]
fn a_small_stack_is_enough() {
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    let saved = mctl(&["get", "--json", &pid]).assert(0);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("saved.json");
    std::fs::write(&file, saved.out).unwrap();
    for words in [
        "probe",
        "get --maps PID",
        "get --json PID",
        "map PID",
        "set nohugepage --tree -q PID",
        "clear nohugepage -q PID",
        "advise cold --skip-errors PID",
        "advise mergeable --anon --skip-errors PID",
        "cold PID",
        "collapse -n PID",
        "unlock PID",
        "restore FILE",
        "run --thp never -q -- true",
        "explain EPERM set",
        "--help",
    ] {
        let line = words
            .replace("PID", &pid)
            .replace("FILE", file.to_str().unwrap());
        let script = format!("ulimit -s 16; exec {} {line}", env!("CARGO_BIN_EXE_mctl"));
        let mut command = Command::new("bash");
        command
            .args(["-c", &script])
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap());
        let ran = ran(&mut command);
        assert_eq!(ran.code, Some(0), "{words}: {ran:#?}");
    }
}

/// Which limit on tasks is reached is looked up.
#[test]
fn a_full_cgroup_is_named() {
    mctl_testkit::require_root!();
    let points = [
        "/sys/fs/cgroup/pids",
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/unified",
    ];
    let name = format!("mctl-test-{}-tasks", std::process::id());
    let made = points
        .iter()
        .map(|point| std::path::Path::new(point).join(&name))
        .find(|dir| {
            let counts = std::fs::create_dir(dir).is_ok() && dir.join("pids.max").exists();
            if !counts {
                let _ = std::fs::remove_dir(dir);
            }
            counts
        });
    let Some(dir) = made else {
        mctl_testkit::skip!("needs a cgroup that counts its tasks");
    };
    let fixture = start!("pause");
    let script = format!(
        "echo 1 > {0}/pids.max; echo $$ > {0}/cgroup.procs; exec {1} set nohugepage -q {2}",
        dir.display(),
        env!("CARGO_BIN_EXE_mctl"),
        fixture.pid()
    );
    let ran = ran(Command::new("bash").args(["-c", &script]));
    for _ in 0..100 {
        if std::fs::remove_dir(&dir).is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(
        ran.err.contains("pids.max") && ran.err.contains(&name),
        "{ran:#?}"
    );
    assert!(thp_enabled(fixture.pid()));
}
