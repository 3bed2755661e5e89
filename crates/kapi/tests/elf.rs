//! Specifications compiled by gcc in both layouts, read back equal to their source.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_wrap,
    reason = "helpers of tests fail tests"
)]

mod common;

use std::path::Path;
use std::process::Command;

use kapi::diag::Source;
use kapi::emit::{Format, emit};
use kapi::front::{elf, macros};
use kapi::ir::Spec;
use serde_json::Value as Json;

const SECOND: &str = r#"
DEFINE_KERNEL_API_SPEC(sys_second)
    KAPI_DESCRIPTION("A second record, to find the distance")
    KAPI_PARAM(0, "fd", "int", "Where")
        KAPI_PARAM_TYPE(KAPI_TYPE_FD)
        KAPI_PARAM_FLAGS(KAPI_PARAM_IN | KAPI_PARAM_OPTIONAL)
        KAPI_PARAM_CONSTRAINT_TYPE(KAPI_CONSTRAINT_RANGE)
        KAPI_PARAM_RANGE(-100, 0x7fffffff)
    KAPI_PARAM_END
    KAPI_PARAM(1, "how", "int", "How")
        KAPI_PARAM_TYPE(KAPI_TYPE_ENUM)
        KAPI_PARAM_CONSTRAINT_TYPE(KAPI_CONSTRAINT_ENUM)
        .enum_values = (const s64[]){ 1, -2, 5000000000 },
        .enum_count = 3,
    KAPI_PARAM_END
    KAPI_RETURN("long", "A number")
        KAPI_RETURN_CHECK_TYPE(KAPI_RETURN_RANGE)
        KAPI_RETURN_SUCCESS_RANGE(0, 4095)
    KAPI_RETURN_END
    KAPI_ERROR(0, -EINTR, "EINTR", "Interrupted", "Says \"why\"\n\nover two paragraphs.")
    KAPI_SIGNAL(0, SIGINT, "SIGINT", KAPI_SIGNAL_RECEIVE | KAPI_SIGNAL_HANDLE, KAPI_SIGNAL_ACTION_RESTART)
        KAPI_SIGNAL_ERROR(-EINTR)
        KAPI_SIGNAL_TIMING("while_sleeping")
        KAPI_SIGNAL_PRIORITY(3)
        KAPI_SIGNAL_INTERRUPTIBLE
    KAPI_SIGNAL_END
    KAPI_SIGNAL_MASK(0, "stoppers", "Stop it")
        .signals = { SIGINT, SIGTERM },
        .signal_count = 2,
    KAPI_SIGNAL_MASK_END
    KAPI_PARAM_COUNT(2)
    KAPI_ERROR_COUNT(1)
    KAPI_SIGNAL_COUNT(1)
    KAPI_SIGNAL_MASK_COUNT(1)
KAPI_END_SPEC;
"#;

fn source() -> (String, Vec<Spec>) {
    let first = macros::parse(&Source::new("own.c", common::OWN)).specs;
    // Through our own emitter, so that what it writes is C.
    let text = format!(
        "#include <errno.h>\n#include <signal.h>\n#include <sys/mman.h>\n#include <linux/capability.h>\n#include \"kapi.h\"\n{}{SECOND}",
        emit(&first, Format::Macros)
    );
    let specs = macros::parse(&Source::new("spec.c", &text)).specs;
    assert_eq!(specs.len(), 2);
    (text, specs)
}

fn compile(dir: &Path, text: &str, flags: &[&str]) -> Vec<u8> {
    let (c, o) = (dir.join("spec.c"), dir.join("spec.o"));
    std::fs::write(&c, text).unwrap();
    let include = concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include");
    let out = Command::new("gcc")
        .args(["-c", "-Wall", "-Werror", "-Wno-unused-variable", include])
        .args(flags)
        .arg(&c)
        .arg("-o")
        .arg(&o)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    std::fs::read(&o).unwrap()
}

/// What a binary can hold: numbers for symbols; 0, false and empty are "not set".
fn bare(value: Json) -> Option<Json> {
    match value {
        Json::Object(mut map) => {
            for key in [
                "span",
                "counts",
                "signature",
                "unknown",
                "bits_only",
                "validator",
                "per_arch",
            ] {
                map.remove(key);
            }
            if let (Some(number), true) = (map.get("number"), map.contains_key("text")) {
                return Some(number.clone()).filter(|n| n != &Json::from(0));
            }
            if map.contains_key("symbols") {
                return map.remove("bits").filter(|n| n != &Json::from(0));
            }
            let map: serde_json::Map<_, _> = map
                .into_iter()
                .filter_map(|(k, v)| bare(v).map(|v| (k, v)))
                .collect();
            Some(Json::Object(map)).filter(|m| m != &Json::Object(serde_json::Map::new()))
        }
        Json::Array(list) if list.is_empty() => None,
        Json::Array(list) => Some(Json::Array(
            list.into_iter()
                .map(|v| bare(v).unwrap_or(Json::Null))
                .collect(),
        )),
        // The words whose C number is 0.
        Json::String(s)
            if matches!(
                s.as_str(),
                "" | "void" | "none" | "exact" | "default" | "bypass_check"
            ) =>
        {
            None
        }
        Json::Bool(false) | Json::Null => None,
        other => Some(other),
    }
}

fn compare(mut read: Vec<Spec>, mut wanted: Vec<Spec>, pointers: bool) {
    assert_eq!(read.len(), wanted.len());
    read.sort_by(|a, b| a.name.cmp(&b.name));
    wanted.sort_by(|a, b| a.name.cmp(&b.name));
    for (read, mut wanted) in read.into_iter().zip(wanted) {
        if pointers {
            // The newer records have no place for it.
            wanted.since_version.clear();
        }
        let (read, wanted) = (
            bare(serde_json::to_value(read).unwrap()),
            bare(serde_json::to_value(wanted).unwrap()),
        );
        assert_eq!(
            serde_json::to_string_pretty(&read).unwrap(),
            serde_json::to_string_pretty(&wanted).unwrap()
        );
    }
}

fn check(flags: &[&str], pointers: bool) {
    let dir = tempfile::tempdir().unwrap();
    let (text, specs) = source();
    let object = compile(dir.path(), &text, flags);
    let parsed = elf::parse("spec.o", &object);
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    compare(parsed.specs, specs, pointers);
}

#[test]
fn pointers_to_constants() {
    check(&[], true);
}

#[test]
fn whole_records() {
    check(&["-DKAPI_INLINE"], false);
}

#[test]
fn a_layout_that_only_btf_tells() {
    // No version of the header has this many parameters.
    check(&["-DKAPI_INLINE", "-DKAPI_MAX_PARAMS=19", "-gbtf"], false);
    check(&["-DKAPI_MAX_PARAMS=19", "-gbtf"], true);
    let dir = tempfile::tempdir().unwrap();
    let object = compile(
        dir.path(),
        &source().0,
        &["-DKAPI_INLINE", "-DKAPI_MAX_PARAMS=19"],
    );
    let parsed = elf::parse("spec.o", &object);
    assert!(parsed.specs.is_empty());
    assert!(
        parsed.diagnostics[0]
            .message
            .contains("fit no known layout")
    );
}

#[test]
fn a_linked_image_is_read_as_an_object_is() {
    let dir = tempfile::tempdir().unwrap();
    let (text, specs) = source();
    for (flags, pointers) in [
        (vec!["-no-pie"], true),
        (vec!["-pie", "-fPIE"], true),
        (vec!["-no-pie", "-DKAPI_INLINE"], false),
    ] {
        let c = dir.path().join("image.c");
        std::fs::write(&c, format!("{text}\nint main(void) {{ return 0; }}\n")).unwrap();
        let image = dir.path().join("image");
        let include = concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include");
        let out = Command::new("gcc")
            .arg(include)
            .args(&flags)
            .arg(&c)
            .arg("-o")
            .arg(&image)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        let parsed = elf::parse("image", &std::fs::read(&image).unwrap());
        assert!(
            parsed.diagnostics.is_empty(),
            "{flags:?} {:?}",
            parsed.diagnostics
        );
        compare(parsed.specs, specs.clone(), pointers);
    }
}

#[test]
fn damaged_files_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let object = compile(dir.path(), &source().0, &[]);
    for cut in [0, 3, 17, 64, 100, object.len() / 2, object.len() - 1] {
        let parsed = elf::parse("cut.o", &object[..cut]);
        assert!(parsed.specs.len() <= 2);
    }
    for at in (0..object.len()).step_by(97) {
        let mut bytes = object.clone();
        bytes[at] ^= 0xff;
        let _ = elf::parse("flipped.o", &bytes);
    }
}

/// The symbols of the specifications, as numbers: a compiler for another machine has no headers.
const NUMBERS: [&str; 10] = [
    "-DEINVAL=22",
    "-DEPERM=1",
    "-DEAGAIN=11",
    "-DEINTR=4",
    "-DMCL_CURRENT=1",
    "-DMCL_FUTURE=2",
    "-DMCL_ONFAULT=4",
    "-DCAP_IPC_LOCK=14",
    "-DSIGINT=2",
    "-DSIGTERM=15",
];

/// Compiles without a C library; `None` where the compiler cannot (a target it was not built with).
fn cross(dir: &Path, compiler: &[&str], flags: &[&str]) -> Option<Vec<u8>> {
    let (program, first) = compiler.split_first()?;
    let text: String = source()
        .0
        .lines()
        .filter(|l| !l.starts_with("#include <"))
        .map(|l| format!("{l}\n"))
        .collect();
    let (c, o) = (dir.join("cross.c"), dir.join("cross.o"));
    std::fs::write(&c, text).unwrap();
    let include = concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include");
    let out = Command::new(program)
        .args(first)
        .args(["-c", "-ffreestanding", "-DSIGBUS=7", include])
        .args(NUMBERS)
        .args(flags)
        .arg(&c)
        .arg("-o")
        .arg(&o)
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let unknown = ["unknown target", "not supported", "unable to create target"];
    if unknown.iter().any(|u| said.contains(u)) {
        return None;
    }
    assert!(out.status.success(), "{compiler:?} {flags:?}: {said}");
    Some(std::fs::read(&o).unwrap())
}

/// `(compiler, 64 bits, big-endian)`.
const MACHINES: [(&[&str], bool, bool); 11] = [
    (&["gcc", "-m32"], false, false),
    (&["clang", "--target=i386-linux-gnu"], false, false),
    (&["clang", "--target=arm-linux-gnueabihf"], false, false),
    (&["clang", "--target=armeb-linux-gnueabi"], false, true),
    (&["clang", "--target=riscv32-linux-gnu"], false, false),
    (&["clang", "--target=powerpc-linux-gnu"], false, true),
    (&["clang", "--target=mips-linux-gnu"], false, true),
    (&["clang", "--target=powerpc64-linux-gnu"], true, true),
    (&["clang", "--target=s390x-linux-gnu"], true, true),
    (&["clang", "--target=mips64-linux-gnuabi64"], true, true),
    (&["clang", "--target=aarch64-linux-gnu"], true, false),
];

#[test]
fn objects_of_other_machines() {
    if Command::new("clang").arg("--version").output().is_err() {
        mctl_testkit::skip!("needs clang, which compiles for machines that this one is not");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut compiled = 0;
    for (compiler, wide, big) in MACHINES {
        for (flags, pointers) in [(&[][..], true), (&["-DKAPI_INLINE"], false)] {
            let Some(object) = cross(dir.path(), compiler, flags) else {
                eprintln!("{compiler:?} does not know the machine");
                continue;
            };
            compiled += 1;
            assert_eq!(
                (object[4], object[5]),
                (1 + u8::from(wide), 1 + u8::from(big))
            );
            let parsed = elf::parse("cross.o", &object);
            assert!(
                parsed.diagnostics.is_empty(),
                "{compiler:?} {flags:?} {:?}",
                parsed.diagnostics
            );
            compare(parsed.specs, source().1, pointers);
        }
    }
    assert!(compiled >= 8, "{compiled}");
}

fn run(dir: &Path, program: &str, args: &[&str]) {
    let out = Command::new(program)
        .current_dir(dir)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {args:?}: {said}");
}

/// As a kernel is linked: many objects, one section, fixed addresses, nothing left to relocate.
/// Fifty objects, half of them merged into one first, and a gigantic neighbour.
#[test]
fn a_whole_kernel_image() {
    let dir = tempfile::tempdir().unwrap();
    let (text, specs) = source();
    let mut objects = Vec::new();
    for n in 0..50 {
        let renamed = text
            .replace("sys_mlockall", &format!("sys_first{n}"))
            .replace("sys_second", &format!("sys_second{n}"))
            // A function of that name would be defined twice.
            .replace("mlockall(", &format!("first{n}("));
        let object = compile(dir.path(), &renamed, &["-fno-pic", "-mcmodel=kernel"]);
        let name = format!("{n}.o");
        std::fs::write(dir.path().join(&name), object).unwrap();
        objects.push(name);
    }
    let (merged, single) = objects.split_at(25);
    let mut args = vec!["-r", "-o", "built-in.o"];
    args.extend(merged.iter().map(String::as_str));
    run(dir.path(), "ld", &args);
    // More than 100 MB of other data, as debugging information is.
    std::fs::write(
        dir.path().join("big.s"),
        ".section .rodata.big,\"a\",@progbits\n.globl big\nbig:\n.fill 120000000, 1, 0x5a\n.section .note.GNU-stack,\"\",@progbits\n",
    )
    .unwrap();
    run(dir.path(), "gcc", &["-c", "big.s", "-o", "big.o"]);
    std::fs::write(
        dir.path().join("vmlinux.lds"),
        "ENTRY(start)\nSECTIONS {\n . = 0xffffffff81000000;\n start = .;\n .text : { *(.text*) }\n .rodata : { *(.rodata*) }\n .data : { *(.data*) }\n \
         .kapi_specs : { KEEP(*(.kapi_specs)) }\n .bss : { *(.bss*) }\n /DISCARD/ : { *(.note*) *(.eh_frame*) *(.comment) }\n}\n",
    )
    .unwrap();
    let mut args = vec![
        "-static",
        "-T",
        "vmlinux.lds",
        "-o",
        "vmlinux",
        "built-in.o",
        "big.o",
    ];
    args.extend(single.iter().map(String::as_str));
    run(dir.path(), "ld", &args);
    let image = std::fs::read(dir.path().join("vmlinux")).unwrap();
    assert_eq!(image[16], 2, "ET_EXEC");
    assert!(image.len() > 100 << 20);
    let start = std::time::Instant::now();
    let parsed = elf::parse("vmlinux", &image);
    let took = start.elapsed();
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    assert_eq!(parsed.specs.len(), 100);
    // Only what has to be looked at is: a tenth of this would do.
    assert!(took < std::time::Duration::from_secs(120), "{took:?}");
    for (spec, name) in specs.iter().zip(["sys_first7", "sys_second7"]) {
        let read = parsed
            .specs
            .iter()
            .find(|s| s.name == name)
            .unwrap()
            .clone();
        let mut wanted = spec.clone();
        wanted.name = name.to_owned();
        if name == "sys_first7" {
            let renamed = macros::parse(&Source::new(
                "renamed.c",
                &text
                    .replace("sys_mlockall", name)
                    .replace("mlockall(", "first7("),
            ));
            wanted = renamed.specs.into_iter().find(|s| s.name == name).unwrap();
        }
        compare(vec![read], vec![wanted], true);
    }
    // And the merged object by itself, whose pointers are relocations.
    let merged = std::fs::read(dir.path().join("built-in.o")).unwrap();
    let parsed = elf::parse("built-in.o", &merged);
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    assert_eq!(parsed.specs.len(), 50);
}

/// Few bytes that are read over and over are a trap, and refused as one.
#[test]
fn records_that_share_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (text, _) = source();
    // 20,000 pointers to the same record.
    let many = format!(
        "{text}\nstatic const struct kernel_api_spec *const more[20000] \
         __attribute__((used, section(\".kapi_specs\"))) = {{ [0 ... 19999] = &__kapi_spec_sys_second }};\n"
    );
    let object = compile(dir.path(), &many, &["-Wno-override-init"]);
    let parsed = elf::parse("spec.o", &object);
    assert!(parsed.specs.is_empty());
    assert!(
        parsed.diagnostics[0]
            .message
            .contains("many times the size"),
        "{:?}",
        parsed.diagnostics
    );
}
