//! A target under a seccomp filter, for its own user: what can be known of the filter beforehand, which is little.

use mctl_sys::procfs::stat::Stat;
use mctl_sys::procfs::status::Status;

use super::{Target, read_all};
use crate::error::{Error, Result};

/// So many ancestors are looked at for one that supervises the filter.
const ANCESTORS: usize = 64;
/// And so many descriptors of each.
const DESCRIPTORS: usize = 65_536;

/// Whether calls may be made through the target's filter: it is the caller's own, and nothing is known that
/// would kill it or hold it.
///
/// # Errors
/// `EPERM` it is not the caller's own; it is in strict mode, which kills for prctl(2); or an ancestor
/// holds a filter's listener, and would be asked about the call.
pub(super) fn check(target: &Target) -> Result<()> {
    let pid = target.pid();
    let refuse = |why: String| Err(Error::Permission { pid, why });
    let text = read_all(target, "status")?;
    let status = Status::parse(&text).map_err(|error| Error::Read {
        what: format!("/proc/{pid}/status"),
        why: error.to_string(),
        errno: mctl_abi::Errno::EIO,
    })?;
    let ours = [
        rustix::process::getuid().as_raw(),
        rustix::process::geteuid().as_raw(),
    ];
    let own = status.uid.is_some_and(|theirs| {
        let theirs = [theirs.real, theirs.effective, theirs.saved, theirs.fs];
        theirs.iter().all(|uid| ours.iter().all(|own| own == uid))
    });
    if !own {
        return refuse("calls are made through the filter of one's own processes only".to_owned());
    }
    // Every thread has its own mode; the strict one is set by a thread for itself.
    if any_thread_is_strict(target) || status.seccomp == Some(1) {
        return refuse(
            "it is in seccomp's strict mode, which kills it for any call but read, write and exit"
                .to_owned(),
        );
    }
    if let Some(listener) = supervisor(target) {
        return refuse(format!(
            "process {listener} holds the listener of a seccomp filter, and could be asked to answer the call"
        ));
    }
    Ok(())
}

fn any_thread_is_strict(target: &Target) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", target.pid()));
    tasks.into_iter().flatten().flatten().any(|task| {
        let text = std::fs::read(task.path().join("status")).unwrap_or_default();
        Status::parse(&text).is_ok_and(|status| status.seccomp == Some(1))
    })
}

/// The target itself or an ancestor of it that holds a listener (`SECCOMP_FILTER_FLAG_NEW_LISTENER`).
fn supervisor(target: &Target) -> Option<i32> {
    let mut pid = target.pid();
    for _ in 0..ANCESTORS {
        if holds_listener(pid) {
            return Some(pid);
        }
        let mut buffer = [0u8; 1024];
        let text = mctl_sys::read_small(&format!("/proc/{pid}/stat"), &mut buffer).ok()?;
        let parent = Stat::parse(text).ok()?.ppid;
        pid = i32::try_from(parent).ok().filter(|parent| *parent > 0)?;
    }
    None
}

fn holds_listener(pid: i32) -> bool {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"));
    descriptors
        .into_iter()
        .flatten()
        .flatten()
        .take(DESCRIPTORS)
        .any(|fd| {
            let path = std::ffi::CString::new(fd.path().into_os_string().into_encoded_bytes());
            let mut buffer = [0u8; 64];
            path.is_ok_and(|path| {
                mctl_sys::bounded::read_link(&path, &mut buffer)
                    .is_ok_and(|link| link == b"anon_inode:seccomp notify")
            })
        })
}
