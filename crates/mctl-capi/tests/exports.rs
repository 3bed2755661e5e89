//! What libmctl.so shows to the world.

mod common;

use std::collections::BTreeSet;
use std::process::Command;

use common::{has, library, source, words};

#[test]
fn exactly_the_functions_of_the_header_each_with_its_version() {
    common::require_cargo!();
    if !has("nm", &["--version"]) {
        mctl_testkit::skip!("no nm");
    }
    let shown = words(
        Command::new("nm")
            .args(["-D", "--defined-only"])
            .arg(library().join("libmctl.so")),
    );
    let shown: BTreeSet<&str> = shown
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        // GNU ld shows the node itself too.
        .filter(|name| *name != "MCTL_0.1")
        .collect();
    let header = std::fs::read_to_string(source("include/mctl.h")).unwrap();
    let declared: BTreeSet<String> = header
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains('('))
        .filter_map(|line| line.split('(').next()?.split([' ', '*']).next_back())
        .map(|name| format!("{name}@@MCTL_0.1"))
        .collect();
    assert_eq!(declared.len(), 12, "{declared:?}");
    assert_eq!(
        shown,
        declared.iter().map(String::as_str).collect::<BTreeSet<_>>()
    );
}

#[test]
fn soname_and_needs() {
    common::require_cargo!();
    if !has("readelf", &["--version"]) {
        mctl_testkit::skip!("no readelf");
    }
    let dynamic = words(
        Command::new("readelf")
            .args(["-dW"])
            .arg(library().join("libmctl.so")),
    );
    assert!(dynamic.contains("soname: [libmctl.so.0]"), "{dynamic}");
    assert!(dynamic.contains("NODELETE"), "{dynamic}");
    for line in dynamic.lines().filter(|line| line.contains("(NEEDED)")) {
        let needed = line.rsplit('[').next().unwrap();
        assert!(
            [
                "libc.",
                "libgcc_s.",
                "ld-linux",
                "libm.",
                "libpthread.",
                "libdl."
            ]
            .iter()
            .any(|known| needed.starts_with(known)),
            "{line}"
        );
    }
    assert!(!dynamic.contains("TEXTREL"));
}
