//! A memory cgroup of a test's own, below the one that the test is in.

use std::fs;
use std::path::{Path, PathBuf};

/// A memory cgroup with a limit. It is removed when dropped, after its processes have left.
#[derive(Debug)]
pub struct MemoryCgroup {
    dir: PathBuf,
    parent: PathBuf,
}

impl MemoryCgroup {
    /// Makes one, of either version.
    ///
    /// # Errors
    /// Why there can be none here: no such controller, or no permission.
    pub fn with_limit(name: &str, bytes: u64) -> Result<MemoryCgroup, String> {
        let parent = own().ok_or("the memory controller is not mounted where it can be seen")?;
        let dir = parent.join(format!("mctl-test-{name}-{}", std::process::id()));
        fs::create_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let cgroup = MemoryCgroup { dir, parent };
        let written = ["memory.limit_in_bytes", "memory.max"]
            .iter()
            .any(|file| fs::write(cgroup.dir.join(file), bytes.to_string()).is_ok());
        if !written {
            return Err(format!(
                "no memory limit can be set in {}",
                cgroup.dir.display()
            ));
        }
        Ok(cgroup)
    }

    /// Its name, the last part of its path.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.dir.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Moves a process that the test started into it.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn take(&self, pid: i32) -> Result<(), String> {
        let file = self.dir.join("cgroup.procs");
        fs::write(&file, pid.to_string()).map_err(|error| format!("{}: {error}", file.display()))
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        let procs = fs::read_to_string(self.dir.join("cgroup.procs")).unwrap_or_default();
        for pid in procs.lines() {
            let _ = fs::write(self.parent.join("cgroup.procs"), pid);
        }
        // A process that was killed may not have left entirely yet.
        for _ in 0..200 {
            if fs::remove_dir(&self.dir).is_ok() || !self.dir.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// The directory of our own memory cgroup.
fn own() -> Option<PathBuf> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = |wanted: &dyn Fn(&str) -> bool| {
        cgroups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            wanted(controllers).then_some(path.trim_start_matches('/'))
        })
    };
    let mounted = |kind: &str, option: Option<&str>| {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        mounts.lines().find_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let (point, fs_type, options) = (words.get(1)?, words.get(2)?, words.get(3)?);
            let has = option.is_none_or(|wanted| options.split(',').any(|o| o == wanted));
            (*fs_type == kind && has).then(|| PathBuf::from(point))
        })
    };
    let v1 = path(&|controllers| controllers.split(',').any(|c| c == "memory"));
    let dir = match v1 {
        Some(below) => mounted("cgroup", Some("memory"))?.join(below),
        None => mounted("cgroup2", None)?.join(path(&str::is_empty)?),
    };
    Path::new(&dir).is_dir().then_some(dir)
}
