//! Who gives the advice: we ourselves, the kernel by process_madvise(2), or the target: a thread of
//! it, or a carrier.

use std::os::fd::AsFd;
use std::sync::atomic::AtomicBool;

use mctl_abi::Errno;
use mctl_sys::inject::Prepared;
use mctl_sys::raw::madvise::{OwnMemoryMayGo, Range, madvise_own, process_madvise};

use super::Advise;
use super::carried::Carried;
use super::injected::Injected;
use super::kind::{Advice, Effect, Reach};
use super::result::Way;
use super::walk::{Given, Giver};
use crate::error::{Error, Result};
use crate::run::carrier::{Carrying, Stops};
use crate::target::Target;

/// A giver that also says how it works and how long it stopped its target.
pub(crate) trait Stopping: Giver {
    fn way(&self) -> Way;

    /// Nothing, for one that stops no one. There is no more to give then.
    fn stops(&mut self) -> Stops {
        Stops::default()
    }

    /// What is to be known about what it left behind.
    fn note(&self) -> Option<String> {
        None
    }
}

/// By whom advice can be given to a target, found out without stopping it.
#[derive(Debug)]
pub(crate) enum Reached<'t> {
    /// By ourselves: it is our own memory.
    Own,
    /// By the kernel, on the pidfd.
    Remote,
    /// By a thread of the target, after this look at it.
    Injected(Box<Prepared<'t>>),
    /// By a carrier.
    Carrier(Box<Carrying<'t>>),
}

/// Chooses by advice and target.
///
/// # Errors
/// The target must not, or cannot, be touched. It has been left as it was.
pub(crate) fn reach(advice: Advice, target: &Target) -> Result<Reached<'_>> {
    if target.is_own() {
        return Ok(Reached::Own);
    }
    if advice.reach() == Reach::Remote && kernel_takes(advice, target)? {
        return Ok(Reached::Remote);
    }
    // What only sets flags takes a borrowed thread microseconds; two stops for a carrier take longer.
    if advice.only_sets_flags() {
        return Ok(Reached::Injected(Box::new(target.look()?)));
    }
    Ok(Reached::Carrier(Box::new(Carrying::new(target)?)))
}

/// The giver of advice for a target that was reached.
pub(super) fn giver<'g>(
    advise: &Advise,
    target: &'g Target,
    reached: Reached<'g>,
    cancel: Option<&'g AtomicBool>,
) -> Box<dyn Stopping + 'g> {
    let advice = advise.advice;
    match reached {
        Reached::Own => Box::new(Own {
            advice,
            target,
            own_may_go: advise.own_may_go,
        }),
        Reached::Remote => Box::new(Remote { advice, target }),
        Reached::Injected(look) => Box::new(Injected::new(
            advice,
            target,
            *look,
            advise.max_stall,
            cancel,
        )),
        Reached::Carrier(carrying) => Box::new(Carried::new(advice, carrying.cancelled_by(cancel))),
    }
}

/// The giver of advice that keeps contents, in the usual way.
pub(crate) fn giver_keeping<'g>(
    advice: Advice,
    target: &'g Target,
    reached: Reached<'g>,
) -> Box<dyn Stopping + 'g> {
    giver(&Advise::new(advice), target, reached, None)
}

/// Whether the kernel takes the advice for this target from us, asked with an empty list, and so
/// with no effect. Where it does not, the target may give it to itself.
///
/// `ESRCH` of a process that lives: its first thread has exited, and the kernel looks for the memory
/// there only. Any other refusal is of the call and not of the target: a kernel that does not know
/// the advice remotely (`EINVAL`, `ENOSYS`), a caller without CAP_SYS_NICE (`EPERM`), or one whose own
/// seccomp filter refuses the call, with whatever errno. Whether the target may be touched at all is
/// then found out by the look at it.
fn kernel_takes(advice: Advice, target: &Target) -> Result<bool> {
    match process_madvise(target.as_fd(), &[], advice.number()) {
        Ok(_) => Ok(true),
        Err(Errno::ESRCH) if !target.is_alive() => Err(Error::NoProcess { pid: target.pid() }),
        Err(_) => Ok(false),
    }
}

/// An errno of process_madvise(2) in the contract's words.
fn refused(target: &Target, advice: Advice, errno: Errno) -> Error {
    let pid = target.pid();
    match errno {
        Errno::ESRCH => Error::NoProcess { pid },
        Errno::EACCES | Errno::EPERM if target.is_ending() => Error::NoProcess { pid },
        // It was allowed when it was asked first: the target has other credentials now.
        Errno::EACCES | Errno::EPERM => Error::Permission {
            pid,
            why: crate::op::permission::explain_owner(target.pid())
                .unwrap_or_else(|| format!("the kernel refuses process_madvise({advice})")),
        },
        errno => Error::TargetCall {
            pid,
            call: "process_madvise",
            errno,
        },
    }
}

struct Own<'t> {
    advice: Advice,
    target: &'t Target,
    own_may_go: Option<OwnMemoryMayGo>,
}

impl Giver for Own<'_> {
    fn give(&mut self, batch: &[Range]) -> Result<Given> {
        let mut bytes = 0;
        for range in batch {
            let given = match self.own_may_go {
                Some(word)
                    if self.advice.effect() == Effect::Destructive
                        && self.target.principal().is_none() =>
                {
                    madvise_own(word, *range, self.advice.number())
                }
                _ => self.target.own_madvise(*range, self.advice.number()),
            };
            match given {
                Ok(()) => bytes += range.len,
                Err(errno) => {
                    return Ok(Given {
                        bytes,
                        error: Some(errno),
                    });
                }
            }
        }
        Ok(Given { bytes, error: None })
    }
}

impl Stopping for Own<'_> {
    fn way(&self) -> Way {
        Way::Own
    }
}

struct Remote<'t> {
    advice: Advice,
    target: &'t Target,
}

impl Giver for Remote<'_> {
    fn give(&mut self, batch: &[Range]) -> Result<Given> {
        match process_madvise(self.target.as_fd(), batch, self.advice.number()) {
            // A short count: the range after it failed; giving it again tells why.
            Ok(bytes) => Ok(Given { bytes, error: None }),
            // None of these four advices answers so for a mapping. (EBADF, of WILLNEED, is one: it
            // does not mean the pidfd.)
            Err(errno @ (Errno::EPERM | Errno::EACCES | Errno::ESRCH)) => {
                Err(refused(self.target, self.advice, errno))
            }
            Err(errno) => Ok(Given {
                bytes: 0,
                error: Some(errno),
            }),
        }
    }
}

impl Stopping for Remote<'_> {
    fn way(&self) -> Way {
        Way::Remote
    }
}
