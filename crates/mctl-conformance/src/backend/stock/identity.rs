//! Orders that change who a task is and what it may use.

use mctl_model::Caps;

use super::hand::{Order, order};
use super::nr;
use crate::backend::Trouble;

/// CAP_* by number, for the capabilities that scenarios name.
fn capability_mask(caps: Caps) -> u64 {
    if caps == Caps::FULL {
        // As many as the suite's own root has: a container's has not every one, and asking for one
        // more would be refused as a whole.
        return rustix::thread::capabilities(None).map_or(0, |sets| sets.permitted.bits());
    }
    [
        (Caps::SYS_ADMIN, 21),
        (Caps::SYS_PTRACE, 19),
        (Caps::SYS_NICE, 23),
        (Caps::IPC_LOCK, 14),
        // Whoever changes the user here changes the group, too.
        (Caps::SETUID, 7),
        (Caps::SETUID, 6),
        (Caps::KILL, 5),
        (Caps::SYS_RAWIO, 17),
    ]
    .iter()
    .filter(|(cap, _)| caps.has(*cap))
    .fold(0, |mask, (_, number)| mask | 1 << number)
}

/// Orders that change who a task is; `scratch` is where its scratch memory lies.
pub(super) fn identity(scratch: u64, uid: u32, caps: Caps) -> Vec<Order> {
    const PR_SET_KEEPCAPS: u64 = 8;
    let mask = capability_mask(caps);
    let (low, high) = (mask & 0xffff_ffff, mask >> 32);
    let id = u64::from(uid);
    let ids = [id, id, id, 0, 0, 0];
    vec![
        order::syscall(nr::PRCTL, [PR_SET_KEEPCAPS, 1, 0, 0, 0, 0]),
        order::syscall(nr::SETRESGID, ids),
        order::syscall(nr::SETRESUID, ids),
        // struct __user_cap_header_struct {version 3, pid 0}, then two of
        // __user_cap_data_struct {effective, permitted, inheritable}.
        order::poke(0, 0x2008_0522),
        order::poke(1, low | low << 32),
        order::poke(2, high << 32),
        order::poke(3, high),
        order::syscall(nr::CAPSET, [scratch, scratch + 8, 0, 0, 0, 0]),
    ]
}

/// Orders that set the soft limit; the hard one stays as the suite was started with it.
pub(super) fn memlock(scratch: u64, bytes: u64) -> Result<Vec<Order>, Trouble> {
    const RLIMIT_MEMLOCK: u64 = 8;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    if bytes > hard {
        let why = "the case asks for more RLIMIT_MEMLOCK than the suite was started with";
        return Err(Trouble::NotPossible(why.to_owned()));
    }
    Ok(vec![
        order::poke(0, bytes),
        order::poke(1, hard),
        order::syscall(nr::PRLIMIT, [0, RLIMIT_MEMLOCK, scratch, 0, 0, 0]),
    ])
}
