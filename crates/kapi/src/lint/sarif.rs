//! Findings as SARIF 2.1.0, which code hosts and editors show.

use serde_json::{Value, json};

use super::RULES;
use crate::diag::{Diagnostic, Severity};

/// The log.
#[must_use]
pub fn sarif(found: &[Diagnostic]) -> Value {
    let mut codes: Vec<&str> = RULES.iter().map(|(code, _)| *code).collect();
    for diagnostic in found {
        if !codes.contains(&diagnostic.code) {
            codes.push(diagnostic.code);
        }
    }
    let rules: Vec<Value> = codes
        .iter()
        .map(|code| {
            let text = RULES
                .iter()
                .find(|(known, _)| known == code)
                .map_or("the source can be read", |(_, text)| text);
            json!({ "id": code, "shortDescription": { "text": text } })
        })
        .collect();
    let results: Vec<Value> = found
        .iter()
        .map(|d| {
            let mut message = d.message.clone();
            if let Some(expected) = &d.expected {
                message = format!("{message} ({expected})");
            }
            let mut location = json!({ "artifactLocation": { "uri": &*d.span.file } });
            if d.span.line > 0 {
                location["region"] = json!({ "startLine": d.span.line, "startColumn": d.span.column.max(1) });
            }
            json!({
                "ruleId": d.code,
                "ruleIndex": codes.iter().position(|c| *c == d.code),
                "level": match d.severity { Severity::Error => "error", Severity::Warning => "warning", Severity::Note => "note" },
                "message": { "text": message },
                "locations": [ { "physicalLocation": location } ]
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [ {
            "tool": { "driver": { "name": "kapi", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results
        } ]
    })
}
