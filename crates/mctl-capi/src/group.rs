//! `mctl_tree()` and `mctl_cgroup()`.

use std::ffi::{c_char, c_int, c_uint, c_void};

use ::mctl::tree::{Atomicity, TreeOutcome, apply_cgroup, apply_tree};
use ::mctl::{Errno, Error, HostCaps, Request, Target};

use crate::calls::{invalid, request};
use crate::constants::{MCTL_ATOMIC, MCTL_DRY_RUN, MCTL_IS_COMPLETE};
use crate::guard::{self, Uncancelled};
use crate::user::{Room, copy_path};

/// How a tree or cgroup fared.
///
/// It may grow at its end. Set `size` to sizeof(struct mctl_group) before the call; afterwards it
/// says how many bytes this library filled in, and what is beyond is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawGroup {
    /// In: the size of the structure. Out: how much of it was filled in.
    pub size: u32,
    /// MCTL_IS_COMPLETE.
    pub flags: u32,
    /// Processes that were treated, well or not.
    pub processes: u64,
    /// Of those, the ones in which something is different now.
    pub changed: u64,
    /// Of those, the ones that failed.
    pub failed: u64,
    /// Processes that ended before they could be treated.
    pub ended: u64,
    /// Processes of the cgroup that are not visible here, and ones that may be of the tree.
    pub left_out: u64,
    /// MCTL_ATOMIC: processes that have their former state again.
    pub restored: u64,
}

const SIZE: usize = size_of::<RawGroup>();

fn bytes(group: &TreeOutcome) -> Vec<u8> {
    let count = |number: usize| number as u64;
    let changed = |result: &Result<::mctl::Outcome, Error>| {
        result.as_ref().is_ok_and(::mctl::Outcome::changed)
    };
    let members = || group.members.iter().map(|member| &member.result);
    let complete = group.complete && group.left_out.invisible == 0;
    let mut bytes = vec![0; 4];
    bytes.extend(if complete { MCTL_IS_COMPLETE } else { 0 }.to_ne_bytes());
    for number in [
        count(group.members.len()),
        count(members().filter(|result| changed(result)).count()),
        count(members().filter(|result| result.is_err()).count()),
        group.ended,
        group.left_out.invisible + count(group.left_out.orphans.len()),
        group
            .rollback
            .as_ref()
            .map_or(0, |rollback| rollback.restored),
    ] {
        bytes.extend(number.to_ne_bytes());
    }
    bytes
}

/// The first failure of a member, or that some were not reached.
fn failure(group: TreeOutcome) -> Result<(), Error> {
    if group.all_done() {
        return Ok(());
    }
    let (invisible, complete) = (group.left_out.invisible, group.complete);
    let mut members = group.members.into_iter();
    if let Some(error) = members.find_map(|member| member.result.err()) {
        return Err(error);
    }
    let why = match invisible {
        0 if !complete => "it brings forth processes faster than they can be treated".to_owned(),
        0 => "it was put back".to_owned(),
        count => format!("{count} of its processes are not visible here"),
    };
    Err(Error::Read {
        what: "the group".to_owned(),
        why,
        errno: Errno::EBUSY,
    })
}

/// Does it to a group.
///
/// # Safety
/// `out` is the C caller's to be written.
unsafe fn group(
    (action, flags, options): (c_int, c_uint, c_uint),
    out: *mut RawGroup,
    apply: impl FnOnce(&Request, &HostCaps, Atomicity) -> Result<TreeOutcome, Error>,
) -> Result<c_int, Error> {
    if options & MCTL_DRY_RUN != 0 {
        return Err(invalid("MCTL_DRY_RUN is for one process: mctl_outcome()"));
    }
    let request = request(action, flags, options & !MCTL_ATOMIC)?;
    let atomicity = if options & MCTL_ATOMIC == 0 {
        Atomicity::Each
    } else {
        Atomicity::AllOrNothing
    };
    let _uncancelled = Uncancelled::new();
    // SAFETY: what the caller gave for us to use.
    let room = unsafe { Room::open(out.cast::<c_void>(), SIZE, "struct mctl_group") }?;
    let caps = HostCaps::probe_for(&request.kinds())?;
    let done = apply(&request, &caps, atomicity)?;
    // SAFETY: as above.
    unsafe { room.fill(&bytes(&done)) }?;
    failure(done).map(|()| 0)
}

/// As mctl_outcome(), for a process and all its descendants, also those that it forks meanwhile.
/// The calling process is passed over where it is one of the descendants.
///
/// `action` is MCTL_SET_... or MCTL_CLEAR_...; `options` is 0 or a set of MCTL_BEST_EFFORT,
/// MCTL_OWNER_RULE, MCTL_OVERRIDE_ADVICE and MCTL_ATOMIC. `out->size` must be set.
///
/// Returns 0 where every process that lives has what was asked; -1 with the errno of the first
/// that has not, and EBUSY where some were not reached. `out` says how many then; the others keep
/// what they got unless MCTL_ATOMIC is given.
///
/// # Safety
/// `out` is the caller's to be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mctl_tree(
    pidfd: c_int,
    action: c_int,
    flags: c_uint,
    options: c_uint,
    out: *mut RawGroup,
) -> c_int {
    guard::enter(-1, |_| {
        let apply = |request: &Request, caps: &HostCaps, atomicity| {
            apply_tree(
                request,
                &Target::from_raw(pidfd)?,
                caps,
                atomicity,
                &mut |_| {},
            )
        };
        // SAFETY: passed on.
        unsafe { group((action, flags, options), out, apply) }
    })
}

/// As mctl_tree(), for every process of a cgroup and of those below it. `path` is the cgroup's
/// directory, or its name as /proc/PID/cgroup has it.
///
/// Returns as mctl_tree(), and -1 with EFAULT for a bad `path`, ENAMETOOLONG, ENOENT, or EINVAL a
/// directory that is no cgroup.
///
/// # Safety
/// `path` is a C string, and `out` the caller's to be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mctl_cgroup(
    path: *const c_char,
    action: c_int,
    flags: c_uint,
    options: c_uint,
    out: *mut RawGroup,
) -> c_int {
    guard::enter(-1, |_| {
        let apply = |request: &Request, caps: &HostCaps, atomicity| {
            // SAFETY: what the caller gave for us to read.
            let path = unsafe { copy_path(path) }?;
            apply_cgroup(request, &path, caps, atomicity, &mut |_| {})
        };
        // SAFETY: passed on.
        unsafe { group((action, flags, options), out, apply) }
    })
}
