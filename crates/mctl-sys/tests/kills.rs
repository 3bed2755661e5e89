//! The injector is killed at random moments, and its targets are unharmed: the shield. The negative
//! control is an injector without one.
//!
//! `MCTL_KILLS` sets how many kills there are; else it is 500, and more for as long as that takes no
//! more than some seconds.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::io::Read;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Random, rounds, set};
use mctl_sys::raw::pidfd::pidfd_open;
use mctl_testkit::{Fixture, KitError, compile, slower};

/// How a driver is ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// SIGKILL to the process.
    Process,
    /// SIGKILL to its process group.
    Group,
    /// Ctrl-C, as the terminal sends it: SIGINT to the foreground group.
    CtrlC,
    /// The terminal goes away: SIGHUP.
    HangUp,
}

const ENDS: [End; 5] = [
    End::Process,
    End::Process,
    End::Group,
    End::CtrlC,
    End::HangUp,
];

/// No test of its own: the driver, which injects until it is killed.
#[test]
fn drive() {
    let Ok(pids) = std::env::var("MCTL_DRIVE") else {
        return;
    };
    // The test's signals must end it as they end a command.
    let targets: Vec<_> = pids
        .split(',')
        .map(|pid| pid.parse::<i32>().expect("a PID"))
        .map(|pid| (pid, pidfd_open(pid).expect("a pidfd")))
        .collect();
    println!("\ndriving");
    for on in [true, false].into_iter().cycle() {
        for (pid, pidfd) in &targets {
            set(*pid, pidfd.as_fd(), on).expect("injected");
        }
    }
}

/// A pair of terminal ends.
fn terminal() -> (OwnedFd, OwnedFd) {
    let (mut master, mut slave) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: two integers to write; no name, no settings.
    let ret = unsafe {
        libc::openpty(
            &raw mut master,
            &raw mut slave,
            null,
            null.cast(),
            null.cast(),
        )
    };
    assert_eq!(ret, 0, "a terminal");
    // SAFETY: just opened, ours alone.
    let master = unsafe { OwnedFd::from_raw_fd(master) };
    // SAFETY: as above.
    let slave = unsafe { OwnedFd::from_raw_fd(slave) };
    for fd in [&master, &slave] {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC).expect("close-on-exec");
    }
    (master, slave)
}

/// A driver in a session of its own, with the slave end as its terminal and standard input.
fn driver(targets: &str, slave: OwnedFd) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command
        .args(["--exact", "drive", "--nocapture"])
        .env("MCTL_DRIVE", targets)
        .stdin(Stdio::from(slave))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let begin = || {
        // SAFETY: integers only.
        unsafe { libc::setsid() };
        // SAFETY: integers only; descriptor 0 is the terminal.
        unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
        // The tests may have been started with these ignored, which is handed down.
        // SAFETY: the default actions need no code of ours.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
        // SAFETY: as above.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
        Ok(())
    };
    // SAFETY: `begin` makes four system calls and nothing else.
    unsafe { command.pre_exec(begin) };
    command.spawn().expect("a driver")
}

fn wait_for_word(child: &mut Child) {
    let mut out = child.stdout.take().expect("its output");
    let mut text = Vec::new();
    let mut byte = [0u8];
    while !text.ends_with(b"driving\n") {
        assert_eq!(out.read(&mut byte).expect("read"), 1, "the driver ended");
        text.extend(byte);
    }
    child.stdout = Some(out);
}

/// Whether any of these is being traced now.
fn anyone_held(pids: &[i32]) -> bool {
    pids.iter().any(|pid| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        text.lines()
            .any(|line| line.starts_with("TracerPid:") && line != "TracerPid:\t0")
    })
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: integers only; our own child, not yet reaped, or its process group.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// Ends the driver; whether a target was held by its shield just after.
fn end(child: &mut Child, how: End, master: OwnedFd, pids: &[i32]) -> bool {
    let pid = i32::try_from(child.id()).expect("a PID");
    let mut master = Some(master);
    match how {
        End::Process => kill(pid, libc::SIGKILL),
        End::Group => kill(-pid, libc::SIGKILL),
        End::CtrlC => {
            let end = master.as_ref().expect("open");
            rustix::io::write(end, b"\x03").expect("typed");
        }
        End::HangUp => master = None,
    }
    let held = anyone_held(pids);
    child.wait().expect("ended");
    drop(master);
    held
}

#[test]
fn killing_the_injector_harms_no_target() {
    let kinds: [(&str, &[&str]); 5] = [
        ("epoll_wait", &["every=3"]),
        ("semop", &["every=0"]),
        ("poll", &["every=0"]),
        ("spin", &["turns=20000"]),
        ("threads", &["every=0"]),
    ];
    let mut fixtures = Vec::new();
    for (name, args) in kinds {
        match Fixture::start(name, args) {
            Ok(fixture) => fixtures.push(fixture),
            Err(KitError::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let pids: Vec<i32> = fixtures.iter().map(Fixture::pid).collect();
    let targets: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let mut random = Random::new(u64::from(std::process::id()));
    let least = rounds("MCTL_KILLS", 500);
    let (mut kills, mut inside) = (0, 0);
    // Enough of them while a target is held, however long that takes here.
    while kills < least || (inside * 50 < least && kills < 40 * least) {
        let n = kills;
        kills += 1;
        let how = ENDS[usize::try_from(n).expect("small") % ENDS.len()];
        let (master, slave) = terminal();
        let mut child = driver(&targets.join(","), slave);
        wait_for_word(&mut child);
        std::thread::sleep(Duration::from_micros(random.below(2000 * slower())));
        inside += u64::from(end(&mut child, how, master, &pids));
    }
    eprintln!("{kills} kills, {inside} of them while a target was held");
    // Let go by the last shield, and unharmed.
    for fixture in fixtures {
        set(fixture.pid(), fixture.pidfd(), false).expect("can be injected into");
        fixture.finish().expect("a verdict").assert_clean(1);
    }
    assert!(
        inside * 50 >= least,
        "{inside} of {kills}: too few to prove anything"
    );
}

/// The same kills with an injector that works in its own thread: its targets die or notice. It
/// shows that the test above can fail.
#[test]
fn killing_an_injector_without_a_shield_does_harm() {
    if cfg!(not(target_arch = "x86_64")) {
        mctl_testkit::skip!("the tracer without manners is written for x86-64");
    }
    let tracer = compile("rude_tracer", &[]).expect("the tracer");
    let mut random = Random::new(99);
    let (mut harmed, mut tries) = (0, 0);
    while tries < 12 || (harmed == 0 && tries < 200) {
        tries += 1;
        let fixture = mctl_testkit::start!("poll", "every=3");
        let mut child = Command::new(&tracer)
            .args([
                &fixture.pid().to_string(),
                "mode=inject",
                "times=100000",
                "gap=300",
            ])
            .stderr(Stdio::null())
            .spawn()
            .expect("the tracer");
        std::thread::sleep(Duration::from_micros(
            (20_000 + random.below(3000)) * slower(),
        ));
        child.kill().expect("killed");
        child.wait().expect("ended");
        std::thread::sleep(Duration::from_millis(10));
        harmed += u32::from(fixture.finish().map_or(true, |verdict| !verdict.is_clean()));
    }
    eprintln!("without a shield: {harmed} of {tries} targets harmed");
    assert!(harmed > 0);
}
