//! What the caller itself is under: a seccomp filter, limits, a small stack. It gets its work done where that
//! can be, and else the reason that is the case.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::os::unix::process::CommandExt;
use std::process::Command;

use common::{AsUser, NOBODY, Ran, mctl, ran, thp_enabled};
use mctl_testkit::{Fixture, start};

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
        // The kernel leaves up to 8 KiB at the top of a stack unused, by chance, and then comes the environment: with a
        // PATH of 2 KiB any program dies now and then.
        command
            .args(["-c", &script])
            .env_clear()
            .env("PATH", "/usr/bin:/bin");
        let ran = ran(&mut command);
        assert_eq!(ran.code, Some(0), "{words}: {ran:#?}");
    }
}

/// A shell's limit, and the command under it.
fn limited(limit: &str, words: &str) -> Ran {
    let script = format!(
        "ulimit {limit}; exec {} {words}",
        env!("CARGO_BIN_EXE_mctl")
    );
    ran(Command::new("bash").args(["-c", &script]))
}

/// A file that cannot be opened mostly says something of a process; here it says something of us.
#[test]
fn too_few_descriptors_are_named_and_nothing_is_taken_for_something_else() {
    let fixture = start!("pause");
    let pid = fixture.pid();
    for words in [
        "get PID",
        "get --tree PID",
        "get --maps PID",
        "get --exact PID",
        "map PID",
        "set nohugepage PID",
        "set nohugepage --tree PID",
        "set nohugepage --dry-run PID",
        "cold PID",
        "collapse -n PID",
        "split PID",
        "lock PID",
        "lock -n PID",
        "unlock PID",
        "advise mergeable PID",
    ] {
        let words = words.replace("PID", &pid.to_string());
        for most in [4, 6, 9] {
            let ran = limited(&format!("-n {most}"), &words).assert(1);
            for text in ["RLIMIT_NOFILE", "(EMFILE)"] {
                assert!(ran.err.contains(text), "{most}: {words}: {ran:#?}");
            }
            let others = ["ESRCH", "EMFILE (EMFILE)", "EPERM", "EBADF"];
            assert!(
                !others.iter().any(|text| ran.err.contains(text)),
                "{most}: {words}: {ran:#?}"
            );
        }
        assert!(thp_enabled(pid), "{words}");
    }
    // What it takes is little.
    for words in [
        "get",
        "set nohugepage -q",
        "clear nohugepage -q",
        "lock -q --onfault",
    ] {
        limited("-n 14", &format!("{words} {pid}")).assert(0);
    }
    fixture.finish().unwrap();
}

/// The soft limit is ours to raise.
#[test]
fn a_low_soft_limit_is_raised() {
    let fixture = start!("pause");
    let pid = fixture.pid();
    limited("-Sn 5", &format!("get --tree {pid}")).assert(0);
    // A program that is started gets what it would have without us.
    let ran = limited("-Sn 20", "run --thp never -q -- bash -c 'ulimit -Sn'").assert(0);
    assert_eq!(ran.out.trim(), "20");
}

/// `ulimit -f`: a full disk of a kind, and no signal.
#[test]
fn an_output_that_may_not_grow_is_an_error() {
    let fixture = start!("pause");
    let pid = fixture.pid();
    let dir = tempfile::tempdir().unwrap();
    for words in [
        "get PID",
        "get --maps --json PID",
        "map PID",
        "probe",
        "--help",
        "man",
        "run --thp never -n -- true",
    ] {
        let words = words.replace("PID", &pid.to_string());
        let to = dir.path().join("out");
        let script = format!(
            "ulimit -f 0; exec {} {words} > {}",
            env!("CARGO_BIN_EXE_mctl"),
            to.display()
        );
        let ran = ran(Command::new("bash").args(["-c", &script]));
        let code = if words.starts_with("run") { 125 } else { 1 };
        let ran = ran.assert(code);
        for text in ["standard output", "(EFBIG)", "ulimit -f"] {
            assert!(ran.err.contains(text), "{words}: {ran:#?}");
        }
    }
    let svg = dir.path().join("map.svg");
    let ran = limited("-f 0", &format!("map --svg {} {pid}", svg.display())).assert(1);
    assert!(
        ran.err.contains("(EFBIG)") && ran.err.contains("map.svg"),
        "{ran:#?}"
    );
    // The program that is started dies of the signal, as it would without us.
    let script = format!("run --thp never -q -- bash -c 'echo x > {}'", svg.display());
    let ran = limited("-f 0", &script);
    assert_eq!(ran.code, None, "{ran:#?}");
}

/// RLIMIT_NPROC does not bind root.
#[test]
fn the_limit_on_a_users_tasks_is_named() {
    let user = rustix::process::geteuid();
    let (copy, uid) = match user.is_root() {
        true => (Some(AsUser::new()), NOBODY),
        false => (None, user.as_raw()),
    };
    let fixture = start!(@ match user.is_root() {
        true => Fixture::builder("pause").as_user(NOBODY),
        false => Fixture::builder("pause"),
    });
    let pid = fixture.pid();
    let exe = copy
        .as_ref()
        .map_or(env!("CARGO_BIN_EXE_mctl").into(), |copy| {
            copy.exe().to_owned()
        });
    for words in ["set nohugepage", "lock", "cold", "unlock"] {
        let script = format!("ulimit -u 1; exec {} {words} {pid}", exe.display());
        let mut command = Command::new("bash");
        command.args(["-c", &script]).current_dir("/");
        if copy.is_some() {
            command.uid(uid).gid(uid);
        }
        let ran = ran(&mut command).assert(1);
        for text in [
            "RLIMIT_NPROC",
            "(EAGAIN)",
            &format!("its user, {uid}, may have 1 tasks"),
        ] {
            assert!(ran.err.contains(text), "{words}: {text}: {ran:#?}");
        }
        assert!(!ran.err.contains("EAGAIN (EAGAIN)"), "{words}: {ran:#?}");
    }
    // Reading takes no task that cannot be done without.
    let script = format!("ulimit -u 1; exec {} get {pid}", exe.display());
    let mut command = Command::new("bash");
    command.args(["-c", &script]).current_dir("/");
    if copy.is_some() {
        command.uid(uid).gid(uid);
    }
    ran(&mut command).assert(0);
    assert!(thp_enabled(pid));
}

/// A cgroup that counts tasks, and may have so many.
struct Tasks(std::path::PathBuf);

impl Tasks {
    fn new(name: &str) -> Option<Tasks> {
        let points = [
            "/sys/fs/cgroup/pids",
            "/sys/fs/cgroup",
            "/sys/fs/cgroup/unified",
        ];
        let name = format!("mctl-test-{}-{name}", std::process::id());
        points
            .iter()
            .map(|point| std::path::Path::new(point).join(&name))
            .find(|dir| {
                let counts = std::fs::create_dir(dir).is_ok() && dir.join("pids.max").exists();
                if !counts {
                    let _ = std::fs::remove_dir(dir);
                }
                counts
            })
            .map(Tasks)
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// It bears a carrier where it may have one more task.
#[test]
fn a_full_cgroup_of_the_target_is_named() {
    mctl_testkit::require_root!();
    let Some(cgroup) = Tasks::new("target") else {
        mctl_testkit::skip!("needs a cgroup that counts its tasks");
    };
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    std::fs::write(cgroup.0.join("cgroup.procs"), &pid).unwrap();
    let tasks = std::fs::read_to_string(cgroup.0.join("pids.current")).unwrap();
    std::fs::write(cgroup.0.join("pids.max"), tasks).unwrap();
    let ran = mctl(&["lock", &pid]).assert(1);
    let name = cgroup.0.file_name().unwrap().to_str().unwrap();
    for text in [
        "it may have no further task",
        "(pids.max)",
        name,
        "(EAGAIN)",
    ] {
        assert!(ran.err.contains(text), "{text}: {ran:#?}");
    }
    mctl(&["set", "nohugepage", "-q", &pid]).assert(0);
    std::fs::write(cgroup.0.join("pids.max"), "max").unwrap();
    mctl(&["lock", "--onfault", &pid]).assert(0);
    let ended = fixture.finish();
    drop(cgroup);
    ended.unwrap();
}

/// Which limit on tasks is reached is looked up.
#[test]
fn a_full_cgroup_is_named() {
    mctl_testkit::require_root!();
    let Some(cgroup) = Tasks::new("caller") else {
        mctl_testkit::skip!("needs a cgroup that counts its tasks");
    };
    let name = cgroup.0.file_name().unwrap().to_str().unwrap();
    let fixture = start!("pause");
    let script = format!(
        "echo 1 > {0}/pids.max; echo $$ > {0}/cgroup.procs; exec {1} set nohugepage -q {2}",
        cgroup.0.display(),
        env!("CARGO_BIN_EXE_mctl"),
        fixture.pid()
    );
    let ran = ran(Command::new("bash").args(["-c", &script]));
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(
        ran.err.contains("pids.max") && ran.err.contains(name),
        "{ran:#?}"
    );
    assert!(thp_enabled(fixture.pid()));
}
