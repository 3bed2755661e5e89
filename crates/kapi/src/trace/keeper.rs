//! The process that watches strangers.
//!
//! A tracer that is killed leaves its tracees as they stand, and a call that was just at a stop may
//! then fail with EINTR. So the command that a person started does not trace: it starts a keeper,
//! in a session of its own, where no Ctrl-C and no kill of the process group reaches it. The keeper
//! is told by the kernel (PR_SET_PDEATHSIG) when the command dies, and then lets everything go in
//! good order.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use anyhow::{Context as _, ensure};
use mctl_sys::syscall_watch::Signals;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal, setsid};

/// Starts this program again with these arguments and waits for it; requests to end are handed on
/// to it. Answers its exit status, or 128 plus the signal that killed it.
///
/// # Errors
///
/// When it cannot be started.
pub fn start<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> anyhow::Result<u8> {
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
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(2);
    Ok(u8::try_from(code).unwrap_or(2))
}

/// Makes this process the keeper of the process that started it.
///
/// # Errors
///
/// When that one is gone already, or the kernel refuses.
pub fn enter(parent: u32) -> anyhow::Result<()> {
    // A new session; refused only to one that leads a group already, as a shell's job does.
    let _ = setsid();
    set_parent_process_death_signal(Some(Signal::TERM))?;
    let parent = i32::try_from(parent).ok().and_then(Pid::from_raw);
    ensure!(
        parent.is_some() && getppid() == parent,
        "the process that started this one is gone"
    );
    Ok(())
}
