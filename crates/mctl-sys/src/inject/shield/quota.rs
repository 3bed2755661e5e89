//! Out of a CPU quota. A shield that has used up what its cgroup may have stands still with its target held. A real-time
//! task is not throttled; where the shield may not be one, it moves up, above whatever throttles it, if it may.
//!
//! What is above is found out before the shield begins, and only where an earlier one could not get its priority: a
//! move takes milliseconds, in which it holds nobody.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, Mode, OFlags};

use crate::remembered::Remembered;
use crate::time::monotonic_ns;

/// Whether the last shield of this program got its priority. (Not known at first: then a quota is looked for.)
static GETS_PRIORITY: AtomicBool = AtomicBool::new(false);
/// For so long what was found out holds.
const KEPT_NS: u64 = 100_000_000;
static FOUND: Remembered<(u64, Vec<CString>)> = Remembered::new();

/// The files to move to, the nearest first.
#[derive(Debug)]
pub(super) struct WayOut(Vec<CString>);

/// A shield has asked for its priority.
pub(super) fn note_priority(granted: bool) {
    GETS_PRIORITY.store(granted, Ordering::Relaxed);
}

impl WayOut {
    /// What to do about a quota, if there is one that has throttled us.
    pub(super) fn look() -> Option<WayOut> {
        if GETS_PRIORITY.load(Ordering::Relaxed) {
            return None;
        }
        let now = monotonic_ns();
        let fresh = FOUND
            .get()
            .filter(|(at, _)| now.saturating_sub(*at) < KEPT_NS)
            .map(|(_, files)| files);
        let files = fresh.unwrap_or_else(|| {
            let files = look().unwrap_or_default();
            FOUND.set((now, files.clone()));
            files
        });
        (!files.is_empty()).then_some(WayOut(files))
    }

    /// Moves this task. No allocation, no C library. False: it may not.
    pub(super) fn take(&self) -> bool {
        self.0.iter().any(|file| {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, file.as_c_str(), flags, Mode::empty())
                .is_ok_and(|file| rustix::io::write(&file, b"0").is_ok())
        })
    }
}

fn look() -> Option<Vec<CString>> {
    let cgroups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let own = Own::find(&cgroups, &mounts)?;
    own.above_the_quota()
        .map(|dir| CString::new(dir.join(own.file).into_os_string().into_encoded_bytes()).ok())
        .collect()
}

/// The cgroup in which our time on processors is accounted.
#[derive(Debug, PartialEq, Eq)]
struct Own {
    /// Where its hierarchy is mounted.
    top: PathBuf,
    dir: PathBuf,
    /// What a task's number is written to: a thread's in version 1, which needs no more; a process's in version 2.
    file: &'static str,
}

impl Own {
    fn find(cgroups: &str, mounts: &str) -> Option<Own> {
        let line = |wanted: fn(&str) -> bool| {
            cgroups.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                wanted(controllers).then_some(path)
            })
        };
        let is_cpu = |words: &str| words.split(',').any(|word| word == "cpu");
        let v1 = line(|controllers| controllers.split(',').any(|word| word == "cpu"));
        let (path, kind, file) = match v1 {
            Some(path) => (path, "cgroup", "tasks"),
            None => (line(str::is_empty)?, "cgroup2", "cgroup.procs"),
        };
        mounts.lines().find_map(|line| {
            // ID PARENT DEVICE ROOT POINT OPTIONS… - KIND SOURCE SUPER-OPTIONS
            let (mount, of) = line.split_once(" - ")?;
            let (mut mount, mut of) = (mount.split(' ').skip(3), of.split(' '));
            let (root, top) = (mount.next()?, mount.next()?);
            if of.next()? != kind || (kind == "cgroup" && !is_cpu(of.nth(1)?)) {
                return None;
            }
            // Names with a space are written otherwise: such a mount is passed over when it is not there.
            let below = Path::new(path).strip_prefix(root).ok()?;
            let top = PathBuf::from(top);
            Some(Own {
                dir: top.join(below),
                top,
                file,
            })
        })
    }

    /// The cgroups above the topmost whose quota has throttled somebody. None where there is none, or nothing above.
    fn above_the_quota(&self) -> impl Iterator<Item = &Path> {
        let all = || {
            self.dir
                .ancestors()
                .filter(|dir| dir.starts_with(&self.top))
        };
        let throttled = |dir: &Path| {
            std::fs::read_to_string(dir.join("cpu.stat")).is_ok_and(|text| has_throttled(&text))
        };
        let count = all().count();
        let last = all().filter(|dir| throttled(dir)).last();
        let below = last.map_or(count, |last| {
            all().take_while(|dir| *dir != last).count() + 1
        });
        self.dir
            .ancestors()
            .filter(|dir| dir.starts_with(&self.top))
            .skip(below)
    }
}

fn has_throttled(stat: &str) -> bool {
    let count = stat
        .lines()
        .find_map(|line| line.strip_prefix("nr_throttled "));
    count.is_some_and(|count| count.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
30 25 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
31 25 0:27 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
32 25 0:28 /jobs /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
";

    fn own(top: &str, dir: &str, file: &'static str) -> Option<Own> {
        let (top, dir) = (top.into(), dir.into());
        Some(Own { top, dir, file })
    }

    #[test]
    fn the_cgroup_that_counts() {
        let cgroups = "5:cpuset:/\n4:cpu,cpuacct:/jobs/one\n0::/else\n";
        assert_eq!(
            Own::find(cgroups, V1),
            own(
                "/sys/fs/cgroup/cpu,cpuacct",
                "/sys/fs/cgroup/cpu,cpuacct/one",
                "tasks"
            )
        );
        let mounts = "30 25 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(
            Own::find("0::/user.slice/a.service\n", mounts),
            own(
                "/sys/fs/cgroup",
                "/sys/fs/cgroup/user.slice/a.service",
                "cgroup.procs"
            )
        );
        // Elsewhere in the hierarchy than what is mounted; nothing at all.
        assert_eq!(Own::find("4:cpu:/other\n", V1), None);
        assert_eq!(Own::find("", V1), None);
        assert_eq!(Own::find("0::/x\n", "rubbish\n - \n"), None);
    }

    #[test]
    fn above_the_topmost_quota_that_was_used_up() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("a/b/c");
        std::fs::create_dir_all(&dir).unwrap();
        let own = Own {
            top: top.path().to_owned(),
            dir: dir.clone(),
            file: "tasks",
        };
        let above = || -> Vec<PathBuf> { own.above_the_quota().map(Path::to_owned).collect() };
        let stat = |of: &str, count: u32| {
            let text = format!("nr_periods 9\nnr_throttled {count}\nthrottled_time 1\n");
            std::fs::write(top.path().join(of).join("cpu.stat"), text).unwrap();
        };
        assert!(above().is_empty());
        stat("a/b/c", 0);
        assert!(above().is_empty());
        stat("a/b/c", 3);
        let of = |path: &str| top.path().join(path);
        assert_eq!(above(), [of("a/b"), of("a"), top.path().to_owned()]);
        stat("a", 1);
        assert_eq!(above(), [top.path().to_owned()]);
        std::fs::write(top.path().join("cpu.stat"), "nr_throttled 1\n").unwrap();
        assert!(above().is_empty(), "nothing is above");
    }
}
