//! Building the native kernels: the distribution's source, our patches, a small configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use mctl_guest_init::Job;

use crate::kconfig::{Wanted, add_fragment, assert_kept, render};
use crate::layout::Layout;
use crate::source::{self, Source};
use crate::stock::Kernel;
use crate::toolchain::{self, Toolchain};
use crate::{guest, kcsan, run, say};

/// The versions that the series is carried for.
pub(crate) const BASES: [&str; 2] = ["6.12", "7.3"];
/// Fragments that every native kernel has: what the series is tested with, and what the guest needs.
const FRAGMENTS: [&str; 2] = ["base", "guest"];

/// With these the kernel's Rust asks for C from the same family of compilers.
const CLANG: [&str; 2] = ["kasan", "kcsan"];

/// Patches, configures and builds. `overlay` is a patch on top of the series.
pub(crate) fn build(
    layout: &Layout,
    base: &str,
    with: &[String],
    overlay: Option<&Path>,
) -> Result<Kernel> {
    let pins = guest::pins(layout)?;
    let tools = toolchain::find(layout, &pins)?;
    let source = source::fetch(layout, &pins, base)?;
    let mut patches = source::series(layout, base)?;
    patches.extend(overlay.map(Path::to_path_buf));
    source.apply(&patches)?;
    let name = name(base, with);
    let out = source.home.join(format!("build-{name}"));
    std::fs::create_dir_all(&out)?;
    let make = Make {
        source: &source,
        tools: &tools,
        out: &out,
        ccache: layout.cache.join("ccache"),
        clang: with.iter().any(|word| CLANG.contains(&word.as_str())),
    };
    let wanted = wanted(layout, base, with)?;
    make.configure(&wanted)?;
    say(&format!("{name}: building"));
    let begin = std::time::Instant::now();
    make.run(&["bzImage"])?;
    // A control changes no header that a program sees.
    if overlay.is_none() {
        make.run(&["headers"])?;
    }
    say(&format!("{name}: built in {} s", begin.elapsed().as_secs()));
    let release = std::fs::read_to_string(out.join("include/config/kernel.release"))?;
    let drift: Vec<String> = [source.drift.clone(), tools.drift.clone()]
        .into_iter()
        .flatten()
        .collect();
    Ok(Kernel {
        name,
        release: release.trim().to_owned(),
        image: out.join("arch/x86/boot/bzImage"),
        modules: None,
        ours: ours(&patches)?,
        drift: (!drift.is_empty()).then(|| drift.join("; ")),
    })
}

fn name(base: &str, with: &[String]) -> String {
    let mut name = format!("native-{base}");
    for word in with {
        name.push('+');
        name.push_str(word);
    }
    name
}

/// The functions that patches touch.
fn ours(patches: &[PathBuf]) -> Result<Vec<String>> {
    let mut functions = Vec::new();
    for patch in patches {
        let text = std::fs::read(patch).with_context(|| patch.display().to_string())?;
        functions.extend(kcsan::touched(&String::from_utf8_lossy(&text)));
    }
    Ok(functions)
}

/// What the fragments ask for together. One for a single base is taken if there is one.
fn wanted(layout: &Layout, base: &str, with: &[String]) -> Result<Wanted> {
    let dir = layout.repo.join("kernel/config");
    let mut wanted = Wanted::new();
    let own = format!("base-{base}");
    let mut names: Vec<&str> = FRAGMENTS.to_vec();
    if dir.join(format!("{own}.config")).exists() {
        names.push(&own);
    }
    names.extend(with.iter().map(String::as_str));
    for name in names {
        let path = dir.join(format!("{name}.config"));
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        add_fragment(&mut wanted, &path.display().to_string(), &text)?;
    }
    Ok(wanted)
}

struct Make<'a> {
    source: &'a Source,
    tools: &'a Toolchain,
    out: &'a Path,
    ccache: PathBuf,
    clang: bool,
}

impl Make<'_> {
    /// Starts from tinyconfig, adds what is wanted, and checks that it stayed. Nothing is done if it was
    /// done before: a new configuration file rebuilds much.
    fn configure(&self, wanted: &Wanted) -> Result<()> {
        let config = self.out.join(".config");
        let stamp = self.out.join("wanted.config");
        let text = render(wanted);
        if std::fs::read_to_string(&stamp).is_ok_and(|old| old == text) {
            let config = std::fs::read_to_string(&config).unwrap_or_default();
            if assert_kept(wanted, &config).is_ok() {
                return Ok(());
            }
        }
        self.run(&["tinyconfig"])?;
        let tiny = std::fs::read_to_string(&config)?;
        std::fs::write(&config, format!("{tiny}{text}"))?;
        self.run(&["olddefconfig"])?;
        assert_kept(wanted, &std::fs::read_to_string(&config)?)?;
        std::fs::write(stamp, text)?;
        Ok(())
    }

    fn run(&self, goals: &[&str]) -> Result<()> {
        let jobs = std::thread::available_parallelism().map_or(2, usize::from);
        let log = self.out.join("make.log");
        let file = std::fs::File::create(&log)?;
        let mut command = run::ends_with_us("make");
        command
            .arg("-C")
            .arg(&self.source.tree)
            .arg(format!("O={}", self.out.display()))
            .arg(format!("-j{jobs}"))
            .arg(format!("BINDGEN={}", self.tools.bindgen.display()))
            .args(goals)
            .env("RUST_LIB_SRC", &self.tools.rust_lib_src)
            .env("LIBCLANG_PATH", &self.tools.libclang)
            // The same bytes from the same source.
            .env("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970")
            .env("KBUILD_BUILD_USER", "mctl")
            .env("KBUILD_BUILD_HOST", "mctl")
            .env_remove("RUSTFLAGS")
            .stdout(file.try_clone()?)
            .stderr(file);
        if self.tools.ccache {
            // By the path and not by CC: the build hands HOSTCC to rustc as one word.
            let path = std::env::var_os("PATH").unwrap_or_default();
            let mut dirs = vec![PathBuf::from("/usr/lib/ccache")];
            dirs.extend(std::env::split_paths(&path));
            command.env("PATH", std::env::join_paths(dirs)?);
            if std::env::var_os("CCACHE_DIR").is_none() {
                command.env("CCACHE_DIR", &self.ccache);
            }
        }
        if self.clang {
            let clang = self.tools.libclang.with_file_name("bin").join("clang");
            if !clang.exists() {
                bail!(
                    "{} is missing; install the package clang of the same version as libclang",
                    clang.display()
                );
            }
            let cc = if self.tools.ccache {
                cached(&clang, &self.ccache)?
            } else {
                clang
            };
            command.arg(format!("CC={}", cc.display()));
        }
        if let Err(error) = run::run(&mut command) {
            let text = std::fs::read(&log).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            bail!(
                "{error:#}\n{}\n(all of it: {})",
                errors(&text),
                log.display()
            );
        }
        Ok(())
    }
}

/// A program that has clang's work done by ccache. It stands outside the path, where ccache would find an older
/// clang under the same name, and the build takes CC for one word.
fn cached(clang: &Path, home: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = home.with_file_name("ccache-bin");
    std::fs::create_dir_all(&dir)?;
    let program = dir.join("clang");
    let text = format!("#!/bin/sh\nexec ccache '{}' \"$@\"\n", clang.display());
    // As it is, if it is right: make takes a newer compiler for a reason to build anew.
    if std::fs::read_to_string(&program).is_ok_and(|old| old == text) {
        return Ok(program);
    }
    std::fs::write(&program, text)?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    Ok(program)
}

/// The lines of a build's log that say what is wrong, else its end.
fn errors(log: &str) -> String {
    let bad = |line: &&str| line.contains("error") || line.contains("***");
    let lines: Vec<&str> = log.lines().filter(bad).take(20).collect();
    if lines.is_empty() {
        run::last_lines(log, 30)
    } else {
        lines.join("\n")
    }
}

/// Builds the selftests that the series adds and lists them as jobs.
pub(crate) fn selftests(layout: &Layout, base: &str, with: &[String]) -> Result<Vec<Job>> {
    let pins = guest::pins(layout)?;
    let source = source::fetch(layout, &pins, base)?;
    source.apply(&source::series(layout, base)?)?;
    let dir = source.tree.join("tools/testing/selftests/mm");
    let build = format!("build-{}", name(base, with));
    let headers = source.home.join(build).join("usr/include");
    let out = layout.cache.join("selftests").join(base);
    std::fs::create_dir_all(&out)?;
    let mut files: Vec<PathBuf> = std::fs::read_dir(&dir)?
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| is_selftest(p))
        .collect();
    files.sort();
    if files.is_empty() {
        bail!("the series adds no selftest: {}/mctl_*.c", dir.display());
    }
    let mut jobs = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let program = out.join(&*name);
        run::text(
            Command::new("gcc")
                .args(["-O2", "-Wall", "-static", "-pthread", "-I"])
                .arg(&headers)
                .arg("-o")
                .arg(&program)
                .arg(&file),
        )
        .with_context(|| format!("building the selftest {name}"))?;
        jobs.push(Job {
            name: format!("selftest.{name}"),
            argv: vec![program.display().to_string()],
            cwd: PathBuf::from("/tmp"),
            // A folder on a disk, for what acts on the page cache.
            env: BTreeMap::from([("MCTL_DISK".to_owned(), "/tmp".to_owned())]),
            seconds: 300,
            // KSFT_SKIP
            skip_status: Some(4),
        });
    }
    Ok(jobs)
}

fn is_selftest(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("mctl_") && name.ends_with(".c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builds_errors_are_found_in_its_log() {
        let log = "  CC      mm/a.o\nmm/a.c:1:2: error: no\nmake: *** [x] Error 2\n";
        assert_eq!(errors(log), "mm/a.c:1:2: error: no\nmake: *** [x] Error 2");
        assert_eq!(errors("one\ntwo\n"), "one\ntwo");
    }

    #[test]
    fn selftests_are_ours_only() {
        assert!(is_selftest(Path::new("/t/mctl_thp.c")));
        assert!(!is_selftest(Path::new("/t/mctl_common.h")));
        assert!(!is_selftest(Path::new("/t/khugepaged.c")));
    }
}
