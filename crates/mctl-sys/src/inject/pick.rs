//! Before the stop: is the target one that may be touched, and which of its threads is disturbed
//! least?

use std::os::fd::BorrowedFd;

use mctl_abi::Errno;

use super::blocked::{BlockedCall, Disturbance, disturbance};
use super::error::{InjectError, Refusal};
use super::frozen::is_frozen;
use super::vdso;
use crate::procfs::status::Status;
use crate::procfs::syscall::TaskSyscall;
use crate::raw::pidfd::is_alive;

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

/// Reads a small file of /proc into a buffer with one open, read and close. What does not fit is
/// cut off.
///
/// # Errors
/// The errno of open(2) or read(2).
pub fn read_small<'a>(path: &str, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let errno = |e: rustix::io::Errno| Errno::from_raw(e.raw_os_error());
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(errno)?;
    let len = rustix::io::read(&file, &mut *buffer).map_err(errno)?;
    Ok(buffer.get(..len).unwrap_or_default())
}

fn reading(pid: i32, errno: Errno) -> InjectError {
    match errno {
        Errno::ENOENT | Errno::ESRCH => InjectError::Gone,
        Errno::EACCES | Errno::EPERM => not_permitted(pid).into(),
        errno => InjectError::Os {
            step: "reading /proc",
            errno,
        },
    }
}

/// Reads a status file whole. The line of supplementary groups alone may be longer than the buffer
/// that does for nearly all, and what stands behind it matters (threads, signals, seccomp).
fn read_status(path: &str) -> Result<Vec<u8>, Errno> {
    let mut buffer = [0u8; 8192];
    let text = read_small(path, &mut buffer)?;
    if text.len() < 8192 {
        return Ok(text.to_vec());
    }
    std::fs::read(path).map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))
}

/// How often, a millisecond apart, a look is repeated while another injector is at the target.
const WAIT_FOR_SHIELD: u32 = 250;

/// Whether this tracer is the shield task of another injector: it blocks every signal that can be
/// blocked (but SIGCHLD, while it waits for that). No debugger does.
fn is_shield(tracer: i32) -> bool {
    const CHLD: u64 = 1 << (libc::SIGCHLD - 1);
    const ALL: u64 = !(1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1));
    // One of our own threads cannot be a tracer: its shield was, a moment ago.
    if std::path::Path::new(&format!("/proc/self/task/{tracer}")).exists() {
        return true;
    }
    match read_status(&format!("/proc/{tracer}/status")) {
        Ok(text) => Status::parse(&text).is_ok_and(|status| {
            let ended = matches!(status.state, Some(b'Z' | b'X'));
            ended || status.sig_blk.is_some_and(|set| set | CHLD == ALL)
        }),
        // It has ended by now.
        Err(errno) => matches!(errno, Errno::ENOENT | Errno::ESRCH),
    }
}

const CAP_SYS_PTRACE: u64 = 1 << 19;
const CAP_SYS_ADMIN: u64 = 1 << 21;

fn own_status<T>(what: impl Fn(&Status<'_>) -> T) -> Option<T> {
    let text = read_status("/proc/self/status").ok()?;
    Status::parse(&text).ok().map(|status| what(&status))
}

/// Whether this process may suspend a target's seccomp filter: CAP_SYS_ADMIN, and no filter of
/// our own (kernel/ptrace.c, `check_ptrace_options()`).
fn may_suspend_seccomp() -> bool {
    own_status(|own| own.cap_eff.unwrap_or(0) & CAP_SYS_ADMIN != 0 && own.seccomp.unwrap_or(0) == 0)
        .unwrap_or(false)
}

/// Why ptrace access was denied: by Yama, or by the ordinary rules?
fn not_permitted(pid: i32) -> Refusal {
    let mut buffer = [0u8; 16];
    let scope = read_small("/proc/sys/kernel/yama/ptrace_scope", &mut buffer)
        .ok()
        .and_then(|text| std::str::from_utf8(text).ok()?.trim().parse::<u32>().ok());
    let own = own_status(|own| (own.uid, own.cap_eff.unwrap_or(0) & CAP_SYS_PTRACE != 0));
    let theirs = read_status(&format!("/proc/{pid}/status"))
        .ok()
        .and_then(|text| Status::parse(&text).ok().and_then(|status| status.uid));
    let (ours, capable) = own.unwrap_or((None, false));
    let same_user = match (ours, theirs) {
        (Some(ours), Some(theirs)) => [theirs.real, theirs.effective, theirs.saved] == [ours.fs; 3],
        _ => false,
    };
    denied_by(scope, same_user, capable)
}

/// The rule behind [`not_permitted`] (security/yama/yama_lsm.c): 1 only descendants, 2 only with
/// CAP_SYS_PTRACE, 3 nobody.
fn denied_by(scope: Option<u32>, same_user: bool, capable: bool) -> Refusal {
    match scope {
        Some(scope) if scope >= 3 => Refusal::Yama { scope },
        Some(scope) if scope >= 1 && same_user && !capable => Refusal::Yama { scope },
        _ => Refusal::NotPermitted,
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

/// Whether the threads of a process may be stopped at all, told without touching it. What only an
/// injected call would trouble (a seccomp filter) is no reason here.
pub(crate) fn may_stop(pid: i32, pidfd: BorrowedFd<'_>) -> Result<(), InjectError> {
    settled(pidfd, || may_stop_once(pid))
}

/// How often a look is taken again because the thread that was looked at ended during it.
const LOOKS: u32 = 64;

/// The result of a look at a process by its number, taken again where it came to nothing because of
/// what comes and goes: another injector's shield, a thread that ended.
fn settled<T>(
    pidfd: BorrowedFd<'_>,
    mut look: impl FnMut() -> Result<T, InjectError>,
) -> Result<T, InjectError> {
    let (mut waited, mut looked) = (0, 0);
    loop {
        match look() {
            // Another injector's shield is gone in a moment.
            Err(InjectError::Refused(Refusal::Traced { tracer, .. }))
                if waited < WAIT_FOR_SHIELD && is_shield(tracer) =>
            {
                waited += 1;
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

fn may_stop_once(pid: i32) -> Result<(), InjectError> {
    let text = read_status(&format!("/proc/{pid}/status")).map_err(|e| reading(pid, e))?;
    let status = Status::parse(&text).map_err(|_| InjectError::Os {
        step: "understanding /proc/PID/status",
        errno: Errno::EIO,
    })?;
    refuse_process(&status)?;
    let candidates = pick(pid, &status, status.threads.unwrap_or(1))?;
    let Some(best) = candidates.first().copied().flatten() else {
        return Err(InjectError::Gone);
    };
    if best.disturbance == Disturbance::Unreachable && is_frozen(pid) {
        return Err(Refusal::Frozen.into());
    }
    let mut auxv = [0u8; 1024];
    match read_small(&format!("/proc/{pid}/task/{}/auxv", best.tid), &mut auxv) {
        Ok(auxv) if vdso::is_32bit(auxv) => Err(Refusal::Bits32.into()),
        Ok(_) => Ok(()),
        Err(errno) => Err(reading(pid, errno)),
    }
}

/// The call that a thread is blocked in, where it is in one.
pub(crate) fn call_of(pid: i32, tid: i32) -> Option<BlockedCall> {
    let mut buffer = [0u8; 256];
    let text = read_small(&format!("/proc/{pid}/task/{tid}/syscall"), &mut buffer).ok()?;
    match TaskSyscall::parse(text) {
        Ok(TaskSyscall::Blocked { nr, args, .. }) => Some(BlockedCall {
            number: u64::from(nr.unsigned_abs()),
            args,
        }),
        _ => None,
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
        settled(pidfd, || Self::look_once(pid, pidfd))
    }

    fn look_once(pid: i32, pidfd: BorrowedFd<'fd>) -> Result<Prepared<'fd>, InjectError> {
        let text = read_status(&format!("/proc/{pid}/status")).map_err(|e| reading(pid, e))?;
        let status = Status::parse(&text).map_err(|_| InjectError::Os {
            step: "understanding /proc/PID/status",
            errno: Errno::EIO,
        })?;
        refuse_process(&status)?;
        let threads = status.threads.unwrap_or(1);
        let candidates = pick(pid, &status, threads)?;
        let Some(best) = candidates.first().copied().flatten() else {
            return Err(InjectError::Gone);
        };
        if best.seccomp && !may_suspend_seccomp() {
            return Err(Refusal::Seccomp.into());
        }
        // Asleep and not to be woken: a task in the freezer of cgroup v1 looks like that, and to
        // ask it to stop would make its call fail when it is thawed.
        if best.disturbance == Disturbance::Unreachable && is_frozen(pid) {
            return Err(Refusal::Frozen.into());
        }
        // By a live thread: a first thread that has exited has no memory to read.
        let mut auxv = [0u8; 1024];
        let path = format!("/proc/{pid}/task/{}/auxv", best.tid);
        let insn = match read_small(&path, &mut auxv) {
            // Not even to be stopped: a 32-bit call that this made fail we could not mend.
            Ok(auxv) if vdso::is_32bit(auxv) => return Err(Refusal::Bits32.into()),
            Ok(auxv) => vdso::syscall_insn(best.tid, auxv),
            Err(errno) => return Err(reading(pid, errno)),
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
    use crate::raw::pidfd::pidfd_open;
    use std::os::fd::AsFd as _;

    #[test]
    fn a_denial_is_explained() {
        let yama = |scope| Refusal::Yama { scope };
        for (scope, same_user, capable, want) in [
            (None, false, false, Refusal::NotPermitted),
            (None, true, false, Refusal::NotPermitted),
            (Some(0), true, false, Refusal::NotPermitted),
            (Some(1), true, false, yama(1)),
            // It would be denied without Yama too.
            (Some(1), false, false, Refusal::NotPermitted),
            (Some(1), true, true, Refusal::NotPermitted),
            (Some(2), true, false, yama(2)),
            (Some(3), false, true, yama(3)),
        ] {
            assert_eq!(denied_by(scope, same_user, capable), want);
        }
        assert!(yama(2).to_string().contains("ptrace_scope is 2"));
    }

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
            let result = settled(pidfd.as_fd(), || {
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

    /// Whichever thread is looked at, it has half a millisecond to live.
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
