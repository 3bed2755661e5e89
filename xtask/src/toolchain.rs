//! What a kernel with Rust in it is built with.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::apt::Apt;
use crate::layout::{Layout, remove};
use crate::pins::Pins;
use crate::{run, stock};

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Toolchain {
    pub(crate) bindgen: PathBuf,
    pub(crate) rust_lib_src: PathBuf,
    pub(crate) libclang: PathBuf,
    pub(crate) ccache: bool,
    /// That something is not what the pins say.
    pub(crate) drift: Option<String>,
}

/// The host's programs and headers that a kernel build needs, and the packages that have them.
const NEEDED: [(&str, &str); 11] = [
    ("make", "make"),
    ("gcc", "gcc"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("cpio", "cpio"),
    ("depmod", "kmod"),
    ("xz", "xz-utils"),
    ("perl", "perl"),
    ("/usr/include/gelf.h", "libelf-dev"),
    ("/usr/include/openssl/ssl.h", "libssl-dev"),
];

pub(crate) fn find(layout: &Layout, pins: &Pins) -> Result<Toolchain> {
    run::need(&NEEDED)?;
    let libclang = libclang()?;
    let bindgen = bindgen(layout)?;
    let (rust_lib_src, drift) = rust_lib_src(layout, pins)?;
    Ok(Toolchain {
        bindgen,
        rust_lib_src,
        libclang,
        ccache: run::need(&[("ccache", "ccache")]).is_ok(),
        drift,
    })
}

/// The newest libclang; bindgen loads it.
fn libclang() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("LIBCLANG_PATH") {
        return Ok(dir.into());
    }
    let version = |path: &Path| -> Option<u32> {
        let name = path.file_name()?.to_str()?.strip_prefix("llvm-")?;
        let has = |dir: &Path| {
            dir.join("lib/libclang.so").exists() || dir.join("lib/libclang.so.1").exists()
        };
        has(path).then(|| name.parse().ok()).flatten()
    };
    let found = std::fs::read_dir("/usr/lib").ok().and_then(|entries| {
        let dirs = entries.filter_map(|e| Some(e.ok()?.path()));
        dirs.filter_map(|dir| Some((version(&dir)?, dir))).max()
    });
    match found {
        // Older ones do not know the language of the kernel's headers well enough for its Rust.
        Some((version, dir)) if version >= 15 => Ok(dir.join("lib")),
        _ => bail!(
            "no libclang of LLVM 15 or newer; install it with\n    \
             apt-get install --no-install-recommends libclang-19-dev\nor set LIBCLANG_PATH"
        ),
    }
}

/// bindgen from the path, else our own, built once.
fn bindgen(layout: &Layout) -> Result<PathBuf> {
    if run::need(&[("bindgen", "")]).is_ok() {
        return Ok("bindgen".into());
    }
    let root = layout.cache.join("tools");
    let program = root.join("bin/bindgen");
    if !program.exists() {
        crate::say("building bindgen-cli (once)");
        run::run(
            Command::new(crate::initramfs::cargo())
                .args(["install", "--locked", "--quiet", "bindgen-cli", "--root"])
                .arg(&root)
                .env_remove("CARGO_TARGET_DIR"),
        )?;
    }
    Ok(program)
}

/// The source of Rust's core library, of the same release as the compiler: rustup's, else Debian's.
pub(crate) fn rust_lib_src(layout: &Layout, pins: &Pins) -> Result<(PathBuf, Option<String>)> {
    let sysroot = run::text(Command::new("rustc").args(["--print", "sysroot"]))?;
    let own = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library");
    if own.join("core/src/lib.rs").exists() {
        return Ok((own, None));
    }
    let version = run::text(Command::new("rustc").arg("--version"))?;
    let series = minor(&version).with_context(|| format!("rustc --version says {version:?}"))?;
    let mut pin = pins.get("rust-src")?.clone();
    pin.version_series = format!("{series}.");
    let fits = pin.version.starts_with(&pin.version_series);
    if !fits {
        // The compiler is another release than the pin was made for.
        pin.version = format!("{series}.?");
    }
    let fetched = Apt::new(layout).fetch("rust-src", &pin)?;
    let package = fetched.choice.packages.first().context("no package")?;
    let home = layout
        .cache
        .join("rust-src")
        .join(package.sha256.get(..8).unwrap_or_default());
    if !home.join("done").exists() {
        remove(&home)?;
        std::fs::create_dir_all(&home)?;
        let file = fetched.files.first().context("no file")?;
        stock::extract(file, &home, &["*/library/*"])?;
        std::fs::write(home.join("done"), "")?;
    }
    let mut dirs = std::fs::read_dir(home.join("usr/src"))?;
    let dir = dirs.next().context("the package has no source")??.path();
    Ok((dir.join("library"), fetched.choice.drift))
}

/// `rustc 1.95.0 (59807616e 2026-04-14)` is of the series 1.95.
fn minor(version: &str) -> Option<&str> {
    let number = version.split_whitespace().nth(1)?;
    let patch = number.rfind('.')?;
    number.get(..patch)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_compilers_series() {
        assert_eq!(super::minor("rustc 1.95.0 (598 2026-04-14)"), Some("1.95"));
        assert_eq!(super::minor("rustc 1.97.0-nightly"), Some("1.97"));
        assert_eq!(super::minor("rustc"), None);
    }
}
