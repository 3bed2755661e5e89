//! `kapi trace` on programs that the tests start.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail tests")]

use std::process::Command;

#[test]
fn a_programs_calls_are_watched_and_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (c, program) = (dir.path().join("p.c"), dir.path().join("p"));
    std::fs::write(
        &c,
        "#include <sys/mman.h>\n#include <sys/prctl.h>\n#include <sys/wait.h>\n#include <errno.h>\n#include <signal.h>\n#include <stdio.h>\n#include <unistd.h>\n\
         static char b[8192]; static volatile int got; static void on(int s) { got = s; }\n\
         int main(void) { signal(SIGUSR1, on); raise(SIGUSR1); int a = mlock(b, 100); int m = munlock(b, 100); int e = mlockall(8) == -1 ? errno : 0;\n\
         if (!fork()) { mlockall(MCL_ONFAULT); _exit(0); } wait(0); prctl(PR_SET_NAME, \"x\"); printf(\"%d %d %d %d\\n\", a, m, e, got); return 3; }\n",
    )
    .unwrap();
    assert!(
        Command::new("gcc")
            .arg("-w")
            .arg(&c)
            .arg("-o")
            .arg(&program)
            .status()
            .unwrap()
            .success()
    );
    let out = Command::new(env!("CARGO_BIN_EXE_kapi"))
        .args(["trace", "--coverage", "--"])
        .arg(&program)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    // The program saw what it would have seen alone.
    assert_eq!(
        String::from_utf8_lossy(&out.stdout),
        "0 0 22 10\n",
        "{said}"
    );
    assert_eq!(out.status.code(), Some(1));
    assert!(said.contains("mlockall(flags = 8) = EINVAL: flags has bits 0x8 that are not allowed (MLOCKALL-PARAM-FLAGS)"), "{said}");
    assert!(
        said.contains("kapi: 4 specified calls")
            && said.contains(", 2 not allowed, ")
            && said.contains("exit status 3"),
        "{said}"
    );
    assert!(
        said.lines()
            .any(|l| l.trim_start().starts_with("2  MLOCKALL-ERR-EINVAL-")),
        "{said}"
    );
    // A program that keeps to the specifications.
    let out = Command::new(env!("CARGO_BIN_EXE_kapi"))
        .args(["trace", "--", "true"])
        .output()
        .unwrap();
    assert_eq!(
        out.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// Compiles a program.
fn program(dir: &std::path::Path, text: &str) -> std::path::PathBuf {
    let (c, program) = (dir.join("p.c"), dir.join("p"));
    std::fs::write(&c, text).unwrap();
    let mut gcc = Command::new("gcc");
    let status = gcc
        .args(["-w", "-O1"])
        .arg(&c)
        .arg("-o")
        .arg(&program)
        .status();
    assert!(status.unwrap().success());
    program
}

/// What no specification allows is said also where the call failed for it.
#[test]
fn calls_that_can_only_fail_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let program = program(
        dir.path(),
        "#include <sys/mman.h>\nstatic char b[8192];\n\
         int main(void) { mlockall(0); madvise(b + 1, 100, MADV_NORMAL); munlockall(); return 0; }\n",
    );
    let out = Command::new(env!("CARGO_BIN_EXE_kapi"))
        .args(["trace", "--"])
        .arg(&program)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(
        said.contains("mlockall(flags = 0) = EINVAL: Bad flags: no call with flags == 0"),
        "{said}"
    );
    assert!(
        said.contains("is no multiple of 4096 (MADVISE-PARAM-START)"),
        "{said}"
    );
    assert!(said.contains("kapi: 3 specified calls"), "{said}");
}

/// Whoever of the two processes of `kapi trace -- CMD` is killed: the program's calls work on.
#[test]
fn neither_kill_leaves_the_program_without_its_calls() {
    let dir = tempfile::tempdir().unwrap();
    // It prints a dot after so many calls that worked, until it is told to end.
    let program = program(
        dir.path(),
        "#include <sys/mman.h>\n#include <sys/wait.h>\n#include <errno.h>\n#include <stdio.h>\n#include <unistd.h>\n\
         int main(int c, char **v) { long bad = 0; if (fork() && fork()) pause(); printf(\"%d\\n\", getpid()); fflush(stdout);\n\
         for (int i = 0;; i++) { if (munlockall() && errno == ENOSYS) { bad++; i = 0; } else if (i == 2000) { printf(\"%ld.\\n\", bad); fflush(stdout); bad = 0; i = 0; } } }\n",
    );
    if !is_root() {
        // Without CAP_SYS_ADMIN there is no filter, and so nothing that needs a tracer.
        mctl_testkit::skip!("needs CAP_SYS_ADMIN: only a filtered program needs its tracer");
    }
    for whom in ["the command", "the keeper"] {
        let mut trace = Command::new(env!("CARGO_BIN_EXE_kapi"))
            .args(["trace", "--"])
            .arg(&program)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut lines =
            std::io::BufRead::lines(std::io::BufReader::new(trace.stdout.take().unwrap()));
        let mut next = || lines.next().unwrap().unwrap();
        let mut pids: Vec<i32> = Vec::new();
        let mut dots = 0;
        while pids.len() < 2 || dots < 4 {
            match next().parse() {
                Ok(pid) => pids.push(pid),
                Err(_) => dots += 1,
            }
        }
        let tracer = |pid: i32| -> i32 {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let line = status.lines().find_map(|l| l.strip_prefix("TracerPid:"));
            line.unwrap().trim().parse().unwrap()
        };
        let keeper = tracer(pids[0]);
        let command = i32::try_from(trace.id()).unwrap();
        assert_ne!(keeper, command, "the command does not trace itself");
        let victim = if whom == "the command" {
            command
        } else {
            keeper
        };
        kill(victim);
        // Calls fail at the most until the other one has noticed, and never again afterwards.
        let mut clean = 0;
        for _ in 0..200 {
            clean = if next() == "0." { clean + 1 } else { 0 };
            if clean == 40 {
                break;
            }
        }
        assert_eq!(
            clean, 40,
            "after a kill of {whom} calls go on failing with ENOSYS"
        );
        for pid in &pids {
            assert_ne!(tracer(*pid), 0, "after a kill of {whom} nobody watches");
        }
        let main = ppid(pids[0]);
        pids.push(main);
        pids.iter().for_each(|pid| kill(*pid));
        // The stream ends when nobody has it any more: neither the program nor a process of ours.
        while lines.next().is_some() {}
        trace.wait().unwrap();
    }
}

fn is_root() -> bool {
    mctl_testkit::is_root()
}

fn ppid(pid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("PPid:"));
    line.unwrap().trim().parse().unwrap()
}

/// Kills a process of this test.
fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}
