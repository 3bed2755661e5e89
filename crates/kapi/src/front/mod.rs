//! Front ends: everything that specifications are read from.

pub(crate) mod clex;
pub mod csig;
pub mod debugfs;
pub mod elf;
pub mod kdoc;
pub mod macros;
pub mod tree;

use crate::diag::Diagnostic;
use crate::ir::Spec;

/// What was read: the specifications, and what was wrong on the way.
#[derive(Debug, Default)]
pub struct Parsed {
    /// In the order of the source.
    pub specs: Vec<Spec>,
    /// In the order found.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// Adds what another source gave.
    pub fn append(&mut self, mut other: Self) {
        self.specs.append(&mut other.specs);
        self.diagnostics.append(&mut other.diagnostics);
    }
}
