//! `mctl explain`: its answers are the specifications' own words.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use common::mctl;
use kapi::clause::{ClauseKind, clauses};
use kapi::diag::Source;
use kapi::front::kdoc;

/// The calls that commands make.
const CALLS: [&str; 11] = [
    "madvise",
    "mctl",
    "mctl_process_madvise",
    "mlockall",
    "munlockall",
    "pidfd_open",
    "prctl_get_memory_merge",
    "prctl_get_thp_disable",
    "prctl_set_memory_merge",
    "prctl_set_thp_disable",
    "process_madvise",
];

/// The table that is built in: so the command needs no parser, and starts as fast as ever.
fn table() -> String {
    let mut rows = Vec::new();
    for (name, text) in kapi::specs::ALL {
        for spec in kdoc::parse(&Source::new(name, text)).specs {
            if !CALLS.contains(&spec.call_name()) {
                continue;
            }
            for clause in clauses(&spec) {
                if clause.kind != ClauseKind::Error {
                    continue;
                }
                let error = &spec.errors[clause.index];
                let row = [
                    ("call", spec.call_name()),
                    ("id", &clause.id),
                    ("errno", &error.name),
                    ("summary", &error.summary),
                    ("condition", &error.condition),
                    ("description", &error.description),
                ];
                let fields: String = row
                    .into_iter()
                    .map(|(field, value)| format!("        {field}: {value:?},\n"))
                    .collect();
                rows.push(format!("    Clause {{\n{fields}    }},\n"));
            }
        }
    }
    rows.sort();
    format!(
        "//! The error clauses of the specifications in `specs/`, of the calls that commands make.\n\
         //!\n\
         //! Made from them; to make it again: `MCTL_UPDATE=1 cargo test -p mctl-cli --test explain`.\n\n\
         use serde::Serialize;\n\n\
         /// When a call fails, and with what.\n\
         #[derive(Debug, Serialize)]\n\
         pub(super) struct Clause {{\n    pub(super) call: &'static str,\n    pub(super) id: &'static str,\n    \
         pub(super) errno: &'static str,\n    pub(super) summary: &'static str,\n    \
         pub(super) condition: &'static str,\n    pub(super) description: &'static str,\n}}\n\n\
         /// Every one.\n#[rustfmt::skip]\npub(super) const CLAUSES: &[Clause] = &[\n{}];\n",
        rows.concat()
    )
}

#[test]
fn the_table_is_what_the_specifications_say() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/commands/explain/clauses.rs"
    );
    let table = table();
    if std::env::var_os("MCTL_UPDATE").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap() == table,
        "{path} is not what specs/ say; make it again with MCTL_UPDATE=1"
    );
    assert!(table.matches("Clause {").count() > 40);
}

#[test]
fn by_name_and_number_and_command() {
    let ran = mctl(&["explain", "EPERM", "set"]).assert(0);
    assert!(
        ran.out.contains("mctl(2): Not allowed (MCTL-ERR-EPERM-NOT-ALLOWED)\n  when: !CAP_SYS_ADMIN && (!own(pidfd) || flags)\n"),
        "{ran:?}"
    );
    assert!(!ran.out.contains("mlockall"), "{ran:?}");
    // What mctl asks for itself comes before what the call would.
    for command in ["set", "get", "restore", "lock", "unlock"] {
        let ran = mctl(&["explain", "EPERM", command]).assert(0);
        let first = ran.out.lines().next().unwrap();
        assert_eq!(
            first, "ptrace(2): No access to the process (access)",
            "{command}"
        );
    }
    for other in [["explain", "1", "set"], ["explain", "eperm", "set"]] {
        assert_eq!(mctl(&other).assert(0).out, ran.out);
    }
    let all = mctl(&["explain", "EPERM"]).assert(0).out;
    assert!(
        all.contains("mlockall(2): ") && all.contains("process_madvise(2): "),
        "{all}"
    );
    let json = mctl(&["explain", "EINVAL", "lock", "--json"])
        .assert(0)
        .json();
    assert_eq!(json["errno"], "EINVAL");
    assert_eq!(json["command"], "lock");
    let calls: Vec<_> = json["clauses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|clause| clause["call"].as_str().unwrap())
        .collect();
    assert_eq!(calls, ["pidfd_open", "mlockall"]);
}

/// What mctl itself looks at before any call is made.
#[test]
fn rules_of_our_own_are_told_too() {
    for (errno, command, words) in [
        (
            "ENOMEM",
            "lock",
            &[
                "mctl(1): ",
                "MemAvailable",
                "--max-growth",
                "RLIMIT_MEMLOCK",
            ][..],
        ),
        ("ENOMEM", "collapse", &["MemAvailable", "--max-growth"]),
        (
            "EAGAIN",
            "lock",
            &["clone(2): ", "pids.max", "RLIMIT_NPROC", "carrier"],
        ),
        ("EAGAIN", "set", &["pids.max", "RLIMIT_NPROC"]),
        ("EMFILE", "get", &["open(2): ", "RLIMIT_NOFILE"]),
        ("ETIMEDOUT", "pageout", &["userfaultfd"]),
        ("EPERM", "set", &["ptrace(2): "]),
    ] {
        let out = mctl(&["explain", errno, command]).assert(0).out;
        for word in words {
            assert!(out.contains(word), "{errno} {command}: {word}: {out}");
        }
    }
    let set = mctl(&["explain", "ENOMEM", "set"]);
    assert!(!set.out.contains("MemAvailable"), "{set:?}");
}

#[test]
fn every_command_that_acts_on_processes_is_known() {
    for command in [
        "run", "set", "clear", "restore", "get", "map", "advise", "pageout", "cold", "collapse",
        "lock", "unlock",
    ] {
        let ran = mctl(&["explain", "EINVAL", command]).assert(0);
        assert!(ran.out.contains("-ERR-EINVAL"), "{command}: {ran:?}");
    }
}

#[test]
fn bad_words() {
    let ran = mctl(&["explain", "EPREM"]).assert(2);
    assert!(ran.err.contains("did you mean 'EPERM'?"), "{ran:?}");
    let ran = mctl(&["explain", "EPERM", "lokc"]).assert(2);
    assert!(ran.err.contains("did you mean 'lock'?"), "{ran:?}");
    mctl(&["explain", "999999"]).assert(2);
    mctl(&["explain", "0"]).assert(2);
    mctl(&["explain"]).assert(2);
    let ran = mctl(&["explain", "EROFS", "set"]).assert(1);
    assert!(
        ran.err
            .contains("no call behind 'mctl set' is specified to fail with EROFS"),
        "{ran:?}"
    );
}
