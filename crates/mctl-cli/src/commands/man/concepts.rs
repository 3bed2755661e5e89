//! mctl(7): what the pages of the commands take for known.

use super::sections::escape;

/// A heading and its paragraphs; of a pair the first is the word that is explained.
type Section = (&'static str, &'static [(&'static str, &'static str)]);

const SECTIONS: &[Section] = &[
    (
        "DESCRIPTION",
        &[
            (
                "",
                "A policy is a property of a whole address space: of every mapping that it has now and every one that it gets later. mctl sets, clears and shows policies of processes that run already, of their descendants, of the members of a cgroup, and of a program about to start.",
            ),
            (
                "",
                "It works on the kernel that there is. Where the kernel has no call for it, a thread of the process makes the calls that set it (prctl(2), madvise(2)): it is stopped for a moment at which the process cannot tell. If there is no such moment, the process is left alone, and the command says so (EBUSY).",
            ),
        ],
    ),
    (
        "GUARANTEES",
        &[
            (
                "",
                "How surely a policy holds is said for four things: the mappings that there are (now), the ones to come (future), children (fork) and programs that the process executes (exec).",
            ),
            ("enforced", "The kernel itself sees to it."),
            (
                "exceeds",
                "It reaches further than was asked: it survives exec too.",
            ),
            (
                "not-covered",
                "It does not hold. --strict refuses to do anything then.",
            ),
            (
                "",
                "'mctl probe' shows the table for this kernel, with the reasons.",
            ),
        ],
    ),
    (
        "WHO MAY",
        &[
            (
                "",
                "Whoever may debug a process may set its policy (the rule of ptrace(2)): your own processes, or those of others with CAP_SYS_PTRACE. Yama (kernel.yama.ptrace_scope) can narrow that. --admin asks for CAP_SYS_ADMIN instead, as the system call mctl(2) does.",
            ),
            (
                "",
                "Reading needs less, and leaves the process alone: /proc is read, nothing is stopped. Only get --exact asks the process itself.",
            ),
        ],
    ),
    (
        "NAMING PROCESSES",
        &[
            (
                "PID",
                "A process number. The process is held by a pidfd from then on: what is done is done to it, or to none.",
            ),
            (
                "PID:INODE",
                "The inode of the pidfd as well (Linux 6.9; 'mctl get -o PROCESS'). It is never used again, unlike the number: if the process has ended, that is an error and not another process.",
            ),
            (
                "--tree",
                "With all descendants, also those that are forked meanwhile.",
            ),
            (
                "--cgroup PATH",
                "All members of a cgroup and of those below it.",
            ),
        ],
    ),
    (
        "COVERAGE",
        &[(
            "",
            "The part of the anonymous and shared memory that is in huge pages, in per cent. mctl-get(1) lists the reasons for the rest, and what would change each.",
        )],
    ),
    (
        "DRY RUNS",
        &[(
            "",
            "--dry-run makes every check of the real call and touches nothing. It shows the calls that would be made, or fails as the real call would.",
        )],
    ),
];

/// The page.
pub(super) fn page(date: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(
        ".TH MCTL 7 {date} \"mctl {version}\" \"Miscellaneous\"\n.SH NAME\nmctl \\- memory policy for whole processes\n"
    );
    for (heading, paragraphs) in SECTIONS {
        text.push_str(&format!(".SH \"{heading}\"\n"));
        for (at, (word, about)) in paragraphs.iter().enumerate() {
            let about = escape(about);
            text.push_str(&match (*word, at) {
                ("", 0) => format!("{about}\n"),
                ("", _) => format!(".PP\n{about}\n"),
                (word, _) => format!(".TP\n\\fB{}\\fR\n{about}\n", escape(word)),
            });
        }
    }
    text.push_str(
        ".SH \"SEE ALSO\"\n\\fBmctl\\fR(1),\n\\fBmctl\\-get\\fR(1),\n\\fBmctl\\-set\\fR(1),\n\\fBmctl\\-probe\\fR(1),\n\\fBprctl\\fR(2),\n\\fBmadvise\\fR(2),\n\\fBpidfd_open\\fR(2)\n",
    );
    text
}
