//! Which processes a cgroup has.

mod find;

use std::path::{Path, PathBuf};

use mctl_abi::Errno;

use super::listing::{Seen, look_at, open_all};
use super::{LeftOut, Members};
use crate::error::{Error, Result};
use mctl_sys::inject::is_carrier;

pub(crate) use find::cgroup_dir;

/// All processes of a cgroup and of the cgroups below it, now.
///
/// `path` is a directory of a cgroup file system; a path of cgroup v2, from its root on; or a line as
/// `/proc/PID/cgroup` prints it, such as `0::/user.slice` and, of version 1, `4:memory:/foo`.
///
/// # Errors
/// `ENOENT` no cgroup; `EINVAL` the words name none; `EOPNOTSUPP` `/proc` shows other processes than
/// those that numbers mean here; or it cannot be read.
pub fn members_of_cgroup(path: &Path) -> Result<Members> {
    let dir = cgroup_dir(path)?;
    let listed = list_cgroup(&dir)?;
    Ok(Members {
        processes: open_all(&listed.seen)?,
        left_out: LeftOut {
            invisible: listed.invisible,
            uncounted: listed.uncounted,
            ..LeftOut::default()
        },
    })
}

/// What one listing of a cgroup shows.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub(crate) seen: Vec<Seen>,
    /// Members that have no number here, or that `/proc` hides.
    pub(crate) invisible: u64,
    /// There may be more of them.
    pub(crate) uncounted: bool,
}

impl Listed {
    /// Takes what `cgroup.procs` says. 0 stands for a process that our PID namespace does not show.
    fn take(&mut self, text: &str) -> Result<()> {
        for pid in text.lines().filter_map(|line| line.parse::<i32>().ok()) {
            if pid <= 0 {
                self.invisible += 1;
                continue;
            }
            match look_at(pid)? {
                Some(seen) => self.seen.push(seen),
                None if is_hidden(pid)? => self.invisible += 1,
                // It has ended.
                None => {}
            }
        }
        Ok(())
    }
}

/// A path as it may be printed.
fn shown(path: &Path) -> String {
    crate::printable(path.as_os_str().as_encoded_bytes())
}

/// The inode of the first PID namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const INIT_PID_NS: u64 = 0xefff_fffc;

/// Whether every process there is has a number here.
fn in_first_pid_namespace() -> bool {
    rustix::fs::stat("/proc/self/ns/pid").is_ok_and(|stat| stat.st_ino == INIT_PID_NS)
}

/// Whether a process that could not be looked at is there all the same.
fn is_hidden(pid: i32) -> Result<bool> {
    let Some(number) = rustix::process::Pid::from_raw(pid) else {
        return Ok(false);
    };
    let there = rustix::process::test_kill_process(number);
    Ok(matches!(there, Ok(()) | Err(rustix::io::Errno::PERM))
        && look_at(pid)?.is_none()
        && !is_carrier(pid))
}

pub(crate) fn list_cgroup(dir: &Path) -> Result<Listed> {
    crate::with_room(|| list(dir))
}

fn list(dir: &Path) -> Result<Listed> {
    crate::target::view::check(|| format!("cgroup {}", shown(dir)))?;
    let mut found = Listed {
        // `cgroup.procs` of version 1 says nothing of them (kernel/cgroup/cgroup-v1.c,
        // pidlist_array_load()).
        uncounted: find::is_version_1(dir) && !in_first_pid_namespace(),
        ..Listed::default()
    };
    let mut todo: Vec<PathBuf> = vec![dir.to_path_buf()];
    while let Some(dir) = todo.pop() {
        let file = dir.join("cgroup.procs");
        match std::fs::read_to_string(&file) {
            Ok(text) => found.take(&text)?,
            // Threaded cgroups have no list of processes: their members are listed at the top of
            // the threaded tree. One that was removed meanwhile has no members.
            Err(error)
                if matches!(
                    error.raw_os_error().map(Errno::from_raw),
                    Some(Errno::EOPNOTSUPP | Errno::ENOENT | Errno::ENODEV)
                ) => {}
            Err(error) => return Err(Error::read(shown(&file), &error)),
        }
        match std::fs::read_dir(&dir) {
            Ok(entries) => {
                let dirs = entries
                    .flatten()
                    .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
                todo.extend(dirs.map(|entry| entry.path()));
            }
            // Removed meanwhile, with all below it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::read(shown(&dir), &error)),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_without_a_number_are_counted() {
        let mut listed = Listed::default();
        let own = std::process::id();
        listed.take(&format!("0\n{own}\n0\n")).unwrap();
        assert_eq!((listed.seen.len(), listed.invisible), (1, 2));
        // Above the kernel's limit: nobody has it.
        listed.take("2147483647\n").unwrap();
        assert_eq!((listed.seen.len(), listed.invisible), (1, 2));
    }
}
