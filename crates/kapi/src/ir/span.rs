//! Where an item was written.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A place in a source: file, 1-based line and column (in characters), length in bytes.
///
/// Two spans always compare equal: *where* something was said is not part of *what* was said, so
/// that a specification read back from another form equals its original.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// The file as it was named to us; empty for values made by a program.
    pub file: Arc<str>,
    /// 1-based line; 0 where there is none (binary input).
    pub line: u32,
    /// 1-based column in characters; 0 where there is none.
    pub column: u32,
    /// Length in bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub length: u32,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Default for Span {
    fn default() -> Self {
        Self {
            file: Arc::from(""),
            line: 0,
            column: 0,
            length: 0,
        }
    }
}

impl PartialEq for Span {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Span {}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line == 0 {
            f.write_str(&self.file)
        } else {
            write!(f, "{}:{}:{}", self.file, self.line, self.column)
        }
    }
}
