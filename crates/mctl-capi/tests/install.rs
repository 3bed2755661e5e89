//! install.sh: everything in its place, and a program that is built as mctl.pc says works.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{has, run, source, words};

fn install(into: &Path) {
    let exe = std::env::current_exe().unwrap();
    let target = exe
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").exists());
    let mut sh = Command::new("sh");
    sh.arg(source("install.sh"))
        .arg("--prefix")
        .arg(into)
        .env("CARGO", env!("CARGO"));
    if cfg!(debug_assertions) {
        sh.arg("--debug");
    }
    if let Some(target) = target {
        sh.env("CARGO_TARGET_DIR", target);
    }
    run(&mut sh);
}

#[test]
fn installed_with_plain_cargo() {
    common::require_cargo!();
    for tool in ["gcc", "pkg-config"] {
        if !has(tool, &["--version"]) {
            mctl_testkit::skip!("no {tool}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let prefix = dir.path();
    install(prefix);
    let link = |name: &str| std::fs::read_link(prefix.join("lib").join(name)).unwrap();
    assert_eq!(link("libmctl.so"), PathBuf::from("libmctl.so.0"));
    assert_eq!(
        link("libmctl.so.0"),
        PathBuf::from(concat!("libmctl.so.", env!("CARGO_PKG_VERSION")))
    );

    programs_are_built_with(prefix);
}

/// cargo-c puts everything in the same places. It takes long to build, so it is not installed for
/// this test alone.
#[test]
fn installed_with_cargo_c() {
    common::require_cargo!();
    let cargo = || Command::new(env!("CARGO"));
    for (tool, has) in [
        ("gcc", has("gcc", &["--version"])),
        ("pkg-config", has("pkg-config", &["--version"])),
        ("cargo-c", has(env!("CARGO"), &["cinstall", "--version"])),
    ] {
        if !has {
            mctl_testkit::skip!("no {tool}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let prefix = dir.path();
    run(cargo()
        .args(["cinstall", "--offline", "--debug", "--prefix"])
        .arg(prefix)
        .arg("--libdir")
        .arg(prefix.join("lib"))
        .env("CARGO_TARGET_DIR", dir.path().join("target"))
        .current_dir(source("")));
    let soname = std::fs::read_link(prefix.join("lib/libmctl.so.0")).unwrap();
    assert_eq!(
        soname,
        PathBuf::from(concat!("libmctl.so.", env!("CARGO_PKG_VERSION")))
    );
    programs_are_built_with(prefix);
}

/// Programs, with the shared and with the static library, as mctl.pc says.
fn programs_are_built_with(prefix: &Path) {
    let pkg_config = |args: &[&str]| {
        let text = words(
            Command::new("pkg-config")
                .args(args)
                .arg("mctl")
                .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")),
        );
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(pkg_config(&["--modversion"]), [env!("CARGO_PKG_VERSION")]);
    for (name, mut flags) in [
        ("shared", pkg_config(&["--cflags", "--libs"])),
        ("static", pkg_config(&["--cflags", "--libs", "--static"])),
    ] {
        if name == "static" {
            // The program stays dynamic but for libmctl itself.
            for flag in &mut flags {
                if flag == "-lmctl" {
                    "-l:libmctl.a".clone_into(flag);
                }
            }
        }
        let exe = prefix.join(name);
        run(Command::new("gcc")
            .args(["-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&exe)
            .arg(source("tests/c/contract.c"))
            .arg("-pthread")
            .args(&flags));
        let text = words(Command::new(&exe).env("LD_LIBRARY_PATH", prefix.join("lib")));
        assert_eq!(text, "done\n", "{name}");
        let needed = words(Command::new("ldd").arg(&exe));
        assert_eq!(
            needed.contains("libmctl.so.0"),
            name == "shared",
            "{needed}"
        );
    }
    // No shared library at all.
    let libc = words(Command::new("gcc").arg("-print-file-name=libc.a"));
    if !Path::new(libc.trim()).is_absolute() {
        mctl_testkit::note_skip("no static libc");
        return;
    }
    let exe = prefix.join("alone");
    run(Command::new("gcc")
        .args(["-static", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&exe)
        .arg(source("tests/c/contract.c"))
        .arg("-pthread")
        .args(pkg_config(&["--cflags", "--libs", "--static"])));
    assert_eq!(words(&mut Command::new(&exe)), "done\n", "alone");
}

#[test]
fn a_mistyped_option_is_refused() {
    common::require_cargo!();
    let output = Command::new("sh")
        .arg(source("install.sh"))
        .arg("--prefx")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}
