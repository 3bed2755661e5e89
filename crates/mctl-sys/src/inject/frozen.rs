//! Whether a process sits in a frozen cgroup. Asked only once it did not answer: a frozen target
//! costs a bounded wait, all others nothing.

use super::pick::read_small;

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
            mount_point(&mounts, |fstype, _| fstype == "cgroup2")
                .is_some_and(|root| file_says(&format!("{root}{path}/cgroup.events"), "frozen 1"))
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
    fn we_are_not_frozen() {
        assert!(!is_frozen(i32::try_from(std::process::id()).unwrap()));
        assert!(!is_frozen(-1));
    }
}
