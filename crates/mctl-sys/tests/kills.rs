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
use std::time::{Duration, Instant};

use common::{PATIENCE, Random, rounds, set};
use mctl_sys::raw::pidfd::{pidfd_open, pidfd_send_signal};
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
    /// SIGKILL to every process of its that has its name (`pkill -9 mctl`).
    Name,
    /// SIGKILL to every process of its session (`pkill -9 -s SID`).
    Session,
    /// SIGSTOP to every process that has its name, and later SIGKILL.
    Stop,
}

const ENDS: [End; 8] = [
    End::Process,
    End::Process,
    End::Group,
    End::CtrlC,
    End::HangUp,
    End::Name,
    End::Session,
    End::Stop,
];

/// How late the programs' events may be: the machine may be as busy as it likes.
const LATE: &str = "late=60000";

/// What the driver is called, as the command is.
const NAME: &str = "mctl";

/// No test of its own: the driver, which injects until it is killed.
#[test]
fn drive() {
    let Ok(pids) = std::env::var("MCTL_DRIVE") else {
        return;
    };
    // Its threads, and what they start, begin with the command's name.
    std::fs::write("/proc/self/comm", NAME).expect("its name");
    std::fs::write("/proc/thread-self/comm", NAME).expect("its name");
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

/// Who traces this process now.
fn tracer(pid: i32) -> Option<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"))?;
    line.trim().parse().ok().filter(|tracer| *tracer != 0)
}

/// Whether any of these is being traced now.
fn anyone_held(pids: &[i32]) -> bool {
    pids.iter().any(|pid| tracer(*pid).is_some())
}

/// With nobody to begin anew, the shield that is at work ends it.
fn nobody_stays_held(pids: &[i32]) {
    let begun = Instant::now();
    while anyone_held(pids) {
        assert!(begun.elapsed() < PATIENCE, "a target stays held");
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: integers only; our own child, not yet reaped, or its process group.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// The driver and what it has started that `is` so, by a walk as pkill(1) makes it. Nothing else is looked at twice:
/// whose parent is not the driver is nobody's business here.
fn of_driver(driver: i32, is: impl Fn(&Stat) -> bool) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").expect("/proc");
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(Stat::of)
        .filter(|stat| (stat.pid == driver || stat.parent == driver) && is(stat))
        .map(|stat| stat.pid)
        .collect()
}

/// What a kill is aimed by.
struct Stat {
    pid: i32,
    name: String,
    parent: i32,
    session: i32,
}

impl Stat {
    fn of(pid: i32) -> Option<Stat> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (head, tail) = text.rsplit_once(')')?;
        let words: Vec<&str> = tail.split_whitespace().collect();
        Some(Stat {
            pid,
            name: head.split_once('(')?.1.to_owned(),
            parent: words.get(1)?.parse().ok()?,
            session: words.get(3)?.parse().ok()?,
        })
    }
}

/// Opens what a walk has found, if it is still what it was.
fn opened(driver: i32, pids: &[i32], is: impl Fn(&Stat) -> bool) -> Vec<OwnedFd> {
    let open = |pid: &i32| {
        let pidfd = pidfd_open(*pid).ok()?;
        // The number was not recycled before the descriptor was there, nor the task another since.
        Stat::of(*pid)
            .is_some_and(|stat| (stat.pid == driver || stat.parent == driver) && is(&stat))
            .then_some(pidfd)
    };
    pids.iter().filter_map(open).collect()
}

/// Signals those that are so, and the driver.
fn kill_all(driver: i32, is: impl Fn(&Stat) -> bool, signal: i32) -> Vec<OwnedFd> {
    let all = opened(driver, &of_driver(driver, &is), is);
    for pidfd in &all {
        let _ = pidfd_send_signal(pidfd.as_fd(), signal);
    }
    all
}

/// Processes that were stopped. They are killed in the end, whatever comes between.
struct StoppedOnes(Vec<OwnedFd>);

impl Drop for StoppedOnes {
    fn drop(&mut self) {
        for pidfd in &self.0 {
            let _ = pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
        }
    }
}

/// Ends the driver; whether a target was held by its shield just after.
fn end(child: &mut Child, how: End, master: OwnedFd, pids: &[i32]) -> bool {
    let pid = i32::try_from(child.id()).expect("a PID");
    let mut master = Some(master);
    let has_name = |stat: &Stat| stat.name.contains(NAME);
    match how {
        End::Process => kill(pid, libc::SIGKILL),
        End::Name => {
            kill_all(pid, has_name, libc::SIGKILL);
            // (It has another name for the moment in which it starts a shield.)
            kill(pid, libc::SIGKILL);
        }
        End::Session => {
            kill_all(pid, |stat| stat.session == pid, libc::SIGKILL);
        }
        End::Stop => {
            let mut stopped = StoppedOnes(kill_all(pid, has_name, libc::SIGSTOP));
            stopped.0.push(pidfd_open(pid).expect("not yet reaped"));
            kill(pid, libc::SIGSTOP);
            let held = anyone_held(pids);
            nobody_stays_held(pids);
            drop(stopped);
            child.wait().expect("ended");
            return held;
        }
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
        match Fixture::builder(name).args(args).arg(LATE).start() {
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
    let mut by_kind = [0u64; ENDS.len()];
    // Enough of them while a target is held, however long that takes here.
    while kills < least || (inside * 50 < least && kills < 40 * least) {
        let n = kills;
        kills += 1;
        let kind = usize::try_from(n).expect("small") % ENDS.len();
        let how = ENDS[kind];
        let (master, slave) = terminal();
        let mut child = driver(&targets.join(","), slave);
        wait_for_word(&mut child);
        std::thread::sleep(Duration::from_micros(random.below(2000 * slower())));
        let held = end(&mut child, how, master, &pids);
        nobody_stays_held(&pids);
        inside += u64::from(held);
        by_kind[kind] += u64::from(held);
    }
    let by_kind: Vec<_> = ENDS.iter().zip(by_kind).collect();
    eprintln!("result: {kills} kills, {inside} of them while a target was held: {by_kind:?}");
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

/// What remains: a kill that meets the shield itself (`pkill -9 -f` with words of our command line, cgroup.kill). It can
/// harm the target that is held; how often is counted. But nobody is left stopped or held, and no other is harmed.
#[test]
fn killing_the_shield_itself_leaves_nobody_stopped() {
    let mut random = Random::new(7);
    let (mut held, mut harmed, mut tries) = (0, 0, 0);
    let least = rounds("MCTL_KILLS", 500) / 25;
    while held < least && tries < 20 * least {
        tries += 1;
        let fixture = mctl_testkit::start!("poll", "every=3", LATE);
        let other = mctl_testkit::start!("poll", "every=3", LATE);
        let (master, slave) = terminal();
        let pids = [fixture.pid(), other.pid()];
        let mut child = driver(&format!("{},{}", pids[0], pids[1]), slave);
        wait_for_word(&mut child);
        let driver = i32::try_from(child.id()).expect("a PID");
        std::thread::sleep(Duration::from_micros(random.below(2000 * slower())));
        // Only what holds the first one is met; and then what began it.
        let hit = (0..2000).find_map(|_| tracer(pids[0]));
        for pidfd in opened(driver, hit.as_slice(), |_| true) {
            let _ = pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
        drop(master);
        held += u64::from(hit.is_some());
        nobody_stays_held(&pids);
        let tasks = [fixture.tasks(), other.tasks()].concat();
        assert!(!tasks.iter().any(|task| matches!(task.state, 't' | 'T')));
        // One that was left with its signals held back would not hear that it is to end.
        let is_harmed =
            is_deaf(pids[0]) || fixture.finish().map_or(true, |verdict| !verdict.is_clean());
        harmed += u64::from(is_harmed);
        other.finish().expect("a verdict").assert_clean(1);
    }
    eprintln!("result: {held} kills of the shield itself while it held a target: {harmed} harmed");
    assert!(held > 0, "never met: the test shows nothing");
}

/// Whether SIGTERM is blocked in the first thread, or there is none any more.
fn is_deaf(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_none_or(|mask| mask & (1 << (libc::SIGTERM - 1)) != 0)
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
        let fixture = mctl_testkit::start!("poll", "every=3", LATE);
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
