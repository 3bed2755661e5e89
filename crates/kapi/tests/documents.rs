//! reStructuredText and man pages as their readers take them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use kapi::diag::Source;
use kapi::emit::{Format, emit};
use kapi::front::{kdoc, macros};
use kapi::ir::Spec;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

/// Reads pages, one JSON text a line, and says what docutils says of each.
const DOCUTILS: &str = "
import io, json, sys
import docutils.core
for line in sys.stdin:
    said = io.StringIO()
    docutils.core.publish_doctree(json.loads(line), settings_overrides={
        'report_level': 2, 'halt_level': 6, 'warning_stream': said,
        'file_insertion_enabled': False, 'raw_enabled': False})
    print(json.dumps(said.getvalue()))
";

fn ours() -> Vec<Spec> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs");
    let mut all = macros::parse(&Source::new("own.c", common::OWN)).specs;
    for entry in std::fs::read_dir(root).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        all.extend(kdoc::parse(&Source::new("spec", &text)).specs);
    }
    assert!(all.len() >= 17);
    all
}

/// The same random specifications every time.
fn random(count: usize) -> Vec<Spec> {
    let mut runner = TestRunner::deterministic();
    (0..count)
        .map(|_| common::spec().new_tree(&mut runner).unwrap().current())
        .collect()
}

#[test]
fn docutils_reads_the_pages_without_a_warning() {
    let there = Command::new("python3")
        .args(["-c", "import docutils.core"])
        .stderr(Stdio::null())
        .status();
    if !there.is_ok_and(|s| s.success()) {
        mctl_testkit::skip!("needs docutils for python3");
    }
    let ours = ours();
    let mut pages = vec![emit(&ours, Format::Rst)];
    pages.extend(
        ours.iter()
            .chain(&random(60))
            .map(|s| emit(std::slice::from_ref(s), Format::Rst)),
    );
    let mut reader = Command::new("python3")
        .args(["-c", DOCUTILS])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = reader.stdin.take().unwrap();
    let text: String = pages
        .iter()
        .map(|p| serde_json::to_string(p).unwrap() + "\n")
        .collect();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let out = reader.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(out.status.success());
    let said: Vec<String> = String::from_utf8(out.stdout)
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(said.len(), pages.len());
    for (said, page) in said.iter().zip(&pages) {
        assert_eq!(said, "", "{page}");
    }
}

fn man(spec: &Spec) -> String {
    kapi::emit::man_page(spec, "2026-11-30")
}

#[test]
fn sections_are_those_of_man_pages() {
    const ORDER: [&str; 8] = [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "RETURN VALUE",
        "ERRORS",
        "HISTORY",
        "NOTES",
        "EXAMPLES",
    ];
    for spec in ours().iter().chain(&random(60)) {
        let page = man(spec);
        let sections: Vec<&str> = page
            .lines()
            .filter_map(|l| l.strip_prefix(".SH "))
            .collect();
        let places: Vec<_> = sections
            .iter()
            .map(|s| ORDER.iter().position(|o| o == s))
            .collect();
        assert!(places.iter().all(Option::is_some), "{sections:?}");
        assert!(places.is_sorted(), "{sections:?}");
    }
}

#[test]
fn programs_find_their_prototypes() {
    let ours = ours();
    for (name, line) in [
        ("mlockall", "int mlockall(int flags);"),
        ("munlockall", "int munlockall(void);"),
        ("mlock", "int mlock(void *start, size_t len);"),
        (
            "pidfd_open",
            "int pidfd_open(pid_t pid, unsigned int flags);",
        ),
        (
            "process_madvise",
            "ssize_t process_madvise(int pidfd, const struct iovec *vec, size_t vlen, int behavior, unsigned int flags);",
        ),
        (
            "prctl_set_memory_merge",
            "int prctl(PR_SET_MEMORY_MERGE, unsigned long arg2, 0L, 0L, 0L);",
        ),
        (
            "mctl",
            "long syscall(SYS_mctl, int pidfd, int action, unsigned int flags);",
        ),
    ] {
        let spec = ours.iter().rfind(|s| s.is_named(name)).unwrap();
        let page = man(spec);
        assert!(page.contains(&format!("\n.B {line}\n")), "{line}\n{page}");
    }
}

#[test]
fn mandoc_and_groff_find_nothing_to_warn_of() {
    let dir = tempfile::tempdir().unwrap();
    let readers: [(&str, &[&str]); 2] = [
        ("mandoc", &["-T", "lint", "-W", "warning"]),
        ("groff", &["-man", "-ww", "-Tutf8", "-z"]),
    ];
    let mut read = 0;
    for (reader, args) in readers {
        for spec in &ours() {
            let path = dir.path().join(format!(
                "{}.{}",
                spec.call_name(),
                kapi::emit::man_volume(spec)
            ));
            std::fs::write(&path, man(spec)).unwrap();
            let Ok(out) = Command::new(reader).args(args).arg(&path).output() else {
                break;
            };
            let said = [out.stdout, out.stderr].concat();
            assert_eq!(String::from_utf8_lossy(&said), "", "{reader}");
            read += 1;
        }
    }
    if read == 0 {
        mctl_testkit::skip!("needs mandoc or groff");
    }
}
