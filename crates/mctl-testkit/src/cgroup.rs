//! Cgroups of a test's own, below the one that the test is in.

use std::fs;
use std::path::{Path, PathBuf};

/// A cgroup. It is removed when dropped, after its processes have left.
#[derive(Debug)]
struct Cgroup {
    dir: PathBuf,
    parent: PathBuf,
}

impl Cgroup {
    /// Makes one, of either version, below that of this controller.
    fn make(controller: &str, name: &str) -> Result<Cgroup, String> {
        let parent = own(controller).ok_or(format!(
            "the {controller} controller is not mounted where it can be seen"
        ))?;
        let dir = parent.join(format!("mctl-test-{name}-{}", std::process::id()));
        fs::create_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Cgroup { dir, parent })
    }

    fn take(&self, pid: i32) -> Result<(), String> {
        let file = self.dir.join("cgroup.procs");
        fs::write(&file, pid.to_string()).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// Writes one of its files.
    fn set(&self, file: &str, value: &str) -> bool {
        fs::write(self.dir.join(file), value).is_ok()
    }
}

impl Drop for Cgroup {
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

/// A memory cgroup with a limit. It is removed when dropped, after its processes have left.
#[derive(Debug)]
pub struct MemoryCgroup(Cgroup);

impl MemoryCgroup {
    /// Makes one, of either version.
    ///
    /// # Errors
    /// Why there can be none here: no such controller, or no permission.
    pub fn with_limit(name: &str, bytes: u64) -> Result<MemoryCgroup, String> {
        let cgroup = Cgroup::make("memory", name)?;
        let written = ["memory.limit_in_bytes", "memory.max"]
            .iter()
            .any(|file| cgroup.set(file, &bytes.to_string()));
        match written {
            true => Ok(MemoryCgroup(cgroup)),
            false => Err(format!(
                "no memory limit can be set in {}",
                cgroup.dir.display()
            )),
        }
    }

    /// Its name, the last part of its path.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.0.dir.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Moves a process that the test started into it.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn take(&self, pid: i32) -> Result<(), String> {
        self.0.take(pid)
    }
}

/// A cgroup whose processes get a processor for a part of the time only.
#[derive(Debug)]
pub struct CpuCgroup(Cgroup);

impl CpuCgroup {
    /// Makes one, of either version: so many microseconds of each 100,000.
    ///
    /// # Errors
    /// Why there can be none here: no such controller, or no permission.
    pub fn with_quota(name: &str, quota_us: u32) -> Result<CpuCgroup, String> {
        let cgroup = Cgroup::make("cpu", name)?;
        let v1 = cgroup.set("cpu.cfs_period_us", "100000")
            && cgroup.set("cpu.cfs_quota_us", &quota_us.to_string());
        match v1 || cgroup.set("cpu.max", &format!("{quota_us} 100000")) {
            true => Ok(CpuCgroup(cgroup)),
            false => Err(format!("no quota can be set in {}", cgroup.dir.display())),
        }
    }

    /// Lets its processes be real-time ones, for so many microseconds of each second. False: there is no such limit
    /// here, or none that can be changed.
    #[must_use]
    pub fn allow_real_time(&self, us: u32) -> bool {
        self.0.set("cpu.rt_runtime_us", &us.to_string())
    }

    /// Moves a process that the test started into it.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn take(&self, pid: i32) -> Result<(), String> {
        self.0.take(pid)
    }

    /// The file that a process writes 0 to, to go in.
    #[must_use]
    pub fn procs(&self) -> PathBuf {
        self.0.dir.join("cgroup.procs")
    }

    /// The processes that are in it.
    #[must_use]
    pub fn members(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.procs()).unwrap_or_default();
        text.lines().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// How often its processes had to wait for the next period.
    #[must_use]
    pub fn times_throttled(&self) -> u64 {
        let text = fs::read_to_string(self.0.dir.join("cpu.stat")).unwrap_or_default();
        let mut lines = text.lines();
        lines
            .find_map(|line| line.strip_prefix("nr_throttled "))
            .and_then(|count| count.parse().ok())
            .unwrap_or(0)
    }
}

/// The directory of our own cgroup of this controller.
fn own(controller: &str) -> Option<PathBuf> {
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
    let v1 = path(&|controllers| controllers.split(',').any(|c| c == controller));
    let dir = match v1 {
        Some(below) => mounted("cgroup", Some(controller))?.join(below),
        None => mounted("cgroup2", None)?.join(path(&str::is_empty)?),
    };
    Path::new(&dir).is_dir().then_some(dir)
}
