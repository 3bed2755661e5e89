//! Giving advice about another process's memory: process_madvise(2) in full.
//!
//! Any advice of madvise(2), for any process that the caller may act on. What the kernel takes
//! remotely goes through process_madvise(2); the rest is run in the target, in stops that are
//! kept short. The kernel's limits (1,024 entries, 2 GiB a call) are not the caller's concern.
//!
//! ```
//! use mctl::advise::{Advice, Advise};
//! use mctl::Target;
//!
//! let mut child = std::process::Command::new("sleep").arg("10").spawn()?;
//! let target = Target::open(child.id().to_string().parse()?)?;
//! // Everything that can be reclaimed, now; what cannot be is passed over.
//! let advised = Advise::new(Advice::COLD).entire_address_space().skip_errors().give(&target)?;
//! assert!(advised.advised > 0);
//! # child.kill()?; child.wait()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod advice;
mod flags;
mod giver;
mod pieces;
mod result;
mod select;
mod walk;

use std::io::Read;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mctl_abi::{Errno, PolicyKind};
use mctl_sys::procfs::maps::MapsReader;

pub use advice::{ADVICES, Advice, AdviceInfo, Effect, Reach};
pub use flags::PmadvFlags;
pub use mctl_sys::raw::madvise::Range;
pub use result::{Advised, Entry, Progress, Skipped};
pub use select::Selection;

use crate::apply::apply;
use crate::error::{Error, Result};
use crate::host::HostCaps;
use crate::request::{AcrossExec, Exactness, Request, Rule};
use crate::target::Target;
use pieces::Mapped;
use walk::{Pace, Walk};

/// The end of user space on both processors, as far as the kernel maps it without being asked for
/// more (4-level page tables: 47 bits on x86-64, 48 on aarch64).
const TASK_SIZE: u64 = if cfg!(target_arch = "aarch64") {
    1 << 48
} else {
    (1 << 47) - 4096
};

/// What is advised.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Ranges(Vec<Range>),
    Entire,
    Selected(Selection),
}

/// Advice to be given. See the [module](self).
pub struct Advise<'a> {
    advice: Advice,
    what: What,
    flags: PmadvFlags,
    destructive: bool,
    strict: bool,
    rule: Rule,
    pause: Duration,
    max_stall: Duration,
    progress: Option<&'a mut dyn FnMut(&Progress)>,
    cancel: Option<&'a AtomicBool>,
}

impl std::fmt::Debug for Advise<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Advise")
            .field("advice", &self.advice)
            .field("what", &self.what)
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

/// The most bytes of one call where the work is long: the walk can be cancelled and reports
/// between two.
const BATCH_BYTES: u64 = 64 << 20;
/// With a pause between calls: small ones, so that the target hardly feels one (measured on redis:
/// 2 MiB and 3 ms keep the client's p99.9 where it was).
const PACED_BYTES: u64 = 2 << 20;

impl<'a> Advise<'a> {
    /// An advice, for nothing yet.
    #[must_use]
    pub fn new(advice: Advice) -> Advise<'a> {
        Advise {
            advice,
            what: What::Ranges(Vec::new()),
            flags: PmadvFlags::NONE,
            destructive: false,
            strict: false,
            rule: Rule::Owner,
            pause: Duration::ZERO,
            max_stall: Duration::from_millis(20),
            progress: None,
            cancel: None,
        }
    }

    /// For these ranges, in this order: any number, of any size.
    #[must_use]
    pub fn ranges(mut self, ranges: Vec<Range>) -> Advise<'a> {
        self.what = What::Ranges(ranges);
        self
    }

    /// For every mapping (`PMADV_ENTIRE_ADDRESS_SPACE`). Gaps are no error.
    #[must_use]
    pub fn entire_address_space(mut self) -> Advise<'a> {
        self.what = What::Entire;
        self.flags = self.flags.with(PmadvFlags::ENTIRE_ADDRESS_SPACE);
        self
    }

    /// For the mappings of some kind.
    #[must_use]
    pub fn selected(mut self, selection: Selection) -> Advise<'a> {
        self.what = What::Selected(selection);
        self
    }

    /// Passes over a mapping that fails and goes on (`PMADV_SKIP_ERRORS`).
    #[must_use]
    pub fn skip_errors(self) -> Advise<'a> {
        let flags = PmadvFlags::SKIP_ERRORS;
        self.flags(flags)
    }

    /// More flags.
    #[must_use]
    pub fn flags(mut self, flags: PmadvFlags) -> Advise<'a> {
        self.flags = self.flags.with(flags);
        self
    }

    /// Allows advice that may lose the contents of someone else's memory.
    #[must_use]
    pub fn allow_destructive(mut self) -> Advise<'a> {
        self.destructive = true;
        self
    }

    /// `SET_FORK_EXEC_DEFAULT` exactly or not at all, by the admin rule: as the C ABI has it.
    #[must_use]
    pub fn strict(mut self) -> Advise<'a> {
        self.strict = true;
        self.rule = Rule::Admin;
        self
    }

    /// A pause between calls, which are then small.
    #[must_use]
    pub fn pace(mut self, pause: Duration) -> Advise<'a> {
        self.pause = pause;
        self
    }

    /// The longest that a thread of the target is stopped at a time, where the advice has to be
    /// run in it. 20 ms unless set. A single call on the smallest piece is not cut short.
    #[must_use]
    pub fn max_stall(mut self, most: Duration) -> Advise<'a> {
        self.max_stall = most;
        self
    }

    /// Is told how far it is, after every call.
    #[must_use]
    pub fn on_progress(mut self, progress: &'a mut dyn FnMut(&Progress)) -> Advise<'a> {
        self.progress = Some(progress);
        self
    }

    /// Ends between two calls once this is true.
    #[must_use]
    pub fn cancelled_by(mut self, cancel: &'a AtomicBool) -> Advise<'a> {
        self.cancel = Some(cancel);
        self
    }

    /// Gives the advice.
    ///
    /// What was not carried out is in the result, entry by entry.
    ///
    /// # Errors
    /// `EPERM` destructive advice on another process without
    /// [`allow_destructive`](Advise::allow_destructive), or no permission; `EINVAL`
    /// `SET_FORK_EXEC_DEFAULT` with anything but HUGEPAGE and NOHUGEPAGE; `ESRCH`; `EBUSY`;
    /// `EOPNOTSUPP`. Nothing was changed then.
    pub fn give(mut self, target: &Target) -> Result<Advised> {
        self.check(target)?;
        let entries = self.entries(target)?;
        let mut giver = giver::giver_for(self.advice, target, self.max_stall)?;
        if let Some(kind) = self.default_policy() {
            self.set_default(kind, target)?;
        }
        let batch_bytes = if !self.pause.is_zero() {
            PACED_BYTES
        } else if self.advice.is_long() {
            BATCH_BYTES
        } else {
            mctl_sys::raw::madvise::MAX_BYTES
        };
        let mut list = || listing(target);
        let walk = Walk {
            flags: self.flags,
            pace: Pace {
                batch_bytes,
                pause: self.pause,
            },
            cancel: self.cancel,
            progress: self.progress.as_deref_mut(),
            list: &mut list,
        };
        let mut advised = walk.run(&entries, giver.as_mut())?;
        let stops = giver.stops();
        advised.longest_stop = stops.longest;
        advised.stopped = stops.total;
        Ok(advised)
    }

    /// The checks that come before anything is read or touched.
    fn check(&self, target: &Target) -> Result<()> {
        let destructive = self.advice.effect() == Effect::Destructive;
        if destructive && target.is_own() {
            return Err(Error::Permission {
                pid: target.pid(),
                why: format!(
                    "{} would take memory from under the calling program itself; \
                     call madvise(2) where that is meant",
                    self.advice
                ),
            });
        }
        if destructive && !self.destructive {
            return Err(Error::Permission {
                pid: target.pid(),
                why: format!(
                    "{} may lose the contents of its memory; it has to be allowed explicitly",
                    self.advice
                ),
            });
        }
        if self.flags.has(PmadvFlags::SET_FORK_EXEC_DEFAULT) && self.default_policy().is_none() {
            return Err(Error::Invalid {
                why: format!(
                    "{} cannot be a default: only hugepage and nohugepage can",
                    self.advice
                ),
            });
        }
        Ok(())
    }

    /// The policy that `SET_FORK_EXEC_DEFAULT` asks for.
    fn default_policy(&self) -> Option<PolicyKind> {
        if !self.flags.has(PmadvFlags::SET_FORK_EXEC_DEFAULT) {
            return None;
        }
        match self.advice {
            Advice::HUGEPAGE => Some(PolicyKind::Hugepage),
            Advice::NOHUGEPAGE => Some(PolicyKind::Nohugepage),
            _ => None,
        }
    }

    /// The matching SET with DEFAULT_EXEC; it always needs CAP_SYS_ADMIN.
    fn set_default(&self, kind: PolicyKind, target: &Target) -> Result<()> {
        let mut request = Request::set(&[kind], AcrossExec::Inherit)?;
        request.rule = Rule::Admin;
        if self.strict {
            request.exactness = Exactness::Strict;
        }
        let caps = HostCaps::probe_for(&[kind])?;
        apply(&request, target, &caps).map(drop)
    }

    fn entries(&mut self, target: &Target) -> Result<Vec<Range>> {
        match &mut self.what {
            What::Ranges(ranges) => Ok(std::mem::take(ranges)),
            What::Entire => Ok(vec![Range {
                start: 0,
                len: TASK_SIZE,
            }]),
            What::Selected(selection) => selection.ranges(target),
        }
    }
}

/// What a target has mapped, below the end of user space.
fn listing(target: &Target) -> Result<Mapped> {
    let file = target.open_proc("maps")?;
    let mut mappings = Vec::new();
    each_mapping(target, file, &mut |start, end, _| {
        mappings.push((start, end))
    })?;
    Ok(Mapped::new(mappings))
}

/// Calls `see` with start, end and line of every mapping that advice can be given to.
fn each_mapping<R: Read>(
    target: &Target,
    maps: R,
    see: &mut dyn FnMut(u64, u64, &mctl_sys::procfs::maps::MapLine<'_>),
) -> Result<()> {
    let mut reader = MapsReader::new(maps);
    loop {
        match reader.next_line() {
            Ok(Some(line)) if line.start < TASK_SIZE => see(line.start, line.end, &line),
            // [vsyscall] is no mapping of the process's own.
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) => return Err(crate::address_space::smaps_error(target, &error)),
        }
    }
    if target.is_alive() {
        Ok(())
    } else {
        Err(Error::NoProcess { pid: target.pid() })
    }
}

/// `idtype` of [`process_madvise`]: a process number (`P_PID`, sys/wait.h).
pub const P_PID: i32 = 1;
/// `idtype` of [`process_madvise`]: a pidfd.
pub const P_PIDFD: i32 = 3;

/// `ssize_t mctl_process_madvise(idtype, id, vec, vlen, advice, flags)` with the vector as a slice:
/// `None` stands for `vec` NULL and `vlen` −1.
///
/// # Errors
/// As the contract's §3 says.
pub fn process_madvise(
    idtype: i32,
    id: i32,
    ranges: Option<&[Range]>,
    advice: Advice,
    flags: u32,
) -> Result<u64> {
    let flags = PmadvFlags::from_bits(flags)?;
    let entire = flags.has(PmadvFlags::ENTIRE_ADDRESS_SPACE);
    if entire != ranges.is_none() {
        return Err(Error::Invalid {
            why: "PMADV_ENTIRE_ADDRESS_SPACE goes with vec NULL and vlen -1, and only with that"
                .to_owned(),
        });
    }
    let target = match idtype {
        P_PID => {
            let pid = (id > 0).then_some(id).ok_or(Error::NoProcess { pid: id })?;
            Target::open(crate::target::ProcessSpec { pid, inode: None })?
        }
        P_PIDFD => Target::from_raw(id)?,
        _ => {
            return Err(Error::Invalid {
                why: format!("{idtype} is neither P_PID nor P_PIDFD"),
            });
        }
    };
    let advise = Advise::new(advice).flags(flags).strict();
    let advise = match ranges {
        Some(ranges) => advise.ranges(ranges.to_vec()),
        None => advise.entire_address_space(),
    };
    let advised = advise.give(&target)?;
    advised
        .as_syscall()
        .map_err(|errno| giver::refused(&target, advice, errno))
}

/// Whether an errno says that the caller may not, rather than that a mapping fails.
fn is_denial(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EPERM | Errno::EACCES | Errno::ESRCH | Errno::EBADF
    )
}
