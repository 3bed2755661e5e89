//! Whether a process sits in a frozen cgroup. Asked only once it did not answer: a frozen target
//! costs a bounded wait, all others nothing.

use super::files::read_small;

/// Reads the process's cgroups, version 2 and the freezer of version 1. `false` also where the
/// hierarchy cannot be seen from here.
pub(super) fn is_frozen(pid: i32) -> bool {
    let Ok(groups) = std::fs::read_to_string(format!("/proc/{pid}/cgroup")) else {
        return false;
    };
    let Ok(mounts) = std::fs::read_to_string("/proc/self/mountinfo") else {
        return false;
    };
    groups.lines().any(|line| {
        let mut fields = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            return false;
        };
        if id == "0" {
            mount_point(&mounts, |fstype, _| fstype == "cgroup2").is_some_and(|root| {
                file_says(&format!("{root}{path}/cgroup.events"), "frozen 1")
                    || wanted_frozen(root, path)
            })
        } else if controllers.split(',').any(|name| name == "freezer") {
            let freezer = |fstype: &str, options: &str| {
                fstype == "cgroup" && options.split(',').any(|name| name == "freezer")
            };
            mount_point(&mounts, freezer).is_some_and(|root| {
                file_says(&format!("{root}{path}/freezer.state"), "FROZEN")
                    || file_says(&format!("{root}{path}/freezer.state"), "FREEZING")
            })
        } else {
            false
        }
    })
}

/// Whether a cgroup or one above it is to be frozen. The event alone is not enough: a thread that a
/// tracer has just let go is on its way back into the freezer, and meanwhile the group counts as
/// thawed.
fn wanted_frozen(root: &str, path: &str) -> bool {
    above(path).any(|dir| file_says(&format!("{root}{dir}/cgroup.freeze"), "1"))
}

/// A path and those above it: `/a/b`, `/a`, and the root as the empty one.
fn above(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path.trim_end_matches('/')), |dir| {
        dir.rfind('/').and_then(|end| dir.get(..end))
    })
}

fn file_says(path: &str, wanted: &str) -> bool {
    let mut buffer = [0u8; 256];
    read_small(path, &mut buffer)
        .ok()
        .and_then(|text| std::str::from_utf8(text).ok())
        .is_some_and(|text| text.lines().any(|line| line.trim() == wanted))
}

/// The mount point of the first file system whose type and super options suit.
fn mount_point(mountinfo: &str, suits: impl Fn(&str, &str) -> bool) -> Option<&str> {
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let (fstype, options) = (right.next()?, right.nth(1).unwrap_or(""));
        suits(fstype, options)
            .then(|| left.split(' ').nth(4))
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points() {
        let text = "30 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n\
                    31 25 0:27 / /sys/fs/cgroup/freezer rw shared:3 - cgroup cgroup rw,freezer\n";
        let v2 = mount_point(text, |fstype, _| fstype == "cgroup2");
        assert_eq!(v2, Some("/sys/fs/cgroup"));
        let v1 = mount_point(text, |fstype, options| {
            fstype == "cgroup" && options == "rw,freezer"
        });
        assert_eq!(v1, Some("/sys/fs/cgroup/freezer"));
        assert_eq!(mount_point("garbage", |_, _| true), None);
    }

    #[test]
    fn every_group_above_counts() {
        let of = |path: &'static str| above(path).collect::<Vec<_>>();
        assert_eq!(of("/a/b.slice"), ["/a/b.slice", "/a", ""]);
        assert_eq!(of("/"), [""]);
        assert_eq!(of(""), [""]);
        assert_eq!(of("no-slash"), ["no-slash"]);
    }

    #[test]
    fn we_are_not_frozen() {
        assert!(!is_frozen(i32::try_from(std::process::id()).unwrap()));
        assert!(!is_frozen(-1));
    }
}
