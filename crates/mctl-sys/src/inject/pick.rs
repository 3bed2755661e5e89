//! Before the stop: is the target one that may be touched, and which of its threads is disturbed
//! least?

use std::os::fd::BorrowedFd;

use mctl_abi::Errno;

use super::blocked::{BlockedCall, Disturbance, disturbance};
use super::error::{InjectError, Refusal};
use super::vdso;
use crate::procfs::status::Status;
use crate::procfs::syscall::TaskSyscall;

/// How many threads of a large process are looked at for a quiet one.
const LOOK_AT_THREADS: usize = 64;
/// How many of them are kept, should the first have moved on.
const KEEP: usize = 4;

/// A thread to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) tid: i32,
    pub(super) call: Option<BlockedCall>,
    pub(super) disturbance: Disturbance,
    pub(super) seccomp: bool,
}

/// A target that was looked at and may be stopped.
#[derive(Debug)]
pub struct Prepared<'fd> {
    pub(super) pid: i32,
    pub(super) pidfd: BorrowedFd<'fd>,
    pub(super) insn: Option<u64>,
    pub(super) candidates: [Option<Candidate>; KEEP],
}

/// Reads a small file of /proc into a buffer with one open, read and close.
pub(crate) fn read_small<'a>(path: &str, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let errno = |e: rustix::io::Errno| Errno::from_raw(e.raw_os_error());
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(errno)?;
    let len = rustix::io::read(&file, &mut *buffer).map_err(errno)?;
    Ok(buffer.get(..len).unwrap_or_default())
}

fn reading(errno: Errno) -> InjectError {
    match errno {
        Errno::ENOENT | Errno::ESRCH => InjectError::Gone,
        Errno::EACCES | Errno::EPERM => Refusal::NotPermitted.into(),
        errno => InjectError::Os {
            step: "reading /proc",
            errno,
        },
    }
}

const SIGTRAP_BIT: u64 = 1 << (libc::SIGTRAP - 1);

/// The command name of a process, for messages.
pub(super) fn command_name(pid: i32) -> String {
    let mut buffer = [0u8; 64];
    let name = read_small(&format!("/proc/{pid}/comm"), &mut buffer).unwrap_or(b"?");
    String::from_utf8_lossy(name).trim_end().to_owned()
}

/// Whether the kernel lets us attach to a process, told by a file that asks for the same access
/// (`/proc/PID/syscall`, PTRACE_MODE_ATTACH) and whatever else stands in the way.
#[must_use]
pub fn may_attach(pid: i32) -> bool {
    let mut buffer = [0u8; 256];
    let answer = read_small(&format!("/proc/{pid}/syscall"), &mut buffer);
    !matches!(answer, Err(Errno::EPERM | Errno::EACCES))
}

impl<'fd> Prepared<'fd> {
    /// Looks at a target without touching it.
    ///
    /// `pid` is the process behind `pidfd`; the numbers are checked against the descriptor again
    /// once a thread is attached, so a recycled number does no harm.
    ///
    /// # Errors
    /// [`InjectError::Gone`], or the [`Refusal`] that applies.
    pub fn look(pid: i32, pidfd: BorrowedFd<'fd>) -> Result<Prepared<'fd>, InjectError> {
        let mut buffer = [0u8; 8192];
        let text = read_small(&format!("/proc/{pid}/status"), &mut buffer).map_err(reading)?;
        let status = Status::parse(text).map_err(|_| InjectError::Os {
            step: "understanding /proc/PID/status",
            errno: Errno::EIO,
        })?;
        refuse_process(&status)?;
        let threads = status.threads.unwrap_or(1);
        let candidates = pick(pid, &status, threads)?;
        let mut auxv = [0u8; 1024];
        let insn = match read_small(&format!("/proc/{pid}/auxv"), &mut auxv) {
            Ok(auxv) => vdso::syscall_insn(pid, auxv),
            Err(errno) => return Err(reading(errno)),
        };
        Ok(Prepared {
            pid,
            pidfd,
            insn,
            candidates,
        })
    }

    /// How much the best thread found is disturbed by a stop.
    #[must_use]
    pub fn disturbance(&self) -> Disturbance {
        self.candidates
            .iter()
            .flatten()
            .map(|candidate| candidate.disturbance)
            .min()
            .unwrap_or(Disturbance::Unreachable)
    }
}

/// What forbids touching any thread of the process.
fn refuse_process(status: &Status<'_>) -> Result<(), InjectError> {
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
        // No address space: a kernel thread (before Linux 6.9 there is no "Kthread:" line), or a
        // process on its way out.
        return Err(Refusal::KernelThread.into());
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
    let text =
        read_small(&format!("/proc/{pid}/task/{tid}/syscall"), &mut buffer).map_err(reading)?;
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
    if status.state == Some(b'D') {
        rank = Disturbance::Unreachable;
    }
    Ok(Candidate {
        tid,
        call,
        disturbance: rank,
        seccomp,
    })
}

fn pick(
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
        .map_err(|e| reading(Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO))))?;
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
    let mut buffer = [0u8; 8192];
    let path = format!("/proc/{pid}/task/{tid}/status");
    let Ok(text) = read_small(&path, &mut buffer) else {
        return Ok(None);
    };
    let Ok(status) = Status::parse(text) else {
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
