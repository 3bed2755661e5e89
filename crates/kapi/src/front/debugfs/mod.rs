//! What a kernel with specifications shows in debugfs: text (`specs/NAME`) and JSON
//! (`specs-json/NAME`). Both hold less than the source; what they leave out stays empty.

mod json;
mod text;

use serde_json::Value as Json;

pub use json::parse_json;
pub use text::parse_text;

/// Where the kernel shows them.
pub const ROOT: &str = "/sys/kernel/debug/kapi";

/// Whether a text is one of debugfs.
#[must_use]
pub fn is_text(text: &str) -> bool {
    text.starts_with("Kernel API Specification\n")
}

/// Whether a JSON value is one of debugfs.
#[must_use]
pub fn is_json(value: &Json) -> bool {
    let one = |v: &Json| {
        v.get("name").is_some()
            && (v.get("context_flags").is_some_and(Json::is_string)
                || v.get("parameters").is_some())
    };
    one(value)
        || value
            .as_array()
            .is_some_and(|list| !list.is_empty() && list.iter().all(one))
}

fn number(text: &str) -> Option<i128> {
    match text.trim().strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16).ok(),
        None => text.trim().parse().ok(),
    }
}
