//! Which processes a cgroup has.

use std::path::{Path, PathBuf};

use mctl_abi::Errno;

use super::listing::{Seen, look_at, open_all};
use crate::error::{Error, Result};
use crate::target::Target;

/// All processes of a cgroup and of the cgroups below it, now.
///
/// `path` is a directory of the cgroup file system, or a cgroup's own path (as in
/// `/proc/PID/cgroup`), which is looked for where cgroup v2 is mounted.
///
/// # Errors
/// `ENOENT` no cgroup; or it cannot be read.
pub fn members_of_cgroup(path: &Path) -> Result<Vec<Target>> {
    let dir = cgroup_dir(path)?;
    open_all(list_cgroup(&dir)?)
}

/// `CGROUP2_SUPER_MAGIC` and `CGROUP_SUPER_MAGIC` (linux/magic.h).
const CGROUP_MAGICS: [u64; 2] = [0x6367_7270, 0x0027_e0eb];

fn is_cgroup(dir: &Path) -> bool {
    rustix::fs::statfs(dir)
        .is_ok_and(|fs| u64::try_from(fs.f_type).is_ok_and(|magic| CGROUP_MAGICS.contains(&magic)))
}

pub(super) fn cgroup_dir(path: &Path) -> Result<PathBuf> {
    if is_cgroup(path) && path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let mounts = std::fs::read("/proc/self/mountinfo")
        .map_err(|error| Error::read("/proc/self/mountinfo", &error))?;
    let root = mctl_sys::procfs::mountinfo::MountLines::new(&mounts)
        .flatten()
        .find(|mount| mount.fs_type == b"cgroup2")
        .map(|mount| mctl_sys::procfs::mountinfo::unescape(mount.mount_point).into_owned());
    let invalid = |why: &str| Error::Read {
        what: path.display().to_string(),
        why: why.to_owned(),
        errno: Errno::ENOENT,
    };
    let Some(root) = root.and_then(|root| String::from_utf8(root).ok()) else {
        return Err(invalid(
            "no such cgroup directory, and cgroup v2 is not mounted",
        ));
    };
    let dir = Path::new(&root).join(path.strip_prefix("/").unwrap_or(path));
    let escapes = path
        .components()
        .any(|part| part == std::path::Component::ParentDir);
    if !escapes && is_cgroup(&dir) && dir.is_dir() {
        return Ok(dir);
    }
    Err(invalid("no such cgroup"))
}

pub(super) fn list_cgroup(dir: &Path) -> Result<Vec<Seen>> {
    crate::view::check(|| format!("cgroup {}", dir.display()))?;
    let mut found = Vec::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(dir) = todo.pop() {
        let file = dir.join("cgroup.procs");
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                let pids = text.lines().filter_map(|line| line.parse::<i32>().ok());
                // 0 stands for a process that our PID namespace does not show.
                found.extend(pids.filter(|pid| *pid > 0).filter_map(look_at));
            }
            // Threaded cgroups have no list of processes: their members are listed at the top of
            // the threaded tree. One that was removed meanwhile has no members.
            Err(error)
                if matches!(
                    error.raw_os_error().map(Errno::from_raw),
                    Some(Errno::EOPNOTSUPP | Errno::ENOENT | Errno::ENODEV)
                ) => {}
            Err(error) => return Err(Error::read(file.display().to_string(), &error)),
        }
        if let Ok(entries) = std::fs::read_dir(&dir) {
            let dirs = entries
                .flatten()
                .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
            todo.extend(dirs.map(|entry| entry.path()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_cgroup() {
        for path in ["/tmp", "/no/such", "../../..", "/proc"] {
            assert!(cgroup_dir(Path::new(path)).is_err(), "{path}");
        }
    }
}
