//! Which processes of the host, where none was named.

use std::ffi::{OsStr, OsString};

use clap::Args;
use mctl::{Errno, Error, ProcessSpec, Target};

use crate::fail::{Fail, plain};
use crate::report;

/// The arguments that choose among processes.
#[derive(Args, Debug)]
pub(super) struct Select {
    /// Take every process that can be seen here
    #[arg(long, help_heading = "Which processes", conflicts_with_all = ["words", "pid", "cgroup", "tree"])]
    all: bool,
    /// Only processes of this user: a name of /etc/passwd, or a number
    #[arg(long, value_name = "USER", help_heading = "Which processes")]
    user: Option<OsString>,
    /// Only processes whose command name matches this shell pattern
    #[arg(long, value_name = "GLOB", help_heading = "Which processes")]
    name: Option<String>,
}

/// What was asked for, understood.
#[derive(Debug)]
pub(super) struct Filter {
    user: Option<u32>,
    name: Option<glob::Pattern>,
}

impl Select {
    pub(super) fn filter(&self) -> Result<Filter, Fail> {
        let name = self.name.as_deref().map(|text| {
            glob::Pattern::new(text)
                .map_err(|error| Fail::usage(format!("--name {}: {error}", report::shown(text))))
        });
        Ok(Filter {
            user: self.user.as_deref().map(user).transpose()?,
            name: name.transpose()?,
        })
    }

    /// Every process that the filter lets through; without a filter those of the caller.
    pub(super) fn list(&self, filter: &Filter) -> Result<Listed, Fail> {
        let own = self.user.is_none() && self.name.is_none() && !self.all;
        let filter = Filter {
            user: match filter.user {
                None if own => Some(rustix::process::geteuid().as_raw()),
                user => user,
            },
            name: filter.name.clone(),
        };
        list(&filter)
    }
}

/// The processes that were found, and those that could not be opened.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) targets: Vec<Target>,
    pub(super) failed: Vec<(i32, Error)>,
}

impl Filter {
    fn is_open(&self) -> bool {
        self.user.is_none() && self.name.is_none()
    }

    /// Leaves those that it lets through.
    pub(super) fn retain(&self, targets: &mut Vec<Target>) {
        if !self.is_open() {
            targets.retain(|target| Status::read(target.pid()).is_some_and(|it| self.takes(&it)));
        }
    }

    fn takes(&self, status: &Status) -> bool {
        self.user.is_none_or(|user| status.user == user)
            && (self.name.as_ref()).is_none_or(|name| name.matches(&status.name))
    }
}

/// Ourselves are left out: our memory is that of the question. So are kernel threads, and what has ended and was not
/// waited for: neither has memory.
fn list(filter: &Filter) -> Result<Listed, Fail> {
    let unread = |error: std::io::Error| Fail::failed(format!("/proc: {}", plain(&error)));
    let mut listed = Listed::default();
    let ourselves = std::process::id().to_string();
    let mut numbers: Vec<i32> = Vec::new();
    for entry in std::fs::read_dir("/proc").map_err(unread)? {
        let name = entry.map_err(unread)?.file_name();
        let number = name.to_str().filter(|name| *name != ourselves);
        numbers.extend(number.and_then(|name| name.parse::<i32>().ok()));
    }
    numbers.sort_unstable();
    for pid in numbers {
        let wanted = Status::read(pid).is_some_and(|it| it.has_memory && filter.takes(&it));
        let Ok(spec) = pid.to_string().parse::<ProcessSpec>() else {
            continue;
        };
        if !wanted {
            continue;
        }
        match Target::open(spec) {
            // The number may be another process's by now.
            Ok(target) if Status::read(pid).is_some_and(|it| filter.takes(&it)) => {
                listed.targets.push(target);
            }
            Ok(_) => {}
            Err(error) if error.errno() == Errno::ESRCH => {}
            Err(error) => listed.failed.push((pid, error)),
        }
    }
    Ok(listed)
}

/// What is chosen by.
struct Status {
    name: String,
    /// The real user.
    user: u32,
    has_memory: bool,
}

impl Status {
    /// `None` where it has ended, or is hidden.
    fn read(pid: i32) -> Option<Status> {
        let text = std::fs::read(format!("/proc/{pid}/status")).ok()?;
        Status::parse(&String::from_utf8_lossy(&text))
    }

    fn parse(text: &str) -> Option<Status> {
        let of = |key: &str| {
            let mut lines = text.lines();
            lines.find_map(|line| line.strip_prefix(key)).map(str::trim)
        };
        let zombie = of("State:")?.starts_with('Z') && of("Threads:") == Some("1");
        // A process whose first thread has exited shows no sizes, and is no kernel thread.
        let kernel_thread = of("Kthread:") == Some("1")
            || (of("VmSize:").is_none() && !of("State:")?.starts_with('Z'));
        Some(Status {
            name: of("Name:")?.to_owned(),
            user: of("Uid:")?.split_whitespace().next()?.parse().ok()?,
            has_memory: !zombie && !kernel_thread,
        })
    }
}

/// A user's number.
fn user(word: &OsStr) -> Result<u32, Fail> {
    let text = word.to_string_lossy();
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let users = std::fs::read("/etc/passwd")
        .map_err(|error| Fail::failed(format!("/etc/passwd: {}", plain(&error))))?;
    let users = String::from_utf8_lossy(&users);
    let found = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(&*text)).then(|| fields.nth(1)?.parse().ok())?
    });
    found.ok_or_else(|| Fail::Usage {
        why: format!("'{}' is no user of /etc/passwd", report::shown(word)),
        hint: Some("give the user's number".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLEEP: &str =
        "Name:\tsleep\nState:\tS (sleeping)\nUid:\t7\t8\t8\t8\nVmSize:\t  9 kB\nThreads:\t1\n";

    #[test]
    fn status() {
        let parse = |text: &str| Status::parse(text).unwrap();
        let it = parse(SLEEP);
        assert_eq!(
            (it.name.as_str(), it.user, it.has_memory),
            ("sleep", 7, true)
        );
        let first_exited = "Name:\tx\nState:\tZ (zombie)\nUid:\t0\t0\t0\t0\nThreads:\t3\n";
        assert!(parse(first_exited).has_memory);
        assert!(!parse(&first_exited.replace("\t3", "\t1")).has_memory);
        let kernel_thread =
            "Name:\tkthreadd\nState:\tS (sleeping)\nUid:\t0\t0\t0\t0\nThreads:\t1\n";
        assert!(!parse(kernel_thread).has_memory);
        assert!(Status::parse("Name:\tx\n").is_none());
    }

    #[test]
    fn both_conditions() {
        let it = Status::parse(SLEEP).unwrap();
        for (user, name, takes) in [
            (None, None, true),
            (Some(7), Some("sl*"), true),
            (Some(8), Some("sl*"), false),
            (Some(7), Some("sl"), false),
        ] {
            let name = name.map(|name| glob::Pattern::new(name).unwrap());
            assert_eq!(Filter { user, name }.takes(&it), takes);
        }
    }

    #[test]
    fn users() {
        assert_eq!(user(OsStr::new("12")).unwrap(), 12);
        assert_eq!(user(OsStr::new("root")).unwrap(), 0);
        assert!(user(OsStr::new("no such user")).is_err());
    }
}
