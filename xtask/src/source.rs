//! A kernel's source tree: unpacked once, and moved from one stack of patches to another with as few
//! files touched as possible, so that a build after it is incremental.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

use crate::apt::Apt;
use crate::layout::{Layout, remove};
use crate::pins::Pins;
use crate::{run, stock};

/// An unpacked tree.
#[derive(Debug)]
pub(crate) struct Source {
    /// The tree.
    pub(crate) tree: PathBuf,
    /// Where builds of it go.
    pub(crate) home: PathBuf,
    pub(crate) drift: Option<String>,
}

/// Gets the package and unpacks it.
pub(crate) fn fetch(layout: &Layout, pins: &Pins, base: &str) -> Result<Source> {
    run::need(&[
        ("dpkg-deb", "dpkg"),
        ("xz", "xz-utils"),
        ("tar", "tar"),
        ("patch", "patch"),
    ])?;
    let name = format!("source-{base}");
    let fetched = Apt::new(layout).fetch(&name, pins.get(&name)?)?;
    let package = fetched.choice.packages.first().context("no package")?;
    let key = package.sha256.get(..8).unwrap_or_default();
    let home = layout.cache.join("native").join(base).join(key);
    let tree = home.join("linux");
    if !home.join("unpacked").exists() {
        remove(&home)?;
        std::fs::create_dir_all(&tree)?;
        let stage = home.join("stage");
        std::fs::create_dir_all(&stage)?;
        let file = fetched.files.first().context("no file")?;
        stock::extract(file, &stage, &["./usr/src/*.tar.xz"])?;
        let tar = stage.join(format!("usr/src/linux-source-{base}.tar.xz"));
        run::run(
            Command::new("tar")
                .args(["-x", "--strip-components=1", "--no-same-owner", "-C"])
                .arg(&tree)
                .arg("-f")
                .arg(&tar),
        )?;
        remove(&stage)?;
        std::fs::create_dir_all(home.join("applied"))?;
        std::fs::write(home.join("unpacked"), "")?;
    }
    Ok(Source {
        tree,
        home,
        drift: fetched.choice.drift,
    })
}

/// The patches of a base in the order of their names.
pub(crate) fn series(layout: &Layout, base: &str) -> Result<Vec<PathBuf>> {
    let dir = layout.repo.join("kernel/patches").join(base);
    let list = patches(&dir)?;
    if list.is_empty() {
        bail!("there is no patch in {}", dir.display());
    }
    Ok(list)
}

pub(crate) fn patches(dir: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Ok(Vec::new());
    };
    let mut list: Vec<PathBuf> = entries
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "patch"))
        .collect();
    list.sort();
    Ok(list)
}

impl Source {
    /// Takes off what is applied and applies these. What has the same content afterwards keeps its
    /// time, so that make leaves alone what depends on it.
    pub(crate) fn apply(&self, wanted: &[PathBuf]) -> Result<()> {
        let applied_dir = self.home.join("applied");
        let applied = patches(&applied_dir)?;
        let old = texts(&applied)?;
        let new = texts(wanted)?;
        let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
        if same == old.len() && same == new.len() {
            return Ok(());
        }
        let changing = old[same..].iter().chain(&new[same..]);
        let touched: BTreeSet<PathBuf> = changing.flat_map(|text| touched(text)).collect();
        let before: BTreeMap<&PathBuf, (Vec<u8>, SystemTime)> = touched
            .iter()
            .filter_map(|file| {
                let path = self.tree.join(file);
                let time = std::fs::metadata(&path).and_then(|m| m.modified()).ok()?;
                Some((file, (std::fs::read(&path).ok()?, time)))
            })
            .collect();
        for patch in applied[same..].iter().rev() {
            self.patch(patch, true)?;
            std::fs::remove_file(patch)?;
        }
        for (i, patch) in wanted.iter().enumerate().skip(same) {
            self.patch(patch, false)?;
            let name = patch.file_name().unwrap_or_default().to_string_lossy();
            std::fs::copy(patch, applied_dir.join(format!("{i:04}-{name}")))?;
        }
        for (file, (content, time)) in before {
            let path = self.tree.join(file);
            if std::fs::read(&path).is_ok_and(|now| now == content) {
                std::fs::File::options()
                    .append(true)
                    .open(&path)?
                    .set_modified(time)?;
            }
        }
        Ok(())
    }

    fn patch(&self, patch: &Path, back: bool) -> Result<()> {
        let direction = if back { "--reverse" } else { "--forward" };
        let args = [
            "-p1",
            "--batch",
            "--fuzz=0",
            "--no-backup-if-mismatch",
            "--reject-file=-",
            direction,
        ];
        // Half a patch is worse than none: it is tried first.
        for dry in [true, false] {
            let mut command = Command::new("patch");
            command.args(args).arg("-d").arg(&self.tree);
            if dry {
                command.arg("--dry-run");
            }
            let output = command
                .arg("-i")
                .arg(patch)
                .output()
                .context("starting patch")?;
            if !output.status.success() {
                let words = if dry {
                    "does not apply"
                } else {
                    "applied in part"
                };
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                bail!(
                    "{} {words}:\n{}",
                    patch.display(),
                    run::last_lines(&text, 20)
                );
            }
        }
        Ok(())
    }
}

fn texts(paths: &[PathBuf]) -> Result<Vec<String>> {
    let read = |path: &PathBuf| {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    paths.iter().map(read).collect()
}

/// The files that a patch names, old and new. They stay inside the tree.
fn touched(patch: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in patch.lines() {
        let name = line.strip_prefix("--- a/").or(line.strip_prefix("+++ b/"));
        if let Some(name) = name {
            let path = PathBuf::from(name.split('\t').next().unwrap_or(name));
            let inside = path
                .components()
                .all(|c| matches!(c, std::path::Component::Normal(_)));
            if inside && !files.contains(&path) {
                files.push(path);
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(file: &str, from: &str, to: &str) -> String {
        format!("Why.\n---\n--- a/{file}\n+++ b/{file}\n@@ -1 +1 @@\n-{from}\n+{to}\n")
    }

    #[test]
    fn patches_come_and_go_and_untouched_content_keeps_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let source = Source {
            tree: dir.path().join("linux"),
            home: dir.path().to_path_buf(),
            drift: None,
        };
        std::fs::create_dir_all(source.tree.join("mm")).unwrap();
        std::fs::create_dir_all(dir.path().join("applied")).unwrap();
        let file = |name: &str| source.tree.join(name);
        let read = |name: &str| std::fs::read_to_string(file(name)).unwrap();
        let time = |name: &str| std::fs::metadata(file(name)).unwrap().modified().unwrap();
        std::fs::write(file("mm/a.c"), "one\n").unwrap();
        std::fs::write(file("mm/b.c"), "one\n").unwrap();
        let patch = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let first = patch("1.patch", &diff("mm/a.c", "one", "two"));
        let second = patch("2.patch", &diff("mm/b.c", "one", "two"));
        source.apply(&[first.clone(), second.clone()]).unwrap();
        assert_eq!(
            (read("mm/a.c"), read("mm/b.c")),
            ("two\n".into(), "two\n".into())
        );
        let (a, b) = (time("mm/a.c"), time("mm/b.c"));

        // The same in another order is the same tree.
        source.apply(&[second.clone(), first.clone()]).unwrap();
        assert_eq!((time("mm/a.c"), time("mm/b.c")), (a, b));

        let control = patch("3.patch", &diff("mm/a.c", "two", "three"));
        source
            .apply(&[second.clone(), first.clone(), control])
            .unwrap();
        assert_eq!(read("mm/a.c"), "three\n");
        assert_eq!(time("mm/b.c"), b);

        source.apply(&[]).unwrap();
        assert_eq!(
            (read("mm/a.c"), read("mm/b.c")),
            ("one\n".into(), "one\n".into())
        );
        let wrong = patch("4.patch", &diff("mm/a.c", "five", "six"));
        let error = source.apply(&[wrong]).unwrap_err().to_string();
        assert!(error.contains("4.patch does not apply"), "{error}");
    }

    #[test]
    fn the_files_of_a_patch() {
        let text = format!(
            "{}--- /dev/null\n+++ b/mm/new.c\n--- a/../x\n+++ b/mm/c.c\t2026\n",
            diff("mm/a.c", "x", "y")
        );
        let names = ["mm/a.c", "mm/new.c", "mm/c.c"].map(PathBuf::from);
        assert_eq!(touched(&text), names);
    }
}
