//! Starts throw-away processes and collects what they report.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::script::{Outcome, Report, Step, View};

/// No case takes longer.
const LONGEST: Duration = Duration::from_secs(20);

/// What one process reported.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) calls: BTreeMap<String, Outcome>,
    pub(super) views: BTreeMap<String, View>,
    /// A step that could not be done.
    pub(super) failed: Option<String>,
}

/// Runs the steps in a fresh process.
pub(super) fn run(steps: &[Step]) -> Log {
    match attempt(steps) {
        Ok(log) => log,
        Err(error) => Log {
            failed: Some(format!("{error:#}")),
            ..Log::default()
        },
    }
}

fn attempt(steps: &[Step]) -> anyhow::Result<Log> {
    let mut child = Command::new("/proc/self/exe")
        .arg("__agent")
        .env(mctl_sys::raw_syscall::MARK, std::process::id().to_string())
        .env_remove(super::agent::STEPS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(serde_json::to_string(steps)?.as_bytes())?;
    }
    let mut log = Log::default();
    let mut text = Vec::new();
    let end = Instant::now() + LONGEST;
    if let Some(mut stdout) = child.stdout.take() {
        let mut buffer = [0; 64 * 1024];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(0),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let ready = poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&timeout))?;
            if ready == 0 {
                child.kill()?;
                log.failed = Some(format!(
                    "no end within {} s; the process was killed",
                    LONGEST.as_secs()
                ));
                break;
            }
            match stdout.read(&mut buffer)? {
                0 => break,
                n => text.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            }
        }
    }
    let mut errors = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut errors);
    }
    let status = child.wait()?;
    let mut done = false;
    for line in text.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        match serde_json::from_slice(line)? {
            Report::Called(name, outcome) => {
                log.calls.insert(name, outcome);
            }
            Report::Seen(name, view) => {
                log.views.insert(name, view);
            }
            Report::Failed(why) => log.failed = Some(why),
            Report::Done => done = true,
        }
    }
    if !done && log.failed.is_none() {
        log.failed = Some(format!(
            "the process ended with {status}: {}",
            errors.trim()
        ));
    }
    Ok(log)
}

/// Runs many, as many at a time as there are processors; the answers are in order.
pub(super) fn run_all(scripts: &[Vec<Step>]) -> Vec<Log> {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(8);
    let mut logs: Vec<(usize, Log)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|_| {
                scope.spawn(|| {
                    let mut mine = Vec::new();
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        let Some(steps) = scripts.get(n) else {
                            return mine;
                        };
                        mine.push((n, run(steps)));
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|t| t.join().unwrap_or_default())
            .collect()
    });
    logs.sort_by_key(|(n, _)| *n);
    logs.into_iter().map(|(_, log)| log).collect()
}
