//! C and C++ programs, compiled with every warning an error, linked both ways, run.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use common::Linked::{Shared, Static};
use common::{compile, has, library, run, words};

const C: [&str; 2] = ["gcc", "clang"];
const CXX: [&str; 2] = ["g++", "clang++"];

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[track_caller]
fn done(exe: &Path) {
    assert_eq!(words(&mut Command::new(exe)), "done\n", "{}", exe.display());
}

fn contract(compiler: &str) {
    let dir = folder();
    for linked in [Shared, Static] {
        done(&compile(
            compiler,
            &["-std=c99"],
            "tests/c/contract.c",
            linked,
            dir.path(),
        ));
    }
}

#[test]
fn contract_with_gcc() {
    common::require_cargo!();
    if !has("gcc", &["--version"]) {
        mctl_testkit::skip!("no gcc");
    }
    contract("gcc");
}

#[test]
fn contract_with_clang() {
    common::require_cargo!();
    if !has("clang", &["--version"]) {
        mctl_testkit::skip!("no clang");
    }
    contract("clang");
}

#[test]
fn the_header_alone_in_every_language() {
    common::require_cargo!();
    let dir = folder();
    let languages = C
        .iter()
        .flat_map(|cc| ["c90", "c99", "c11", "gnu17"].map(|std| (*cc, "c", std)))
        .chain(
            CXX.iter()
                .flat_map(|cc| ["c++98", "c++17", "c++20"].map(|std| (*cc, "c++", std))),
        );
    for (compiler, language, std) in languages {
        if !has(compiler, &["--version"]) {
            mctl_testkit::note_skip(&format!("no {compiler}"));
            continue;
        }
        let std = format!("-std={std}");
        // In C++ -Wshadow minds a struct and a function of one name, as of stat(2), outside system
        // headers.
        let shadow = if language == "c" {
            "-Wshadow"
        } else {
            "-Wno-shadow"
        };
        let flags = ["-x", language, std.as_str(), shadow, "-Wundef"];
        let mut command = Command::new(compiler);
        command
            .args(["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-pedantic"])
            .args(flags)
            .arg("-I")
            .arg(common::source("include"))
            .arg(common::source("tests/c/strict.c"));
        run(&mut command);
    }
    if has("gcc", &["--version"]) {
        run(&mut Command::new(compile(
            "gcc",
            &["-std=c11"],
            "tests/c/strict.c",
            Shared,
            dir.path(),
        )));
    }
}

#[test]
fn a_libc_with_an_mctl_of_its_own() {
    common::require_cargo!();
    let dir = folder();
    for compiler in C {
        if !has(compiler, &["--version"]) {
            mctl_testkit::note_skip(&format!("no {compiler}"));
            continue;
        }
        done(&compile(
            compiler,
            &["-std=c99"],
            "tests/c/names.c",
            Shared,
            dir.path(),
        ));
    }
}

/// The first example of the README is what a newcomer tries, without privileges.
#[test]
fn the_readme_as_an_ordinary_user() {
    common::require_cargo!();
    if !has("gcc", &["--version"]) {
        mctl_testkit::skip!("no gcc");
    }
    let readme = std::fs::read_to_string(common::source("README.md")).unwrap();
    let (_, rest) = readme.split_once("```c\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let dir = folder();
    let file = dir.path().join("readme.c");
    // What it says of itself afterwards, in the kernel's words.
    let asked = example
        .replace(
            "#include <stdio.h>",
            "#include <stdio.h>\n#include <sys/prctl.h>",
        )
        .replace(
            "    return 0;",
            "    return prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1 ? 0 : 3;",
        );
    assert_ne!(asked, example);
    std::fs::write(&file, asked).unwrap();
    let exe = compile(
        "gcc",
        &["-std=c99"],
        file.to_str().unwrap(),
        Static,
        dir.path(),
    );
    let mut command = Command::new(&exe);
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        command.uid(65534).gid(65534);
    }
    run(&mut command);
}

/// Coverage, trees, saving and restoring, as root and as an ordinary user.
#[test]
fn groups_and_states() {
    common::require_cargo!();
    if !has("gcc", &["--version"]) {
        mctl_testkit::skip!("no gcc");
    }
    let dir = folder();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let exe = compile("gcc", &["-std=c99"], "tests/c/group.c", Static, dir.path());
    let users: &[Option<u32>] = if mctl_testkit::is_root() {
        &[None, Some(65534)]
    } else {
        &[None]
    };
    for user in users {
        let mut command = Command::new(&exe);
        if let Some(user) = user {
            command.uid(*user).gid(*user).current_dir("/");
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(77) {
            mctl_testkit::note_skip(&format!("Yama, or no ptrace(2): {text}"));
            continue;
        }
        assert!(output.status.success(), "{user:?}: {text}");
        assert_eq!(text, "done\n");
    }
}

#[test]
fn examples_in_c() {
    common::require_cargo!();
    let dir = folder();
    for compiler in C {
        if !has(compiler, &["--version"]) {
            mctl_testkit::note_skip(&format!("no {compiler}"));
            continue;
        }
        for linked in [Shared, Static] {
            let of = |file| compile(compiler, &["-std=c99"], file, linked, dir.path());
            let (policy, cold) = (of("examples/policy.c"), of("examples/cold.c"));
            let mut child = Command::new("sleep").arg("60").spawn().unwrap();
            let pid = child.id().to_string();
            let set = Command::new(&policy).args([&pid, "nohugepage"]).output();
            let get = Command::new(&policy).arg(&pid).output();
            let cold = Command::new(&cold).arg(&pid).output();
            child.kill().unwrap();
            child.wait().unwrap();
            for (output, wanted) in [
                (set, "policy 0x202 nohugepage"),
                (get, "policy 0x202 nohugepage"),
                (cold, "done"),
            ] {
                let output = output.unwrap();
                let text = String::from_utf8_lossy(&output.stdout).into_owned()
                    + &String::from_utf8_lossy(&output.stderr);
                let refused = !mctl_testkit::is_root() && text.contains("EPERM");
                assert!(text.contains(wanted) || refused, "{text}");
            }
        }
    }
}

#[test]
fn examples_in_cxx() {
    common::require_cargo!();
    let dir = folder();
    for compiler in CXX {
        if !has(compiler, &["--version"]) {
            mctl_testkit::note_skip(&format!("no {compiler}"));
            continue;
        }
        for linked in [Shared, Static] {
            done(&compile(
                compiler,
                &["-std=c++17"],
                "examples/guard.cpp",
                linked,
                dir.path(),
            ));
        }
    }
}

#[test]
fn under_the_sanitizers() {
    common::require_cargo!();
    let dir = folder();
    if !has("gcc", &["--version"]) {
        mctl_testkit::skip!("no gcc");
    }
    let sanitized = |flags: &[&str]| {
        let exe = compile("gcc", flags, "tests/c/contract.c", Shared, dir.path());
        let output = Command::new(exe)
            // A fork's child leaves without freeing.
            .env("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{flags:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    sanitized(&[
        "-std=c99",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    ]);
}

#[test]
fn under_valgrind() {
    common::require_cargo!();
    if !has("valgrind", &["--version"]) {
        mctl_testkit::skip!("no valgrind");
    }
    if !has("gcc", &["--version"]) {
        mctl_testkit::skip!("no gcc");
    }
    let dir = folder();
    let exe = compile("gcc", &["-std=c99"], "tests/c/memory.c", Shared, dir.path());
    let checked = |args: &[&str]| {
        let mut command = Command::new("valgrind");
        command.args(["--error-exitcode=9", "--leak-check=full", "-q"]);
        command.arg(&exe).args(args).output().unwrap()
    };
    let output = checked(&["refusals"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert_eq!(output.stdout, b"refused\n");
    let output = checked(&[]);
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) {
        mctl_testkit::skip!("this valgrind knows no pidfd_open(2): only the refusals were run");
    }
    // What looks at a process runs in a task of its own that shares our memory. valgrind ends the
    // program at that call, where a kernel that has no room for a task would refuse it.
    if text.contains("Valgrind does not support general clone()") {
        mctl_testkit::skip!(
            "valgrind knows no clone(2) of a task that shares memory: only the refusals were run"
        );
    }
    assert!(output.status.success(), "{text}");
}

#[test]
fn loads_unloads_and_loads() {
    common::require_cargo!();
    let dir = folder();
    if !has("gcc", &["--version"]) {
        mctl_testkit::skip!("no gcc");
    }
    let exe = compile("gcc", &["-std=c99"], "tests/c/dlopen.c", Shared, dir.path());
    assert_eq!(
        words(Command::new(exe).arg(library().join("libmctl.so.0"))),
        "done\n"
    );
}
