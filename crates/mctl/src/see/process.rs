//! Small facts about a process, for a line in a table.

use std::time::Duration;

use mctl_abi::Errno;
use mctl_sys::procfs::stat::Stat;
use mctl_sys::procfs::status::Status;
use serde::{Serialize, Serializer};

use crate::error::{Error, Result};
use crate::see::coverage::{Bytes, through_a_thread};
use crate::target::{ProcessSpec, Target, printable, read_all};

/// What a person wants to see of a process beside its policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessFacts {
    /// The process number and, where the kernel has them (Linux 6.9), the inode that makes it
    /// unmistakable. In JSON `PID:INODE`.
    #[serde(serialize_with = "as_text")]
    pub process: ProcessSpec,
    /// The command name, fit for a terminal.
    pub name: String,
    /// The real user id.
    pub uid: u32,
    /// The parent's process number; 0 if it is outside our PID namespace.
    pub parent: i32,
    /// How many threads it has, exited ones that nobody has waited for not counted, but its first
    /// one always.
    pub threads: u64,
    /// The state of its first thread: `R` running, `S` sleeping, `D` uninterruptible, `T` stopped,
    /// `t` traced, `Z` exited …
    pub state: char,
    /// Whether it is a kernel thread, which has no memory of its own.
    pub kernel_thread: bool,
    /// What is present of its memory; `None` without memory of its own.
    pub rss: Option<Bytes>,
    /// The anonymous part of it. Since Linux 4.5.
    pub rss_anon: Option<Bytes>,
    /// What it has mapped, populated or not.
    pub size: Option<Bytes>,
    /// What it has on swap.
    pub swap: Option<Bytes>,
    /// When it started, from the system's boot on, as finely as a clock tick (10 ms as a rule).
    #[serde(rename = "started-ms", serialize_with = "as_milliseconds")]
    pub started: Duration,
}

impl ProcessFacts {
    /// Reads `status` and `stat` of a process, each once; where its first thread has exited and
    /// others run, also another thread's `status`.
    ///
    /// The sizes come from the kernel's counters, which may be some pages behind.
    ///
    /// ```
    /// use mctl::{Target, process::ProcessFacts};
    ///
    /// let own = ProcessFacts::read(&Target::own()?)?;
    /// assert!(own.threads >= 1 && own.rss.is_some() && !own.kernel_thread);
    /// # Ok::<(), mctl::Error>(())
    /// ```
    ///
    /// # Errors
    /// `ESRCH` it ended.
    pub fn read(target: &Target) -> Result<ProcessFacts> {
        let stat_text = read_all(target, "stat")?;
        let status_text = read_all(target, "status")?;
        let stat = Stat::parse(&stat_text).map_err(|e| unexpected(target, "stat", &e))?;
        let status = Status::parse(&status_text).map_err(|e| unexpected(target, "status", &e))?;
        let missing = |what: &'static str| unexpected(target, "status", &format!("no {what}"));
        let kernel_thread = stat.is_kernel_thread();
        let mut facts = ProcessFacts {
            process: target.spec(),
            name: printable(stat.comm),
            uid: status.uid.ok_or_else(|| missing("Uid"))?.real,
            parent: i32::try_from(stat.ppid).unwrap_or(0),
            threads: u64::from(stat.num_threads),
            state: char::from(stat.state),
            kernel_thread,
            rss: None,
            rss_anon: None,
            size: None,
            swap: None,
            started: from_ticks(stat.starttime),
        };
        facts.take_sizes(&status);
        if facts.size.is_none() && !kernel_thread {
            // The first thread has exited. Another one shows the memory, unless it goes too.
            let found = through_a_thread(target, |prefix| match prefix {
                "" => Ok(None),
                prefix => read_all(target, &format!("{prefix}status")).map(Some),
            });
            if let Ok(text) = found {
                let status = Status::parse(&text).map_err(|e| unexpected(target, "status", &e))?;
                facts.take_sizes(&status);
            }
        }
        Ok(facts)
    }

    fn take_sizes(&mut self, status: &Status<'_>) {
        self.rss = status.vm_rss.map(Bytes::from_kb);
        self.rss_anon = status.rss_anon.map(Bytes::from_kb);
        self.size = status.vm_size.map(Bytes::from_kb);
        self.swap = status.vm_swap.map(Bytes::from_kb);
    }
}

/// For how many pages a process has had to wait until now: `majflt` of proc_pid_stat(5), the tenth field after the
/// command's name. `None`: it has ended, or the kernel does not tell.
#[must_use]
pub fn major_faults(target: &Target) -> Option<u64> {
    let text = read_all(target, "stat").ok()?;
    let text = String::from_utf8_lossy(&text);
    let (_, after_name) = text.rsplit_once(") ")?;
    after_name.split(' ').nth(9)?.parse().ok()
}

fn unexpected(target: &Target, file: &str, why: &impl ToString) -> Error {
    Error::Read {
        what: format!("/proc/{}/{file}", target.pid()),
        why: why.to_string(),
        errno: Errno::EIO,
    }
}

fn from_ticks(ticks: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let seconds = Duration::from_secs(ticks / per_second);
    let nanos = (ticks % per_second).saturating_mul(1_000_000_000) / per_second;
    seconds.saturating_add(Duration::from_nanos(nanos))
}

fn as_text<S: Serializer>(spec: &ProcessSpec, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(spec)
}

fn as_milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ourselves() {
        let own = Target::own().unwrap();
        let facts = ProcessFacts::read(&own).unwrap();
        assert_eq!(facts.process, own.spec());
        assert_eq!(facts.uid, rustix::process::getuid().as_raw());
        assert_eq!(facts.name, own.name());
        assert!(facts.rss <= facts.size && facts.rss_anon <= facts.rss);
        assert!(facts.started > Duration::ZERO);
        let json = serde_json::to_value(&facts).unwrap();
        assert_eq!(json["process"], own.spec().to_string());
        assert!(json["started-ms"].is_u64() && json["rss"].is_u64());
    }

    #[test]
    fn ticks() {
        let second = rustix::param::clock_ticks_per_second();
        assert_eq!(from_ticks(second * 3), Duration::from_secs(3));
        assert!(from_ticks(second / 2) < Duration::from_secs(1));
        assert!(from_ticks(u64::MAX) > Duration::from_secs(1 << 40));
    }
}
