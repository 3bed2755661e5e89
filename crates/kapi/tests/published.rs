//! What is published under `docs/` is what the specifications say. To make it again:
//! `KAPI_UPDATE=1 cargo test -p kapi --test published`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// When the specifications were last changed: the date of the man pages. Move it with them.
const DATE: &str = "2026-11-30";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The files that `kapi convert` writes.
fn made(to: &str, more: &[&str]) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_kapi"))
        .args(["convert", "-s", "specs", "--to", to, "--output"])
        .arg(dir.path())
        .args(more)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    files(dir.path())
}

fn files(dir: &Path) -> BTreeMap<String, String> {
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect()
}

fn check(folder: &str, wanted: &BTreeMap<String, String>) {
    assert!(wanted.len() >= 16, "{folder}: {}", wanted.len());
    let dir = root().join(folder);
    if std::env::var_os("KAPI_UPDATE").is_some() {
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        for (name, text) in wanted {
            std::fs::write(dir.join(name), text).unwrap();
        }
    }
    let found = files(&dir);
    let names = |all: &BTreeMap<String, String>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(wanted), "{folder}");
    for (name, text) in wanted {
        assert!(
            found[name] == *text,
            "{folder}/{name} is not what specs/ say; make it again with KAPI_UPDATE=1"
        );
    }
}

#[test]
fn the_man_pages() {
    let pages = made("man", &["--date", DATE]);
    check("docs/man", &pages);
    // Where it is installed.
    if Command::new("mandoc").arg("-V").output().is_err() {
        mctl_testkit::skip!("needs mandoc");
    }
    for name in pages.keys() {
        let out = Command::new("mandoc")
            .args(["-T", "lint", "-W", "warning"])
            .arg(root().join("docs/man").join(name))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout), "", "{name}");
    }
}

#[test]
fn the_pages_for_reading() {
    let mut pages = made("markdown", &[]);
    pages.extend(made("html", &[]));
    check("docs/api", &pages);
}
