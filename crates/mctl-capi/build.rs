//! The soname of libmctl.so and the versions of its symbols.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=libmctl.map");
    println!("cargo:rerun-if-changed=link.sh.in");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    if variable("CARGO_CFG_TARGET_OS") != "linux" {
        return;
    }
    // Major version 0: the soname is libmctl.so.0 until a function changes its meaning.
    let major = variable("CARGO_PKG_VERSION_MAJOR");
    link_arg(&format!("-Wl,-soname,libmctl.so.{major}"));
    // It keeps per-thread state: once loaded it stays.
    link_arg("-Wl,-z,nodelete");

    let out = PathBuf::from(variable("OUT_DIR"));
    let map = Path::new(&variable("CARGO_MANIFEST_DIR")).join("libmctl.map");
    match write_wrapper(&out, &map) {
        Ok(wrapper) if driver_takes(&wrapper, &out) => {
            link_arg("-wrapper");
            link_arg(&wrapper.display().to_string());
        }
        // Still a good library; the tests of what is exported insist.
        Ok(_) => println!(
            "cargo:warning=the linker's driver knows no -wrapper (gcc does): the symbols of \
             libmctl.so are not versioned"
        ),
        Err(error) => println!(
            "cargo:warning=the symbols of libmctl.so are not versioned: {}: {error}",
            out.display()
        ),
    }
}

fn link_arg(arg: &str) {
    println!("cargo:rustc-cdylib-link-arg={arg}");
}

fn write_wrapper(out: &Path, map: &Path) -> std::io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let template = std::fs::read_to_string("link.sh.in")?;
    // Within single quotes the shell leaves everything alone but a single quote.
    let quoted = map.display().to_string().replace('\'', r"'\''");
    let wrapper = out.join("link.sh");
    std::fs::write(&wrapper, template.replace("@MAP@", &quoted))?;
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755))?;
    Ok(wrapper)
}

/// Asks the driver that rustc will use, by linking an empty library in the same way.
fn driver_takes(wrapper: &Path, out: &Path) -> bool {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let source = out.join("probe.rs");
    if std::fs::write(&source, "").is_err() {
        return false;
    }
    let mut rustc = Command::new(variable("RUSTC"));
    rustc
        .args(["--edition=2024", "--crate-type=cdylib"])
        .arg(format!("--target={}", variable("TARGET")))
        .arg("-Clink-arg=-wrapper")
        .arg(format!("-Clink-arg={}", wrapper.display()))
        // The probe has none of the library's functions.
        .arg("-Clink-arg=-Wl,--undefined-version")
        .arg("-o")
        .arg(out.join("libprobe.so"))
        .arg(&source);
    if let Ok(linker) = std::env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    rustc.args(flags.split('\u{1f}').filter(|flag| !flag.is_empty()));
    rustc.output().is_ok_and(|output| output.status.success())
}
