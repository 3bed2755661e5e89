//! A whole corpus as one JSON document, and the schema that it follows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Spec;

/// The version of the JSON form; a change that a reader could notice changes it.
pub const CORPUS_FORMAT: &str = "kapi-1";

/// Many specifications in one document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Kernel API specifications")]
pub struct Corpus {
    /// Always [`CORPUS_FORMAT`].
    pub format: String,
    /// In order of their names.
    pub specs: Vec<Spec>,
}

impl Corpus {
    /// Wraps specifications.
    #[must_use]
    pub fn new(specs: Vec<Spec>) -> Self {
        Self {
            format: CORPUS_FORMAT.to_owned(),
            specs,
        }
    }
}

/// The JSON Schema (draft 2020-12) of a corpus.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Corpus).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert(
            "$comment".to_owned(),
            "One specification alone follows #/$defs/Spec. Numbers are those of asm-generic; per_arch has the others.".into(),
        );
    }
    schema
}
