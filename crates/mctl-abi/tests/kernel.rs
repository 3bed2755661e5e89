//! The kernel has this crate's sources as they are, and a header made from its table.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::panic, reason = "a test fails by panicking")]

#[path = "../uapi/mod.rs"]
mod uapi;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The modules that the kernel compiles.
const MODULES: [&str; 6] = ["action", "check", "errno", "permission", "policy", "thp"];

fn series() -> Vec<PathBuf> {
    let patches = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernel/patches");
    let mut bases: Vec<PathBuf> = std::fs::read_dir(&patches)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    bases.sort();
    assert!(!bases.is_empty(), "{}: no series", patches.display());
    bases
}

/// The files that a series adds, with their text; a file that it changes later on is an error,
/// since the text would be another one.
fn added(base: &Path) -> BTreeMap<String, String> {
    let mut patches: Vec<PathBuf> = std::fs::read_dir(base)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "patch"))
        .collect();
    patches.sort();
    let mut files = BTreeMap::new();
    for patch in patches {
        let text = String::from_utf8(std::fs::read(&patch).unwrap()).unwrap();
        let mut old = "";
        let mut lines = text.split_inclusive('\n').peekable();
        while let Some(line) = lines.next() {
            if let Some(name) = line.strip_prefix("--- ") {
                old = name.trim_end();
            }
            let Some(name) = line.strip_prefix("+++ b/") else {
                continue;
            };
            let name = name.trim_end().to_owned();
            if old != "/dev/null" {
                assert!(!watched(&name), "{}: changes {name}", patch.display());
                continue;
            }
            assert!(lines.next().unwrap().starts_with("@@ -0,0 +1"));
            let mut body = String::new();
            while let Some(added) = lines.next_if(|line| line.starts_with('+')) {
                body.push_str(added.get(1..).unwrap());
            }
            files.insert(name, body);
        }
    }
    files
}

fn watched(name: &str) -> bool {
    name == uapi::PATH || name.starts_with("mm/mctl/abi/")
}

fn same(base: &Path, name: &str, kernel: Option<&String>, crates: &str) {
    let base = base.display();
    let kernel = kernel.unwrap_or_else(|| panic!("{base}: adds no {name}"));
    if let Some((at, (kernel, crates))) = kernel
        .lines()
        .zip(crates.lines())
        .enumerate()
        .find(|(_, (kernel, crates))| kernel != crates)
    {
        panic!(
            "{base}: {name}, line {}: \"{kernel}\", here \"{crates}\"",
            at + 1
        );
    }
    assert_eq!(kernel, crates, "{base}: {name}");
}

#[test]
fn sources_in_the_kernel_are_byte_identical() {
    for base in series() {
        let files = added(&base);
        for module in MODULES {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/{module}.rs"));
            let name = format!("mm/mctl/abi/{module}.rs");
            same(
                &base,
                &name,
                files.get(&name),
                &std::fs::read_to_string(source).unwrap(),
            );
        }
        let theirs = files.keys().filter(|name| name.starts_with("mm/mctl/abi/"));
        assert_eq!(theirs.count(), MODULES.len(), "{}", base.display());
    }
}

#[test]
fn the_kernels_header_is_made_from_the_table() {
    for base in series() {
        same(
            &base,
            uapi::PATH,
            added(&base).get(uapi::PATH),
            &uapi::generate(),
        );
    }
}
