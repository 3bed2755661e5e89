//! The library as cargo builds it, and compilers for programs that use it.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// A file of this crate.
pub(crate) fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The folder of libmctl.so (with its soname beside it) and libmctl.a.
pub(crate) fn library() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let built = build();
        // A folder of our own: programs look for the soname, and cargo's folder is not ours.
        let dir = built.parent().unwrap().join("mctl-capi-tests");
        std::fs::create_dir_all(&dir).unwrap();
        for (name, file) in [
            ("libmctl.so", "libmctl.so"),
            ("libmctl.so.0", "libmctl.so"),
            ("libmctl.a", "libmctl.a"),
        ] {
            let link = dir.join(name);
            let part = dir.join(format!("{name}.{}", std::process::id()));
            std::os::unix::fs::symlink(built.with_file_name(file), &part).unwrap();
            std::fs::rename(part, link).unwrap();
        }
        dir
    })
}

/// Skips the rest of a test that builds the library where this user may not run cargo.
macro_rules! require_cargo {
    () => {
        if !$crate::common::has(env!("CARGO"), &["--version"]) {
            mctl_testkit::skip!("needs a cargo that this user may run");
        }
    };
}
pub(crate) use require_cargo;

/// Builds the library as this test was built, and returns where libmctl.so is.
fn build() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--lib", "-p", "mctl-capi"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if let Some(target) = target_dir() {
        cargo.arg("--target-dir").arg(target);
    }
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = run(&mut cargo);
    let messages = String::from_utf8(output.stdout).unwrap();
    let end = messages
        .rfind("/libmctl.so\"")
        .expect("cargo names libmctl.so")
        + "/libmctl.so".len();
    let start = messages[..end].rfind('"').unwrap() + 1;
    PathBuf::from(&messages[start..end])
}

/// The target directory that this test lies in.
fn target_dir() -> Option<PathBuf> {
    let exe = std::env::current_exe().ok()?;
    let marked = |dir: &&Path| dir.join("CACHEDIR.TAG").exists();
    exe.ancestors().find(marked).map(Path::to_owned)
}

/// Runs a command that has to succeed.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// What it says on stdout.
#[track_caller]
pub(crate) fn words(command: &mut Command) -> String {
    String::from_utf8(run(command).stdout).unwrap()
}

/// Whether a tool is there and can do this.
pub(crate) fn has(tool: &str, args: &[&str]) -> bool {
    Command::new(tool)
        .args(args)
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Which library a program is linked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Linked {
    Shared,
    Static,
}

/// What libmctl.a needs besides, as mctl.pc has it.
pub(crate) const PRIVATE: &str = "-lgcc_eh -lutil -lrt -lpthread -lm -ldl -lc";

/// Compiles a program with every warning an error, and links it.
#[track_caller]
pub(crate) fn compile(
    compiler: &str,
    flags: &[&str],
    file: &str,
    linked: Linked,
    into: &Path,
) -> PathBuf {
    let stem = Path::new(file).file_stem().unwrap().to_str().unwrap();
    let flat: String = flags.concat().replace(['/', '='], "_");
    let exe = into.join(format!("{stem}-{compiler}{flat}-{linked:?}"));
    let mut command = Command::new(compiler);
    command
        .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-g"])
        .args(flags)
        .arg("-I")
        .arg(source("include"))
        .arg(source(file))
        .arg("-o")
        .arg(&exe)
        .arg("-pthread");
    match linked {
        Linked::Shared => command
            .arg("-L")
            .arg(library())
            .arg(format!("-Wl,-rpath,{}", library().display()))
            .arg("-lmctl"),
        Linked::Static => command
            .arg(library().join("libmctl.a"))
            .args(PRIVATE.split(' ')),
    };
    run(&mut command);
    exe
}
