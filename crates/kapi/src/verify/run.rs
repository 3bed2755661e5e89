//! Starts throw-away processes and collects what they report.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde::{Deserialize, Serialize};

use super::script::{Outcome, Report, Step, View};

/// No script is silent for longer.
const LONGEST: Duration = Duration::from_secs(20);
/// Scripts that one agent is given at a time.
const BATCH: usize = 32;

/// What one process reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Calls by name.
    pub calls: BTreeMap<String, Outcome>,
    /// Looks by name.
    pub views: BTreeMap<String, View>,
    /// A step that could not be done.
    pub failed: Option<String>,
}

impl Log {
    fn failed(why: String) -> Self {
        Self {
            failed: Some(why),
            ..Self::default()
        }
    }
}

/// Runs some scripts with one agent; fewer answers than scripts when one of them hung or ended
/// the agent, in which case the last answer is that one's.
fn attempt(scripts: &[Vec<Step>]) -> anyhow::Result<Vec<Log>> {
    let mut child = Command::new("/proc/self/exe")
        .arg("__agent")
        .env(mctl_sys::raw_syscall::MARK, std::process::id().to_string())
        .env_remove(super::agent::STEPS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(serde_json::to_string(scripts)?.as_bytes())?;
    }
    let (text, killed) = listen(&mut child)?;
    let mut errors = String::new();
    if let Some(mut stderr) = child.stderr.take().filter(|_| killed.is_none()) {
        let _ = stderr.read_to_string(&mut errors);
    }
    let status = child.wait()?;
    let mut logs: Vec<Log> = Vec::new();
    let mut done = false;
    for line in text.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        // A process that a call has ruined may say nonsense.
        let Ok(report) = serde_json::from_slice(line) else {
            if let Some(log) = logs.last_mut() {
                log.failed = Some("the process wrote what is no report".to_owned());
            }
            continue;
        };
        if let Report::Begin(_) = report {
            if let Some(log) = logs.last_mut().filter(|log| !done && log.failed.is_none()) {
                log.failed = Some("the process ended before its last step".to_owned());
            }
            logs.push(Log::default());
            done = false;
            continue;
        }
        let Some(log) = logs.last_mut() else { continue };
        match report {
            Report::Begin(_) => {}
            Report::Called(name, outcome) => {
                log.calls.insert(name, outcome);
            }
            Report::Seen(name, view) => {
                log.views.insert(name, view);
            }
            Report::Failed(why) => {
                log.failed.get_or_insert(why);
            }
            Report::Done => done = true,
        }
    }
    if let Some(log) = logs.last_mut().filter(|log| !done && log.failed.is_none()) {
        log.failed = Some(
            killed.unwrap_or_else(|| format!("the process ended with {status}: {}", errors.trim())),
        );
    }
    if logs.is_empty() {
        logs.push(Log::failed(format!(
            "the process ended with {status}: {}",
            errors.trim()
        )));
    }
    Ok(logs)
}

/// Everything that the agent writes, and why it was killed, if it was.
fn listen(child: &mut Child) -> anyhow::Result<(Vec<u8>, Option<String>)> {
    let mut text = Vec::new();
    let Some(mut stdout) = child.stdout.take() else {
        return Ok((text, None));
    };
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    let mut end = Instant::now() + LONGEST;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&timeout))? == 0 {
            let why = if stopped(child) {
                "the call stopped its caller; the process was killed".to_owned()
            } else if Instant::now() >= end {
                format!(
                    "no word within {} s; the process was killed",
                    LONGEST.as_secs()
                )
            } else {
                continue;
            };
            child.kill()?;
            return Ok((text, Some(why)));
        }
        match stdout.read(&mut buffer)? {
            0 => return Ok((text, None)),
            n => text.extend_from_slice(buffer.get(..n).unwrap_or_default()),
        }
        end = Instant::now() + LONGEST;
    }
}

/// Whether a signal has stopped the process: nobody will wake it.
fn stopped(child: &Child) -> bool {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    pid.and_then(|pid| waitid(WaitId::Pid(pid), options).ok()?)
        .is_some_and(|status| status.stopped())
}

/// Runs a batch to its end, with as many agents as it takes.
fn batch(scripts: &[Vec<Step>]) -> Vec<Log> {
    let mut logs: Vec<Log> = Vec::with_capacity(scripts.len());
    while let Some(rest) = scripts.get(logs.len()..).filter(|rest| !rest.is_empty()) {
        match attempt(rest) {
            Ok(more) => logs.extend(more),
            Err(error) => logs.push(Log::failed(format!("{error:#}"))),
        }
    }
    logs.truncate(scripts.len());
    logs
}

/// Runs many, as many at a time as there are processors; the answers are in order.
pub(super) fn run_all(scripts: &[Vec<Step>]) -> Vec<Log> {
    let batches: Vec<&[Vec<Step>]> = scripts.chunks(BATCH).collect();
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(8);
    let mut logs: Vec<(usize, Vec<Log>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|_| {
                scope.spawn(|| {
                    let mut mine = Vec::new();
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        let Some(scripts) = batches.get(n) else {
                            return mine;
                        };
                        mine.push((n, batch(scripts)));
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
    logs.into_iter().flat_map(|(_, logs)| logs).collect()
}
