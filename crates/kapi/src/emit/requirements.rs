//! Requirements: every clause with a stable identifier and a content hash, traceable to the tests
//! that show it.

use serde::Serialize;

use crate::clause::{Clause, clauses};
use crate::ir::Spec;

#[derive(Serialize)]
struct Document {
    format: &'static str,
    requirements: Vec<Requirement>,
}

#[derive(Serialize)]
struct Requirement {
    call: String,
    #[serde(flatten)]
    clause: Clause,
    /// The command that shows it.
    verified_by: String,
}

/// The list as JSON.
pub(super) fn emit(specs: &[Spec]) -> String {
    let requirements = specs
        .iter()
        .flat_map(|spec| {
            clauses(spec).into_iter().map(|clause| Requirement {
                call: spec.call_name().to_owned(),
                verified_by: format!("kapi verify {} --clause {}", spec.call_name(), clause.id),
                clause,
            })
        })
        .collect();
    super::json(&Document {
        format: "kapi-requirements-1",
        requirements,
    })
}
