//! Puts the cases and the agent into the program, so that it runs where neither this folder nor a C
//! compiler is, as in a guest.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed=cases");
    println!("cargo::rerun-if-changed=agent");
    let mut found = Vec::new();
    let cases = root.join("cases");
    collect(&cases, &mut found)?;
    found.sort();
    let mut text = String::from("static CASES: &[(&str, &str)] = &[\n");
    for path in found {
        let name = path.strip_prefix(&cases)?.with_extension("");
        writeln!(
            text,
            "    ({:?}, include_str!({:?})),",
            name.display().to_string(),
            path.display().to_string()
        )?;
    }
    text.push_str("];\n");
    std::fs::write(out.join("cases.rs"), text)?;
    let agent = out.join("agent");
    if let Err(why) = build_agent(&root.join("agent/agent.c"), &agent) {
        // Without one there is no real-process backend, and it says so.
        println!("cargo::warning=the agent of the real-process backends is left out: {why}");
        std::fs::write(&agent, "")?;
    }
    Ok(())
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            println!("cargo::rerun-if-changed={}", path.display());
            collect(&path, found)?;
        } else if path.extension().is_some_and(|end| end == "case") {
            found.push(path);
        }
    }
    Ok(())
}

fn build_agent(source: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    let target = (
        std::env::var("CARGO_CFG_TARGET_OS")?,
        std::env::var("CARGO_CFG_TARGET_ARCH")?,
    );
    if target != ("linux".to_owned(), "x86_64".to_owned()) {
        return Err(format!("it knows Linux on x86-64 only, not {target:?}").into());
    }
    let output = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".to_owned()))
        .args([
            "-Os",
            "-s",
            "-Wall",
            "-ffreestanding",
            "-fno-stack-protector",
            "-fno-asynchronous-unwind-tables",
            "-fcf-protection=none",
            "-fPIE",
            "-nostdlib",
            "-static-pie",
            "-Wl,--build-id=none",
            "-Wl,-z,noexecstack",
            "-o",
        ])
        .arg(to)
        .arg(source)
        .output()
        .map_err(|error| format!("no C compiler: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
    }
}
