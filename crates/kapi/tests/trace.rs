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
            && said.contains(", 1 not allowed, ")
            && said.contains("exit status 3"),
        "{said}"
    );
    assert!(
        said.lines()
            .any(|l| l.trim_start() == "2  MLOCKALL-ERR-EINVAL"),
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
