//! The exported functions. Their comments are the header's.

use std::ffi::{c_char, c_int, c_uint, c_void};

use ::mctl::advise::{Advice, OwnMemoryMayGo, PmadvFlags, process_madvise_own_too};
use ::mctl::{Action, Errno, Error, Exactness, HostCaps, Look, Override, Request, Rule, Target};

use crate::constants::{
    MCTL_BEST_EFFORT, MCTL_DRY_RUN, MCTL_OVERRIDE_ADVICE, MCTL_OWNER_RULE, MCTL_READ_IN_TARGET,
};
use crate::guard::{self, Uncancelled};
use crate::outcome::{FIRST_SIZE, RawOutcome};
use crate::user::{self, Room};

pub(crate) fn invalid(why: impl Into<String>) -> Error {
    Error::Invalid { why: why.into() }
}

fn call(pidfd: c_int, action: c_int, flags: c_uint) -> c_int {
    guard::enter(-1, |_| {
        ::mctl::decode(action, flags)?;
        let _uncancelled = Uncancelled::new();
        let value = ::mctl::mctl(pidfd, action, flags)?;
        c_int::try_from(value).map_err(|_| no_mask(value))
    })
}

fn no_mask(value: u32) -> Error {
    Error::Read {
        what: "the policy".to_owned(),
        why: format!("{value:#x} is no mask"),
        errno: Errno::EIO,
    }
}

/// Sets, clears or reads a policy of a whole address space: of every mapping it has now and every
/// mapping it gets later.
///
/// `pidfd` is a descriptor from pidfd_open(2) or clone3(2), or PIDFD_SELF, on every kernel.
/// `action` is MCTL_SET_..., MCTL_CLEAR_... or MCTL_GET_POLICY; `flags` is 0 or
/// MCTL_SET_DEFAULT_EXEC. It is done exactly or not at all.
///
/// MCTL_GET_POLICY leaves another process alone: a kernel without the call is asked by /proc only.
/// A policy that does not show there is EOPNOTSUPP; mctl_outcome() can have it read in the process.
///
/// Returns 0, or the mask of MCTL_POLICY_... bits for MCTL_GET_POLICY; -1 with errno: EINVAL
/// unknown action or flag; EBADF not a pidfd; ESRCH the process is gone; EPERM another process or
/// MCTL_SET_DEFAULT_EXEC without CAP_SYS_ADMIN over it; EOPNOTSUPP this kernel cannot do it
/// exactly; EBUSY the target cannot be reached now. Nothing was changed then.
///
/// Where a thread of the target has to make the call, a moment is waited for at which it notices
/// nothing, for up to a second; EBUSY if none came.
#[unsafe(no_mangle)]
pub extern "C" fn mctl(pidfd: c_int, action: c_int, flags: c_uint) -> c_int {
    call(pidfd, action, flags)
}

/// mctl() under the name that is always there. See MCTL_NO_SHORT_NAMES.
#[unsafe(no_mangle)]
pub extern "C" fn mctl_call(pidfd: c_int, action: c_int, flags: c_uint) -> c_int {
    call(pidfd, action, flags)
}

/// The mask of MCTL_POLICY_... bits in force: mctl_call(pidfd, MCTL_GET_POLICY, 0). Of another
/// process only what /proc tells; EOPNOTSUPP otherwise.
#[unsafe(no_mangle)]
pub extern "C" fn mctl_get_policy(pidfd: c_int) -> c_int {
    call(pidfd, ::mctl::Action::GetPolicy.number(), 0)
}

/// As mctl_call(), and says what was done and how surely it holds.
///
/// `options` is 0, for exactly or not at all by the rule of mctl_call(), or a set of
/// MCTL_BEST_EFFORT, MCTL_OWNER_RULE, MCTL_OVERRIDE_ADVICE and MCTL_DRY_RUN. `out->size` must be
/// set. After success mctl_last_detail() says in words what falls short of the contract; after
/// failure `out` holds zeroes but for its size.
///
/// MCTL_GET_POLICY takes MCTL_OWNER_RULE and MCTL_READ_IN_TARGET. With the latter, what /proc does
/// not tell is read by a call in the process, one thread of which is stopped for it; EBUSY where
/// that is not possible. policy_before and policy_after are both the mask then, thp_before,
/// thp_after, merge_before and merge_after the two switches, and stopped_ns how long it was
/// stopped: 0 where /proc told all.
///
/// Returns 0, or the mask of MCTL_POLICY_... bits for MCTL_GET_POLICY; -1 with errno as
/// mctl_call(), and EFAULT for a bad `out`, EINVAL for its size and for unknown options.
///
/// # Safety
/// `out` is the caller's to be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mctl_outcome(
    pidfd: c_int,
    action: c_int,
    flags: c_uint,
    options: c_uint,
    out: *mut RawOutcome,
) -> c_int {
    guard::enter(-1, |detail| {
        let ask = Ask::new(action, flags, options)?;
        let _uncancelled = Uncancelled::new();
        // SAFETY: what the caller gave for us to use.
        let room = unsafe { Room::open(out.cast::<c_void>(), FIRST_SIZE, "struct mctl_outcome") }?;
        let (value, outcome, notes) = ask.answer(&Target::from_raw(pidfd)?)?;
        // SAFETY: as above.
        unsafe { room.fill(&outcome.to_bytes()) }?;
        detail.keep(format_args!("{notes}"));
        Ok(value)
    })
}

/// What mctl_outcome() was asked for.
enum Ask {
    Read { rule: Rule, look: Look },
    Change { request: Request, dry_run: bool },
}

impl Ask {
    fn new(action: c_int, flags: c_uint, options: c_uint) -> Result<Ask, Error> {
        let call = ::mctl::decode(action, flags)?;
        if call.action() != Action::GetPolicy {
            return Ok(Ask::Change {
                request: request(action, flags, options)?,
                dry_run: options & MCTL_DRY_RUN != 0,
            });
        }
        let other = options & !(MCTL_OWNER_RULE | MCTL_READ_IN_TARGET);
        if other != 0 {
            return Err(invalid(format!(
                "MCTL_GET_POLICY does not take the options {other:#x}"
            )));
        }
        let has = |option| options & option != 0;
        Ok(Ask::Read {
            rule: if has(MCTL_OWNER_RULE) {
                Rule::Owner
            } else {
                Rule::Admin
            },
            look: if has(MCTL_READ_IN_TARGET) {
                Look::Exact
            } else {
                Look::Proc
            },
        })
    }

    /// The value to return, the structure, and what is to be known about it.
    fn answer(&self, target: &Target) -> Result<(c_int, RawOutcome, String), Error> {
        match self {
            Ask::Read { rule, look } => {
                let (mask, reading) = ::mctl::read_mask(target, *rule, *look)?;
                let value = c_int::try_from(mask).map_err(|_| no_mask(mask))?;
                Ok((
                    value,
                    RawOutcome::of_reading(value, &reading),
                    String::new(),
                ))
            }
            Ask::Change { request, dry_run } => {
                let caps = HostCaps::probe_for(&request.kinds())?;
                let outcome = if *dry_run {
                    ::mctl::dry_run(request, target, &caps)?.promised
                } else {
                    ::mctl::apply(request, target, &caps)?
                };
                let notes: Vec<String> = outcome.notes.iter().map(ToString::to_string).collect();
                Ok((0, RawOutcome::new(&outcome), notes.join("; ")))
            }
        }
    }
}

pub(crate) fn request(action: c_int, flags: c_uint, options: c_uint) -> Result<Request, Error> {
    let call = ::mctl::decode(action, flags)?;
    let known = MCTL_BEST_EFFORT | MCTL_OWNER_RULE | MCTL_OVERRIDE_ADVICE | MCTL_DRY_RUN;
    if options & !known != 0 {
        return Err(invalid(format!("unknown options {:#x}", options & !known)));
    }
    let has = |option| options & option != 0;
    if has(MCTL_OVERRIDE_ADVICE) && !has(MCTL_BEST_EFFORT) {
        return Err(invalid(
            "MCTL_OVERRIDE_ADVICE is less than exact: it needs MCTL_BEST_EFFORT",
        ));
    }
    let mut request = Request::from_call(call)?;
    if has(MCTL_BEST_EFFORT) {
        request.exactness = Exactness::BestEffort;
    }
    if has(MCTL_OWNER_RULE) {
        request.rule = Rule::Owner;
    }
    if has(MCTL_OVERRIDE_ADVICE) {
        request.override_advice = Override::Advice;
    }
    Ok(request)
}

/// process_madvise(2) in full: any advice of madvise(2) for any process that the caller may act
/// on, for any number of ranges.
///
/// `idtype` (an idtype_t) is P_PID or P_PIDFD, and `id` (an id_t) the number or the descriptor;
/// PIDFD_SELF is one. `advice` is MADV_..., `flags` a set of PMADV_... bits. With
/// PMADV_ENTIRE_ADDRESS_SPACE, and only with it, `vec` is NULL and `vlen` (size_t)-1.
///
/// Advice that may lose the contents of another process's memory (MADV_DONTNEED, MADV_FREE, ...)
/// is EPERM. On the caller's own memory it is done, as by madvise(2), except to the entire address
/// space (EPERM): that would take the stack from under this very call.
///
/// Returns the bytes advised, fewer than asked where an entry failed; -1 with errno where nothing
/// was done: EINVAL, EFAULT a bad `vec`, EBADF, ESRCH, EPERM, ENOMEM a range that is not all
/// mapped, or more to bring in than there is room for, EAGAIN a target that may have no more
/// processes, ETIMEDOUT pages that nobody serves, EBUSY, EOPNOTSUPP, and what madvise(2) answers.
/// At most 2^24 entries are taken.
///
/// # Safety
/// nothing in the program may depend on the ranges where the advice takes their contents
/// or access away, as with madvise(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mctl_process_madvise(
    idtype: c_int,
    id: c_uint,
    vec: *const libc::iovec,
    vlen: libc::size_t,
    advice: c_int,
    flags: c_uint,
) -> libc::ssize_t {
    guard::enter(-1, |_| {
        let _uncancelled = Uncancelled::new();
        let ranges = if vec.is_null() && vlen == usize::MAX {
            None
        } else if vec.is_null() && flags & PmadvFlags::ENTIRE_ADDRESS_SPACE.bits() != 0 {
            return Err(invalid(
                "PMADV_ENTIRE_ADDRESS_SPACE goes with vec NULL and vlen -1, and only with that",
            ));
        } else {
            // SAFETY: what the caller gave for us to read.
            Some(unsafe { user::copy_vector(vec, vlen) }?)
        };
        // SAFETY: promised by the caller, as for madvise(2).
        let word = unsafe { OwnMemoryMayGo::promise() };
        let bytes = process_madvise_own_too(
            word,
            idtype,
            // PIDFD_SELF is negative, and id_t is not.
            id.cast_signed(),
            ranges.as_deref(),
            Advice::from_number(advice),
            flags,
        )?;
        Ok(isize::try_from(bytes).unwrap_or(isize::MAX))
    })
}

/// What there is to say about the calling thread's last call: why it failed, or what
/// mctl_outcome() wants known. Empty if nothing; never NULL. It is the thread's own and stays as
/// it is until the thread's next call; copy it to keep it. In English, one line.
#[unsafe(no_mangle)]
pub extern "C" fn mctl_last_detail() -> *const c_char {
    guard::detail()
}

/// The version of the library that is running, as MCTL_VERSION.
#[unsafe(no_mangle)]
pub extern "C" fn mctl_version() -> c_int {
    const fn number(text: &str) -> c_int {
        let mut bytes = text.as_bytes();
        let mut number = 0;
        while let [digit, rest @ ..] = bytes {
            number = number * 10 + (*digit - b'0') as c_int;
            bytes = rest;
        }
        number
    }
    const VERSION: c_int = number(env!("CARGO_PKG_VERSION_MAJOR")) << 16
        | number(env!("CARGO_PKG_VERSION_MINOR")) << 8
        | number(env!("CARGO_PKG_VERSION_PATCH"));
    VERSION
}
