//! Where things are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The folders that the tasks use.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The repository.
    pub(crate) repo: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
    /// Downloads, kernels, results: `target/kernel`, or `MCTL_KERNEL_CACHE`.
    pub(crate) cache: PathBuf,
}

impl Layout {
    pub(crate) fn find() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let repo = manifest
            .parent()
            .context("xtask is not inside a repository")?;
        let repo = repo.to_path_buf();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => std::path::absolute(dir)?,
            None => repo.join("target"),
        };
        let cache = match std::env::var_os("MCTL_KERNEL_CACHE") {
            Some(dir) => std::path::absolute(dir)?,
            None => target.join("kernel"),
        };
        std::fs::create_dir_all(&cache).with_context(|| cache.display().to_string())?;
        Ok(Self {
            repo,
            target,
            cache,
        })
    }

    pub(crate) fn results(&self) -> PathBuf {
        self.cache.join("results")
    }
}

/// Removes a folder and everything in it, if it is there.
pub(crate) fn remove(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e).with_context(|| dir.display().to_string()),
    }
}
