//! The memory cgroups of a target, from its own to the top that can be seen: v1, v2, and both at
//! once.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use mctl_abi::Errno;
use mctl_sys::procfs::cgroup::lines;
use mctl_sys::procfs::mountinfo::{MountLines, unescape};

use super::room::Level;
use crate::error::{Error, Result};
use crate::see::coverage::through_a_thread;
use crate::target::{Target, read_all};

/// Which of the two interfaces a directory has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// A cgroup's directory, with the mount that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) version: Version,
    mount: PathBuf,
    dir: PathBuf,
}

impl Place {
    /// From its own directory up to the mount point.
    fn up(&self) -> impl Iterator<Item = &Path> {
        self.dir
            .ancestors()
            .take_while(|dir| dir.starts_with(&self.mount))
    }

    /// The path below the mount, for people.
    fn name(&self, dir: &Path) -> String {
        let below = dir.strip_prefix(&self.mount).unwrap_or(dir);
        format!("/{}", below.to_string_lossy())
    }
}

/// Where the memory of a target is accounted. Several where v1 and v2 are both mounted: only one has
/// the files.
pub(super) fn places(target: &Target) -> Result<Vec<Place>> {
    let text = through_a_thread(target, |prefix| {
        let text = read_all(target, &format!("{prefix}cgroup"))?;
        Ok::<_, Error>((!text.is_empty()).then_some(text))
    });
    // A kernel without cgroups has no such file.
    let text = match text {
        Ok(text) => text,
        Err(Error::Read {
            errno: Errno::ENOENT,
            ..
        }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let path = "/proc/self/mountinfo";
    let mounts = std::fs::read(path).map_err(|error| Error::read(path, &error))?;
    Ok(find(&text, &mounts))
}

/// Pure: from `/proc/PID/cgroup` and our own mountinfo to directories.
pub(super) fn find(cgroups: &[u8], mounts: &[u8]) -> Vec<Place> {
    let mut found = Vec::new();
    for line in lines(cgroups).flatten() {
        let version = if line.is_v2() {
            Version::V2
        } else if line
            .controllers
            .split(|b| *b == b',')
            .any(|c| c == b"memory")
        {
            Version::V1
        } else {
            continue;
        };
        // Of several mounts the one that shows most of what is above.
        let place = MountLines::new(mounts)
            .flatten()
            .filter(|mount| match version {
                Version::V2 => mount.fs_type == b"cgroup2",
                Version::V1 => {
                    mount.fs_type == b"cgroup"
                        && mount
                            .super_options
                            .split(|b| *b == b',')
                            .any(|o| o == b"memory")
                }
            })
            .filter_map(|mount| {
                let root = unescape(mount.root).into_owned();
                let below = below(line.path, &root)?;
                let point = PathBuf::from(OsStr::from_bytes(&unescape(mount.mount_point)));
                Some((root.len(), point, below))
            })
            .min_by_key(|(root, _, _)| *root);
        if let Some((_, mount, below)) = place {
            let dir = mount.join(OsStr::from_bytes(below));
            found.push(Place {
                version,
                mount,
                dir,
            });
        }
    }
    found
}

/// A path relative to the root of a mount; `None`: outside of what is mounted.
fn below<'p>(path: &'p [u8], root: &[u8]) -> Option<&'p [u8]> {
    let root = root.strip_suffix(b"/").unwrap_or(root);
    let rest = path.strip_prefix(root)?;
    let outside = path.split(|b| *b == b'/').any(|part| part == b"..");
    let rest = match rest.split_first() {
        None => rest,
        Some((b'/', rest)) => rest,
        Some(_) => return None,
    };
    (!outside).then_some(rest)
}

fn read(dir: &Path, file: &str) -> Option<String> {
    std::fs::read_to_string(dir.join(file)).ok()
}

/// A number, or `None` for `max` and where there is no such file.
fn number(dir: &Path, file: &str) -> Option<u64> {
    read(dir, file)?.trim().parse().ok()
}

/// A value of a file of `KEY VALUE` lines.
fn keyed(dir: &Path, file: &str, key: &str) -> Option<u64> {
    read(dir, file)?.lines().find_map(|line| {
        line.strip_prefix(key)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

/// v1 has no word for "no limit": it is the largest number of whole pages.
const UNLIMITED: u64 = 1 << 62;

/// The cgroups of a target that limit its memory, its own first.
pub(super) fn limits(places: &[Place]) -> Vec<Level> {
    let mut levels = Vec::new();
    for place in places {
        for (nth, dir) in place.up().enumerate() {
            let (limit, used, files) = match place.version {
                Version::V2 => (
                    [number(dir, "memory.max"), number(dir, "memory.high")]
                        .into_iter()
                        .flatten()
                        .min(),
                    number(dir, "memory.current"),
                    "inactive_file",
                ),
                Version::V1 => (
                    v1_limit(dir, nth == 0),
                    number(dir, "memory.usage_in_bytes"),
                    "total_inactive_file",
                ),
            };
            let (Some(limit), Some(used)) = (limit, used) else {
                continue;
            };
            let files = keyed(dir, "memory.stat", files).unwrap_or(0);
            let available = limit.saturating_sub(used.saturating_sub(files));
            levels.push(Level::new(Some(place.name(dir)), limit, available));
        }
    }
    levels
}

/// The limit of a v1 cgroup. Its own says also what those above have that cannot be seen from here.
fn v1_limit(dir: &Path, own: bool) -> Option<u64> {
    let above = own.then(|| keyed(dir, "memory.stat", "hierarchical_memory_limit"));
    [number(dir, "memory.limit_in_bytes"), above.flatten()]
        .into_iter()
        .flatten()
        .min()
        .filter(|limit| *limit < UNLIMITED)
}

/// How much swap the cgroups of a target leave it; `None`: they do not limit it. (In v1 a page that
/// goes to swap stays charged, so no limit keeps it from going.)
pub(super) fn swap_left(target: &Target) -> Result<Option<(u64, String)>> {
    let mut least: Option<(u64, String)> = None;
    for place in places(target)? {
        if place.version != Version::V2 {
            continue;
        }
        for dir in place.up() {
            let Some(max) = number(dir, "memory.swap.max") else {
                continue;
            };
            let left = max.saturating_sub(number(dir, "memory.swap.current").unwrap_or(0));
            if least.as_ref().is_none_or(|(least, _)| left < *least) {
                least = Some((left, place.name(dir)));
            }
        }
    }
    Ok(least)
}

/// How often the kernel killed for want of memory, in the target's cgroup and on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OomKills {
    cgroup: Option<(Place, u64)>,
    host: Option<u64>,
}

impl OomKills {
    /// Reads the counters.
    pub(super) fn of(places: &[Place]) -> OomKills {
        OomKills {
            cgroup: places
                .iter()
                .find_map(|place| Some((place.clone(), cgroup_kills(place)?))),
            host: host_kills(),
        }
    }

    /// Whether one of them rose since.
    pub(super) fn rose(&self) -> bool {
        self.cgroup_rose() || host_kills() > self.host
    }

    fn cgroup_rose(&self) -> bool {
        self.cgroup
            .as_ref()
            .is_some_and(|(place, kills)| cgroup_kills(place).is_some_and(|now| now > *kills))
    }

    /// In words, who had no memory left.
    pub(super) fn whose(&self) -> String {
        match &self.cgroup {
            Some((place, _)) if self.cgroup_rose() => {
                format!("its memory cgroup {}", place.name(&place.dir))
            }
            _ => "the host, or a cgroup that cannot be seen".to_owned(),
        }
    }
}

fn cgroup_kills(place: &Place) -> Option<u64> {
    let file = match place.version {
        Version::V1 => "memory.oom_control",
        Version::V2 => "memory.events",
    };
    keyed(&place.dir, file, "oom_kill")
}

fn host_kills() -> Option<u64> {
    keyed(Path::new("/proc"), "vmstat", "oom_kill")
}
