//! From the words that name a cgroup to its directory.
//!
//! A person types a directory of the cgroup file system, a path of cgroup v2, or a line as
//! `/proc/PID/cgroup` prints it: `0::/user.slice`, `4:memory:/foo`, `1:name=systemd:/init.scope`. Such a path
//! begins at the root of the caller's cgroup namespace, and a mount need not show all of the hierarchy: its
//! own root is in mountinfo, begun at the same place, and either may begin with `/..`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use mctl_abi::Errno;
use mctl_sys::procfs::cgroup::CgroupLine;
use mctl_sys::procfs::mountinfo::{MountLine, MountLines, unescape};

use crate::error::{Error, Result};

/// `CGROUP2_SUPER_MAGIC` and `CGROUP_SUPER_MAGIC` (linux/magic.h).
const VERSION_2: u64 = 0x6367_7270;
const VERSION_1: u64 = 0x0027_e0eb;

fn is_of(dir: &Path, magics: &[u64]) -> bool {
    rustix::fs::statfs(dir)
        .is_ok_and(|fs| u64::try_from(fs.f_type).is_ok_and(|magic| magics.contains(&magic)))
}

fn is_cgroup_dir(dir: &Path) -> bool {
    is_of(dir, &[VERSION_1, VERSION_2]) && dir.is_dir()
}

pub(super) fn is_version_1(dir: &Path) -> bool {
    is_of(dir, &[VERSION_1])
}

/// The directory of a cgroup.
///
/// # Errors
/// `ENOENT` there is none of that name here; `EINVAL` the words name none.
pub(crate) fn cgroup_dir(path: &Path) -> Result<PathBuf> {
    if is_cgroup_dir(path) {
        return Ok(path.to_path_buf());
    }
    let mounts = std::fs::read("/proc/self/mountinfo")
        .map_err(|error| Error::read("/proc/self/mountinfo", &error))?;
    let named = Named::parse(path)?;
    let shown = named.shown_by(&mounts);
    if let Some(dir) = shown.iter().find(|dir| is_cgroup_dir(dir)) {
        return Ok(dir.clone());
    }
    let why = if path.exists() && !named.is_line {
        "an ordinary file or directory, of no cgroup file system, and no cgroup has that path"
            .to_owned()
    } else if shown.is_empty() {
        format!("no mount here shows {}", named.where_to_look())
    } else {
        format!("no such cgroup in {}", named.where_to_look())
    };
    Err(Error::Read {
        what: format!("cgroup {}", crate::printable(path.as_os_str().as_bytes())),
        why,
        errno: Errno::ENOENT,
    })
}

/// A cgroup as it was named.
#[derive(Debug, PartialEq, Eq)]
struct Named<'p> {
    /// Written as in /proc/PID/cgroup.
    is_line: bool,
    /// The controllers of a hierarchy of version 1, or `name=…`; empty is cgroup v2.
    controllers: &'p [u8],
    /// From the root of the namespace.
    path: &'p Path,
}

impl<'p> Named<'p> {
    fn parse(path: &'p Path) -> Result<Named<'p>> {
        let bytes = path.as_os_str().as_bytes();
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let invalid = |why: &str| Error::Invalid {
            why: format!("cgroup '{}': {why}", crate::printable(bytes)),
        };
        if let Ok(line) = CgroupLine::parse(bytes) {
            let v1 = line.hierarchy != 0 && !line.controllers.is_empty();
            if !(v1 || line.is_v2()) || !line.path.starts_with(b"/") {
                return Err(invalid("not a line as /proc/PID/cgroup prints it"));
            }
            return Ok(Named {
                is_line: true,
                controllers: line.controllers,
                path: Path::new(OsStr::from_bytes(line.path)),
            });
        }
        let path = Path::new(OsStr::from_bytes(bytes));
        // Neither the current directory nor the root directory is the whole machine.
        let names_one = path
            .components()
            .any(|part| matches!(part, Component::Normal(_)));
        if !names_one {
            return Err(invalid(
                "no directory of a cgroup file system; the root cgroup is named 0::/",
            ));
        }
        Ok(Named {
            is_line: false,
            controllers: b"",
            path,
        })
    }

    fn where_to_look(&self) -> String {
        if self.controllers.is_empty() {
            let lines = if self.is_line {
                ""
            } else {
                " (a cgroup of version 1 is named by its line in /proc/PID/cgroup, such as 4:memory:/foo)"
            };
            return format!("cgroup v2{lines}");
        }
        let controllers = String::from_utf8_lossy(self.controllers);
        format!("the cgroup hierarchy {controllers}")
    }

    /// The directories that the mounts show it at.
    fn shown_by(&self, mounts: &[u8]) -> Vec<PathBuf> {
        MountLines::new(mounts)
            .flatten()
            .filter(|mount| self.is_of(mount))
            .filter_map(|mount| {
                let root = unescape(mount.root);
                let rest = below(Path::new(OsStr::from_bytes(&root)), self.path)?;
                let point = unescape(mount.mount_point);
                Some(Path::new(OsStr::from_bytes(&point)).join(rest))
            })
            .collect()
    }

    /// Whether a mount is of its hierarchy.
    fn is_of(&self, mount: &MountLine<'_>) -> bool {
        if self.controllers.is_empty() {
            return mount.fs_type == b"cgroup2";
        }
        let has = |wanted: &[u8]| {
            let mut options = mount.super_options.split(|byte| *byte == b',');
            options.any(|option| option == wanted)
        };
        mount.fs_type == b"cgroup" && self.controllers.split(|byte| *byte == b',').all(has)
    }
}

/// What is left of a path below a root, both begun at the root of the namespace. `None`: it is not below
/// it. What is left never leads up again.
fn below(root: &Path, path: &Path) -> Option<PathBuf> {
    let plain = |path: &Path| -> Vec<Vec<u8>> {
        path.components()
            .filter(|part| !matches!(part, Component::RootDir | Component::CurDir))
            .map(|part| part.as_os_str().as_bytes().to_vec())
            .collect()
    };
    let (root, path) = (plain(root), plain(path));
    let rest = path.strip_prefix(root.as_slice())?;
    if rest.iter().any(|part| part == b"..") {
        return None;
    }
    Some(rest.iter().map(|part| OsStr::from_bytes(part)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] = b"\
30 23 0:26 / /sys/fs/cgroup rw shared:9 - tmpfs tmpfs rw\n\
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
34 30 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
35 30 0:28 /box /mnt/with\\040space rw - cgroup cgroup rw,memory\n\
36 30 0:27 /../.. /mnt/outer rw - cgroup2 cgroup2 rw\n";

    fn shown(words: &str) -> Vec<String> {
        let named = Named::parse(Path::new(words)).unwrap();
        let dirs = named.shown_by(HYBRID);
        dirs.iter().map(|dir| dir.display().to_string()).collect()
    }

    #[test]
    fn lines_of_proc_pid_cgroup() {
        assert_eq!(shown("0::/a/b"), ["/sys/fs/cgroup/unified/a/b"]);
        assert_eq!(shown("0::/"), ["/sys/fs/cgroup/unified/"]);
        assert_eq!(shown("4:memory:/foo"), ["/sys/fs/cgroup/memory/foo"]);
        assert_eq!(
            shown("3:cpu,cpuacct:/x:y"),
            ["/sys/fs/cgroup/cpu,cpuacct/x:y"]
        );
        assert_eq!(
            shown("1:name=systemd:/init.scope\n"),
            ["/sys/fs/cgroup/systemd/init.scope"]
        );
        assert!(shown("9:pids:/foo").is_empty());
    }

    #[test]
    fn mounts_of_a_part_and_of_what_is_above_the_namespace() {
        let both = ["/sys/fs/cgroup/memory/box/x", "/mnt/with space/x"];
        assert_eq!(shown("4:memory:/box/x"), both);
        assert_eq!(shown("0::/../../x"), ["/mnt/outer/x"]);
        // Above that mount too, and beside it.
        assert!(shown("0::/../../../x").is_empty());
        assert!(shown("0::/../x").is_empty());
        assert!(shown("4:memory:/../x").is_empty());
        assert!(shown("4:memory:/box/../../x").is_empty());
    }

    #[test]
    fn paths_of_cgroup_v2() {
        assert_eq!(shown("/user.slice"), ["/sys/fs/cgroup/unified/user.slice"]);
        assert_eq!(
            shown("user.slice/a"),
            ["/sys/fs/cgroup/unified/user.slice/a"]
        );
    }

    #[test]
    fn what_names_no_cgroup() {
        for words in [
            "", ".", "..", "/", "//", "/./", "./", "../..", "/..", "0:x:/", "4::/a", "0::a", "0::",
        ] {
            let error = Named::parse(Path::new(words)).map(|_| ()).unwrap_err();
            assert_eq!(error.errno(), Errno::EINVAL, "{words:?}");
        }
        for path in ["/tmp", "/no/such", "../../..", "/proc", ".", "src"] {
            assert!(cgroup_dir(Path::new(path)).is_err(), "{path}");
        }
    }
}
