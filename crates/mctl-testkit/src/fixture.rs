//! A running test program.

mod builder;
mod progress;

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ExitStatus};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::process::{kill_process_group, pidfd_open, pidfd_send_signal};
use tempfile::TempDir;

use crate::{KitError, Task, Verdict, tasks};

pub use builder::Builder;
pub use progress::Progress;

/// How long a program may take to get ready, answer or end. Generous: the machine is shared.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_micros(200);

/// A running test program. Dropping it kills it, with its process group, and reaps it.
#[derive(Debug)]
pub struct Fixture {
    name: String,
    pid: Pid,
    pidfd: OwnedFd,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    info: Vec<String>,
    call: Option<u64>,
    reaped: bool,
    /// Its working directory, removed at the end.
    dir: TempDir,
}

impl Fixture {
    /// Starts a program with `key=value` arguments.
    ///
    /// # Errors
    ///
    /// See [`Builder::start`].
    pub fn start(name: &str, args: &[&str]) -> Result<Self, KitError> {
        Self::builder(name).args(args).start()
    }

    /// For a fixture with more to say than arguments.
    pub fn builder(name: &str) -> Builder {
        Builder::new(name)
    }

    fn adopt(name: String, mut child: Child, dir: TempDir) -> Result<Self, KitError> {
        let pid = Pid::from_child(&child);
        // The child is ours and not reaped, so the PID is still its own.
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(errno) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(KitError::errno("pidfd_open of a fixture")(errno));
            }
        };
        let (sender, lines) = mpsc::channel();
        if let Some(out) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        let stdin = child.stdin.take();
        let mut fixture = Self {
            name,
            pid,
            pidfd,
            child,
            stdin,
            lines,
            info: Vec::new(),
            call: None,
            reaped: false,
            dir,
        };
        fixture.wait_ready()?;
        Ok(fixture)
    }

    /// Waits for the "ready" line. Public because a program that executes itself again is ready anew.
    ///
    /// # Errors
    ///
    /// [`KitError::Unavailable`] if the program declines.
    pub fn wait_ready(&mut self) -> Result<(), KitError> {
        loop {
            let line = self.read_line()?;
            if let Some(call) = line.strip_prefix("ready") {
                self.call = call.trim().parse().ok();
                return Ok(());
            }
            if let Some(reason) = line.strip_prefix("skip ") {
                let (program, reason) = (self.name.clone(), reason.to_owned());
                return Err(KitError::Unavailable { program, reason });
            }
            self.info.push(line);
        }
    }

    /// The process ID. It cannot be recycled while this value lives.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// A pidfd of the program.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Its working directory.
    #[must_use]
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// The process that tests should act on: `target PID` if the program names one, else itself.
    #[must_use]
    pub fn target(&self) -> i32 {
        self.info("target")
            .and_then(|pid| pid.parse().ok())
            .unwrap_or_else(|| self.pid())
    }

    /// The value of a `key value` line that came before "ready".
    #[must_use]
    pub fn info(&self, key: &str) -> Option<&str> {
        self.info_all(key).first().copied()
    }

    /// All values of such lines.
    #[must_use]
    pub fn info_all(&self, key: &str) -> Vec<&str> {
        let value = |line: &String| {
            line.strip_prefix(key)?
                .strip_prefix(' ')
                .map(|_| key.len() + 1)
        };
        self.info
            .iter()
            .filter_map(|line| line.get(value(line)?..))
            .collect()
    }

    /// The number of the system call that the program blocks in; `None`: any.
    #[must_use]
    pub fn call(&self) -> Option<u64> {
        self.call
    }

    /// Its threads, as they are now.
    #[must_use]
    pub fn tasks(&self) -> Vec<Task> {
        tasks(self.target())
    }

    /// Waits until a thread sleeps in the call that the program announced, and returns it.
    ///
    /// # Errors
    ///
    /// [`KitError::Timeout`].
    pub fn wait_blocked(&self, patience: Duration) -> Result<Task, KitError> {
        let call = self.call;
        self.wait_task("thread blocked in its call", patience, |task| {
            task.is_blocked_in(call)
        })
    }

    /// Waits until a thread is in one of these states (letters of /proc/PID/stat).
    ///
    /// # Errors
    ///
    /// [`KitError::Timeout`].
    pub fn wait_state(&self, states: &str, patience: Duration) -> Result<Task, KitError> {
        self.wait_task("thread in that state", patience, |task| {
            states.contains(task.state)
        })
    }

    fn wait_task(
        &self,
        awaited: &'static str,
        patience: Duration,
        wanted: impl Fn(&Task) -> bool,
    ) -> Result<Task, KitError> {
        let start = Instant::now();
        loop {
            if let Some(task) = self.tasks().into_iter().find(&wanted) {
                return Ok(task);
            }
            if start.elapsed() > patience {
                return Err(self.timeout(awaited, patience));
            }
            thread::sleep(POLL);
        }
    }

    /// Sends a line to the program's standard input.
    ///
    /// # Errors
    ///
    /// If it has closed it.
    pub fn send(&mut self, command: &str) -> Result<(), KitError> {
        let stdin = self.stdin.as_mut();
        let sent = stdin.map_or(Ok(()), |stdin| {
            stdin.write_all(format!("{command}\n").as_bytes())
        });
        sent.map_err(KitError::io("sending a command to a fixture"))
    }

    /// The next line that the program writes.
    ///
    /// # Errors
    ///
    /// If none comes in time, or the program has ended.
    pub fn read_line(&mut self) -> Result<String, KitError> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => Err(self.timeout("line", PATIENCE)),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.reap()?;
                Err(self.protocol(format!("ended without a word: {status}")))
            }
        }
    }

    /// Sends a command and returns the answer, one line.
    ///
    /// # Errors
    ///
    /// As [`Fixture::send`] and [`Fixture::read_line`].
    pub fn ask(&mut self, command: &str) -> Result<String, KitError> {
        self.send(command)?;
        self.read_line()
    }

    /// Sends a signal, through the pidfd.
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub fn signal(&self, signal: Signal) -> Result<(), KitError> {
        pidfd_send_signal(&self.pidfd, signal).map_err(KitError::errno("signalling a fixture"))
    }

    /// Whether it has ended. It is not reaped by this.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.reaped
            || tasks(self.pid())
                .iter()
                .all(|task| matches!(task.state, 'Z' | 'X'))
    }

    /// Ends the program and returns its verdict.
    ///
    /// # Errors
    ///
    /// If the verdict does not come, or does not agree with the exit status.
    pub fn finish(mut self) -> Result<Verdict, KitError> {
        let start = Instant::now();
        // End of file is the word for those whose seccomp filter or blocked signals forbid SIGTERM.
        self.stdin = None;
        let line = loop {
            // Repeated: the first may come just before the program blocks.
            let _ = self.signal(Signal::TERM);
            if self.tasks().iter().any(|task| task.state == 'T') {
                let _ = self.signal(Signal::CONT);
            }
            match self.lines.recv_timeout(Duration::from_millis(50)) {
                Ok(line) if line.starts_with("{\"program\"") => break line,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) if start.elapsed() < PATIENCE => {}
                Err(RecvTimeoutError::Timeout) => return Err(self.timeout("verdict", PATIENCE)),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.reap()?;
                    return Err(self.protocol(format!("ended without a verdict: {status}")));
                }
            }
        };
        let verdict: Verdict = serde_json::from_str(&line)
            .map_err(|e| self.protocol(format!("unreadable verdict {line}: {e}")))?;
        let status = self.reap()?;
        if status.code() != Some(i32::from(!verdict.is_clean())) {
            return Err(self.protocol(format!("{status} does not fit {verdict:?}")));
        }
        Ok(verdict)
    }

    /// Waits for the program to end by itself.
    ///
    /// # Errors
    ///
    /// [`KitError::Timeout`].
    pub fn wait(mut self, patience: Duration) -> Result<ExitStatus, KitError> {
        let start = Instant::now();
        while !self.has_ended() {
            if start.elapsed() > patience {
                return Err(self.timeout("end", patience));
            }
            thread::sleep(POLL);
        }
        self.reap()
    }

    /// Reaps the program, which has ended or is about to. What it left in its group is killed before
    /// that: the number of the group is ours only as long as its leader is not reaped.
    fn reap(&mut self) -> Result<ExitStatus, KitError> {
        let start = Instant::now();
        while !self.has_ended() && start.elapsed() < PATIENCE {
            thread::sleep(POLL);
        }
        if !self.reaped {
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
        self.reaped = true;
        let status = self
            .child
            .wait()
            .map_err(KitError::io("waiting for a fixture"))?;
        if status.signal().is_some() {
            // Say what it was doing; there will be no verdict.
            eprintln!("{}: {status}", self.name);
        }
        Ok(status)
    }

    fn timeout(&self, awaited: &'static str, waited: Duration) -> KitError {
        let state = format!("{:?}", self.tasks());
        KitError::Timeout {
            program: self.name.clone(),
            awaited,
            waited,
            state,
        }
    }

    fn protocol(&self, what: String) -> KitError {
        KitError::Protocol {
            program: self.name.clone(),
            what,
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
            let _ = kill_process_group(self.pid, Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Starts a tree of idle processes: every one has `fanout` children, `depth` levels below the root.
/// Their IDs are the `node` lines, parents first.
///
/// # Errors
///
/// See [`Builder::start`].
pub fn spawn_tree(depth: u32, fanout: u32) -> Result<Fixture, KitError> {
    Fixture::start(
        "tree",
        &[&format!("depth={depth}"), &format!("fanout={fanout}")],
    )
}
