//! The process that watches.
//!
//! A tracer that is killed leaves its tracees as they stand: a call that was just at a stop may then
//! fail with EINTR, and a program under a filter gets ENOSYS for every specified call from then on.
//! So the command that a person started does not trace: it starts a keeper, in a session of its own,
//! where no Ctrl-C and no kill of the process group reaches it. The two guard each other:
//!
//! - When the command dies, a keeper that watches a stranger is told by the kernel
//!   (PR_SET_PDEATHSIG) and lets everything go in good order; one whose program runs under a filter
//!   watches on until the program has ended.
//! - When the keeper is killed, the command takes the filtered program over (see [`super::Roster`]).

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use anyhow::{Context as _, ensure};
use mctl_sys::syscall_watch::Signals;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal, setsid};

/// How a keeper ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this exit status.
    Exited(i32),
    /// Killed by this signal.
    Killed(i32),
}

/// Starts this program again with these arguments and waits for it; requests to end are handed on
/// to it.
///
/// # Errors
///
/// When it cannot be started.
pub fn start<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> anyhow::Result<Ended> {
    // From here on a signal does not kill this process. (The keeper inherits that they are blocked,
    // and waits for them itself.)
    let signals = Signals::take()?;
    // By its own name, where it still has one: whoever finds a tracer should know it.
    let own = std::env::current_exe()
        .ok()
        .filter(|path| path.exists())
        .unwrap_or_else(|| "/proc/self/exe".into());
    let mut child = Command::new(own)
        .args(args)
        .spawn()
        .context("cannot start the process that traces")?;
    let pid = i32::try_from(child.id())?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if let Some(signal) = signals.wait(None) {
            super::forward(pid, signal);
        }
    };
    Ok(match status.signal() {
        Some(signal) => Ended::Killed(signal),
        None => Ended::Exited(status.code().unwrap_or(2)),
    })
}

/// Leaves the session and the process group that this process was started in.
pub(super) fn leave_session() {
    // Refused only to one that leads a group already, as a shell's job does.
    let _ = setsid();
}

/// Makes this process the keeper that watches strangers for the process that started it, and ends
/// with it.
///
/// # Errors
///
/// When that one is gone already, or the kernel refuses.
pub fn enter(parent: u32) -> anyhow::Result<()> {
    leave_session();
    set_parent_process_death_signal(Some(Signal::TERM))?;
    let parent = i32::try_from(parent).ok().and_then(Pid::from_raw);
    ensure!(
        parent.is_some() && getppid() == parent,
        "the process that started this one is gone"
    );
    Ok(())
}
