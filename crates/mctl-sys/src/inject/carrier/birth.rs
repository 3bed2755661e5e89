//! A carrier from its birth to its end, in the shield: no allocation, no lock, no panic.

use std::sync::Arc;

use mctl_abi::Errno;

use super::mailbox::{ENDED, End, Mailbox, POSTED, READY};
use crate::arch::{Arch, Native, SyscallArgs};
use crate::inject::files::path_of;
use crate::inject::memory::Memory;
use crate::inject::pick::KEEP;
use crate::ptrace::carried::{Broken, Carried, Gadget};
use crate::ptrace::tracee::{Borrowed, NoResult};
use crate::raw::ids::shares_address_space_here;
use crate::raw::pidfd::is_alive;
use crate::time::monotonic_ns;

/// A process of its own that shares the target's memory and descriptors, and is ours from the start.
/// No exit signal, so that the target's own waits pass it over; no shared file-system context, which
/// would make setns(2) and unshare(2) of the target fail.
const FLAGS: u64 = (libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_PTRACE).cast_unsigned() as u64;
/// Its stack pointer: no frame of a signal handler can be put there, so that none can ever run on it.
const STACK: u64 = 16;
/// So long a carrier waits for the next call: a caller that is stopped must not leave it behind.
const IDLE_NS: u64 = 1_000_000_000;
/// So long a call may still take once the caller wants no more.
const STOP_NS: u64 = 50_000_000;
/// So long it may take to give it its name.
const NAME_NS: u64 = 200_000_000;
/// How often the shield looks around while it waits for calls.
const SLICE_NS: u64 = 5_000_000;

/// So many ended carriers of others are waited for on the way.
pub(super) const LEFTOVERS: usize = 8;

/// Why a thread could not bear a carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// clone(2) failed.
    Clone(Errno),
    /// Its next child would be the first process of another PID namespace.
    PidNamespace,
    /// The child was not to be had.
    Lost,
}

/// A carrier to be born, and what became of it.
#[derive(Debug)]
pub(crate) struct Birth {
    mailbox: Arc<Mailbox>,
    gadget: Gadget,
    /// The process that wants it.
    parent: i32,
    memory: Option<Arc<Memory>>,
    /// Where its name is to be had.
    name: Option<u64>,
    /// Ended ones of others that were killed before they could wait for them, as the target sees them.
    pub(super) leftovers: [i64; LEFTOVERS],
    /// Its number in the target's eyes.
    child: Option<i64>,
    filtered: bool,
    pub(super) refused: Option<Refused>,
    /// Whether it has ended, so that it can be waited for.
    ended: bool,
    pub(super) reaped: bool,
    /// How long threads of the target stood still for it.
    pub(super) stopped_ns: u64,
    pub(super) longest_ns: u64,
}

impl Birth {
    pub(super) fn new(
        mailbox: Arc<Mailbox>,
        gadget: Gadget,
        name: Option<u64>,
        memory: Option<Arc<Memory>>,
    ) -> Birth {
        Birth {
            mailbox,
            gadget,
            parent: rustix::process::getpid().as_raw_nonzero().get(),
            memory,
            name,
            leftovers: [0; LEFTOVERS],
            child: None,
            filtered: false,
            refused: None,
            ended: false,
            reaped: false,
            stopped_ns: 0,
            longest_ns: 0,
        }
    }

    /// Its number in the target's eyes, where it was born.
    pub(in crate::inject) fn child(&self) -> Option<i64> {
        self.child
    }

    /// Whether its caller wants it no more, before it was born.
    pub(in crate::inject) fn is_unwanted(&self) -> bool {
        self.child.is_none() && self.mailbox.is_to_stop()
    }

    /// It is about to be born, after a wait for a harmless moment.
    pub(in crate::inject) fn note_waited(&self, ns: u64) {
        if self.child.is_none() {
            self.mailbox.note_waited(ns);
        }
    }

    pub(in crate::inject) fn note_stop(&mut self, ns: u64) {
        self.stopped_ns = self.stopped_ns.saturating_add(ns);
        self.longest_ns = self.longest_ns.max(ns);
    }

    /// Whether it has ended and was not waited for.
    pub(in crate::inject) fn is_to_be_reaped(&self) -> bool {
        self.ended && !self.reaped && self.child.is_some()
    }

    /// Whether what the calls concern is gone.
    pub(in crate::inject) fn is_of_memory_that_is_gone(&self) -> bool {
        self.memory.as_deref().is_some_and(Memory::is_gone)
    }

    /// What a borrowed thread does for it: bears it, or takes leave of it once it has ended.
    pub(in crate::inject) fn in_thread(
        &mut self,
        borrowed: &mut Borrowed,
        patience: u64,
    ) -> Result<u32, NoResult> {
        match self.child {
            None => self.bear(borrowed, patience),
            Some(child) if self.ended => {
                let call = wait_for(child);
                self.reaped = borrowed.call(call, patience)? == child;
                Ok(1)
            }
            Some(_) => Ok(0),
        }
    }

    fn bear(&mut self, borrowed: &mut Borrowed, patience: u64) -> Result<u32, NoResult> {
        let tid = borrowed.tid();
        if !bears_into_its_own_namespace(tid) {
            self.refused = Some(Refused::PidNamespace);
            return Ok(0);
        }
        self.filtered = borrowed.suspends();
        let call = SyscallArgs {
            number: libc::SYS_clone.cast_unsigned(),
            args: Native::clone_args(FLAGS, STACK),
        };
        let child = borrowed.clone_to(call, self.gadget.start, patience)?;
        if child > 0 {
            self.child = Some(child);
        } else {
            let errno = i32::try_from(-child).map_or(Errno::EIO, Errno::from_raw);
            self.refused = Some(Refused::Clone(errno));
        }
        for child in self.leftovers.into_iter().filter(|child| *child > 0) {
            borrowed.call(wait_for(child), patience)?;
        }
        Ok(1)
    }

    /// Makes the calls of the caller until there is a reason to end. The thread that bore it has been
    /// let go.
    pub(in crate::inject) fn serve(&mut self, target: &Served<'_>) {
        if self.child.is_none() || self.ended {
            return;
        }
        let Some(mut carried) = Carried::adopt(self.gadget, self.filtered) else {
            self.refused = Some(Refused::Lost);
            self.ended = true;
            return;
        };
        self.give_name(&mut carried, target);
        let why = self.serve_with(&mut carried, target);
        // What was asked and not done the caller hears first: it need not wait for the end.
        self.ended = carried.end(crate::inject::shield::is_orphaned);
        self.mailbox.end(why);
    }

    /// So that what counts processes by their name does not count it.
    fn give_name(&mut self, carried: &mut Carried, target: &Served<'_>) {
        let Some(name) = self.name else { return };
        const PR_SET_NAME: u64 = 15;
        let call = SyscallArgs {
            number: libc::SYS_prctl.cast_unsigned(),
            args: [PR_SET_NAME, name, 0, 0, 0, 0],
        };
        let tid = carried.tid();
        let end = monotonic_ns().saturating_add(NAME_NS);
        // If this breaks it, so does the next.
        let _ = carried.call(call, || {
            let late = monotonic_ns() >= end;
            target
                .reason(self.parent, tid)
                .or(late.then_some(End::TooLong))
        });
    }

    fn serve_with(&self, carried: &mut Carried, target: &Served<'_>) -> End {
        let mailbox = &*self.mailbox;
        loop {
            mailbox.ready();
            if let Some(why) = self.wait_for_calls(carried.tid(), target) {
                return why;
            }
            for index in 0..mailbox.count() {
                if mailbox.is_to_stop() {
                    break;
                }
                if let Some(why) = target.reason(self.parent, carried.tid()) {
                    return why;
                }
                let Some(call) = mailbox.call(index) else {
                    break;
                };
                let begun = monotonic_ns();
                let result = match self.call(carried, call, target) {
                    Ok(result) => result,
                    Err(why) => return why,
                };
                mailbox.record(index, result, monotonic_ns().saturating_sub(begun));
                if result < 0 {
                    break;
                }
            }
            if mailbox.is_to_stop() {
                return End::Asked;
            }
        }
    }

    fn call(
        &self,
        carried: &mut Carried,
        call: SyscallArgs,
        target: &Served<'_>,
    ) -> Result<i64, End> {
        let mailbox = &*self.mailbox;
        let tid = carried.tid();
        let limit = mailbox.call_ns.load(std::sync::atomic::Ordering::Relaxed);
        let end = monotonic_ns().saturating_add(limit);
        let mut stop_at: Option<u64> = None;
        let watch = || {
            let now = monotonic_ns();
            if mailbox.is_to_stop() && now >= *stop_at.get_or_insert(now.saturating_add(STOP_NS)) {
                return Some(End::Asked);
            }
            if now >= end {
                return Some(End::TooLong);
            }
            target.reason(self.parent, tid)
        };
        carried.call(call, watch).map_err(|broken| match broken {
            Broken::Gone => End::Killed,
            Broken::Elsewhere => End::Elsewhere,
            Broken::Watched(why) => why,
            Broken::Os(_) => End::Os,
        })
    }

    /// `None`: there are some.
    fn wait_for_calls(&self, tid: i32, target: &Served<'_>) -> Option<End> {
        let end = monotonic_ns().saturating_add(IDLE_NS);
        loop {
            if self.mailbox.is_to_stop() {
                return Some(End::Asked);
            }
            match self.mailbox.wait_while(READY, SLICE_NS) {
                POSTED => return None,
                ENDED => return Some(End::Asked),
                _ => {}
            }
            if let Some(why) = target.reason(self.parent, tid) {
                return Some(why);
            }
            if monotonic_ns() >= end {
                return Some(End::Idle);
            }
        }
    }
}

/// wait4(2) for a child that has ended, whatever its exit signal. It does not wait.
pub(super) fn wait_for(child: i64) -> SyscallArgs {
    let options = (libc::__WALL | libc::WNOHANG).cast_unsigned();
    SyscallArgs {
        number: libc::SYS_wait4.cast_unsigned(),
        args: [child.cast_unsigned(), 0, u64::from(options), 0, 0, 0],
    }
}

/// Whether a child of this stopped thread would live in the thread's own PID namespace. After
/// unshare(CLONE_NEWPID) it would be the first process of another, which ends with it.
fn bears_into_its_own_namespace(tid: i32) -> bool {
    let id = |file| {
        let mut path = [0u8; 40];
        let stat = rustix::fs::stat(path_of(tid, file, &mut path)?).ok()?;
        Some((stat.st_dev, stat.st_ino))
    };
    let own = id("ns/pid");
    own.is_some() && own == id("ns/pid_for_children")
}

/// The process that a carrier works for, as the shield sees it.
#[derive(Debug)]
pub(in crate::inject) struct Served<'a> {
    pub(in crate::inject) pidfd: std::os::fd::BorrowedFd<'a>,
    pub(in crate::inject) pid: i32,
    /// Some threads of it: the first may have exited, and then has no memory to compare.
    pub(in crate::inject) threads: [i32; KEEP],
}

impl Served<'_> {
    /// Why a carrier should end, whatever it does.
    fn reason(&self, parent: i32, carrier: i32) -> Option<End> {
        // SAFETY: no arguments.
        if unsafe { libc::getppid() } != parent {
            return Some(End::Orphaned);
        }
        if is_alive(self.pidfd) != Ok(true) {
            return Some(End::TargetGone);
        }
        (!self.shares_memory_with(carrier)).then_some(End::Replaced)
    }

    /// Whether the target still has the memory that the carrier has. Where that cannot be told it does.
    fn shares_memory_with(&self, carrier: i32) -> bool {
        let mut unlike = false;
        for thread in std::iter::once(self.pid).chain(self.threads) {
            if thread == 0 {
                continue;
            }
            match shares_address_space_here(thread, carrier) {
                Ok(true) => return true,
                Ok(false) => unlike = true,
                Err(Errno::ESRCH) => {}
                Err(_) => return true,
            }
        }
        !unlike
    }
}
