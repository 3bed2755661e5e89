//! Errors, locks, signals, effects, transitions, capabilities, constraints.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::vocab::{
    CapAction, Effect, LockKind, SignalAction, SignalDirection, SignalQueue, SignalTiming,
};
use super::{Flags, Span, Value};

/// One error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ErrorSpec {
    /// `EINVAL`.
    pub name: String,
    /// `-EINVAL`, with its numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Value>,
    /// A few words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// When it is returned; best as an expression that can be checked.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub condition: String,
    /// Sentences.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Where.
    pub span: Span,
}

/// A lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Lock {
    /// Name.
    pub name: String,
    /// Kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<LockKind>,
    /// The call takes it.
    pub acquired: bool,
    /// The call gives it back.
    pub released: bool,
    /// The caller must hold it.
    pub held_on_entry: bool,
    /// It is held on return.
    pub held_on_exit: bool,
    /// Sentences.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Where.
    pub span: Span,
}

impl Lock {
    /// One word where there is one: taken *and* given back is `internal`, not a release.
    #[must_use]
    pub fn scope(&self) -> Option<&'static str> {
        match (
            self.acquired,
            self.released,
            self.held_on_entry,
            self.held_on_exit,
        ) {
            (true, true, false, false) => Some("internal"),
            (true, false, false, false) => Some("acquires"),
            (false, true, false, false) => Some("releases"),
            (false, false, true, true) => Some("caller_held"),
            _ => None,
        }
    }

    /// Sets what a scope word says; `false` if there is no such word.
    pub fn set_scope(&mut self, word: &str) -> bool {
        let word = word.trim();
        let bare = word
            .strip_prefix("KAPI_LOCK_")
            .unwrap_or(word)
            .to_ascii_lowercase()
            .replace('-', "_");
        (
            self.acquired,
            self.released,
            self.held_on_entry,
            self.held_on_exit,
        ) = match bare.as_str() {
            "internal" => (true, true, false, false),
            "acquires" => (true, false, false, false),
            "releases" => (false, true, false, false),
            "caller_held" => (false, false, true, true),
            _ => return false,
        };
        true
    }
}

/// A signal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Signal {
    /// Name or description of a group (`FATAL_SIGNALS`).
    pub name: String,
    /// Number, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<Value>,
    /// What the call has to do with it.
    pub direction: Flags<SignalDirection>,
    /// What happens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<SignalAction>,
    /// Who gets it, for signals sent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// When.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub condition: String,
    /// Sentences.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Whether the call restarts.
    pub restartable: bool,
    /// SA_* flags that the handler needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sa_flags_required: Option<Value>,
    /// SA_* flags that the handler must not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sa_flags_forbidden: Option<Value>,
    /// The error returned (`-EINTR`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// The signal it becomes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transform_to: Option<Value>,
    /// When it can occur.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timing: Option<SignalTiming>,
    /// Order; lower first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Value>,
    /// Whether the call can be interrupted by it.
    pub interruptible: bool,
    /// How it is queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<SignalQueue>,
    /// State the process must be in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_required: Option<Value>,
    /// State the process must not be in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_forbidden: Option<Value>,
    /// Where.
    pub span: Span,
}

/// A set of signals with a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SignalMask {
    /// Name.
    pub name: String,
    /// Sentences.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Members.
    pub signals: Vec<Value>,
    /// Where.
    pub span: Span,
}

/// A side effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SideEffect {
    /// Kinds.
    pub effects: Flags<Effect>,
    /// What is affected.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// When.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub condition: String,
    /// Sentences.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What holds after the call, in the expression language; `old(x)` is `x` before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// Whether it can be undone.
    pub reversible: bool,
    /// Where.
    pub span: Span,
}

/// A change of state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StateTransition {
    /// Whose state.
    pub object: String,
    /// Before.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// After.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub to: String,
    /// When.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub condition: String,
    /// Sentences.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Where.
    pub span: Span,
}

/// A capability.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Capability {
    /// `CAP_IPC_LOCK`.
    pub name: String,
    /// The constant, with its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capability: Option<Value>,
    /// What it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<CapAction>,
    /// What it allows.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub allows: String,
    /// What holds without it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub without: String,
    /// When it is checked.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub condition: String,
    /// Order of checks; lower first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Value>,
    /// Capabilities that also do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Value>,
    /// Where.
    pub span: Span,
}

/// A rule over the whole call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Constraint {
    /// Name.
    pub name: String,
    /// Sentences.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The rule in the expression language.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// Where.
    pub span: Span,
}
