//! Kernels as the distribution ships them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::apt::Apt;
use crate::layout::{Layout, remove};
use crate::pins::Pins;
use crate::{modules, run};

/// A kernel that can be booted.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// `stock-6.12`, `native-7.3`, …
    pub(crate) name: String,
    /// Its own name: 6.12.117+deb12-amd64.
    pub(crate) release: String,
    /// What QEMU loads.
    pub(crate) image: PathBuf,
    /// The modules that its guest loads, in order.
    pub(crate) modules: Option<PathBuf>,
    /// The functions that our patches touch: a data race in them is ours.
    pub(crate) ours: Vec<String>,
    /// That it is not what the pins say, and why.
    pub(crate) drift: Option<String>,
}

/// Gets a stock kernel ready: packages, image, modules.
pub(crate) fn prepare(layout: &Layout, pins: &Pins, name: &str) -> Result<Kernel> {
    run::need(&[("dpkg-deb", "dpkg"), ("tar", "tar"), ("xz", "xz-utils")])?;
    let fetched = Apt::new(layout).fetch(name, pins.get(name)?)?;
    let key: String = fetched
        .choice
        .packages
        .iter()
        .filter_map(|p| p.sha256.get(..8))
        .collect();
    let home = layout.cache.join("stock").join(name).join(key);
    let done = std::fs::read_to_string(home.join("done"));
    if !done.is_ok_and(|list| list == modules::list()) {
        unpack(&fetched.files, &home).with_context(|| format!("unpacking {name}"))?;
    }
    let release = std::fs::read_to_string(home.join("release"))?;
    Ok(Kernel {
        name: name.to_owned(),
        release,
        image: home.join("vmlinuz"),
        modules: Some(home.join("modules")),
        ours: Vec::new(),
        drift: fetched.choice.drift,
    })
}

fn unpack(packages: &[PathBuf], home: &Path) -> Result<()> {
    remove(home)?;
    let tree = home.join("tree");
    std::fs::create_dir_all(&tree)?;
    for package in packages {
        extract(package, &tree, &["./boot/vmlinuz*", "*/lib/modules/*"])?;
    }
    let (release, dir) = modules_dir(&tree)?;
    let image = [
        tree.join(format!("boot/vmlinuz-{release}")),
        dir.join("vmlinuz"),
    ];
    let image = image.iter().find(|path| path.exists());
    let image = image.context("the kernel packages have no vmlinuz")?;
    std::fs::copy(image, home.join("vmlinuz"))?;
    modules::pick(&dir, &home.join("modules"))?;
    remove(&tree)?;
    std::fs::write(home.join("release"), release)?;
    std::fs::write(home.join("done"), modules::list())?;
    Ok(())
}

/// Unpacks from a package what fits the patterns.
pub(crate) fn extract(package: &Path, to: &Path, patterns: &[&str]) -> Result<()> {
    let mut read = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .context("starting dpkg-deb")?;
    let tar = read.stdout.take().context("dpkg-deb has no output")?;
    let status = Command::new("tar")
        .args(["-x", "--wildcards", "--no-same-owner", "-C"])
        .arg(to)
        .args(patterns)
        .stdin(tar)
        // A pattern without a match is no error: packages differ.
        .stderr(std::process::Stdio::null())
        .status()
        .context("starting tar")?;
    let read = read.wait()?;
    // tar's 2 is "a pattern was not found".
    if !read.success() || !matches!(status.code(), Some(0 | 2)) {
        bail!(
            "unpacking {}: dpkg-deb {read}, tar {status}",
            package.display()
        );
    }
    Ok(())
}

/// The one folder under lib/modules, wherever the package has it.
fn modules_dir(tree: &Path) -> Result<(String, PathBuf)> {
    for base in ["lib/modules", "usr/lib/modules"] {
        if let Ok(mut dirs) = std::fs::read_dir(tree.join(base))
            && let Some(dir) = dirs.next()
        {
            let dir = dir?;
            return Ok((dir.file_name().to_string_lossy().into_owned(), dir.path()));
        }
    }
    bail!("the kernel packages have no modules")
}
