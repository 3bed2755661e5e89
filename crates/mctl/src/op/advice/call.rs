//! `mctl_process_madvise()` with Rust's types.

use super::{Advice, Advise, Advised, OwnMemoryMayGo, PmadvFlags, Range};
use crate::error::{Error, Result};
use crate::op::budget::Growth;
use crate::target::{ProcessSpec, Target};

/// `idtype` of [`process_madvise`]: a process number (`P_PID`, sys/wait.h).
pub const P_PID: i32 = 1;
/// `idtype` of [`process_madvise`]: a pidfd.
pub const P_PIDFD: i32 = 3;

/// `ssize_t mctl_process_madvise(idtype, id, vec, vlen, advice, flags)` with the vector as a slice:
/// `None` stands for `vec` NULL and `vlen` −1.
///
/// # Errors
/// Checked in this order: `EINVAL` the flags, the vector and the advice against them, an advice
/// that neither this library nor the kernel knows, `idtype`; `EBADF`, `ESRCH`; `EPERM`; `EINVAL` an
/// advice that this kernel does not know; then what the first entry met, if nothing was done.
pub fn process_madvise(
    idtype: i32,
    id: i32,
    ranges: Option<&[Range]>,
    advice: Advice,
    flags: u32,
) -> Result<u64> {
    named(idtype, id, ranges, advice, flags, None)
}

/// As [`process_madvise`], with any advice on the calling process itself too: what the C library
/// calls.
///
/// # Errors
/// As [`process_madvise`]. `EPERM` destructive advice on one's own entire address space, which
/// would pull the stack from under the very call.
pub fn process_madvise_own_too(
    word: OwnMemoryMayGo,
    idtype: i32,
    id: i32,
    ranges: Option<&[Range]>,
    advice: Advice,
    flags: u32,
) -> Result<u64> {
    named(idtype, id, ranges, advice, flags, Some(word))
}

fn named(
    idtype: i32,
    id: i32,
    ranges: Option<&[Range]>,
    advice: Advice,
    flags: u32,
    own_may_go: Option<OwnMemoryMayGo>,
) -> Result<u64> {
    let mut advise = call(ranges, advice, flags)?;
    if let Some(word) = own_may_go {
        advise = advise.allow_destructive_on_oneself(word);
    }
    let target = open(idtype, id)?;
    let advised: Advised = advise.give(&target)?;
    advised.as_syscall().map_err(|errno| Error::TargetCall {
        pid: target.pid(),
        call: "madvise",
        errno,
    })
}

/// A call of [`process_madvise`] that has passed the checks that need no target: the flags, the
/// vector and the advice against them, an advice that nobody knows.
///
/// # Errors
/// `EINVAL`.
pub fn call(ranges: Option<&[Range]>, advice: Advice, flags: u32) -> Result<Advise> {
    let flags = PmadvFlags::from_bits(flags)?;
    if flags.has(PmadvFlags::ENTIRE_ADDRESS_SPACE) != ranges.is_none() {
        return Err(Error::Invalid {
            why: "PMADV_ENTIRE_ADDRESS_SPACE goes with vec NULL and vlen -1, and only with that"
                .to_owned(),
        });
    }
    let mut advise = Advise::new(advice)
        .flags(flags)
        .growth(Growth::AsAsked)
        .strict();
    advise = match ranges {
        Some(ranges) => advise.ranges(ranges.to_vec()),
        None => advise.entire_address_space(),
    };
    advise.check_flags()?;
    advise.check_number()?;
    Ok(advise)
}

fn open(idtype: i32, id: i32) -> Result<Target> {
    match idtype {
        P_PID => {
            let pid = (id > 0).then_some(id).ok_or(Error::NoProcess { pid: id })?;
            Target::open(ProcessSpec { pid, inode: None })
        }
        P_PIDFD => Target::from_raw(id),
        _ => Err(Error::Invalid {
            why: format!("{idtype} is neither P_PID nor P_PIDFD"),
        }),
    }
}
