//! Running one job.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mctl_guest_init::{Job, Outcome, Verdict};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group, wait,
};

const LOOK: Duration = Duration::from_millis(10);

/// Runs a job to its end or to the end of its time. Its output goes to a file in `logs`.
pub(crate) fn run(job: &Job, user: Option<u32>, logs: &Path) -> Outcome {
    let begin = Instant::now();
    let (verdict, reason) = match ended(job, user, logs, begin) {
        Ok(End::Status(status)) => judge(job, status),
        Ok(End::TooLate) => (Verdict::Fail, format!("not done after {} s", job.seconds)),
        Err(words) => (Verdict::Fail, words),
    };
    clean();
    Outcome {
        name: job.name.clone(),
        verdict,
        reason,
        time: begin.elapsed(),
    }
}

/// The command as another user, with that user's group and no other.
fn as_user(argv: &[String], user: Option<u32>) -> Vec<String> {
    let Some(user) = user else {
        return argv.to_vec();
    };
    let id = user.to_string();
    let mut words = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]
        .map(str::to_owned)
        .to_vec();
    words.extend_from_slice(argv);
    words
}

enum End {
    Status(WaitStatus),
    TooLate,
}

fn ended(job: &Job, user: Option<u32>, logs: &Path, begin: Instant) -> Result<End, String> {
    let argv = as_user(&job.argv, user);
    let (program, args) = argv.split_first().ok_or("no program")?;
    let path = logs.join(format!("{}.log", job.name));
    let words = |e: std::io::Error| format!("{}: {e}", path.display());
    let log = File::create(&path).map_err(words)?;
    let child = Command::new(program)
        .args(args)
        .current_dir(&job.cwd)
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("HOME", "/tmp")
        .env("TMPDIR", "/tmp")
        .env("USER", "root")
        .env("RUST_BACKTRACE", "1")
        .envs(&job.env)
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(words)?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .map_err(|e| format!("starting {program}: {e}"))?;
    let pid = Pid::from_child(&child);
    let time = Duration::from_secs(job.seconds);
    // As the first process we also get everyone who lost their parent.
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((who, status))) if who == pid => return Ok(End::Status(status)),
            Ok(Some(_)) => continue,
            Ok(None) => {}
            Err(e) => return Err(format!("waiting for it: {e}")),
        }
        if begin.elapsed() > time {
            let _ = kill_process_group(pid, Signal::KILL);
            return Ok(End::TooLate);
        }
        std::thread::sleep(LOOK);
    }
}

/// Nothing that a job started may outlive it: the machine is ours alone, and from the first process
/// this reaches every other one.
fn clean() {
    for _ in 0..500 {
        let _ = kill_all();
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// The kernel's own threads are in `/proc` too; they take no signal.
fn kill_all() -> std::io::Result<()> {
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name
            .to_str()
            .and_then(|n| n.parse().ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid
            && !pid.is_init()
        {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    Ok(())
}

fn judge(job: &Job, status: WaitStatus) -> (Verdict, String) {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => (Verdict::Pass, String::new()),
        (Some(n), _) if job.skip_status == Some(n) => (Verdict::Skip, format!("status {n}")),
        (Some(n), _) => (Verdict::Fail, format!("status {n}")),
        (None, Some(signal)) => (Verdict::Fail, format!("signal {signal}")),
        (None, None) => (Verdict::Fail, "ended in an unknown way".to_owned()),
    }
}
