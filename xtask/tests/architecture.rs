//! ARCHITECTURE.md says which room may use which. The manifests and the `use` lines say what is so.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The rows of the table under a heading: the first cell, and all the words of the last one.
fn table(after: &str, last: usize) -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, text) = text.split_once(after).unwrap();
    let rows = text
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2);
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let room = cells[0].trim_matches(['`', '/']).to_owned();
        let words = cells.get(last).copied().unwrap_or_default();
        let words = words.split(|c: char| !(c.is_alphanumeric() || "-/_".contains(c)));
        (room, words.map(str::to_owned).collect())
    })
    .collect()
}

/// The crates of this workspace: folder and the names of those that its `[dependencies]` name.
fn crates() -> BTreeMap<String, (PathBuf, BTreeSet<String>)> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.extend([root().join("kernel/init"), root().join("xtask")]);
    let manifests: Vec<(PathBuf, String)> = folders
        .into_iter()
        .filter_map(|dir| {
            Some((
                dir.clone(),
                std::fs::read_to_string(dir.join("Cargo.toml")).ok()?,
            ))
        })
        .collect();
    let name = |manifest: &str| {
        let line = manifest.lines().find(|line| line.starts_with("name = "));
        line.unwrap().split('"').nth(1).unwrap().to_owned()
    };
    let names: BTreeSet<String> = manifests.iter().map(|(_, text)| name(text)).collect();
    let uses = |manifest: &str| {
        let (_, rest) = manifest
            .split_once("\n[dependencies]\n")
            .unwrap_or_default();
        rest.lines()
            .take_while(|line| !line.starts_with('['))
            .filter_map(|line| line.split(['.', ' ', '=']).next())
            .filter(|dependency| names.contains(*dependency))
            .map(str::to_owned)
            .collect()
    };
    manifests
        .iter()
        .map(|(dir, text)| (name(text), (dir.clone(), uses(text))))
        .collect()
}

/// A crate as the table calls it.
fn room(dir: &Path) -> String {
    let path = dir.to_str().unwrap();
    let (_, room) = path.split_once("/../").unwrap();
    room.to_owned()
}

#[test]
fn a_crate_uses_what_the_table_says_and_nothing_else() {
    let table = table("## Rooms", 2);
    let crates = crates();
    assert!(crates.len() >= 10, "{crates:?}");
    for (name, (dir, uses)) in &crates {
        let room = room(dir);
        let row = table
            .get(&room)
            .unwrap_or_else(|| panic!("ARCHITECTURE.md has no row for {room}"));
        // A crate stands there by its name, or by its folder.
        let said: BTreeSet<&String> = crates
            .iter()
            .filter(|(name, (dir, _))| row.contains(*name) || row.contains(&self::room(dir)))
            .map(|(name, _)| name)
            .collect();
        let uses: BTreeSet<&String> = uses.iter().collect();
        assert_eq!(said, uses, "{name}: the table, and its manifest");
    }
}

/// Every `.rs` file below a folder.
fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

/// What stands in a file before its tests, without comments.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let (code, _) = text.split_once("#[cfg(test)]\nmod ").unwrap_or((&text, ""));
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_folders_of_the_library_use_what_the_table_says_and_nothing_else() {
    let table = table("Inside `mctl`:", 2);
    let folders: BTreeSet<&str> = table.keys().map(String::as_str).collect();
    let src = root().join("crates/mctl/src");
    let there: BTreeSet<String> = std::fs::read_dir(&src)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        there.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        folders,
        "the folders, and the table"
    );
    for folder in &folders {
        let mut files = Vec::new();
        sources(&src.join(folder), &mut files);
        let mut uses: BTreeSet<&str> = BTreeSet::new();
        for file in files.iter().filter(|file| !file.ends_with("tests.rs")) {
            let code = code(file);
            uses.extend(code.split("crate::").skip(1).filter_map(|after| {
                let word = after
                    .split(|c: char| !(c.is_alphanumeric() || c == '_'))
                    .next()?;
                folders.get(word).copied()
            }));
        }
        uses.remove(folder);
        let said: BTreeSet<&str> = folders
            .iter()
            .copied()
            .filter(|other| table[*folder].contains(*other))
            .collect();
        assert_eq!(said, uses, "{folder}: the table, and its `use` lines");
    }
}
