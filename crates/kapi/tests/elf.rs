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
