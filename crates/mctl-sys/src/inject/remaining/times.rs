//! When a thread's wait ends, and whether it is still the same wait. Runs in the shield: no allocation.

use std::os::fd::OwnedFd;

use crate::inject::files::path_of;
use crate::procfs::timer_list::{Scan, Sleeper};
use crate::time::monotonic_ns;

/// The timers that may be the thread's.
#[derive(Debug)]
pub(super) struct Armed {
    list: OwnedFd,
    all: [Sleeper; MOST],
    len: usize,
}

/// How long a wait is, and how exact the kernel has to be about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) ns: u64,
    /// By one of so many parts it may be late, and by no less than this.
    parts: u64,
    least: u64,
}

impl Wait {
    /// Of a task with this nice value and timer slack in nanoseconds.
    pub(super) fn of(ns: u64, nice: i32, least: u64) -> Wait {
        let parts = if nice > 0 { 200 } else { 1000 };
        Wait { ns, parts, least }
    }
}

/// More sleepers that look alike are not told apart.
const MOST: usize = 128;
/// A list that is longer costs the host too much, and us.
const MOST_BYTES: u64 = 4 << 20;

/// The kernel allows long waits to be so late and no later (`MAX_SLACK`, fs/select.c).
const MOST_SLACK_NS: u64 = 100_000_000;

impl Armed {
    /// The timers of such waits that end no later than one that begins now. `None`: there is none, one of them ends
    /// within `soon` nanoseconds and may be the thread's, there are too many, or the list cannot be read.
    pub(super) fn of(wait: Wait, soon: u64) -> Option<Armed> {
        let mut armed = Armed {
            list: open("/proc/timer_list")?,
            all: [Sleeper { soft: 0, hard: 0 }; MOST],
            len: 0,
        };
        let Armed { list, all, len } = &mut armed;
        let mut fits = true;
        // Twice: while it is made, the kernel lets go of its lock between two timers, and where an earlier one goes then,
        // the next is passed over.
        for _ in 0..2 {
            read(list, |sleeper| {
                let now = monotonic_ns();
                if sleeper.soft > now.saturating_add(wait.ns) || !has_the_slack(sleeper, wait) {
                    return;
                }
                fits &= sleeper.soft > now.saturating_add(soon);
                if all.iter().take(*len).any(|known| *known == sleeper) {
                    return;
                }
                match all.get_mut(*len) {
                    Some(slot) => {
                        *slot = sleeper;
                        *len += 1;
                    }
                    None => fits = false,
                }
            })?;
        }
        (armed.len > 0 && fits).then_some(armed)
    }

    /// The one that is gone by now: its moment. Where several are, they are looked for again; of what is left it is the
    /// one that looks most like it, and of equals the last: a wait must not end early.
    pub(super) fn gone(&self) -> Option<u64> {
        let mut there = [false; MOST];
        for _ in 0..3 {
            read(&self.list, |sleeper| {
                for (there, known) in there.iter_mut().zip(self.all).take(self.len) {
                    *there |= known == sleeper;
                }
            })?;
            let gone = there.iter().take(self.len).filter(|there| !**there);
            if gone.count() <= 1 {
                break;
            }
        }
        let gone = self.all.iter().zip(there).take(self.len);
        gone.filter(|(_, there)| !there)
            .map(|(known, _)| (known.hard.saturating_sub(known.soft), known.soft))
            .max()
            .map(|(_, soft)| soft)
    }
}

/// Whether the kernel would give such a wait this much room to be late (`__estimate_accuracy()`, fs/select.c). It takes
/// the part of what is left of the wait when it comes to that: on a busy machine the thread may have stood still
/// since it entered the call, so up to half of it may be gone.
fn has_the_slack(sleeper: Sleeper, wait: Wait) -> bool {
    let slack = sleeper.hard.saturating_sub(sleeper.soft);
    let of = |ns: u64| (ns / wait.parts).min(MOST_SLACK_NS).max(wait.least);
    (of(wait.ns / 2)..=of(wait.ns)).contains(&slack)
}

/// Reads the list once. `None` where it cannot be, is too long, or is not of our clock: in a time namespace the
/// kernel's is another.
fn read(list: &OwnedFd, mut see: impl FnMut(Sleeper)) -> Option<()> {
    let mut scan = Scan::new();
    let mut buffer = [0u8; 16 * 1024];
    let (begun, mut total) = (monotonic_ns(), 0u64);
    loop {
        let len = rustix::io::pread(list, &mut buffer, total).ok()?;
        if len == 0 {
            break;
        }
        total = total.saturating_add(len as u64);
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
            (second, 500_000, true),
            (second, 499_999, false),
            (second, 1_000_001, false),
            (second, 50_000, false),
            (second, 5_000_000, false),
            (1000 * second, 100_000_000, true),
            (1000 * second, 50_000, false),
            (2 * second + 2000, 1_000_000, false),
        ] {
            assert_eq!(
                has_the_slack(of(7, slack), Wait::of(timeout, 0, 50_000)),
                wanted,
                "{timeout} {slack}"
            );
        }
        let short = Wait::of(second / 40, 0, 50_000);
        assert!(has_the_slack(of(7, 50_000), short), "the task's own slack");
        assert!(!has_the_slack(of(7, 25_000), short));
        assert!(has_the_slack(
            of(7, 5_000_000),
            Wait::of(second, 10, 50_000)
        ));
        assert!(!has_the_slack(
            of(7, 1_000_000),
            Wait::of(second, 10, 50_000)
        ));
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
            if let Some(armed) = Armed::of(Wait::of(timeout, nice, 50_000), 0).filter(|_| asleep) {
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
