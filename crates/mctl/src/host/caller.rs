//! What decides what the caller may do.

use mctl_sys::procfs::status::Status;
use serde::Serialize;

/// The facts about the calling process that its rights depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Caller {
    /// Real user.
    pub uid: u32,
    /// Effective user.
    pub effective_uid: u32,
    /// `CAP_SYS_ADMIN` is effective.
    pub cap_sys_admin: bool,
    /// `CAP_SYS_PTRACE` is effective.
    pub cap_sys_ptrace: bool,
    /// `CAP_SYS_NICE` is effective.
    pub cap_sys_nice: bool,
    /// `/proc/sys/kernel/yama/ptrace_scope`; `None` without Yama.
    pub yama_scope: Option<u32>,
    /// Whether a target's seccomp filter can be suspended for the call.
    pub suspends_seccomp: bool,
}

impl Caller {
    /// Asks the running kernel. What it does not say counts as not given.
    #[must_use]
    pub fn ask() -> Caller {
        let text = std::fs::read("/proc/self/status").unwrap_or_default();
        let status = Status::parse(&text).ok();
        let effective = status.as_ref().and_then(|s| s.cap_eff).unwrap_or(0);
        let has = |bit: u32| effective & (1 << bit) != 0;
        let cap_sys_admin = has(21);
        Caller {
            uid: rustix::process::getuid().as_raw(),
            effective_uid: rustix::process::geteuid().as_raw(),
            cap_sys_admin,
            cap_sys_ptrace: has(19),
            cap_sys_nice: has(23),
            yama_scope: std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")
                .ok()
                .and_then(|text| text.trim().parse().ok()),
            // PTRACE_O_SUSPEND_SECCOMP: CAP_SYS_ADMIN, no filter of our own, and
            // CONFIG_CHECKPOINT_RESTORE, which shows in /proc/self/timers.
            suspends_seccomp: cap_sys_admin
                && status.is_some_and(|s| s.seccomp == Some(0))
                && std::path::Path::new("/proc/self/timers").exists(),
        }
    }
}

/// Whether this thread runs under a seccomp filter.
pub(crate) fn is_filtered() -> bool {
    let text = std::fs::read("/proc/thread-self/status").unwrap_or_default();
    Status::parse(&text).is_ok_and(|status| status.seccomp == Some(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_the_kernel_says() {
        let caller = Caller::ask();
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).unwrap();
        let caps = u64::from_str_radix(line("CapEff:").trim(), 16).unwrap();
        assert_eq!(caller.cap_sys_admin, caps >> 21 & 1 == 1);
        assert_eq!(caller.cap_sys_ptrace, caps >> 19 & 1 == 1);
        assert_eq!(caller.cap_sys_nice, caps >> 23 & 1 == 1);
        let uids: Vec<&str> = line("Uid:").split_whitespace().collect();
        assert_eq!(uids[0], caller.uid.to_string());
        assert_eq!(uids[1], caller.effective_uid.to_string());
        assert!(!caller.suspends_seccomp || caller.cap_sys_admin);
    }
}
