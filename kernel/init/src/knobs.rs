//! The machine's knobs: each job finds them as the first one did, whatever the one before it has set.

use std::fs;
use std::path::{Path, PathBuf};

use mctl_guest_init::KNOBS;

/// Values to go back to.
pub(crate) struct Knobs(Vec<(PathBuf, String)>);

impl Knobs {
    pub(crate) fn read() -> Self {
        let mut paths = Vec::new();
        for knob in KNOBS.map(Path::new) {
            if knob.is_dir() {
                files(knob, 3, &mut paths);
            } else {
                paths.push(knob.to_path_buf());
            }
        }
        let value = |path: PathBuf| Some((value(&path)?, path));
        let known = paths.into_iter().filter_map(value);
        Self(known.map(|(value, path)| (path, value)).collect())
    }

    /// Writes what is not as it was. The names of those that stay different.
    pub(crate) fn restore(&self) -> Vec<String> {
        let mut stay = Vec::new();
        for (path, old) in &self.0 {
            if value(path).as_ref() == Some(old) {
                continue;
            }
            let _ = fs::write(path, old);
            if value(path).as_ref() != Some(old) {
                stay.push(path.display().to_string());
            }
        }
        stay
    }
}

/// The files below a folder that can be written; counters cannot.
fn files(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(meta) = fs::symlink_metadata(entry.path()) else {
            continue;
        };
        if meta.is_dir() && depth > 0 {
            files(&entry.path(), depth - 1, found);
        } else if meta.is_file() && meta.permissions().mode() & 0o600 == 0o600 {
            found.push(entry.path());
        }
    }
}

/// What would be written to have it so: of a choice the word in brackets.
fn value(path: &Path) -> Option<String> {
    Some(chosen(&fs::read_to_string(path).ok()?).to_owned())
}

pub(crate) fn chosen(text: &str) -> &str {
    let text = text.trim();
    let inner = text.split_once('[').and_then(|(_, t)| t.split_once(']'));
    inner.map_or(text, |(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_choice_the_word_in_brackets() {
        assert_eq!(chosen("always [madvise] never\n"), "madvise");
        assert_eq!(chosen("10000\n"), "10000");
        assert_eq!(chosen(""), "");
    }

    #[test]
    fn a_knob_goes_back_and_what_cannot_is_named() {
        let dir = std::env::temp_dir().join(format!("mctl-knobs-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (kept, gone) = (dir.join("kept"), dir.join("gone"));
        fs::write(&kept, "1\n").unwrap();
        fs::write(&gone, "2\n").unwrap();
        let mut found = Vec::new();
        files(&dir, 1, &mut found);
        found.sort();
        assert_eq!(found, [gone.clone(), kept.clone()]);
        let knobs = Knobs(
            found
                .into_iter()
                .map(|p| (p.clone(), value(&p).unwrap()))
                .collect(),
        );
        fs::write(&kept, "7\n").unwrap();
        assert_eq!(knobs.restore(), Vec::<String>::new());
        assert_eq!(fs::read_to_string(&kept).unwrap(), "1");
        fs::remove_file(&gone).unwrap();
        fs::create_dir(&gone).unwrap();
        assert_eq!(knobs.restore(), [gone.display().to_string()]);
        fs::remove_dir_all(&dir).unwrap();
    }
}
