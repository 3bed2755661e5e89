//! Finite waits that a stop would end: entered again with the time that remains.
//!
//! epoll_wait(2) fails with `EINTR` when a tracer stops it, and nobody restarts it. Entered again as it was, it would
//! wait its whole timeout once more; often enough, it would never end. So it is entered again as epoll_pwait2(2),
//! until the same moment in nanoseconds. That is done only where all of this is known beforehand:
//!
//! - **When the wait ends**: from /proc/timer_list (root), where the thread's timer is the one that has the right
//!   distance between its two times and is gone once the thread is stopped.
//! - **That nobody sees the difference**: the call was made by the C library's own function, and its code up to the
//!   return reads neither of the two registers that are changed (see [`code`]). A program that makes the call inline
//!   may keep its timeout in such a register, and is left alone.
//! - **That it is still the same wait**: the thread has been switched out once since, for the stop, and not more.
//! - The kernel has the call, no filter of the thread's could refuse it, and the 16 bytes that hold the time have
//!   room on the stack, where a signal's frame would be put too: below the red zone.
//!
//! All that is changed is set together with the registers that are put back, so that our death leaves either a wait
//! that goes on to its time or, as with any stop, one that was not mended. The wait never ends early, and late by
//! what it takes to enter it again.

mod code;
mod times;

use super::files::{path_of, read_small};
use super::filtered::may_be_filtered;
use crate::procfs::maps::MapsReader;
use crate::procfs::stat::Stat;
use crate::procfs::syscall::TaskSyscall;
use crate::ptrace::tracee::Stopped;
use crate::raw::vm::read_memory;
use crate::remembered::Remembered;
use crate::time::monotonic_ns;
use times::{Armed, Wait, switches};

/// epoll_pwait2(2).
const EPOLL_PWAIT2: u64 = 441;
/// epoll_wait(2) on x86-64. Other processors have none, and restart calls in another way: nothing is done there.
const EPOLL_WAIT: u64 = 232;
/// How far below the stack pointer the time is put, at most: red zone, and room to align it.
const ROOM: u64 = 256;
/// SCHED_OTHER, SCHED_BATCH, SCHED_IDLE.
const FAIR: [u32; 3] = [0, 3, 5];
/// A wait that ends sooner is waited for.
pub(super) const SOON_NS: u64 = 10_000_000;

/// A thread that is asleep in a finite wait, of which all is known that can be known before the stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finite {
    tid: i32,
    seen: TaskSyscall,
    /// The wait as it was when it was entered.
    wait: Wait,
    /// One that may end within so many nanoseconds is left alone.
    soon: u64,
}

/// What is known at the moment of the stop.
#[derive(Debug)]
pub(super) struct Known {
    finite: Finite,
    armed: Armed,
    switches: u64,
}

impl Finite {
    /// Looks at a thread that was seen in a call, for a wait that does not end within `soon` nanoseconds. `None`: it is
    /// not such a wait, or not all of it is known.
    pub(super) fn look(pid: i32, tid: i32, soon: u64) -> Option<Finite> {
        if !cfg!(target_arch = "x86_64") || !has_epoll_pwait2() {
            return None;
        }
        let seen = seen_in(tid)?;
        let TaskSyscall::Blocked { nr, args, sp, pc } = seen else {
            return None;
        };
        let [_, _, _, timeout, mask, _] = args;
        let timeout_ns = match u64::from(nr.unsigned_abs()) {
            EPOLL_WAIT => {
                let [a, b, c, d, ..] = timeout.to_le_bytes();
                let ms = i32::from_le_bytes([a, b, c, d]);
                u64::try_from(ms)
                    .ok()
                    .filter(|ms| *ms > 0)?
                    .checked_mul(1_000_000)?
            }
            EPOLL_PWAIT2 if mask == 0 && timeout != 0 => timespec_at(tid, timeout)?,
            _ => return None,
        };
        let mut stat = [0u8; 1024];
        let stat = read_small(&format!("/proc/{pid}/task/{tid}/stat"), &mut stat).ok()?;
        let stat = Stat::parse(stat).ok()?;
        // Others are never late by more than nothing: their timers look like anybody's.
        if !FAIR.contains(&stat.policy?) {
            return None;
        }
        let wait = Wait::of(timeout_ns, stat.nice, timer_slack(tid)?);
        let wait_is_known = is_the_librarys(pid, tid, pc, sp)?;
        wait_is_known.then_some(Finite {
            tid,
            seen,
            wait,
            soon: soon.max(SOON_NS),
        })
    }

    /// The last look before the stop, in the shield: no allocation. `None`: it sleeps there no more, or when its wait
    /// ends is not to be told, or that is soon.
    pub(super) fn know(self) -> Option<Known> {
        let before = switches(self.tid)?;
        let armed = Armed::of(self.wait, self.soon)?;
        let stands = seen_in(self.tid)? == self.seen;
        let switches = switches(self.tid)?;
        (stands && switches == before).then_some(Known {
            finite: self,
            armed,
            switches,
        })
    }
}

impl Known {
    /// Once the thread has been stopped: its wait, if that is what the stop made fail, shall go on to its end when the
    /// thread is let go. In the shield: no allocation.
    pub(super) fn mend(&self, stopped: &mut Stopped) {
        let TaskSyscall::Blocked { nr, .. } = self.finite.seen else {
            return;
        };
        let Some((call, pc, sp)) = stopped.failed_call() else {
            return;
        };
        let args = call.args;
        let now = TaskSyscall::Blocked { nr, args, sp, pc };
        if call.number != u64::from(nr.unsigned_abs()) || now != self.finite.seen {
            return;
        }
        // A filter that came since might refuse the other call.
        if may_be_filtered(self.finite.tid) {
            return;
        }
        // Switched out by the stop, and by nothing else: it has not run since. Otherwise it has come back here a
        // moment ago, and waits since then.
        let same = switches(self.finite.tid).is_some_and(|n| n.saturating_sub(self.switches) <= 1);
        let known = self.armed.gone().filter(|_| same);
        let end = known.unwrap_or_else(|| monotonic_ns().saturating_add(self.finite.wait.ns));
        stopped.ends_at(end);
    }
}

/// What a thread is seen in.
fn seen_in(tid: i32) -> Option<TaskSyscall> {
    let mut path = [0u8; 40];
    let path = path_of(tid, "syscall", &mut path)?;
    let mut buffer = [0u8; 256];
    TaskSyscall::parse(read_small(path, &mut buffer).ok()?).ok()
}

/// By how much its waits may be late at least, in nanoseconds (proc_pid_timerslack_ns(5)).
fn timer_slack(tid: i32) -> Option<u64> {
    let mut text = [0u8; 32];
    let text = read_small(&format!("/proc/{tid}/timerslack_ns"), &mut text).ok()?;
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn timespec_at(tid: i32, at: u64) -> Option<u64> {
    let mut bytes = [0u8; 16];
    if read_memory(tid, at, &mut bytes).ok()? != bytes.len() {
        return None;
    }
    let (seconds, nanos) = bytes.split_at(8);
    let seconds = u64::from_le_bytes(seconds.try_into().ok()?);
    let nanos = u64::from_le_bytes(nanos.try_into().ok()?);
    seconds
        .checked_mul(1_000_000_000)?
        .checked_add(nanos)
        .filter(|ns| *ns > 0)
}

/// Whether the C library made the call, in code that ends without a look at the registers that are changed, and the
/// stack has room.
fn is_the_librarys(pid: i32, tid: i32, pc: u64, sp: u64) -> Option<bool> {
    let maps = crate::bounded::ProcFile::open(format!("/proc/{pid}/task/{tid}/maps")).ok()?;
    let (mut library, mut room) = (false, false);
    MapsReader::new(maps)
        .each_line(|line| {
            if (line.start..line.end).contains(&pc) {
                library = line.perms.exec && !line.perms.write && is_c_library(line.name);
            }
            if (line.start..line.end).contains(&sp) {
                room = line.perms.write && sp - line.start >= ROOM;
            }
        })
        .ok()?;
    if !library || !room {
        return Some(false);
    }
    let mut bytes = [0u8; code::WINDOW];
    let from = pc.checked_sub(2)?;
    let len = read_memory(tid, from, &mut bytes).ok()?;
    let rest = bytes.get(..len)?.strip_prefix(&[0x0f, 0x05])?;
    Some(code::returns_without_them(rest))
}

/// glibc, by the name that programs are linked with or the one that it had before 2.34.
fn is_c_library(path: &[u8]) -> bool {
    // After an upgrade its file has no name any more.
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name == b"libc.so.6" || name.starts_with(b"libc-2.") && name.ends_with(b".so")
}

/// Whether the kernel has epoll_pwait2(2) (Linux 5.11), and lets us call it.
fn has_epoll_pwait2() -> bool {
    static HAS: Remembered<bool> = Remembered::new();
    HAS.get_or_find(crate::raw::epoll::pwait2_is_there)
}

#[cfg(test)]
mod tests;
