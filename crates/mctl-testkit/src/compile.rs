//! Compiling the C programs, once per content.
//!
//! Lazily and not in a build script: a build that runs no test pays nothing. The result is keyed by
//! a hash of everything that goes in, so an edit is picked up and two test processes agree.

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsStr;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::KitError;

const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/programs");
const FLAGS: [&str; 4] = ["-O2", "-Wall", "-Wextra", "-Werror"];

/// The names of all test programs.
///
/// # Errors
///
/// If the source folder cannot be read.
pub fn program_names() -> Result<Vec<String>, KitError> {
    let mut names: Vec<String> = sources()?
        .iter()
        .filter(|path| path.extension() == Some(OsStr::new("c")))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Compiles a program, unless that is done already, and returns the path of the executable.
/// `flags` are added to those that the program's own first line (`/* build: … */`) asks for.
///
/// # Errors
///
/// [`KitError::Unavailable`] if there is no compiler, or none for the flags; [`KitError::Compile`].
pub fn compile(name: &str, flags: &[&str]) -> Result<PathBuf, KitError> {
    let source = Path::new(PROGRAMS).join(name).with_extension("c");
    let Ok(text) = fs::read_to_string(&source) else {
        return Err(KitError::NoSuchProgram(source));
    };
    let own = build_line(&text);
    let cc = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let dir = cache_dir();
    fs::create_dir_all(&dir).map_err(KitError::io("creating the program cache"))?;
    let exe = dir.join(format!("{name}-{:016x}", key(&cc, name, &own, flags)?));

    if exe.exists() {
        return Ok(exe);
    }
    // Another test process may be at the same program. The lock goes with the file descriptor.
    let lock =
        fs::File::create(dir.join("lock")).map_err(KitError::io("opening the cache's lock"))?;
    lock.lock().map_err(KitError::io("locking the cache"))?;
    if exe.exists() {
        return Ok(exe);
    }
    let part = exe.with_extension("part");
    let mut command = Command::new(&cc);
    command
        .args(FLAGS)
        .arg("-o")
        .arg(&part)
        .arg(&source)
        .args(&own)
        .args(flags);
    if !own.iter().any(|flag| flag == "-nostdlib") {
        command.args(["-pthread", "-lrt"]);
    }
    let unavailable = |reason| KitError::Unavailable {
        program: name.into(),
        reason,
    };
    let out = command
        .output()
        .map_err(|e| unavailable(format!("no C compiler {cc}: {e}")))?;
    if !out.status.success() {
        let output = String::from_utf8_lossy(&out.stderr).into_owned();
        // A variant (static, 32-bit) may lack its library or header here; the rest is our mistake.
        let variant = !(own.is_empty() && flags.is_empty());
        let lacks = ["cannot find", "No such file or directory"];
        return Err(
            if variant && lacks.iter().any(|words| output.contains(words)) {
                unavailable(output)
            } else {
                KitError::Compile {
                    program: name.into(),
                    output,
                }
            },
        );
    }
    fs::rename(&part, &exe).map_err(KitError::io("installing a test program"))?;
    Ok(exe)
}

/// Runs one of the programs as a tool, to its end.
///
/// # Errors
///
/// As [`compile`], or if it cannot be started.
pub fn run_tool(name: &str, args: &[&str]) -> Result<Output, KitError> {
    let exe = compile(name, &[])?;
    Command::new(exe)
        .args(args)
        .output()
        .map_err(KitError::io("running a tool"))
}

/// How many times slower than a real machine this one is: `MCTL_SLOWER`, for emulated ones. Only for
/// how long a test lets something run, never for what it then demands.
#[must_use]
pub fn slower() -> u64 {
    let text = std::env::var("MCTL_SLOWER").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(1).max(1)
}

/// A command that signals end, also where the tests themselves were started with SIGINT or SIGHUP
/// ignored (`nohup`, a script's `&`), which is handed down. env(1) becomes the program, under the
/// same PID.
#[must_use]
pub fn heeding_signals(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=INT,QUIT,HUP").arg(program);
    command
}

fn build_line(text: &str) -> Vec<String> {
    text.lines()
        .find_map(|line| line.strip_prefix("/* build: ")?.strip_suffix(" */"))
        .map(|flags| flags.split_whitespace().map(str::to_owned).collect())
        .unwrap_or_default()
}

fn sources() -> Result<Vec<PathBuf>, KitError> {
    let step = "reading the test programs";
    let entries = fs::read_dir(PROGRAMS).map_err(KitError::io(step))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(KitError::io(step))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// A hash of the compiler, the flags, the program and every header.
fn key(cc: &str, name: &str, own: &[String], flags: &[&str]) -> Result<u64, KitError> {
    let mut hasher = DefaultHasher::new();
    (cc, FLAGS, own, flags).hash(&mut hasher);
    for path in sources()? {
        let header = path.extension() == Some(OsStr::new("h"));
        if header || path.file_stem() == Some(OsStr::new(name)) {
            let text = fs::read(&path).map_err(KitError::io("reading a test program"))?;
            (path.file_name(), text).hash(&mut hasher);
        }
    }
    Ok(hasher.finish())
}

/// Inside cargo's target directory, which is marked by its CACHEDIR.TAG; else for this user in /tmp.
fn cache_dir() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    let target = exe
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").exists());
    match target {
        Some(dir) => dir.join("mctl-testkit"),
        None => {
            let uid = rustix::process::geteuid().as_raw();
            std::env::temp_dir().join(format!("mctl-testkit-{uid}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::build_line;

    #[test]
    fn flags_come_from_the_first_build_line() {
        assert!(build_line("/* a program */\nint x;").is_empty());
        assert_eq!(
            build_line("/* build: -static -nostdlib */\n"),
            ["-static", "-nostdlib"]
        );
    }
}
