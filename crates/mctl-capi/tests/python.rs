//! Python, through ctypes.

mod common;

use std::process::Command;

use common::{has, library, source, words};

#[test]
fn example_in_python() {
    common::require_cargo!();
    if !has("python3", &["-c", "import ctypes"]) {
        mctl_testkit::skip!("no python3 with ctypes");
    }
    let text = words(
        Command::new("python3")
            .arg(source("examples/policy.py"))
            .arg(library().join("libmctl.so.0")),
    );
    assert_eq!(text, "[Errno 22] 0 is no action (EINVAL)\ndone\n");
}
