//! What a throw-away process gives up: capabilities, its user, limits.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Gives capabilities up, by number.
pub(super) fn drop_capabilities(numbers: &[u32]) -> anyhow::Result<()> {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let mut sets = capabilities(None)?;
    let mut mask = CapabilitySet::empty();
    for number in numbers {
        mask |= CapabilitySet::from_bits_retain(1u64 << number.min(&63));
    }
    sets.effective.remove(mask);
    sets.permitted.remove(mask);
    sets.inheritable.remove(mask);
    set_capabilities(None, sets)?;
    Ok(())
}

/// Gives all privileges up, for good. The process has one thread.
pub(super) fn become_user(id: u32) -> anyhow::Result<()> {
    use rustix::process::{Gid, Uid};
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

fn known(resource: u32) -> anyhow::Result<Resource> {
    Ok(match resource {
        7 => Resource::Nofile,
        8 => Resource::Memlock,
        other => anyhow::bail!("limit {other} is not one that is set here"),
    })
}

/// Takes the hard limit of a resource away.
pub(super) fn raise(resource: u32) -> anyhow::Result<()> {
    let resource = known(resource)?;
    let current = getrlimit(resource).current;
    let maximum = None;
    setrlimit(resource, Rlimit { current, maximum })?;
    Ok(())
}

/// Sets the soft limit of a resource; none is the hard limit.
pub(super) fn limit(resource: u32, bytes: Option<u64>) -> anyhow::Result<()> {
    let resource = known(resource)?;
    let maximum = getrlimit(resource).maximum;
    let current = match (bytes, maximum) {
        (Some(bytes), Some(most)) => Some(bytes.min(most)),
        (Some(bytes), None) => Some(bytes),
        (None, most) => most,
    };
    setrlimit(resource, Rlimit { current, maximum })?;
    Ok(())
}
