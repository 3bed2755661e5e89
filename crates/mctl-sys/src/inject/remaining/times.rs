//! When a thread's wait ends, and whether it is still the same wait. Runs in the shield: no allocation.

use std::os::fd::OwnedFd;

use crate::inject::files::path_of;
use crate::procfs::timer_list::{Scan, Sleeper};
use crate::time::monotonic_ns;

/// The timers that may be the thread's: their moments, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Armed {
    ends: [u64; MOST],
    len: usize,
    wait: Wait,
}

/// How long a wait is, and how exact the kernel has to be about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) ns: u64,
    /// By one of so many parts it may be late.
    parts: u64,
}

impl Wait {
    /// Of a task with this nice value.
    pub(super) fn of(ns: u64, nice: i32) -> Wait {
        let parts = if nice > 0 { 200 } else { 1000 };
        Wait { ns, parts }
    }
}

/// More sleepers that look alike are not told apart.
const MOST: usize = 32;
/// A list that is longer costs the host too much, and us.
const MOST_BYTES: usize = 4 << 20;

/// What is allowed to lie between the moment at which a wait is entered and the one at which the kernel computes how
/// exact it has to be: it is a thousandth of it in the end.
const PAUSE_NS: u64 = 4_000_000;
/// The kernel allows long waits to be so late and no later (`MAX_SLACK`, fs/select.c).
const MOST_SLACK_NS: u64 = 100_000_000;

impl Armed {
    /// The timers of such waits that end neither within `soon` nor later than one that begins now.
    /// `None`: there is none, there are too many, or the list cannot be read.
    pub(super) fn of(wait: Wait, soon: u64) -> Option<Armed> {
        let mut armed = Armed {
            ends: [0; MOST],
            len: 0,
            wait,
        };
        let mut too_many = false;
        let begun = monotonic_ns();
        list(|sleeper| {
            let ends = sleeper.soft > begun.saturating_add(soon)
                && sleeper.soft <= monotonic_ns().saturating_add(wait.ns);
            if !ends || !has_the_slack(sleeper, wait) {
                return;
            }
            match armed.ends.get_mut(armed.len) {
                Some(slot) => {
                    *slot = sleeper.soft;
                    armed.len += 1;
                }
                None => too_many = true,
            }
        })?;
        (armed.len > 0 && !too_many).then_some(armed)
    }

    /// The one that is gone by now: its moment. Where several are, the last: a wait must not end early.
    pub(super) fn gone(&self) -> Option<u64> {
        let mut there = [false; MOST];
        list(|sleeper| {
            if !has_the_slack(sleeper, self.wait) {
                return;
            }
            for (there, end) in there.iter_mut().zip(self.ends).take(self.len) {
                *there |= end == sleeper.soft;
            }
        })?;
        let ends = self.ends.iter().zip(there).take(self.len);
        ends.filter(|(_, there)| !there).map(|(end, _)| *end).max()
    }
}

/// Whether the kernel would give such a wait this much room to be late (`__estimate_accuracy()`, fs/select.c).
fn has_the_slack(sleeper: Sleeper, wait: Wait) -> bool {
    let slack = sleeper.hard.saturating_sub(sleeper.soft);
    let most = (wait.ns / wait.parts).min(MOST_SLACK_NS);
    // The kernel divides seconds and nanoseconds apart.
    let least = (wait.ns.saturating_sub(PAUSE_NS) / wait.parts).min(MOST_SLACK_NS);
    (least.saturating_sub(1)..=most).contains(&slack)
}

/// Reads the list once. `None` where it cannot be, is too long, or is not of our clock: in a time namespace the
/// kernel's is another.
fn list(mut see: impl FnMut(Sleeper)) -> Option<()> {
    let file = open("/proc/timer_list")?;
    let mut scan = Scan::new();
    let mut buffer = [0u8; 16 * 1024];
    let (begun, mut total) = (monotonic_ns(), 0usize);
    loop {
        let len = rustix::io::read(&file, &mut buffer).ok()?;
        if len == 0 {
            break;
        }
        total += len;
        if total > MOST_BYTES {
            return None;
        }
        scan.feed(buffer.get(..len)?, &mut see);
    }
    (begun..=monotonic_ns())
        .contains(&scan.now()?)
        .then_some(())
}

fn open(path: &str) -> Option<OwnedFd> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(path, flags, rustix::fs::Mode::empty()).ok()
}

const LINE: &[u8] = b"\nvoluntary_ctxt_switches:\t";

/// How often a thread has gone to sleep, or was stopped, so far.
pub(super) fn switches(tid: i32) -> Option<u64> {
    let mut path = [0u8; 40];
    let file = open(path_of(tid, "status", &mut path)?)?;
    // The line is one of the last; the one of supplementary groups may be longer than any buffer.
    let mut buffer = [0u8; 4096];
    let mut kept = 0;
    loop {
        let len = rustix::io::read(&file, buffer.get_mut(kept..)?).ok()?;
        let text = buffer.get(..kept + len)?;
        if len == 0 {
            return number_in(text);
        }
        let keep = text.len().min(buffer.len() / 2);
        let from = text.len() - keep;
        buffer.copy_within(from..from + keep, 0);
        kept = keep;
    }
}

fn number_in(text: &[u8]) -> Option<u64> {
    let at = text.windows(LINE.len()).position(|part| part == LINE)?;
    let digits = text.get(at + LINE.len()..)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_kernels_room_for_lateness() {
        let of = |soft: u64, slack: u64| Sleeper {
            soft,
            hard: soft + slack,
        };
        let second = 1_000_000_000;
        for (timeout, slack, wanted) in [
            (second, 1_000_000, true),
            (second, 999_990, true),
            (second, 990_000, false),
            (second, 50_000, false),
            (second, 5_000_000, false),
            (1000 * second, 100_000_000, true),
            (1000 * second, 50_000, false),
            (2 * second, 1_000_000, false),
        ] {
            assert_eq!(
                has_the_slack(of(7, slack), Wait::of(timeout, 0)),
                wanted,
                "{timeout} {slack}"
            );
        }
        assert!(has_the_slack(of(7, 5_000_000), Wait::of(second, 10)));
        assert!(!has_the_slack(of(7, 1_000_000), Wait::of(second, 10)));
    }

    #[test]
    fn a_sleeper_is_counted_and_its_end_is_found() {
        if open("/proc/timer_list").is_none() || !std::path::Path::new("/usr/bin/python3").exists()
        {
            mctl_testkit::skip!("needs /proc/timer_list (root) and python3");
        }
        if !cfg!(target_arch = "x86_64") {
            mctl_testkit::skip!("epoll_wait is a call of x86-64");
        }
        // A timeout that nobody else has.
        let ms = 77_123 + i32::try_from(std::process::id() % 1000).unwrap();
        let timeout = u64::try_from(ms).unwrap() * 1_000_000;
        let nice = std::fs::read("/proc/self/stat").unwrap();
        let nice = crate::procfs::stat::Stat::parse(&nice).unwrap().nice;
        let mut child = std::process::Command::new("/usr/bin/python3")
            .args([
                "-c",
                &format!("import select; select.epoll().poll({ms} / 1000)"),
            ])
            .spawn()
            .unwrap();
        let tid = i32::try_from(child.id()).unwrap();
        let begun = std::time::Instant::now();
        let armed = loop {
            // Before it sleeps there, only others' that look like it are found.
            let asleep = crate::inject::call_of(tid, tid).is_some_and(|call| call.number == 232);
            if let Some(armed) = Armed::of(Wait::of(timeout, nice), 0).filter(|_| asleep) {
                break armed;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "no such timer");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(armed.gone(), None);
        let asleep = switches(tid).unwrap();
        assert_eq!(switches(tid), Some(asleep), "it sleeps");
        child.kill().unwrap();
        child.wait().unwrap();
        let left = armed.gone().unwrap() - monotonic_ns();
        assert!(left < timeout && left > timeout - 61_000_000_000, "{left}");
    }

    #[test]
    fn of_nobody() {
        assert_eq!(switches(-1), None);
        assert_eq!(number_in(b"x\nvoluntary_ctxt_switches:\t12\n"), Some(12));
        assert_eq!(number_in(b"x\nnonvoluntary_ctxt_switches:\t12\n"), None);
        assert_eq!(number_in(b"x\nvoluntary_ctxt_switches:\t12"), None, "cut");
    }
}
