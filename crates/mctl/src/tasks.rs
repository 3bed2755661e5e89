//! Why no further task could be started, from what the limits say.

use std::path::{Path, PathBuf};

/// Looks which limit is reached.
pub(crate) fn why_none() -> String {
    let no_task = "no task could be started to do it";
    if let Some((dir, most)) = full_cgroup() {
        let dir = crate::printable(dir.as_os_str().as_encoded_bytes());
        return format!("{no_task}: the cgroup {dir} may have {most} (pids.max), and has them");
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nproc).current;
    match limit {
        Some(most) if !rustix::process::geteuid().is_root() => format!(
            "{no_task}: no cgroup is full, but this user may have {most} (RLIMIT_NPROC, ulimit -u)"
        ),
        _ => format!(
            "{no_task}: neither a cgroup (pids.max) nor RLIMIT_NPROC stands in the way; a seccomp filter on this \
             program may, or the host's limit (kernel.threads-max)"
        ),
    }
}

/// A cgroup of ours, or above one, that has as many tasks as it may.
fn full_cgroup() -> Option<(PathBuf, u64)> {
    let lines = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let counting = |line: &&str| {
        let controllers = line.split(':').nth(1).unwrap_or_default();
        controllers.is_empty() || controllers.split(',').any(|name| name == "pids")
    };
    lines.lines().filter(counting).find_map(|line| {
        let dir = crate::tree::cgroup_dir(Path::new(line)).ok()?;
        dir.ancestors().find_map(|dir| {
            let read = |file: &str| std::fs::read_to_string(dir.join(file)).ok();
            let most: u64 = read("pids.max")?.trim().parse().ok()?;
            let now: u64 = read("pids.current")?.trim().parse().ok()?;
            (now >= most).then(|| (dir.to_path_buf(), most))
        })
    })
}
