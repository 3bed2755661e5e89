//! Trees and cgroups: named as people name them, and nothing left out in silence.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{command, mctl, ran, thp_enabled};

/// A cgroup of our own in one hierarchy, with one process in it, and its line in /proc/PID/cgroup.
struct Grouped {
    dir: PathBuf,
    child: Child,
    line: String,
}

impl Drop for Grouped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for _ in 0..100 {
            if std::fs::remove_dir(&self.dir).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn sleeper() -> Child {
    Command::new("sleep")
        .arg("600")
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

/// One for every hierarchy in which a cgroup can be made.
fn in_each_hierarchy(test: &str) -> Vec<Grouped> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mounts.lines().filter_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let whole = place.split(' ').nth(3)? == "/";
        (whole && kind.starts_with("cgroup")).then(|| place.split(' ').nth(4))?
    });
    points
        .filter_map(|point| grouped(Path::new(point), test))
        .collect()
}

fn grouped(point: &Path, test: &str) -> Option<Grouped> {
    let name = format!("mctl-test-{}-{test}", std::process::id());
    let dir = point.join(&name);
    std::fs::create_dir(&dir).ok()?;
    let child = sleeper();
    let mut group = Grouped {
        dir,
        child,
        line: String::new(),
    };
    // A cpuset of version 1 has to be given processors and memory first.
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Ok(all) = std::fs::read(point.join(file)) {
            let _ = std::fs::write(group.dir.join(file), all);
        }
    }
    let pid = group.child.id().to_string();
    std::fs::write(group.dir.join("cgroup.procs"), &pid).ok()?;
    let lines = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    group.line = lines.lines().find(|line| line.ends_with(&name))?.to_owned();
    Some(group)
}

#[test]
fn a_cgroup_is_named_by_its_line_in_proc() {
    mctl_testkit::require_root!();
    let groups = in_each_hierarchy("line");
    if groups.is_empty() {
        mctl_testkit::skip!("needs a writable cgroup hierarchy");
    }
    for group in &groups {
        let pid = group.child.id();
        for words in [
            &["set", "nohugepage", "-q"][..],
            &["get", "--noheadings", "-o", "pid"],
        ] {
            let ran = mctl(&[words, &["--cgroup", &group.line]].concat()).assert(0);
            assert_eq!(ran.err, "", "{}", group.line);
            if words[0] == "get" {
                assert_eq!(ran.out.trim(), pid.to_string(), "{}", group.line);
            } else if !mctl_testkit::has_native_call() {
                assert!(!thp_enabled(i32::try_from(pid).unwrap()), "{}", group.line);
            }
        }
        let by_dir = ["cold", "-n", "--cgroup", group.dir.to_str().unwrap()];
        assert!(mctl(&by_dir).assert(0).out.contains(&pid.to_string()));
    }
}

/// `--cgroup .` once meant the whole machine. The list of processes shows that it does not: dry runs.
#[test]
fn an_ordinary_directory_is_no_cgroup() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    let absolute = dir.path().to_str().unwrap();
    for path in [
        ".",
        "./",
        "",
        "/",
        "//",
        "/.",
        "sub",
        absolute,
        "..",
        "0::",
        "0:memory:/",
        "/proc",
    ] {
        for words in [
            &["set", "nohugepage", "-n"][..],
            &["cold", "-n"],
            &["get"],
            &["lock", "-n"],
        ] {
            let mut command = command();
            command
                .current_dir(dir.path())
                .args(words)
                .arg("--cgroup")
                .arg(path);
            let ran = ran(&mut command);
            assert!(
                matches!(ran.code, Some(1 | 2)),
                "{path:?} {words:?}: {ran:#?}"
            );
            assert_eq!(ran.out, "", "{path:?} {words:?}");
            assert!(ran.err.contains("cgroup"), "{path:?}: {ran:#?}");
        }
    }
}

/// Seen from another PID namespace its members have no number: `cgroup.procs` says 0.
#[test]
fn members_that_are_not_visible_are_said() {
    mctl_testkit::require_root!();
    let groups = in_each_hierarchy("hidden");
    if groups.is_empty() {
        mctl_testkit::skip!("needs a writable cgroup hierarchy");
    }
    for group in &groups {
        let version_2 = group.line.starts_with("0:");
        for words in [
            &["set", "nohugepage"][..],
            &["set", "nohugepage", "--atomic"],
            &["set", "nohugepage", "--json"],
            &["clear", "nohugepage", "-n"],
            &["get"],
            &["cold"],
            &["lock"],
            &["advise", "cold", "-n"],
        ] {
            let Some(ran) = elsewhere(group, words) else {
                mctl_testkit::skip!("needs namespaces of its own");
            };
            if !version_2 {
                // There the kernel does not even say how many.
                let ran = ran.assert(0);
                let said = ran.err.contains("another PID namespace");
                assert!(said || words.contains(&"-q"), "{words:?}: {ran:#?}");
                continue;
            }
            let ran = ran.assert(1);
            let atomic = words.contains(&"--atomic");
            let said = if atomic {
                "not visible here"
            } else {
                "1 process of the cgroup is not visible here"
            };
            assert!(ran.err.contains(said), "{words:?}: {ran:#?}");
            if words.contains(&"--json") {
                let json = ran.json();
                assert_eq!(json["left_out"]["invisible"], 1);
                assert_eq!(json["complete"], false);
            }
        }
        assert!(thp_enabled(i32::try_from(group.child.id()).unwrap()));
    }
}

/// The command in a PID namespace of its own, on a cgroup whose member is not of that.
fn elsewhere(group: &Grouped, words: &[&str]) -> Option<common::Ran> {
    let mut command = Command::new("unshare");
    command
        .args([
            "--pid",
            "--fork",
            "--mount-proc",
            env!("CARGO_BIN_EXE_mctl"),
        ])
        .args(words)
        .arg("--cgroup")
        .arg(&group.dir);
    let ran = ran(&mut command);
    (!ran.err.starts_with("unshare:")).then_some(ran)
}

/// A daemon's worker, whose parent ended before anybody listed it: it is in the daemon's session.
#[test]
fn a_worker_that_lost_its_parent_is_of_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("worker");
    let script = format!(
        "(sleep 600 & echo $! > {0}.new; mv {0}.new {0}) & wait; exec sleep 600",
        file.display()
    );
    let mut daemon = Command::new("setsid")
        .args(["--wait", "bash", "-c", &script])
        .process_group(0)
        .spawn()
        .unwrap();
    let begun = std::time::Instant::now();
    while !file.exists() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    let worker = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    // The daemon leads the worker's session.
    let field = |at: usize| -> String {
        let stat = std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap();
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        rest.split(' ').nth(at).unwrap().to_owned()
    };
    let leader = field(3);
    while field(1) == leader
        || Path::new(&format!("/proc/{}", field(1)))
            .join("task")
            .join(&worker)
            .exists()
    {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    let ran = mctl(&["get", "--tree", "--noheadings", "-o", "pid", &leader]);
    for pid in [&worker, &leader] {
        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    daemon.wait().unwrap();
    let pids: Vec<&str> = ran.out.lines().map(str::trim).collect();
    assert_eq!(pids, [leader.as_str(), worker.as_str()], "{ran:#?}");
}

/// The command is a child of the shell whose tree it is asked about: it is no more meant in the dry run than in the
/// real one.
#[test]
fn a_dry_run_lists_those_that_the_real_run_changes() {
    let of_the_shell = |words: &str| {
        let line = format!("\"$0\" {words} --tree $$; :");
        let mut shell = Command::new("sh");
        shell.args(["-c", &line, env!("CARGO_BIN_EXE_mctl")]);
        ran(&mut shell).assert(0).out
    };
    let words = [
        "set nohugepage --dry-run",
        "set nohugepage -v",
        "clear nohugepage --dry-run",
        "lock --dry-run",
        "cold --dry-run",
        "advise cold --dry-run",
    ];
    for words in words {
        let out = of_the_shell(words);
        assert!(out.contains("(sh)"), "{words}: {out}");
        assert!(!out.contains("(mctl)"), "{words}: {out}");
    }
}

/// A tree of `sh` and so many that wait for the end of its input.
fn tree_of(width: usize) -> Child {
    let script = "exec 3<&0; for i in $(seq $0); do cat <&3 & done; echo; wait";
    let mut child = Command::new("sh")
        .args(["-c", script, &width.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0u8; 1];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
    child
}

/// How many tasks mctl starts for a tree that is so wide.
fn tasks_for(width: usize) -> usize {
    let mut tree = tree_of(width);
    let trace = std::env::temp_dir().join(format!("mctl-tasks-{}-{width}", std::process::id()));
    let pid = tree.id().to_string();
    let mut traced = Command::new("strace");
    traced
        .args(["-f", "-qq", "-e", "trace=clone,clone3", "-o"])
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_mctl"))
        .args(["set", "nohugepage", "--tree", &pid]);
    ran(&mut traced).assert(0);
    drop(tree.stdin.take());
    tree.wait().unwrap();
    let text = std::fs::read_to_string(&trace).unwrap();
    std::fs::remove_file(&trace).unwrap();
    text.lines().filter(|line| line.contains("clone")).count()
}

/// Starting a task takes longer than most of what is looked at by it.
#[test]
fn a_wide_tree_is_looked_at_by_as_few_tasks_as_a_narrow_one() {
    mctl_testkit::require_root!();
    if Command::new("strace").arg("-V").output().is_err() {
        mctl_testkit::skip!("strace is not here");
    }
    let (narrow, wide) = (tasks_for(2), tasks_for(42));
    // One or the other more where a process is looked at again.
    assert!(
        wide < narrow + 20,
        "{narrow} tasks for 3 processes, {wide} for 43"
    );
}
