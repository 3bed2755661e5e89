//! What the guest starts with: our init, and the modules by which it sees the host's files.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::layout::{Layout, remove};
use crate::run;

/// Builds our init, linked statically: there is no libc in an initramfs.
pub(crate) fn build_init(layout: &Layout) -> Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let target = layout.target.join("guest-init");
    // With --target the flag does not reach procedural macros, which cannot be static.
    run::run(
        Command::new(cargo())
            .args(["build", "--locked", "--quiet", "-p", "mctl-guest-init"])
            .args(["--target", &triple])
            .arg("--target-dir")
            .arg(&target)
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only")
            .current_dir(&layout.repo),
    )?;
    Ok(target.join(triple).join("debug/mctl-guest-init"))
}

pub(crate) fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Packs init and modules into an archive that any kernel can read.
pub(crate) fn pack(init: &Path, modules: Option<&Path>, to: &Path) -> Result<()> {
    run::need(&[("cpio", "cpio")])?;
    let stage = to.with_extension("stage");
    remove(&stage)?;
    std::fs::create_dir_all(stage.join("modules"))?;
    std::fs::copy(init, stage.join("init")).with_context(|| init.display().to_string())?;
    let mut names = String::from("init\nmodules\n");
    if let Some(modules) = modules {
        for entry in std::fs::read_dir(modules)? {
            let entry = entry?;
            let name = entry.file_name();
            std::fs::copy(entry.path(), stage.join("modules").join(&name))?;
            names.push_str(&format!("modules/{}\n", name.to_string_lossy()));
        }
    }
    let list = stage.with_extension("list");
    std::fs::write(&list, names)?;
    let status = Command::new("cpio")
        .args(["--quiet", "-o", "-H", "newc", "-R", "0:0", "--reproducible"])
        .current_dir(&stage)
        .stdin(std::fs::File::open(&list)?)
        .stdout(std::fs::File::create(to)?)
        .stderr(Stdio::inherit())
        .status()
        .context("starting cpio")?;
    if !status.success() {
        bail!("cpio: {status}");
    }
    remove(&stage)
}
