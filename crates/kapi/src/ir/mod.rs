//! The typed, symbolic form of a specification. Every front end makes it, every emitter reads it.
//!
//! Values keep their symbols and, where known, their numbers; words of the vocabularies stay open
//! to unknown ones; what is not understood is kept in [`Spec::unknown`]; every item has its
//! [`Span`].

mod flags;
mod items;
mod param;
mod schema;
mod span;
mod value;
pub mod vocab;

pub use flags::Flags;
pub use items::{
    Capability, Constraint, ErrorSpec, Lock, SideEffect, Signal, SignalMask, StateTransition,
};
pub use param::{Field, Ioctl, Limits, Param, Return, StructSpec, Sysfs};
pub use schema::{CORPUS_FORMAT, Corpus, json_schema};
pub use span::Span;
pub use value::{Range, Value};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use vocab::Context;

/// What is specified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpecKind {
    /// A system call or a kernel function.
    #[default]
    Function,
    /// One ioctl command.
    Ioctl,
    /// One sysfs attribute.
    Sysfs,
}

impl SpecKind {
    /// `function`, `ioctl`, `sysfs`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Ioctl => "ioctl",
            Self::Sysfs => "sysfs",
        }
    }
}

/// One `*_COUNT(n)`, as stated by the source; the lists are the truth, the lint compares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Count {
    /// Which list: `param`, `error`, `signal`, `side-effect`, `state-trans`, `lock`, `capability`,
    /// `constraint`, `signal-mask`, `struct`.
    pub of: String,
    /// The number stated.
    pub value: Value,
    /// Where.
    pub span: Span,
}

/// Something that the format has no place for, kept as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unknown {
    /// The item it stood in (`param flags`); empty for the specification itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub within: String,
    /// Its name: a macro, a designator, a kerneldoc key.
    pub key: String,
    /// Its arguments or text.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// The C declaration that the specification stands beside, where the source shows one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Signature {
    /// The name without `sys_`: `mlockall`.
    pub name: String,
    /// Whether it is a `SYSCALL_DEFINEn`.
    pub syscall: bool,
    /// `(type, name)` of each argument.
    pub args: Vec<(String, String)>,
    /// The `n` of `SYSCALL_DEFINEn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arity: Option<u32>,
    /// Where.
    pub span: Span,
}

/// One specification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Spec {
    /// As written: `sys_mlockall`.
    pub name: String,
    /// What is specified.
    pub kind: SpecKind,
    /// Where it starts.
    pub span: Span,
    /// One line.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Paragraphs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub long_description: String,
    /// Contexts that the call may be made in.
    pub contexts: Flags<Context>,
    /// Parameters in order.
    pub params: Vec<Param>,
    /// The return value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub returns: Option<Return>,
    /// Errors in order of their indexes.
    pub errors: Vec<ErrorSpec>,
    /// Locks.
    pub locks: Vec<Lock>,
    /// Signals.
    pub signals: Vec<Signal>,
    /// Signal masks.
    pub signal_masks: Vec<SignalMask>,
    /// Side effects.
    pub side_effects: Vec<SideEffect>,
    /// State transitions.
    pub state_transitions: Vec<StateTransition>,
    /// Capabilities.
    pub capabilities: Vec<Capability>,
    /// Constraints over several parameters, with expressions.
    pub constraints: Vec<Constraint>,
    /// Structures.
    pub structs: Vec<StructSpec>,
    /// Set when [`kind`](Self::kind) is an ioctl.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ioctl: Option<Ioctl>,
    /// Set when [`kind`](Self::kind) is a sysfs attribute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sysfs: Option<Sysfs>,
    /// Code, line for line.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub examples: String,
    /// Paragraphs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// The kernel version that has it first.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub since_version: String,
    /// Whether it should no longer be used.
    pub deprecated: bool,
    /// What to use instead.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub replacement: String,
    /// Counts stated by the source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<Count>,
    /// What was not understood.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<Unknown>,
    /// The C declaration beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
}

impl Spec {
    /// The name that people type: without `sys_` and the like.
    #[must_use]
    pub fn call_name(&self) -> &str {
        bare_name(&self.name)
    }

    /// Whether `name` means this specification, with or without `sys_`.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || self.call_name() == bare_name(name)
    }

    /// How many items the list of a [`Count`] really has.
    #[must_use]
    pub fn real_count(&self, of: &str) -> Option<usize> {
        Some(match of {
            "param" => self.params.len(),
            "error" => self.errors.len(),
            "lock" => self.locks.len(),
            "signal" => self.signals.len(),
            "signal-mask" => self.signal_masks.len(),
            "side-effect" => self.side_effects.len(),
            "state-trans" => self.state_transitions.len(),
            "capability" => self.capabilities.len(),
            "constraint" => self.constraints.len(),
            "struct" => self.structs.len(),
            _ => return None,
        })
    }

    /// The number of all items, for lists and tables.
    #[must_use]
    pub fn item_count(&self) -> usize {
        self.params.len()
            + usize::from(self.returns.is_some())
            + self.errors.len()
            + self.locks.len()
            + self.signals.len()
            + self.signal_masks.len()
            + self.side_effects.len()
            + self.state_transitions.len()
            + self.capabilities.len()
            + self.constraints.len()
            + self.structs.len()
    }
}

/// `sys_mlockall`, `__x64_sys_mlockall` → `mlockall`.
#[must_use]
pub fn bare_name(name: &str) -> &str {
    const PREFIXES: [&str; 5] = [
        "__x64_sys_",
        "__arm64_sys_",
        "__se_sys_",
        "__do_sys_",
        "sys_",
    ];
    PREFIXES
        .iter()
        .find_map(|p| name.strip_prefix(p))
        .filter(|n| !n.is_empty())
        .unwrap_or(name)
}
