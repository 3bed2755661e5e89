//! What strace saw of a command, held against what a reader may do.

use std::collections::HashMap;

/// What was found in a trace.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// How many calls there were.
    pub(crate) calls: usize,
    /// What a reader does not do.
    pub(crate) faults: Vec<String>,
    /// The descriptors that lead to files of processes, with their names.
    open: HashMap<String, String>,
    /// The pidfds, with their processes.
    pidfds: HashMap<String, String>,
    /// The command itself.
    own: String,
    /// The process that is read.
    target: String,
}

/// Calls that touch another process, its descriptors, or whoever runs in it.
const NEVER: &[&str] = &[
    "ptrace",
    "process_vm_writev",
    "pidfd_getfd",
    "perf_event_open",
    "bpf",
    "tgkill",
    "tkill",
    "kill",
    "pidfd_send_signal",
    "process_mrelease",
    "sched_setaffinity",
    "setpriority",
    "prlimit64",
    "migrate_pages",
    "move_pages",
    "userfaultfd",
    "setns",
    "mount",
    "umount2",
];

impl Trace {
    /// From the text of `strace -f`, of a command that reads this process.
    pub(crate) fn of(text: &str, target: &str) -> Trace {
        let mut trace = Trace {
            target: target.to_owned(),
            ..Trace::default()
        };
        // A call that another thread's cut in two.
        let mut begun: HashMap<String, String> = HashMap::new();
        for line in text.lines() {
            let (task, rest) = line.split_once(' ').unwrap_or(("", line));
            let rest = rest.trim_start();
            if trace.own.is_empty() {
                task.clone_into(&mut trace.own);
            }
            if let Some(head) = rest.strip_suffix(" <unfinished ...>") {
                begun.insert(task.to_owned(), head.to_owned());
                continue;
            }
            let whole = match rest.split_once(" resumed>") {
                Some((_, tail)) if rest.starts_with("<... ") => {
                    format!("{}{tail}", begun.remove(task).unwrap_or_default())
                }
                _ => rest.to_owned(),
            };
            trace.take(&whole);
        }
        for name in trace.open.values() {
            trace.faults.push(format!("left open at the end: {name}"));
        }
        trace
    }

    fn take(&mut self, call: &str) {
        let Some((name, args)) = call.split_once('(') else {
            return;
        };
        if !name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        {
            return;
        }
        self.calls += 1;
        let result = args.rsplit_once(" = ").map_or("", |(_, result)| result);
        let fault = match name {
            "open" | "openat" | "openat2" | "creat" => return self.opened(call, args, result),
            "close" => {
                let fd = args.split(')').next().unwrap_or_default();
                self.open.remove(fd);
                self.pidfds.remove(fd);
                false
            }
            "pidfd_open" => {
                let pid = args.split([',', ')']).next().unwrap_or_default();
                self.pidfds.insert(number(result), pid.to_owned());
                false
            }
            "close_range" => {
                self.open.clear();
                false
            }
            // Its own limits may be asked for and raised.
            "prlimit64" => !args.starts_with("0,"),
            // An empty list asks whether it would be allowed, and does nothing.
            "process_madvise" => {
                let fd = args.split(',').next().unwrap_or_default();
                let nothing = args.contains(", NULL, 0,") || args.contains(", [], 0,");
                !nothing && self.pidfds.get(fd) != Some(&self.own)
            }
            // Of the processes that a listing meets, those with a carrier's name are told from others by it: another
            // command may be at work on some process.
            "kcmp" => args.split(',').take(2).any(|pid| pid.trim() == self.target),
            name => NEVER.contains(&name),
        };
        if fault {
            self.faults.push(call.to_owned());
        }
    }

    fn opened(&mut self, call: &str, args: &str, result: &str) {
        let path = args.split('"').nth(1).unwrap_or_default();
        let own = path.starts_with("/proc/self/") || path.starts_with("/proc/thread-self/");
        let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"]
            .iter()
            .any(|flag| args.contains(flag));
        let system = ["/proc/", "/sys/", "/dev/"]
            .iter()
            .any(|dir| path.starts_with(dir));
        if writes && system && !own && !matches!(path, "/dev/null" | "/dev/tty") {
            self.faults.push(call.to_owned());
        }
        let of_a_process = path
            .strip_prefix("/proc/")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let number = number(result);
        if of_a_process && !number.starts_with('-') {
            self.open.insert(number, path.to_owned());
        }
    }
}

/// The number that a call returned.
fn number(result: &str) -> String {
    let number = result
        .split(|c: char| !c.is_ascii_digit() && c != '-')
        .next();
    number.unwrap_or_default().to_owned()
}

#[test]
fn traces_are_understood() {
    let text = r#"7 openat(AT_FDCWD, "/proc/5/maps", O_RDONLY|O_CLOEXEC) = 3
7 process_madvise(4, NULL, 0, MADV_COLD, 0) = 0
7 process_madvise(4, [{iov_base=0x1, iov_len=1}], 1, MADV_COLD, 0) = 1
8 ptrace(PTRACE_SEIZE, 5, NULL, 0 <unfinished ...>
7 close(3) = 0
8 <... ptrace resumed>) = 0
7 pidfd_open(7, 0) = 4<anon_inode:[pidfd]>
7 process_madvise(4, [{iov_base=0x1, iov_len=1}], 1, MADV_COLD, 0) = -1 ENOMEM (Cannot allocate memory)
7 close(4) = 0
7 openat(AT_FDCWD, "/proc/5/clear_refs", O_WRONLY|O_CLOEXEC) = 3
7 openat(AT_FDCWD, "/proc/5/status", O_RDONLY) = -1 ENOENT (No such file or directory)
7 prlimit64(0, RLIMIT_NOFILE, NULL, {rlim_cur=1}) = 0
7 kcmp(12, 13, KCMP_VM, 0, 0) = 0
7 kcmp(12, 5, KCMP_VM, 0, 0) = 1
7 +++ exited with 0 +++
"#;
    let trace = Trace::of(text, "5");
    assert_eq!(trace.calls, 13);
    let found = |part: &str| {
        trace
            .faults
            .iter()
            .filter(|fault| fault.contains(part))
            .count()
    };
    assert_eq!((found("ptrace"), found("process_madvise")), (1, 1));
    assert_eq!((found("clear_refs"), found("left open")), (2, 1));
    assert_eq!(found("kcmp"), 1);
    assert_eq!(trace.faults.len(), 5, "{trace:?}");
}
