//! Making a machine out of a bare kernel and the host's files.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use mctl_guest_init::{Machine, PLAN_FILE, Plan, SHARE};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_bind, mount_move};
use rustix::system::{RebootCommand, finit_module, reboot};

/// Where the host's files are before they become `/`.
const NEW: &str = "/newroot";
/// How a 9P file system is mounted. Nothing changes under us, so the guest may cache as it likes.
const HOST: &CStr = c"trans=virtio,version=9p2000.L,msize=512000,cache=loose";
const SHARED: &CStr = c"trans=virtio,version=9p2000.L,msize=512000,cache=none";

fn on(
    target: &str,
    source: &str,
    kind: &str,
    flags: MountFlags,
    data: Option<&CStr>,
) -> Result<(), String> {
    mount(source, target, kind, flags, data)
        .map_err(|e| format!("mounting {kind} on {target}: {e}"))
}

/// Enough to speak: `/dev` and `/proc`.
pub(crate) fn basics() -> Result<(), String> {
    for dir in ["/dev", "/proc", "/sys", "/run", NEW] {
        let _ = fs::create_dir_all(dir);
    }
    on("/dev", "dev", "devtmpfs", MountFlags::empty(), None)?;
    on("/proc", "proc", "proc", MountFlags::empty(), None)?;
    on("/sys", "sys", "sysfs", MountFlags::empty(), None)
}

/// Loads the modules of the folder in the order of their names.
pub(crate) fn modules(dir: &Path) -> Result<(), String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(());
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        let file = File::open(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        match finit_module(&file, c"", 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(format!("loading {}: {e}", path.display())),
        }
    }
    Ok(())
}

/// Mounts the shared folder and reads the list of jobs from it.
pub(crate) fn share() -> Result<Vec<u8>, String> {
    on("/run", "run", "tmpfs", MountFlags::empty(), None)?;
    fs::create_dir_all(SHARE).map_err(|e| format!("{SHARE}: {e}"))?;
    on(SHARE, "share", "9p", MountFlags::empty(), Some(SHARED))?;
    let path = Path::new(SHARE).join(PLAN_FILE);
    fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))
}

/// Makes the host's files the root, with file systems of the guest's own over them.
pub(crate) fn host_files(plan: &Plan) -> Result<(), String> {
    on(NEW, "host", "9p", MountFlags::RDONLY, Some(HOST))?;
    let keep: Vec<(PathBuf, File)> = plan
        .keep
        .iter()
        .map(|dir| {
            let path = Path::new(NEW).join(dir.strip_prefix("/").unwrap_or(dir));
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::open(&path, flags, Mode::empty());
            let fd = fd.map_err(|e| format!("{}: {e}", path.display()))?;
            Ok((path, File::from(fd)))
        })
        .collect::<Result<_, String>>()?;
    let tmp = format!("{NEW}/tmp");
    // Without a disk the files in /tmp are shmem; a few tests tell the two apart.
    if on(&tmp, "/dev/vda", "ext4", MountFlags::empty(), None).is_err() {
        let size = c"mode=1777,size=60%";
        on(&tmp, "tmp", "tmpfs", MountFlags::empty(), Some(size))?;
    }
    let _ = rustix::fs::chmod(&tmp, Mode::from_raw_mode(0o1777));
    // On the disk as well: there a swap file can be.
    let stage = format!("{tmp}/.var-tmp");
    fs::create_dir_all(&stage).map_err(|e| format!("{stage}: {e}"))?;
    let _ = rustix::fs::chmod(&stage, Mode::from_raw_mode(0o1777));
    mount_bind(&stage, format!("{NEW}/var/tmp")).map_err(|e| format!("/var/tmp: {e}"))?;
    for (path, fd) in keep {
        if !path.exists() {
            fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        let source = format!("/proc/self/fd/{}", fd.as_raw_fd());
        mount_bind(&source, &path).map_err(|e| format!("keeping {}: {e}", path.display()))?;
    }
    for (number, dir) in plan.copy.iter().enumerate() {
        let path = Path::new(NEW).join(dir.strip_prefix("/").unwrap_or(dir));
        copied(&path, number, plan.machine.user)
            .map_err(|e| format!("copying {}: {e}", path.display()))?;
    }
    for dir in ["/dev", "/proc", "/sys", "/run"] {
        mount_move(dir, format!("{NEW}{dir}")).map_err(|e| format!("moving {dir}: {e}"))?;
    }
    // Not chroot alone: a process in a chroot may not make user namespaces.
    let step = |e: Errno| format!("switching to the host's files: {e}");
    rustix::process::chdir(NEW).map_err(step)?;
    mount_move(".", "/").map_err(step)?;
    rustix::process::chroot(".").map_err(step)?;
    rustix::process::chdir("/").map_err(step)
}

/// Puts a copy on the disk over a folder. Not in memory: programs that run from there would have shmem
/// among their mappings, and tests count it.
fn copied(dir: &Path, number: usize, user: Option<u32>) -> Result<(), String> {
    let words = |e: std::io::Error| e.to_string();
    let stage = PathBuf::from(format!("{NEW}/tmp/.copy-{number}"));
    fs::create_dir_all(&stage).map_err(words)?;
    for entry in fs::read_dir(dir).map_err(words)? {
        let entry = entry.map_err(words)?;
        if entry.file_type().map_err(words)?.is_file() {
            let copy = stage.join(entry.file_name());
            fs::copy(entry.path(), &copy).map_err(words)?;
            std::os::unix::fs::chown(&copy, user, user).map_err(words)?;
        }
    }
    std::os::unix::fs::chown(&stage, user, user).map_err(words)?;
    mount_bind(&stage, dir).map_err(|e| e.to_string())
}

/// What a test may want and can do without; says what is not there.
pub(crate) fn comforts() -> Vec<String> {
    let mut missing = Vec::new();
    for (dir, kind, data) in [
        ("/dev/shm", "tmpfs", Some(c"mode=1777")),
        ("/dev/pts", "devpts", Some(c"mode=620,ptmxmode=666")),
        ("/dev/mqueue", "mqueue", None),
        ("/sys/fs/cgroup", "cgroup2", None),
        ("/sys/kernel/debug", "debugfs", None),
    ] {
        let _ = fs::create_dir_all(dir);
        missing.extend(on(dir, kind, kind, MountFlags::empty(), data).err());
    }
    let controllers = fs::OpenOptions::new()
        .write(true)
        .open("/sys/fs/cgroup/cgroup.subtree_control")
        .and_then(|mut f| f.write_all(b"+memory +pids"));
    missing.extend(
        controllers
            .err()
            .map(|e| format!("cgroup controllers: {e}")),
    );
    // Tests map gigabytes that they never touch.
    let overcommit = fs::write("/proc/sys/vm/overcommit_memory", "1");
    missing.extend(overcommit.err().map(|e| format!("overcommit: {e}")));
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status();
    if !up.is_ok_and(|status| status.success()) {
        missing.push("the loopback interface stays down".to_owned());
    }
    let _ = rustix::system::sethostname(b"mctl-guest");
    missing
}

/// Sets the machine up as the plan says. A knob that stays otherwise is an error: the run would show something
/// else than its name says.
pub(crate) fn arrange(machine: &Machine) -> Result<(), String> {
    for (path, value) in &machine.write {
        fs::write(path, value).map_err(|e| format!("writing {value} to {path}: {e}"))?;
        let now = fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
        if crate::knobs::chosen(&now) != value {
            return Err(format!(
                "{path} says {} after {value} was written",
                now.trim()
            ));
        }
    }
    if machine.swap > 0 {
        swap(machine.swap)?;
    }
    Ok(())
}

/// So many MiB of swap, in a file on the disk: written, since a file with holes takes no pages.
fn swap(mib: u32) -> Result<(), String> {
    let path = "/tmp/.swap";
    let words = |e: std::io::Error| format!("{path}: {e}");
    let mut file = File::create(path).map_err(words)?;
    let block = vec![0; 1 << 20];
    for _ in 0..mib {
        file.write_all(&block).map_err(words)?;
    }
    file.sync_all().map_err(words)?;
    rustix::fs::chmod(path, Mode::from_raw_mode(0o600)).map_err(|e| format!("{path}: {e}"))?;
    for program in ["mkswap", "swapon"] {
        let ended = Command::new(program)
            .arg(path)
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .output()
            .map_err(|e| format!("{program}: {e}"))?;
        if !ended.status.success() {
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            return Err(format!("{program} {path}: {}", said.trim()));
        }
    }
    Ok(())
}

/// The end. Where the machine cannot be powered off, restarting it ends QEMU too (`-no-reboot`).
pub(crate) fn power_off() -> ! {
    rustix::fs::sync();
    let _ = reboot(RebootCommand::PowerOff);
    let _ = reboot(RebootCommand::Restart);
    // The first process must not end.
    loop {
        std::thread::park();
    }
}
