//! Why no further task could be started, from what the limits say.

use std::path::{Path, PathBuf};

use mctl_sys::procfs::status::Status;

/// Either of them lifts RLIMIT_NPROC (kernel/fork.c).
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_SYS_RESOURCE: u64 = 1 << 24;

/// Looks which limit keeps us from starting a task.
pub(crate) fn why_none() -> String {
    why("no task could be started to do it", "self")
}

/// Looks which limit keeps the target from bearing a carrier.
pub(crate) fn why_no_child(pid: i32) -> String {
    let what = "it may have no further task, and long work is done by one that it bears";
    why(what, &pid.to_string())
}

fn why(what: &str, process: &str) -> String {
    let cgroups = std::fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
    if let Some((dir, most)) = full_cgroup(&cgroups) {
        let dir = crate::printable(dir.as_os_str().as_encoded_bytes());
        return format!("{what}: the cgroup {dir} may have {most} (pids.max), and has them");
    }
    if let Some((uid, most)) = limited(process) {
        let now = match tasks_of(uid) {
            0 => String::new(),
            seen => format!(", and {seen} are to be seen here"),
        };
        return format!(
            "{what}: its user, {uid}, may have {most} tasks (RLIMIT_NPROC, ulimit -u){now}"
        );
    }
    format!(
        "{what}: neither a cgroup (pids.max) nor RLIMIT_NPROC stands in the way; the host's limit \
         (kernel.threads-max) may, or a seccomp filter"
    )
}

/// A cgroup of it, or above one, that has as many tasks as it may.
fn full_cgroup(lines: &str) -> Option<(PathBuf, u64)> {
    let counting = |line: &&str| {
        let controllers = line.split(':').nth(1).unwrap_or_default();
        controllers.is_empty() || controllers.split(',').any(|name| name == "pids")
    };
    lines.lines().filter(counting).find_map(|line| {
        let dir = crate::target::group::cgroup_dir(Path::new(line)).ok()?;
        dir.ancestors().find_map(|dir| {
            let read = |file: &str| std::fs::read_to_string(dir.join(file)).ok();
            let most: u64 = read("pids.max")?.trim().parse().ok()?;
            let now: u64 = read("pids.current")?.trim().parse().ok()?;
            (now >= most).then(|| (dir.to_path_buf(), most))
        })
    })
}

/// Its real user and how many tasks that one may have, where RLIMIT_NPROC holds for it.
fn limited(process: &str) -> Option<(u32, u64)> {
    let text = std::fs::read(format!("/proc/{process}/status")).ok()?;
    let status = Status::parse(&text).ok()?;
    let uid = status.uid?.real;
    let lifted = status.cap_eff.unwrap_or(0) & (CAP_SYS_ADMIN | CAP_SYS_RESOURCE) != 0;
    if uid == 0 || lifted {
        return None;
    }
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
    Some((uid, most_tasks(&limits)?))
}

/// The soft limit; `None`: there is none.
fn most_tasks(limits: &str) -> Option<u64> {
    let rest = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max processes"))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// How many tasks of a user `/proc` shows.
fn tasks_of(uid: u32) -> u64 {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let threads = entries.filter_map(|entry| {
        entry.file_name().to_str()?.parse::<i32>().ok()?;
        let text = std::fs::read(entry.path().join("status")).ok()?;
        let status = Status::parse(&text).ok()?;
        (status.uid?.real == uid).then(|| status.threads.unwrap_or(1))
    });
    threads.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_counts() {
        let limits = "Limit  Soft  Hard\nMax processes             1        2     processes\n";
        assert_eq!(most_tasks(limits), Some(1));
        let none = limits.replace(" 1 ", " unlimited ");
        assert_eq!(most_tasks(&none), None);
        assert_eq!(most_tasks(""), None);
    }

    #[test]
    fn our_own_tasks_are_counted() {
        assert!(tasks_of(rustix::process::getuid().as_raw()) >= 1);
    }
}
