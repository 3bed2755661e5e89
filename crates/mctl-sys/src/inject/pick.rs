//! Which threads of a target may be stopped, and which of them is disturbed least.

use std::mem::MaybeUninit;

use mctl_abi::Errno;
use rustix::fs::{Mode, OFlags, RawDir};

use super::allowed::{Asleep, leaves_no_trace};
use super::blocked::{BlockedCall, continues_by_another};
use super::error::{InjectError, Refusal};
use super::files::{command_name, read_status, reading, reading_thread};
use super::moment::Moment;
use super::remaining::Finite;
use super::rights::may_suspend_seccomp;
use super::runnable::state_of;
use super::user_mode;
use super::witness::Witness;
use crate::procfs::status::Status;
use crate::procfs::syscall::TaskSyscall;

/// How many threads of a large process are looked at for a quiet one.
const LOOK_AT_THREADS: usize = 64;
/// How many are looked at where the first thread would do.
const LOOK_AT_OTHERS: usize = 4;
/// How many of them are kept, should the first have moved on; so many are waited for at once.
pub(super) const KEEP: usize = 8;

/// A thread to stop.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) tid: i32,
    pub(super) call: Option<BlockedCall>,
    pub(super) moment: Moment,
    pub(super) seccomp: bool,
    /// It has a filter, and is in a sleep that the kernel would go on with through a call that the filter sees.
    pub(super) barred: bool,
    /// The signal that tells that it runs its own code; `None`: it blocks them all.
    pub(super) signal: Option<i32>,
    /// Of a thread that is asleep where it may be interrupted: to be asked again at the stop.
    pub(super) witness: Option<Witness>,
    /// A finite wait that can be entered again with the time that remains.
    pub(super) finite: Option<Finite>,
}

impl Candidate {
    /// Whether the thread is still asleep where it was seen. In the shield: no allocation.
    pub(super) fn is_still_there(&self) -> bool {
        self.witness.as_ref().is_some_and(Witness::still_stands)
    }

    /// The same thread, where it is now asleep in a call that may be interrupted. In the shield: no allocation.
    pub(super) fn asleep_now(&self) -> Option<Candidate> {
        let witness = Witness::look(self.tid).ok()?;
        let TaskSyscall::Blocked { nr, args, sp, .. } = TaskSyscall::parse(witness.call()).ok()?
        else {
            return None;
        };
        let call = BlockedCall {
            number: u64::from(nr.unsigned_abs()),
            args,
        };
        // (Whoever asks stays attached to other threads: one that has to be let past its filter cannot be let go then.)
        let barred = self.seccomp && continues_by_another(&call);
        let free = !barred
            && leaves_no_trace(&Asleep {
                tid: self.tid,
                call,
                sp,
                wchan: witness.wchan(),
            });
        // (Not to be woken, it would not stop in time.)
        (free && state_of(self.tid) == Some(b'S')).then_some(Candidate {
            tid: self.tid,
            call: Some(call),
            moment: Moment::Asleep,
            seccomp: self.seccomp,
            barred: false,
            signal: self.signal,
            witness: Some(witness),
            finite: None,
        })
    }
}

pub(super) type Candidates = [Option<Candidate>; KEEP];

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
    if status.sig_pnd.unwrap_or(0) & SIGTRAP_BIT != 0 {
        return Err(Refusal::PendingSigtrap.into());
    }
    Ok(())
}

/// What the thread with this status is doing.
fn examine(
    pid: i32,
    tid: i32,
    status: &Status<'_>,
    through_filter: bool,
) -> Result<Candidate, InjectError> {
    let witness = Witness::look(tid).map_err(|errno| reading_thread(pid, tid, errno))?;
    let parsed = TaskSyscall::parse(witness.call());
    let call = match parsed {
        Ok(TaskSyscall::Blocked { nr, args, .. }) => Some(BlockedCall {
            number: u64::from(nr.unsigned_abs()),
            args,
        }),
        _ => None,
    };
    // Threads that the kernel makes for io_uring block everything, and never come to user mode.
    let kernels = status.sig_blk == Some(EVERYTHING) && call.is_none();
    let seccomp = status.seccomp.unwrap_or(0) != 0;
    let barred = seccomp && call.is_some_and(|call| continues_by_another(&call));
    let moment = match (status.state, parsed) {
        _ if kernels => Moment::Unreachable,
        (Some(b'T'), _) => Moment::Stopped,
        (Some(b'D'), _) => Moment::Unreachable,
        (_, Ok(TaskSyscall::Running)) => Moment::Running,
        // "R" only means that it has fallen asleep since.
        (Some(b'S' | b'R'), Ok(TaskSyscall::Blocked { sp, .. })) => {
            let free = call.is_some_and(|call| {
                leaves_no_trace(&Asleep {
                    tid,
                    call,
                    sp,
                    wchan: witness.wchan(),
                })
            });
            // Only who may read the filter once it stands still, and pass over it, may interrupt that; or who has been
            // told that calls are made through it all the same.
            let free = free && (!barred || through_filter || may_suspend_seccomp());
            if free {
                Moment::Asleep
            } else {
                Moment::Elsewhere
            }
        }
        // In a page fault that somebody else is to serve.
        _ => Moment::Elsewhere,
    };
    Ok(Candidate {
        tid,
        call,
        moment,
        seccomp,
        barred,
        signal: user_mode::signal_for(status),
        witness: (moment == Moment::Asleep).then_some(witness),
        finite: None,
    })
}

pub(super) fn pick(
    pid: i32,
    leader: &Status<'_>,
    threads: u64,
    through_filter: bool,
) -> Result<Candidates, InjectError> {
    let mut kept = Candidates::default();
    if leader.state != Some(b'Z') {
        let first = examine(pid, pid, leader, through_filter)?;
        let ideal = first.is_ideal();
        kept[0] = Some(first);
        if ideal && threads > 1 {
            // Signals that the process ignores are queued while its first thread is traced, and wake another one.
            let other = an_ideal_other(pid, through_filter);
            if other.is_some() {
                kept[1] = kept[0].take();
                kept[0] = other;
            }
        }
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
        match look_at_thread(pid, tid, through_filter) {
            Ok(Some(candidate)) => {
                let ideal = candidate.is_ideal();
                insert(&mut kept, candidate);
                if ideal {
                    break;
                }
            }
            Ok(None) => {}
            Err(error) => refused = Some(error),
        }
    }
    match (&kept[0], refused) {
        (None, Some(error)) => Err(error),
        (None, None) => Err(InjectError::Gone),
        _ => Ok(kept),
    }
}

/// One of the next few threads, if there is an ideal one among them. The others are not even listed: that takes long
/// where they are many.
fn an_ideal_other(pid: i32, through_filter: bool) -> Option<Candidate> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(format!("/proc/{pid}/task"), flags, Mode::empty()).ok()?;
    // Room for the two dots, the first thread and some more.
    let mut buffer = [MaybeUninit::<u8>::uninit(); 256];
    let mut entries = RawDir::new(dir, &mut buffer);
    for _ in 0..3 + LOOK_AT_OTHERS {
        let entry = entries.next()?.ok()?;
        let tid = entry.file_name().to_str().ok()?.parse::<i32>();
        if let Ok(tid) = tid
            && tid != pid
            && let Ok(Some(other)) = look_at_thread(pid, tid, through_filter)
            && other.is_ideal()
        {
            return Some(other);
        }
    }
    None
}

impl Candidate {
    /// Whether no other can be better.
    fn is_ideal(&self) -> bool {
        matches!(self.moment, Moment::Asleep | Moment::Stopped) && !self.seccomp
    }
}

fn look_at_thread(
    pid: i32,
    tid: i32,
    through_filter: bool,
) -> Result<Option<Candidate>, InjectError> {
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
    match examine(pid, tid, &status, through_filter) {
        Ok(candidate) => Ok(Some(candidate)),
        // It ended while we looked.
        Err(InjectError::Gone) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Keeps the best few, in order: without seccomp first, then by how soon they can be stopped, then those whose filter
/// does not matter for that.
fn insert(kept: &mut Candidates, mut new: Candidate) {
    for slot in kept.iter_mut() {
        match slot {
            None => {
                *slot = Some(new);
                return;
            }
            Some(old) => {
                let rank = |one: &Candidate| (one.seccomp, one.moment, one.barred);
                if rank(&new) < rank(old) {
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
        let candidate = |tid, moment, seccomp| Candidate {
            tid,
            call: None,
            moment,
            seccomp,
            barred: tid == 7,
            signal: None,
            witness: None,
            finite: None,
        };
        let mut kept = Candidates::default();
        for (tid, moment, seccomp) in [
            (1, Moment::Elsewhere, false),
            (2, Moment::Asleep, true),
            (3, Moment::Running, false),
            (4, Moment::Unreachable, false),
            (5, Moment::Asleep, false),
            (6, Moment::Stopped, false),
            (7, Moment::Asleep, true),
            (8, Moment::Asleep, true),
        ] {
            insert(&mut kept, candidate(tid, moment, seccomp));
        }
        let tids: Vec<i32> = kept.iter().flatten().map(|c| c.tid).collect();
        assert_eq!(tids, [5, 6, 3, 1, 4, 2, 8, 7]);
    }
}
