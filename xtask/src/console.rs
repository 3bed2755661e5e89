//! What a kernel complains of on its console.

/// A line that should not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) line: String,
    /// An emulated machine on a busy host stands still at times; that is said, and is no failure.
    pub(crate) only_slow: bool,
}

const BAD: [&str; 14] = [
    "BUG: ",
    "WARNING: ",
    "Kernel panic",
    "Oops: ",
    "general protection fault",
    "KASAN: ",
    "KCSAN: ",
    "UBSAN: ",
    "INFO: task ",
    "INFO: lockdep",
    "INFO: possible recursive locking",
    "INFO: trying to register",
    "Bad page state",
    "Bad rss-counter state",
];
const SLOW: [&str; 4] = [
    "soft lockup",
    "rcu_preempt detected",
    "rcu_sched detected",
    "INFO: rcu",
];

/// Whether a line of the console is a complaint.
pub(crate) fn trouble(line: &str) -> Option<Trouble> {
    // The kernel's lines carry a time; what programs print does not count.
    let text = line.trim_start();
    let message = text.strip_prefix('[').and_then(|l| l.split_once("] "));
    let (_, message) = message?;
    let only_slow = SLOW.iter().any(|word| message.contains(word));
    (only_slow || BAD.iter().any(|word| message.contains(word))).then(|| Trouble {
        line: message.to_owned(),
        only_slow,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_from_chatter() {
        let bad = [
            "[    1.5] WARNING: CPU: 0 PID: 1 at mm/x.c:1 f+0x1/0x2",
            "[    1.5] BUG: KASAN: slab-use-after-free in f",
            "[   61.0] INFO: task x:12 blocked for more than 60 seconds.",
            "[    2.0] Kernel panic - not syncing: Attempted to kill init!",
        ];
        for line in bad {
            assert!(trouble(line).is_some_and(|t| !t.only_slow), "{line}");
        }
        let slow = [
            "[   99.0] watchdog: BUG: soft lockup - CPU#1 stuck for 23s!",
            "[   99.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        ];
        for line in slow {
            assert!(trouble(line).is_some_and(|t| t.only_slow), "{line}");
        }
        for line in [
            "[    0.1] Linux version 6.12",
            "WARNING: said by a program",
            "",
        ] {
            assert_eq!(trouble(line), None, "{line}");
        }
    }
}
