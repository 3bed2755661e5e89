//! The shape of a kerneldoc specification: blocks with subfields, all text.

/// A block (`param: flags`) with its subfields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) key: String,
    /// The text after the key.
    pub(super) head: String,
    pub(super) subs: Vec<Sub>,
    /// Lines that look like subfields, but are none of this block's.
    pub(super) odd: Vec<Sub>,
    /// Byte offsets of the key's line.
    pub(super) from: usize,
    pub(super) to: usize,
}

/// A subfield (`type: uint, input`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sub {
    pub(super) key: String,
    pub(super) text: String,
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Block {
    pub(super) fn sub(&self, key: &str) -> Option<&str> {
        self.subs
            .iter()
            .rev()
            .find(|s| s.key == key)
            .map(|s| s.text.as_str())
    }
}

const LIMITS: [&str; 11] = [
    "constraint-type",
    "cdesc",
    "constraint",
    "valid-mask",
    "range",
    "enum-values",
    "size",
    "alignment",
    "size-param",
    "size-multiplier",
    "validator",
];

/// The subfields that a block may have; `None` for a key that is no block.
pub(super) fn subfields(key: &str) -> Option<&'static [&'static str]> {
    Some(match key {
        "param" => &[
            "type",
            "flags",
            "c-type",
            "desc",
            "arch-mask",
            LIMITS[0],
            LIMITS[1],
            LIMITS[2],
            LIMITS[3],
            LIMITS[4],
            LIMITS[5],
            LIMITS[6],
            LIMITS[7],
            LIMITS[8],
            LIMITS[9],
            LIMITS[10],
        ],
        "struct-field" | "field" => &[
            "type",
            "flags",
            "c-type",
            "desc",
            "offset",
            "arch-mask",
            LIMITS[0],
            LIMITS[1],
            LIMITS[2],
            LIMITS[3],
            LIMITS[4],
            LIMITS[5],
            LIMITS[6],
            LIMITS[7],
            LIMITS[8],
            LIMITS[9],
            LIMITS[10],
        ],
        "return" => &[
            "type",
            "c-type",
            "check-type",
            "success",
            "success-range",
            "error-values",
            "validator",
            "desc",
        ],
        "error" => &["desc", "condition", "code", "summary"],
        "lock" => &[
            "type",
            "scope",
            "acquired",
            "released",
            "held-on-entry",
            "held-on-exit",
            "desc",
        ],
        "signal" => &[
            "direction",
            "action",
            "condition",
            "desc",
            "errno",
            "error",
            "timing",
            "priority",
            "restartable",
            "interruptible",
            "queue",
            "target",
            "number",
            "transform-to",
            "sa-flags-required",
            "sa-flags-forbidden",
            "state-required",
            "state-req",
            "state-forbidden",
            "state-forbid",
        ],
        "signal-mask" => &["signals", "desc"],
        "side-effect" => &["target", "condition", "desc", "expr", "reversible"],
        "state-trans" => &["from", "to", "object", "condition", "desc"],
        "capability" => &[
            "type",
            "allows",
            "without",
            "condition",
            "priority",
            "alternatives",
            "number",
            "desc",
        ],
        "constraint" => &["desc", "expr"],
        "struct" => &["desc", "size", "alignment", "field-count"],
        "unknown" => &["within", "text"],
        _ if is_plain_key(key) => &[],
        _ => return None,
    })
}

/// Keys without subfields.
fn is_plain_key(key: &str) -> bool {
    matches!(
        key,
        "contexts"
            | "context-flags"
            | "context"
            | "long-desc"
            | "short-desc"
            | "examples"
            | "example"
            | "notes"
            | "since-version"
            | "since"
            | "deprecated"
            | "replacement"
            | "kind"
            | "ioctl-cmd"
            | "ioctl-cmd-name"
            | "ioctl-input-size"
            | "ioctl-output-size"
            | "ioctl-file-ops"
            | "sysfs-path"
            | "sysfs-permissions"
            | "sysfs-default"
            | "sysfs-units"
            | "sysfs-step"
            | "sysfs-allowed"
    ) || counted(key).is_some()
}

/// `error-count` → `error`.
pub(super) fn counted(key: &str) -> Option<&'static str> {
    Some(match key.strip_suffix("-count")? {
        "param" => "param",
        "error" => "error",
        "lock" => "lock",
        "signal" => "signal",
        "signal-mask" => "signal-mask",
        "side-effect" => "side-effect",
        "state-trans" => "state-trans",
        "capability" => "capability",
        "constraint" => "constraint",
        "struct" | "struct-spec" => "struct",
        _ => return None,
    })
}

/// Keys that no other comment has: one of them makes a comment a specification.
pub const MARKERS: [&str; 4] = ["context-flags:", "contexts:", "long-desc:", "param-count:"];
