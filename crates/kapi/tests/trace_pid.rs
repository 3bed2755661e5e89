//! `kapi trace -p` on programs that run: they must not notice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use mctl_testkit::{Fixture, heeding_signals, require_root, start};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// A running `kapi trace -p`.
struct Tracer {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Tracer {
    /// Started, and told that it watches.
    fn start(target: &str) -> Self {
        let spec = concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/mlockall.kapi");
        let mut child = heeding_signals(env!("CARGO_BIN_EXE_kapi"))
            .args(["trace", "-s", spec, "-p", target])
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.starts_with("kapi: watching process "), "{line}");
        Self { child, said }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// What it said, and its exit status.
    fn end(mut self) -> (String, Option<i32>) {
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        (rest, self.child.wait().unwrap().code())
    }
}

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Watched and let go some times, with signals that the program ignores by default; each of them
/// wakes a tracee's calls.
fn watched(fixture: &Fixture) {
    let pid = Pid::from_raw(fixture.target()).unwrap();
    for round in 0..6u64 {
        let tracer = Tracer::start(&fixture.target().to_string());
        for _ in 0..round {
            pause(3);
            kill_process(pid, Signal::WINCH).unwrap();
        }
        pause(round * 7 % 11);
        tracer.signal(if round % 2 == 0 {
            Signal::INT
        } else {
            Signal::TERM
        });
        let (said, status) = tracer.end();
        assert!(said.contains("let go, it runs on"), "{said}");
        assert_eq!(status, Some(0), "{said}");
    }
}

macro_rules! cannot_tell {
    ($($test:ident: $name:literal $(, $arg:expr)*;)+) => {$(
        #[test]
        fn $test() {
            let fixture = start!($name $(, $arg)*);
            watched(&fixture);
            fixture.finish().unwrap().assert_clean(1);
        }
    )+};
}

cannot_tell! {
    epoll_wait: "epoll_wait", "every=3";
    epoll_wait_for_ever: "epoll_wait", "every=0";
    epoll_wait_with_a_timeout: "epoll_wait", "timeout=60", "late=8000";
    epoll_pwait: "epoll_pwait", "every=3";
    semop: "semop", "every=3";
    semop_for_ever: "semop", "every=0";
    sigwaitinfo: "sigtimedwait", "every=3";
    io_uring_enter: "io_uring_enter", "every=3";
    read_inotify: "read_inotify", "every=3";
    poll_with_a_timeout: "poll", "timeout=30";
    nanosleep: "nanosleep", "every=30";
    a_clock: "clock_nanosleep", "abs=1", "every=30";
    a_timerfd: "read_timerfd", "every=3";
    futex_wait_with_a_timeout: "futex_wait", "timeout=30";
    pause_and_handlers: "pause", "every=3";
    sigsuspend: "sigsuspend", "every=3";
    read_signalfd: "read_signalfd", "every=3";
    wait4: "wait4", "every=3";
    threads: "threads", "every=10";
    threads_for_ever: "threads", "every=0", "n=64";
    the_first_thread_gone: "leader_exit", "every=3";
    threads_that_come_and_go: "thread_churn";
    forks: "fork_storm";
    execs: "exec_loop", "every=5";
    vforks: "vfork";
    restartable_sequences: "rseq";
    at_work: "spin", "turns=20000";
    sigtrap_pending_never: "misc_loop", "kind=sigtrap-blocked", "every=3";
    sigtrap_handled: "misc_loop", "kind=sigtrap-handler", "every=3";
    under_a_seccomp_filter: "misc_loop", "kind=seccomp-kill", "every=3";
}

/// Whether a watched program comes to stand, and does so for a while.
fn stands(fixture: &Fixture) -> bool {
    let start = Instant::now();
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_millis(50) {
        pause(1);
        if fixture.tasks().iter().any(|task| task.state != 't') {
            since = Instant::now();
        }
        if start.elapsed() > Duration::from_secs(120) {
            return false;
        }
    }
    true
}

/// A stop by signal is one also under a tracer, and its end is.
#[test]
fn stopped_and_continued_while_it_is_watched() {
    let fixture = start!("poll", "every=3");
    let tracer = Tracer::start(&fixture.pid().to_string());
    fixture.signal(Signal::STOP).unwrap();
    assert!(stands(&fixture));
    // Let go, it still stands.
    tracer.signal(Signal::TERM);
    assert_eq!(tracer.end().1, Some(0));
    fixture.wait_state("T", Duration::from_secs(120)).unwrap();
    fixture.signal(Signal::CONT).unwrap();
    let tracer = loop {
        // Until it runs again it is refused.
        if fixture.tasks().iter().all(|task| task.state != 'T') {
            break Tracer::start(&fixture.pid().to_string());
        }
        pause(1);
    };
    fixture.signal(Signal::STOP).unwrap();
    assert!(stands(&fixture));
    fixture.signal(Signal::CONT).unwrap();
    pause(30);
    tracer.signal(Signal::TERM);
    assert_eq!(tracer.end().1, Some(0));
    fixture.finish().unwrap().assert_clean(1);
}

/// Whatever kills the command, the keeper lets go in good order.
#[test]
fn a_killed_command_leaves_the_program_running() {
    for (name, arg) in [
        ("epoll_wait", "every=3"),
        ("threads", "every=10"),
        ("semop", "every=3"),
    ] {
        let fixture = start!(name, arg);
        for round in 0..20 {
            let tracer = Tracer::start(&fixture.pid().to_string());
            pause(round % 7);
            if round % 2 == 0 {
                tracer.signal(Signal::KILL);
            } else {
                let group = Pid::from_child(&tracer.child);
                kill_process_group(group, Signal::KILL).unwrap();
            }
            // The keeper has the last word.
            let (said, status) = tracer.end();
            assert!(said.contains("let go, it runs on"), "{said}");
            assert_eq!(status, None);
        }
        fixture.finish().unwrap().assert_clean(10);
    }
}

/// Even the keeper's own death is not the program's.
#[test]
fn a_killed_keeper_leaves_the_program_running() {
    let fixture = start!("poll", "every=3");
    for round in 0..10 {
        let tracer = Tracer::start(&fixture.pid().to_string());
        pause(round);
        let status = std::fs::read_to_string(format!("/proc/{}/status", fixture.pid())).unwrap();
        let keeper = status
            .lines()
            .find_map(|l| l.strip_prefix("TracerPid:"))
            .unwrap();
        let keeper = Pid::from_raw(keeper.trim().parse().unwrap()).unwrap();
        kill_process(keeper, Signal::KILL).unwrap();
        let (said, status) = tracer.end();
        assert!(
            said.contains("the process that watched was killed (signal 9)"),
            "{said}"
        );
        assert_eq!(status, Some(2));
    }
    fixture.finish().unwrap().assert_clean(10);
}

#[test]
fn a_program_that_dies_meanwhile() {
    let fixture = start!("threads", "every=10");
    let tracer = Tracer::start(&fixture.pid().to_string());
    fixture.signal(Signal::KILL).unwrap();
    let (said, status) = tracer.end();
    assert!(said.contains("exit status -9"), "{said}");
    assert_eq!(status, Some(0));
    // And one that ends by itself.
    let fixture = start!("threads", "every=10");
    let tracer = Tracer::start(&fixture.pid().to_string());
    fixture.finish().unwrap().assert_clean(1);
    let (said, status) = tracer.end();
    assert!(said.contains("exit status 0"), "{said}");
    assert_eq!(status, Some(0));
}

/// A program whose threads and children make calls that the specification does not allow.
const CALLER: &str = r#"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
static void *work(void *arg) { if (mlockall(8) != -1 || errno != EINVAL) _exit(9); return arg; }
static void *wait_there(void *arg) { for (;;) pause(); return arg; }
int main(void)
{
	pthread_t old, t;
	char line[8];
	pthread_create(&old, 0, wait_there, 0);
	puts("ready"); fflush(stdout);
	read(0, line, 1);
	pthread_create(&t, 0, work, 0); pthread_join(t, 0);
	if (!fork()) { if (mlockall(16) != -1 || errno != EINVAL) _exit(9); _exit(0); }
	int status = 1;
	wait(&status);
	if (status) return 8;
	if (mlockall(0) != -1 || errno != EINVAL) return 7;
	return 5;
}
"#;

#[test]
fn calls_of_all_threads_and_children_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    let (c, program) = (dir.path().join("p.c"), dir.path().join("p"));
    std::fs::write(&c, CALLER).unwrap();
    let built = Command::new("gcc")
        .arg("-w")
        .arg(&c)
        .args(["-lpthread", "-o"])
        .arg(&program)
        .status()
        .unwrap();
    assert!(built.success());
    let mut child = Command::new(&program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let tracer = Tracer::start(&child.id().to_string());
    drop(child.stdin.take());
    let (said, status) = tracer.end();
    assert_eq!(child.wait().unwrap().code(), Some(5), "{said}");
    assert_eq!(status, Some(1), "{said}");
    for flags in ["8", "0x10"] {
        let wanted = format!("mlockall(flags = {flags}) = EINVAL: flags has bits");
        assert!(said.contains(&wanted), "{said}");
    }
    assert!(
        said.contains("kapi: 3 specified calls (every call stopped), 3 not allowed, "),
        "{said}"
    );
    assert!(said.contains("exit status 5"), "{said}");
}

fn refused(target: &str) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_kapi"))
        .args(["trace", "-p", target])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{said}");
    said
}

#[test]
fn what_must_not_be_watched_is_refused() {
    let fixture = start!("threads", "every=10");
    let pid = fixture.pid().to_string();
    // By another tracer.
    let tracer = Tracer::start(&pid);
    let said = refused(&pid);
    assert!(
        said.contains("it is traced by process") && said.contains("(kapi)"),
        "{said}"
    );
    tracer.signal(Signal::TERM);
    assert_eq!(tracer.end().1, Some(0));
    // A thread, another process by that number, none at all.
    let thread = fixture.tasks().iter().map(|task| task.tid).max().unwrap();
    let said = refused(&thread.to_string());
    assert!(
        said.contains(&format!("is a thread of process {pid}")),
        "{said}"
    );
    let said = refused(&format!("{pid}:1"));
    assert!(
        said.contains("another one now") || said.contains("6.9"),
        "{said}"
    );
    assert!(refused("0").contains("no process number"));
    assert!(refused("x").contains("neither a process number nor PID:INODE"));
    fixture.finish().unwrap().assert_clean(1);
    // One that stands, and one that has ended.
    let fixture = start!("poll", "every=3");
    fixture.signal(Signal::STOP).unwrap();
    fixture.wait_state("T", Duration::from_secs(120)).unwrap();
    let said = refused(&fixture.pid().to_string());
    assert!(said.contains("it is stopped by a signal"), "{said}");
    fixture.signal(Signal::CONT).unwrap();
    fixture.wait_blocked(Duration::from_secs(120)).unwrap();
    fixture.finish().unwrap().assert_clean(1);
    let fixture = start!("zombie");
    let said = refused(&fixture.target().to_string());
    assert!(said.contains("it is a zombie"), "{said}");
}

#[test]
fn another_users_process_is_refused_and_ones_own_is_not() {
    require_root!();
    let fixture = start!("poll", "every=3");
    let own = start!(@ Fixture::builder("poll").arg("every=3").as_user(65534));
    // The test's own binary may be out of that user's reach.
    let dir = tempfile::tempdir().unwrap();
    let kapi = dir.path().join("kapi");
    mctl_sys::program::copy_program(env!("CARGO_BIN_EXE_kapi").as_ref(), &kapi, 0o755).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), mode).unwrap();
    let run = |pid: i32| {
        let mut child = Command::new(&kapi)
            .args(["trace", "-p", &pid.to_string()])
            .uid(65534)
            .gid(65534)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(120) {
            pause(300);
            let _ = kill_process(Pid::from_child(&child), Signal::TERM);
        }
        child.wait_with_output().unwrap()
    };
    let out = run(fixture.pid());
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("no ptrace access"), "{said}");
    let out = run(own.pid());
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    // Yama may forbid a user's own processes, too.
    assert!(
        said.contains("let go, it runs on") || said.contains("Yama"),
        "{said}"
    );
    fixture.finish().unwrap().assert_clean(1);
    own.finish().unwrap().assert_clean(1);
}
