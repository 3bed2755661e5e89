//! `--through-filter`: what a user may do to an own program that a seccomp filter guards.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{AsUser, NOBODY, Ran, mctl, thp_enabled};

#[cfg(target_arch = "x86_64")]
const PRCTL: u32 = 157;
#[cfg(not(target_arch = "x86_64"))]
const PRCTL: u32 = 167;

/// A user without privileges: the one who runs this, or nobody.
struct User {
    dir: tempfile::TempDir,
    tool: PathBuf,
    other: Option<AsUser>,
}

impl User {
    fn new() -> Option<User> {
        let tool = mctl_testkit::compile("under", &[]).ok()?;
        let dir = tempfile::tempdir().unwrap();
        let open = || std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open()).unwrap();
        // Out of a folder that the user may not reach.
        let copy = dir.path().join("under");
        std::fs::copy(tool, &copy).unwrap();
        std::fs::set_permissions(&copy, open()).unwrap();
        Some(User {
            dir,
            tool: copy,
            other: mctl_testkit::is_root().then(AsUser::new),
        })
    }

    fn mctl(&self, words: &[&str]) -> Ran {
        match &self.other {
            Some(user) => user.mctl(words),
            None => mctl(words),
        }
    }

    /// A program of the user's under a filter, once it is under it.
    fn start(&self, filter: &[&str]) -> Guarded {
        for _ in 0..200 {
            let mut command = Command::new(&self.tool);
            command
                .args(filter)
                .args(["--", "sleep", "600"])
                .current_dir(self.dir.path())
                .stdin(Stdio::null());
            if self.other.is_some() {
                command.uid(NOBODY).gid(NOBODY);
            }
            // A fork of another test may hold the copy open for writing for a moment.
            let Ok(child) = command.spawn() else {
                std::thread::sleep(std::time::Duration::from_millis(5));
                continue;
            };
            let guarded = Guarded(child);
            while guarded.comm() != "sleep" {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            return guarded;
        }
        panic!("the copy of the tool stays busy");
    }
}

struct Guarded(Child);

impl Guarded {
    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn comm(&self) -> String {
        let path = format!("/proc/{}/comm", self.0.id());
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    }

    fn is_there(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn yama() -> bool {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    scope.is_ok_and(|scope| scope.trim() != "0") || !Path::new("/proc/self/syscall").exists()
}

macro_rules! user {
    () => {
        match User::new() {
            Some(user) if !yama() && !mctl_testkit::has_native_call() => user,
            _ => mctl_testkit::skip!("needs a C compiler, no Yama, and a stock kernel"),
        }
    };
}

#[test]
fn a_filter_that_allows_it_is_gone_through_only_when_asked() {
    let user = user!();
    let mut guarded = user.start(&["refuse=999999:1"]);
    let pid = guarded.pid().to_string();
    let ran = user.mctl(&["set", "nohugepage", "-q", &pid]).assert(1);
    assert!(
        ran.err.contains("seccomp") && ran.err.contains("hint:"),
        "{ran:#?}"
    );
    assert!(
        ran.err.contains("--through-filter") && thp_enabled(guarded.pid()),
        "{ran:#?}"
    );
    let ran = user
        .mctl(&["set", "nohugepage", "--through-filter", &pid])
        .assert(0);
    assert!(ran.err.contains("may kill"), "the warning: {ran:#?}");
    assert!(!thp_enabled(guarded.pid()));
    user.mctl(&["clear", "nohugepage", "-q", "--through-filter", &pid])
        .assert(0);
    assert!(thp_enabled(guarded.pid()) && guarded.is_there());
    // More than prctl(2).
    let ran = user.mctl(&["clear", "mergeable", "-q", "--through-filter", &pid]);
    assert!(
        ran.code == Some(0) || ran.err.contains("nothing but prctl(2)"),
        "{ran:#?}"
    );
    assert!(guarded.is_there());
}

#[test]
fn what_the_filter_answers_is_reported() {
    let user = user!();
    let mut guarded = user.start(&[&format!("refuse={PRCTL}:13")]);
    let pid = guarded.pid().to_string();
    let ran = user
        .mctl(&["set", "nohugepage", "-q", "--through-filter", &pid])
        .assert(1);
    assert!(ran.err.contains("EACCES"), "{ran:#?}");
    assert!(thp_enabled(guarded.pid()) && guarded.is_there());
}

#[test]
fn a_wrong_guess_kills_and_is_said_to_have_killed() {
    let user = user!();
    let mut guarded = user.start(&[&format!("kill={PRCTL}")]);
    let pid = guarded.pid().to_string();
    user.mctl(&["set", "nohugepage", "-q", &pid]).assert(1);
    assert!(guarded.is_there(), "not without the word");
    let ran = user
        .mctl(&["set", "nohugepage", "-q", "--through-filter", &pid])
        .assert(1);
    assert!(ran.err.contains("through its seccomp filter"), "{ran:#?}");
}

#[test]
fn only_one_process_and_only_an_own_one() {
    let user = user!();
    let guarded = user.start(&["refuse=999999:1"]);
    let pid = guarded.pid().to_string();
    for words in [
        &["set", "nohugepage", "--through-filter", "--tree", &pid][..],
        &["set", "nohugepage", "--through-filter", "--cgroup", "0::/x"],
        &["set", "nohugepage", "--through-filter", &pid, "1"],
    ] {
        user.mctl(words).assert(2);
    }
    if mctl_testkit::is_root() {
        let roots = mctl_testkit::start!("pause");
        let roots = roots.pid().to_string();
        let ran = user
            .mctl(&["set", "nohugepage", "--through-filter", &roots])
            .assert(1);
        assert!(ran.err.contains("own processes only"), "{ran:#?}");
    }
    let mut builder = mctl_testkit::Fixture::builder("seccomp_strict");
    if mctl_testkit::is_root() {
        builder = builder.as_user(NOBODY);
    }
    let strict = mctl_testkit::start!(@ builder);
    let ran = user
        .mctl(&[
            "set",
            "nohugepage",
            "--through-filter",
            &strict.pid().to_string(),
        ])
        .assert(1);
    assert!(ran.err.contains("strict mode"), "{ran:#?}");
}

/// A poll(2) without an end comes out of a stop as itself, and not as restart_syscall(2), which the filter kills for.
#[cfg(target_arch = "x86_64")]
#[test]
fn an_endless_poll_survives_a_filter_without_restart_syscall() {
    const POLL: &str = "7 ";
    const RESTART_SYSCALL: u32 = 219;
    if !mctl_testkit::is_root() {
        mctl_testkit::skip!("only root changes a program under a filter");
    }
    let (Ok(tool), Ok(poll)) = (
        mctl_testkit::compile("under", &[]),
        mctl_testkit::compile("poll", &[]),
    ) else {
        mctl_testkit::skip!("needs a C compiler");
    };
    let child = Command::new(tool)
        .arg(format!("kill={RESTART_SYSCALL}"))
        .arg("--")
        .arg(poll)
        .arg("every=0")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut guarded = Guarded(child);
    let pid = guarded.0.id().to_string();
    let call = format!("/proc/{pid}/syscall");
    for tried in 0.. {
        if std::fs::read_to_string(&call).is_ok_and(|call| call.starts_with(POLL)) {
            break;
        }
        assert!(tried < 6000, "it never polls");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for _ in 0..20 {
        mctl(&["set", "nohugepage", &pid]).assert(0);
        mctl(&["clear", "nohugepage", &pid]).assert(0);
    }
    assert_eq!(guarded.0.try_wait().unwrap(), None, "the filter killed it");
}
