//! Running the command and looking at processes.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test file uses a part of it, and tests fail by panicking"
)]

pub(crate) mod memory;

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A user without privileges: nobody.
pub(crate) const NOBODY: u32 = 65534;

/// A number that no process has: above the kernel's limit.
pub(crate) const NO_PROCESS: &str = "2147483647";

/// Whether this kernel shows in /proc if a process merges (`ksm_merge_any` in ksm_stat).
pub(crate) fn merging_shows() -> bool {
    std::fs::read_to_string("/proc/self/ksm_stat").is_ok_and(|text| text.contains("ksm_merge_any"))
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    fn of(output: &Output) -> Ran {
        Ran {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails unless it ended with this code. Nothing may ever panic.
    #[track_caller]
    pub(crate) fn assert(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(!self.err.contains("panicked"), "{self:#?}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// The command, in a plain environment.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mctl"));
    plain(&mut command);
    command
}

fn plain(command: &mut Command) {
    command
        .env_remove("NO_COLOR")
        .env_remove("COLUMNS")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
}

/// The command, to be sent SIGINT.
pub(crate) fn interruptible() -> Command {
    let mut command = mctl_testkit::heeding_signals(env!("CARGO_BIN_EXE_mctl"));
    plain(&mut command);
    command
}

/// Waits until it takes SIGINT: one that comes earlier just ends it.
pub(crate) fn wait_interruptible(child: &std::process::Child) {
    let path = format!("/proc/{}/status", child.id());
    let catches = || {
        let text = std::fs::read_to_string(&path).unwrap();
        let mask = text.lines().find_map(|l| l.strip_prefix("SigCgt:"));
        u64::from_str_radix(mask.unwrap().trim(), 16).unwrap() & 2 != 0
    };
    let begun = std::time::Instant::now();
    while !catches() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60));
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Runs `mctl` with these arguments.
pub(crate) fn mctl<S: AsRef<OsStr>>(args: &[S]) -> Ran {
    Ran::of(&command().args(args).output().unwrap())
}

/// Runs a command that was built elsewhere.
pub(crate) fn ran(command: &mut Command) -> Ran {
    Ran::of(&command.output().unwrap())
}

/// The command as another user. The copy is there because the target directory may be out of
/// that user's reach.
#[derive(Debug)]
pub(crate) struct AsUser {
    dir: tempfile::TempDir,
    exe: PathBuf,
}

impl AsUser {
    pub(crate) fn new() -> AsUser {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let open = || std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open()).unwrap();
        let exe = dir.path().join("mctl");
        std::fs::copy(env!("CARGO_BIN_EXE_mctl"), &exe).unwrap();
        std::fs::set_permissions(&exe, open()).unwrap();
        AsUser { dir, exe }
    }

    /// The copy.
    pub(crate) fn exe(&self) -> &std::path::Path {
        &self.exe
    }

    pub(crate) fn mctl<S: AsRef<OsStr>>(&self, args: &[S]) -> Ran {
        let mut command = Command::new(&self.exe);
        plain(&mut command);
        command
            .current_dir(self.dir.path())
            .uid(NOBODY)
            .gid(NOBODY)
            .args(args);
        // A fork of another test may hold the copy open for writing for a moment.
        for _ in 0..100 {
            match command.output() {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                other => return Ran::of(&other.unwrap()),
            }
        }
        panic!("the copy of mctl stays busy");
    }
}

/// Whether a process may have huge pages: false under "never", whatever put that in force.
pub(crate) fn thp_enabled(pid: i32) -> bool {
    !mctl_testkit::is_never(pid).unwrap()
}

/// What the host's knob for huge pages says.
pub(crate) fn host_says() -> Option<String> {
    let text = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}
