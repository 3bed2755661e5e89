//! What a kernel complains of on its console.

use crate::kcsan;

/// A line that should not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) line: String,
    /// An emulated machine on a busy host stands still at times; that is said, and is no failure.
    pub(crate) only_slow: bool,
}

const BAD: [&str; 18] = [
    "BUG: ",
    "WARNING: ",
    "Kernel panic",
    "kernel BUG at ",
    "Oops: ",
    "general protection fault",
    "KASAN: ",
    "KCSAN: ",
    "UBSAN: ",
    "possible circular locking",
    "INFO: task ",
    "INFO: lockdep",
    "INFO: possible recursive locking",
    "INFO: trying to register",
    "page dumped because",
    "list_del corruption",
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
    let message = message(line)?;
    let only_slow = SLOW.iter().any(|word| message.contains(word));
    (only_slow || BAD.iter().any(|word| message.contains(word))).then(|| Trouble {
        line: message.to_owned(),
        only_slow,
    })
}

/// What a line says, if it is the kernel's: those carry a time; what programs print does not count.
fn message(line: &str) -> Option<&str> {
    let text = line.trim_start();
    let (_, message) = text.strip_prefix('[')?.split_once("] ")?;
    Some(message)
}

/// Reads a console as it comes.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// The functions that the series touches.
    ours: Vec<String>,
    /// A KCSAN report that has begun.
    report: Option<Vec<String>>,
    pub(crate) troubles: Vec<Trouble>,
    /// Data races in code that is not ours.
    pub(crate) others: Vec<String>,
}

/// No report has so many lines; its end was lost then.
const LONGEST: usize = 120;

impl Watch {
    pub(crate) fn new(ours: &[String]) -> Self {
        Self {
            ours: ours.to_vec(),
            ..Self::default()
        }
    }

    pub(crate) fn line(&mut self, line: &str) {
        let Some(text) = message(line) else {
            return;
        };
        if text.starts_with(kcsan::TITLE) {
            self.end();
            self.report = Some(vec![text.to_owned()]);
            return;
        }
        if let Some(report) = &mut self.report {
            report.push(text.to_owned());
            if kcsan::is_last(text) || report.len() > LONGEST {
                self.end();
                return;
            }
        }
        self.troubles.extend(trouble(line));
    }

    /// The console, or a report, has come to its end.
    pub(crate) fn end(&mut self) {
        let Some(report) = self.report.take() else {
            return;
        };
        match kcsan::judge(&report, &self.ours) {
            kcsan::Whose::Ours(why) => self.troubles.push(Trouble {
                line: why,
                only_slow: false,
            }),
            kcsan::Whose::Others(title) => self.others.push(title),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_from_chatter() {
        let bad = [
            "[    1.5] WARNING: CPU: 0 PID: 1 at mm/x.c:1 f+0x1/0x2",
            "[    1.5] BUG: KASAN: slab-use-after-free in f",
            "[    1.5][  T12] BUG: KASAN: slab-use-after-free in f",
            "[    1.5] kernel BUG at mm/x.c:1!",
            "[    1.5] WARNING: possible circular locking dependency detected",
            "[    1.5] BUG: sleeping function called from invalid context at mm/x.c:1",
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

    #[test]
    fn a_console_is_judged_as_a_whole() {
        let bar = "=".repeat(66);
        let race = |a: &str, b: &str| {
            format!(
                "[    9.0] {bar}\n[    9.0] BUG: KCSAN: data-race in {a} / {b}\n[    9.0] \n\
                 [    9.0] write to 0xffff888003a0c0a0 of 4 bytes by task 71 on cpu 0:\n\
                 [    9.0]  {a}+0x12/0x40\n[    9.0]  do_syscall_64+0x5f/0x120\n[    9.0] \n\
                 [    9.0] read to 0xffff888003a0c0a0 of 4 bytes by task 72 on cpu 1:\n\
                 [    9.0]  {b}+0x34/0x80\n[    9.0] \n[    9.0] value changed: 0x0 -> 0x1\n\
                 [    9.0] Reported by Kernel Concurrency Sanitizer on:\n[    9.0] {bar}\n"
            )
        };
        let read = |text: &str| {
            let mut watch = Watch::new(&["exec_mmap".to_owned()]);
            text.lines().for_each(|line| watch.line(line));
            watch.end();
            watch
        };
        let calm = read("[    0.1] Linux version 6.12\nok 1 all at once\n");
        assert!(calm.troubles.is_empty() && calm.others.is_empty());

        let watch = read(&race("tick_sched", "tick_other"));
        assert_eq!(watch.others, ["tick_other / tick_sched"]);
        assert!(watch.troubles.is_empty());
        for (a, b) in [("mctl_change", "zap"), ("zap", "exec_mmap")] {
            let watch = read(&race(a, b));
            assert!(watch.others.is_empty());
            assert_eq!(watch.troubles.len(), 1, "{a} {b}");
        }
        // A report that does not end, and another kind of complaint in the midst of one.
        let torn = race("mctl_change", "zap");
        let torn = torn.split("value changed").next().unwrap();
        assert_eq!(read(torn).troubles.len(), 1);
        let splat = "[    9.0] WARNING: possible circular locking dependency detected\n";
        let both = format!("{torn}{splat}");
        assert_eq!(read(&both).troubles.len(), 2);
    }
}
