//! Rules that are no call's: of mctl itself, and of how it reaches another process.

use super::clauses::Clause;

/// A rule, and the commands that it holds for.
pub(super) struct Own {
    pub(super) commands: &'static [&'static str],
    pub(super) clause: Clause,
}

/// What brings memory in.
const BRINGING: &[&str] = &["lock", "advise", "collapse"];
/// What is done by a task of ours, in the process or beside it.
const REACHING: &[&str] = &[
    "set", "clear", "restore", "get", "advise", "pageout", "cold", "collapse", "split", "lock",
    "unlock",
];
/// What is done by a carrier.
const CARRYING: &[&str] = &[
    "clear", "restore", "advise", "pageout", "cold", "collapse", "lock", "unlock",
];
const ALL: &[&str] = &[
    "set", "clear", "restore", "get", "map", "advise", "pageout", "cold", "collapse", "split",
    "lock", "unlock",
];

/// Every one. The calls that the kernel does not make of its own have no page of section 2 here.
pub(super) const OWN: &[Own] = &[
    Own {
        commands: REACHING,
        clause: Clause {
            call: "ptrace",
            id: "access",
            errno: "EPERM",
            summary: "No access to the process",
            condition: "another user's process, one that is not dumpable or has more capabilities, or a security module forbids it, and !CAP_SYS_PTRACE",
            description: "This is the rule of mctl itself, unless --admin is given: whoever may debug a\nprocess may set its policy. On a kernel without mctl(2) --admin asks for\nCAP_SYS_ADMIN besides.",
        },
    },
    Own {
        commands: &["lock"],
        clause: Clause {
            call: "mctl(1)",
            id: "memlock",
            errno: "ENOMEM",
            summary: "Its own limit on locked memory",
            condition: "the process has more mapped than its RLIMIT_MEMLOCK, and has no CAP_IPC_LOCK",
            description: "Looked at before the process is touched; the limit and the capability of the\ncaller do not count. prlimit --memlock raises it.",
        },
    },
    Own {
        commands: BRINGING,
        clause: Clause {
            call: "mctl(1)",
            id: "room",
            errno: "ENOMEM",
            summary: "No room for what would come in",
            condition: "what has to come in > MemAvailable, or what is left in a memory cgroup of the process or above it, less a reserve of 5 % of each limit (1 GiB at most)",
            description: "Compared before the process is touched, and again between calls. The error names\nthe level that is too small, and --dry-run the figures. --max-growth SIZE bounds\nwhat comes in, and 'mctl lock --onfault' brings nothing in.",
        },
    },
    Own {
        commands: REACHING,
        clause: Clause {
            call: "clone",
            id: "tasks",
            errno: "EAGAIN",
            summary: "No further task",
            condition: "a cgroup of the caller, or one above it, has as many tasks as its pids.max allows, or the caller's user as many as RLIMIT_NPROC, or the host as many as kernel.threads-max",
            description: "A process is stopped by a short-lived task of its own, so that it is let go\nwhatever happens to mctl. The error says which limit it is.",
        },
    },
    Own {
        commands: CARRYING,
        clause: Clause {
            call: "clone",
            id: "tasks-of-the-process",
            errno: "EAGAIN",
            summary: "The process may have no further task",
            condition: "the same limits, for the process: long work is done by a carrier, a task that it bears",
            description: "The error says which limit it is. What is short, such as 'mctl set nohugepage',\nneeds no carrier.",
        },
    },
    Own {
        commands: ALL,
        clause: Clause {
            call: "open",
            id: "descriptors",
            errno: "EMFILE",
            summary: "Too few descriptors",
            condition: "fewer than 8 are left below RLIMIT_NOFILE when a process is held by its own",
            description: "Each process of a command is held by one, and looking at it takes some more. A\nlook that is cut short by the limit would find nothing, and mean something else.",
        },
    },
    Own {
        commands: CARRYING,
        clause: Clause {
            call: "mctl(1)",
            id: "call-limit",
            errno: "ETIMEDOUT",
            summary: "Its memory does not answer",
            condition: "a call on its memory did not return within 5 s, twice",
            description: "It waits for pages that nobody serves: userfaultfd(2), or a file system that\ndoes not answer. What was done before stays done.",
        },
    },
];
