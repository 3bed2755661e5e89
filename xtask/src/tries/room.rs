//! A folder, a port and the processes of one program that was started: all of it ends with the value.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::ticks::Ticks;

/// The user of what will not run as root (Debian's "nobody").
const NOBODY: &str = "65534";

/// See the module.
#[derive(Debug)]
pub(super) struct Room {
    dir: PathBuf,
    port: u16,
    children: Vec<Child>,
}

/// As whom a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum User {
    Same,
    /// Where we are root: some programs refuse to be.
    NotRoot,
}

/// Where what a program prints goes.
#[derive(Debug)]
pub(super) enum Output<'a> {
    Log,
    Ticks(&'a Ticks),
}

impl Room {
    pub(super) fn new(base: &Path, name: &str) -> Result<Room> {
        let dir = base.join(name);
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        // Given back at once: nobody else is handed it out before the others have been.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        Ok(Room {
            dir,
            port,
            children: Vec::new(),
        })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// A file in the folder.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Starts a program that ends with us at the latest. To be called by the main thread: the end of the thread that
    /// started it is what the program is ended by.
    pub(super) fn start(&mut self, words: &[&str], user: User, out: Output<'_>) -> Result<i32> {
        let mut command = command(words, user)?;
        let what = words.first().copied().unwrap_or_default();
        let log = self.dir.join(format!("{}.log", self.children.len()));
        let log = File::create(&log).with_context(|| log.display().to_string())?;
        command.current_dir(&self.dir).stdin(Stdio::null());
        command.env("HOME", &self.dir).env("TMPDIR", &self.dir);
        match out {
            Output::Log => command.stdout(log.try_clone()?),
            Output::Ticks(_) => command.stdout(Stdio::piped()),
        };
        let mut child = command
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {what}"))?;
        if let (Output::Ticks(ticks), Some(stdout)) = (out, child.stdout.take()) {
            ticks.listen(stdout);
        }
        let pid = i32::try_from(child.id())?;
        self.children.push(child);
        Ok(pid)
    }

    /// Waits, a minute at most, until something holds; what the programs wrote is part of the error.
    pub(super) fn until(&mut self, what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
        let begin = Instant::now();
        while !holds() {
            let ended = self
                .children
                .iter_mut()
                .any(|c| !matches!(c.try_wait(), Ok(None)));
            if ended || begin.elapsed() > Duration::from_secs(60) {
                bail!("{what}: not seen; {}", self.last_words());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Whether all that was started here still runs.
    pub(super) fn is_alive(&mut self) -> bool {
        self.children
            .iter_mut()
            .all(|child| matches!(child.try_wait(), Ok(None)))
    }

    pub(super) fn last_words(&self) -> String {
        let mut words = String::new();
        for number in 0..self.children.len() {
            let text = std::fs::read_to_string(self.dir.join(format!("{number}.log")));
            words.push_str(&crate::run::last_lines(&text.unwrap_or_default(), 8));
            words.push('\n');
        }
        words
    }
}

/// A command line that is ended with us and runs as the user.
pub(super) fn command(words: &[&str], user: User) -> Result<Command> {
    let (program, arguments) = words.split_first().context("no program")?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]);
    if user == User::NotRoot && rustix::process::geteuid().is_root() {
        command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
    }
    command.arg("--").arg(program).args(arguments);
    Ok(command)
}

/// Gives a folder to the user that [`User::NotRoot`] means.
pub(super) fn give_away(dir: &Path) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        let nobody = NOBODY.parse().context("a number")?;
        std::os::unix::fs::chown(dir, Some(nobody), Some(nobody))?;
    }
    Ok(())
}

/// A process and all its descendants, each before its own.
pub(super) fn tree(pid: i32) -> Vec<i32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(&pid) = all.get(next) {
        next += 1;
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(
                text.split_whitespace()
                    .filter_map(|n| n.parse::<i32>().ok()),
            );
        }
    }
    all
}

impl Drop for Room {
    fn drop(&mut self) {
        // Held by descriptors before anything ends: a number may be used again.
        let open = |pid: i32| pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok();
        let roots: Vec<i32> = self
            .children
            .iter()
            .filter_map(|c| i32::try_from(c.id()).ok())
            .collect();
        let all: Vec<_> = roots
            .iter()
            .flat_map(|pid| tree(*pid))
            .filter_map(open)
            .collect();
        for root in roots.iter().rev().filter_map(|pid| open(*pid)) {
            let _ = pidfd_send_signal(&root, Signal::TERM);
        }
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(5) && self.is_any_left() {
            std::thread::sleep(Duration::from_millis(20));
        }
        for process in &all {
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Room {
    fn is_any_left(&mut self) -> bool {
        self.children
            .iter_mut()
            .any(|child| matches!(child.try_wait(), Ok(None)))
    }
}
