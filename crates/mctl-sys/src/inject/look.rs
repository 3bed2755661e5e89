//! Before the stop: is the target one that may be touched?

use std::os::fd::BorrowedFd;

use mctl_abi::Errno;

use super::error::{InjectError, Refusal};
use super::files::{command_name, read_small, read_status, reading, reading_thread};
use super::frozen::is_frozen;
use super::moment::Moment;
use super::pick::{Candidates, EVERYTHING, pick, refuse_process};
use super::rights::may_suspend_seccomp;
use super::vdso;
use crate::bounded;
use crate::procfs::status::Status;
use crate::procfs::syscall::TaskSyscall;
use crate::raw::pidfd::is_alive;
use crate::time::monotonic_ns;

/// A target that was looked at and may be stopped.
#[derive(Debug)]
pub struct Prepared<'fd> {
    pub(super) pid: i32,
    pub(super) pidfd: BorrowedFd<'fd>,
    /// The system-call instruction of its vDSO; where that is of no use, the one by which the best thread is in a call.
    pub(super) insn: Option<u64>,
    pub(super) own: Option<u64>,
    pub(super) candidates: Candidates,
    /// Calls are made through a seccomp filter that cannot be suspended.
    pub(super) through_filter: bool,
}

/// How long a look is repeated while another injector is at the target, where there is more to be waited for after it.
const SHORTLY_NS: u64 = 20_000_000;

/// So often a tracer that is no shield must be seen before it is named.
const SEEN_TRACED: u32 = 4;

/// Whether this tracer is the shield task of another injector: it blocks every signal that can be
/// blocked (but SIGCHLD, while it waits for that). No debugger does.
pub(super) fn is_shield(tracer: i32) -> bool {
    const CHLD: u64 = 1 << (libc::SIGCHLD - 1);
    // One of our own threads cannot be a tracer: its shield was, a moment ago.
    let own = bounded::our_pid();
    if std::path::Path::new(&format!("/proc/{own}/task/{tracer}")).exists() {
        return true;
    }
    match read_status(&format!("/proc/{tracer}/status")) {
        Ok(text) => Status::parse(&text).is_ok_and(|status| {
            let ended = matches!(status.state, Some(b'Z' | b'X'));
            ended || status.sig_blk.is_some_and(|set| set | CHLD == EVERYTHING)
        }),
        // It has ended by now.
        Err(errno) => matches!(errno, Errno::ENOENT | Errno::ESRCH),
    }
}

/// Whether the threads of a process may be stopped at all, told without touching it. What only an
/// injected call would trouble (a seccomp filter) is no reason here.
pub(crate) fn may_stop(pid: i32, pidfd: BorrowedFd<'_>) -> Result<(), InjectError> {
    settled(pidfd, bounded::patience_ns(), || {
        bounded::run(|| may_stop_once(pid))?
    })
}

/// How often a look is taken again because the thread that was looked at ended during it.
const LOOKS: u32 = 64;

/// The result of a look at a process by its number, taken again where it came to nothing because of
/// what comes and goes: another injector's shield (for so many nanoseconds), a thread that ended.
fn settled<T>(
    pidfd: BorrowedFd<'_>,
    patience_ns: u64,
    mut look: impl FnMut() -> Result<T, InjectError>,
) -> Result<T, InjectError> {
    let (mut looked, mut seen) = (0, 0);
    let mut shields: Option<u64> = None;
    let mut is_there_for = || {
        let now = monotonic_ns();
        now.saturating_sub(*shields.get_or_insert(now))
    };
    loop {
        match look() {
            // Another injector's shield is gone in a moment; but it may wait for one itself, and the machine be busy.
            Err(InjectError::Refused(Refusal::Traced { tracer, .. })) if is_shield(tracer) => {
                let waited = is_there_for();
                if waited >= patience_ns {
                    bounded::note_in_vain(waited);
                    let name = command_name(tracer);
                    return Err(Refusal::Traced { tracer, name }.into());
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            // Nor is it one look that tells a tracer: a shield that is just ending may show no blocked signals.
            Err(InjectError::Refused(Refusal::Traced { .. })) if seen < SEEN_TRACED => {
                seen += 1;
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            // A recycled number, whatever its new bearer is like. A zombie is told as one.
            Err(InjectError::Refused(Refusal::Zombie)) => return Err(Refusal::Zombie.into()),
            _ if is_alive(pidfd) == Ok(false) => return Err(InjectError::Gone),
            Err(InjectError::Gone) if looked < LOOKS => {
                looked += 1;
                std::thread::yield_now();
            }
            result => return result,
        }
    }
}

/// Of the best thread, what matters for the process.
#[derive(Clone, Copy)]
struct Best {
    tid: i32,
    moment: Moment,
    seccomp: bool,
}

/// The threads of a process that may be stopped, and the best of them.
fn candidates(pid: i32, through_filter: bool) -> Result<(Candidates, Best), InjectError> {
    let text = read_status(&format!("/proc/{pid}/status")).map_err(|e| reading(pid, e))?;
    let status = Status::parse(&text).map_err(|_| InjectError::Os {
        step: "understanding /proc/PID/status",
        errno: Errno::EIO,
    })?;
    refuse_process(&status)?;
    let found = pick(pid, &status, status.threads.unwrap_or(1), through_filter)?;
    let Some(Some(best)) = found.first() else {
        return Err(InjectError::Gone);
    };
    let best = Best {
        tid: best.tid,
        moment: best.moment,
        seccomp: best.seccomp,
    };
    Ok((found, best))
}

/// Where a blocked thread goes on: behind the instruction by which it entered the kernel.
fn entered_behind(pid: i32, tid: i32) -> Option<u64> {
    let mut buffer = [0u8; 256];
    let text = read_small(&format!("/proc/{pid}/task/{tid}/syscall"), &mut buffer).ok()?;
    match TaskSyscall::parse(text) {
        Ok(TaskSyscall::Blocked { pc, .. }) => Some(pc),
        _ => None,
    }
}

fn may_stop_once(pid: i32) -> Result<(), InjectError> {
    let (_, best) = candidates(pid, false)?;
    if best.moment == Moment::Unreachable && is_frozen(pid) {
        return Err(Refusal::Frozen.into());
    }
    let mut auxv = [0u8; 1024];
    match read_small(&format!("/proc/{pid}/task/{}/auxv", best.tid), &mut auxv) {
        Ok(auxv) if vdso::is_32bit(auxv) => Err(Refusal::Bits32.into()),
        Ok(_) => Ok(()),
        Err(errno) => Err(reading_thread(pid, best.tid, errno)),
    }
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
        Self::look_as(pid, pidfd, false, bounded::patience_ns())
    }

    /// As [`look`](Prepared::look), for calls that are made also where a seccomp filter stands in the way
    /// and may not be suspended. A filter that does not allow a call may kill the target for it.
    ///
    /// # Errors
    /// As [`look`](Prepared::look), but for [`Refusal::Seccomp`].
    pub fn look_through(pid: i32, pidfd: BorrowedFd<'fd>) -> Result<Prepared<'fd>, InjectError> {
        Self::look_as(pid, pidfd, true, bounded::patience_ns())
    }

    /// The look that was taken, once more.
    pub(super) fn again(&self) -> Result<Prepared<'fd>, InjectError> {
        Self::look_as(self.pid, self.pidfd, self.through_filter, SHORTLY_NS)
    }

    fn look_as(
        pid: i32,
        pidfd: BorrowedFd<'fd>,
        through_filter: bool,
        patience_ns: u64,
    ) -> Result<Prepared<'fd>, InjectError> {
        settled(pidfd, patience_ns, || {
            bounded::run(|| Self::look_once(pid, pidfd, through_filter))?
        })
    }

    fn look_once(
        pid: i32,
        pidfd: BorrowedFd<'fd>,
        through_filter: bool,
    ) -> Result<Prepared<'fd>, InjectError> {
        let (candidates, best) = candidates(pid, through_filter)?;
        if best.seccomp && !through_filter && !may_suspend_seccomp() {
            return Err(Refusal::Seccomp.into());
        }
        // Asleep and not to be woken: a task in the freezer of cgroup v1 looks like that, and to
        // ask it to stop would make its call fail when it is thawed.
        if best.moment == Moment::Unreachable && is_frozen(pid) {
            return Err(Refusal::Frozen.into());
        }
        // By a live thread: a first thread that has exited has no memory to read.
        let mut auxv = [0u8; 1024];
        let path = format!("/proc/{pid}/task/{}/auxv", best.tid);
        let insn = match read_small(&path, &mut auxv) {
            // Not even to be stopped: a 32-bit call that this made fail we could not mend.
            Ok(auxv) if vdso::is_32bit(auxv) => return Err(Refusal::Bits32.into()),
            Ok(auxv) => vdso::find(pid, best.tid, auxv, || entered_behind(pid, best.tid)),
            Err(errno) => return Err(reading_thread(pid, best.tid, errno)),
        };
        Ok(Prepared {
            pid,
            pidfd,
            insn: insn.vdso,
            own: insn.own,
            candidates,
            through_filter,
        })
    }

    /// The thread that would be stopped.
    pub(super) fn best(&self) -> Option<i32> {
        let best = self.candidates.iter().flatten().next()?;
        Some(best.tid)
    }

    /// When the best thread found can be stopped.
    #[must_use]
    pub fn moment(&self) -> Moment {
        self.candidates
            .iter()
            .flatten()
            .map(|candidate| candidate.moment)
            .min()
            .unwrap_or(Moment::Unreachable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::pidfd::pidfd_open;
    use std::os::fd::AsFd as _;

    #[test]
    fn only_a_shield_blocks_everything() {
        // Another process of ours, which blocks nothing.
        let mut other = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let shield = is_shield(i32::try_from(other.id()).unwrap());
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(!shield);
        // SAFETY: no arguments.
        let own = unsafe { libc::gettid() };
        assert!(
            is_shield(own),
            "a thread of ours traces no one: its shield did"
        );
        assert!(is_shield(i32::MAX), "ended: to be looked for again");
    }

    #[test]
    fn a_look_at_what_has_just_ended_is_taken_again() {
        let mut other = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let pidfd = pidfd_open(i32::try_from(other.id()).unwrap()).unwrap();
        let mut looks = 0;
        let mut gone_until = |last: u32| {
            looks = 0;
            let result = settled(pidfd.as_fd(), SHORTLY_NS, || {
                looks += 1;
                if looks < last {
                    return Err(InjectError::Gone);
                }
                Ok(looks)
            });
            (result.ok(), looks)
        };
        assert_eq!(gone_until(4), (Some(4), 4));
        assert_eq!(gone_until(u32::MAX), (None, LOOKS + 1));
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(gone_until(4), (None, 1));
    }

    /// Most threads that are looked at have half a millisecond to live. (The best one is mostly the
    /// first thread, which stays: what happens where it ended is shown above.)
    #[test]
    fn threads_that_come_and_go_are_no_ended_process() {
        let fixture = mctl_testkit::start!("thread_churn", "width=32");
        let pidfd = pidfd_open(fixture.pid()).unwrap();
        for _ in 0..300 {
            let look = may_stop(fixture.pid(), pidfd.as_fd());
            assert!(look.is_ok(), "{look:?}");
            let look = Prepared::look(fixture.pid(), pidfd.as_fd()).map(|_| ());
            assert!(look.is_ok(), "{look:?}");
        }
        fixture.finish().unwrap().assert_clean(1);
    }
}
