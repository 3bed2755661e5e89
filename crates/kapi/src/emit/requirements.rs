//! Requirements: every clause with a stable identifier and a content hash, and whether calls can
//! bear it out or somebody has to read it; with what calls showed, where it was verified.

use serde::{Deserialize, Serialize};

use crate::clause::{Basis, Clause, clauses};
use crate::ir::Spec;

#[derive(Serialize)]
struct Document<'a> {
    format: &'static str,
    requirements: Vec<Requirement<'a>>,
}

#[derive(Serialize)]
struct Requirement<'a> {
    call: String,
    #[serde(flatten)]
    clause: Clause,
    /// The command that tries it; none for what has to be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_by: Option<String>,
    /// What calls showed.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<Seen<'a>>,
}

/// What became of a requirement when it was verified.
#[derive(Serialize)]
struct Seen<'a> {
    kernel: &'a str,
    verdict: &'a str,
    /// Numbers of entries in the log of that verification.
    witnesses: &'a [usize],
    /// The statement has been changed since.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
}

/// What `kapi verify --json` printed of one call.
#[derive(Debug, Deserialize)]
pub struct Verified {
    call: String,
    kernel: String,
    present: bool,
    findings: Vec<Found>,
}

#[derive(Debug, Deserialize)]
struct Found {
    clause: Known,
    verdict: String,
    witnesses: Vec<usize>,
}

#[derive(Debug, Deserialize)]
struct Known {
    id: String,
    hash: String,
}

/// Reads what `kapi verify --json` printed, of one call or of all.
///
/// # Errors
///
/// When it is something else.
pub fn verified(text: &str) -> serde_json::Result<Vec<Verified>> {
    if text.trim_start().starts_with('[') {
        serde_json::from_str(text)
    } else {
        serde_json::from_str(text).map(|one| vec![one])
    }
}

/// The list as JSON, with what was seen of each.
#[must_use]
pub fn requirements(specs: &[Spec], verified: &[Verified]) -> String {
    let requirements = specs
        .iter()
        .flat_map(|spec| {
            clauses(spec).into_iter().map(|clause| Requirement {
                call: spec.call_name().to_owned(),
                verified_by: (clause.basis == Basis::Machine)
                    .then(|| format!("kapi verify {} --clause {}", spec.call_name(), clause.id)),
                seen: seen(spec.call_name(), &clause, verified),
                clause,
            })
        })
        .collect();
    super::json(&Document {
        format: "kapi-requirements-1",
        requirements,
    })
}

fn seen<'a>(call: &str, clause: &Clause, verified: &'a [Verified]) -> Option<Seen<'a>> {
    let of = verified.iter().rfind(|v| v.call == call && v.present)?;
    let found = of.findings.iter().find(|f| f.clause.id == clause.id)?;
    Some(Seen {
        kernel: &of.kernel,
        verdict: &found.verdict,
        witnesses: &found.witnesses,
        stale: found.clause.hash != clause.hash,
    })
}
