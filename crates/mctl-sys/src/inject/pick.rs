//! Which threads of a target may be stopped, and which of them is disturbed least.

use mctl_abi::Errno;

use super::blocked::{BlockedCall, Disturbance, disturbance};
use super::error::{InjectError, Refusal};
use super::files::{command_name, path_of, read_small, read_status, reading};
use crate::procfs::status::Status;
use crate::procfs::syscall::TaskSyscall;

/// How many threads of a large process are looked at for a quiet one.
const LOOK_AT_THREADS: usize = 64;
/// How many of them are kept, should the first have moved on.
pub(super) const KEEP: usize = 4;

/// A thread to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) tid: i32,
    pub(super) call: Option<BlockedCall>,
    pub(super) disturbance: Disturbance,
    pub(super) seccomp: bool,
}

impl Candidate {
    /// Whether the thread is still in the call that it was seen in. In the shield: no allocation.
    pub(super) fn is_still_there(&self) -> bool {
        let mut path = [0u8; 40];
        let mut buffer = [0u8; 256];
        let Some(path) = path_of(self.tid, "syscall", &mut path) else {
            return false;
        };
        let now = read_small(path, &mut buffer).map(TaskSyscall::parse);
        match (now, self.call) {
            (Ok(Ok(TaskSyscall::Blocked { nr, args, .. })), Some(call)) => {
                u64::from(nr.unsigned_abs()) == call.number && args == call.args
            }
            _ => false,
        }
    }
}

const SIGTRAP_BIT: u64 = 1 << (libc::SIGTRAP - 1);
/// All signals that can be blocked.
pub(super) const EVERYTHING: u64 = !(1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1));

/// What forbids touching any thread of the process.
pub(super) fn refuse_process(status: &Status<'_>) -> Result<(), InjectError> {
    if status.kthread == Some(1) {
        return Err(Refusal::KernelThread.into());
    }
    let threads = status.threads.unwrap_or(1);
    match status.state {
        Some(b'X') => return Err(InjectError::Gone),
        // A first thread that has exited while others run is no zombie process.
        Some(b'Z') if threads <= 1 => return Err(Refusal::Zombie.into()),
        _ => {}
    }
    if status.vm_size.is_none() && !matches!(status.state, Some(b'Z')) {
        // No address space: a process on its way out, or, where there is no "Kthread:" line
        // (before Linux 6.9), more likely a kernel thread.
        return Err(match status.kthread {
            Some(_) => InjectError::Gone,
            None => Refusal::KernelThread.into(),
        });
    }
    refuse_thread(status)?;
    if status.shd_pnd.unwrap_or(0) & SIGTRAP_BIT != 0 {
        return Err(Refusal::PendingSigtrap.into());
    }
    Ok(())
}

/// What forbids touching this thread.
fn refuse_thread(status: &Status<'_>) -> Result<(), InjectError> {
    match status.tracer_pid {
        None | Some(0) => {}
        Some(tracer) => {
            let tracer = i32::try_from(tracer).unwrap_or(0);
            return Err(Refusal::Traced {
                tracer,
                name: command_name(tracer),
            }
            .into());
        }
    }
    if status.state == Some(b'T') {
        return Err(Refusal::Stopped.into());
    }
    if status.sig_pnd.unwrap_or(0) & SIGTRAP_BIT != 0 {
        return Err(Refusal::PendingSigtrap.into());
    }
    Ok(())
}

/// What the thread with this status is doing.
fn examine(pid: i32, tid: i32, status: &Status<'_>) -> Result<Candidate, InjectError> {
    let mut buffer = [0u8; 256];
    let seccomp = status.seccomp.unwrap_or(0) != 0;
    let path = format!("/proc/{pid}/task/{tid}/syscall");
    let text = read_small(&path, &mut buffer).map_err(|errno| reading(pid, errno))?;
    let (call, mut rank) = match TaskSyscall::parse(text) {
        Ok(TaskSyscall::Blocked { nr, args, .. }) => {
            let call = BlockedCall {
                number: u64::from(nr.unsigned_abs()),
                args,
            };
            (Some(call), disturbance(&call))
        }
        Ok(TaskSyscall::Running) => (None, Disturbance::Running),
        Ok(TaskSyscall::Outside { .. }) | Err(_) => (None, Disturbance::Unknown),
    };
    // Threads that the kernel makes for io_uring block everything, and never come to user mode.
    let kernels = status.sig_blk == Some(EVERYTHING);
    if status.state == Some(b'D') || kernels && call.is_none() {
        rank = Disturbance::Unreachable;
    }
    Ok(Candidate {
        tid,
        call,
        disturbance: rank,
        seccomp,
    })
}

pub(super) fn pick(
    pid: i32,
    leader: &Status<'_>,
    threads: u64,
) -> Result<[Option<Candidate>; KEEP], InjectError> {
    let mut kept = [None; KEEP];
    if leader.state != Some(b'Z') {
        let first = examine(pid, pid, leader)?;
        kept[0] = Some(first);
        let ideal = first.disturbance == Disturbance::None && !first.seccomp;
        if ideal || threads <= 1 {
            return Ok(kept);
        }
    }
    let mut refused = None;
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .map_err(|e| reading(pid, Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO))))?;
    let tids = tasks
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|tid| *tid != pid);
    for tid in tids.take(LOOK_AT_THREADS) {
        match look_at_thread(pid, tid) {
            Ok(Some(candidate)) => {
                insert(&mut kept, candidate);
                if candidate.disturbance == Disturbance::None && !candidate.seccomp {
                    break;
                }
            }
            Ok(None) => {}
            Err(error) => refused = Some(error),
        }
    }
    match (kept[0], refused) {
        (None, Some(error)) => Err(error),
        (None, None) => Err(InjectError::Gone),
        _ => Ok(kept),
    }
}

fn look_at_thread(pid: i32, tid: i32) -> Result<Option<Candidate>, InjectError> {
    let Ok(text) = read_status(&format!("/proc/{pid}/task/{tid}/status")) else {
        return Ok(None);
    };
    let Ok(status) = Status::parse(&text) else {
        return Ok(None);
    };
    if matches!(status.state, Some(b'Z' | b'X')) {
        return Ok(None);
    }
    refuse_thread(&status)?;
    match examine(pid, tid, &status) {
        Ok(candidate) => Ok(Some(candidate)),
        // It ended while we looked.
        Err(InjectError::Gone) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Keeps the best few, in order: without seccomp first, then by how little they are disturbed.
fn insert(kept: &mut [Option<Candidate>; KEEP], mut new: Candidate) {
    for slot in kept.iter_mut() {
        match slot {
            None => {
                *slot = Some(new);
                return;
            }
            Some(old) => {
                if (new.seccomp, new.disturbance) < (old.seccomp, old.disturbance) {
                    std::mem::swap(old, &mut new);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_kept_in_order() {
        let candidate = |tid, disturbance, seccomp| Candidate {
            tid,
            call: None,
            disturbance,
            seccomp,
        };
        let mut kept = [None; KEEP];
        for (tid, rank, seccomp) in [
            (1, Disturbance::Late, false),
            (2, Disturbance::None, true),
            (3, Disturbance::Running, false),
            (4, Disturbance::Unreachable, false),
            (5, Disturbance::None, false),
            (6, Disturbance::Reissued, false),
        ] {
            insert(&mut kept, candidate(tid, rank, seccomp));
        }
        let tids: Vec<i32> = kept.iter().flatten().map(|c| c.tid).collect();
        assert_eq!(tids, [5, 3, 6, 1]);
    }
}
