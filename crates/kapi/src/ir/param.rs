//! Parameters, the return value, structures, ioctl and sysfs details.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::vocab::{CheckKind, ConstraintKind, ParamFlag, TypeKind};
use super::{Flags, Range, Span, Value};

/// What values a parameter or field may have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Limits {
    /// How values are limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<ConstraintKind>,
    /// Least and greatest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
    /// Every bit that may be set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_mask: Option<Value>,
    /// Bits that only some architectures have: `(architecture, bits)`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arch_masks: Vec<(String, Value)>,
    /// The only values allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub enum_values: Vec<Value>,
    /// Size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Value>,
    /// Alignment in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alignment: Option<Value>,
    /// The index (from 0) of the parameter that holds the size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_param: Option<Value>,
    /// Bytes per unit of that parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_multiplier: Option<Value>,
    /// The function that decides, for `custom`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validator: Option<String>,
    /// The rule in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// A parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Param {
    /// Name.
    pub name: String,
    /// C type as written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub type_name: String,
    /// Kind of type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<TypeKind>,
    /// Direction and properties.
    pub flags: Flags<ParamFlag>,
    /// What it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What values it may have.
    pub limits: Limits,
    /// Where.
    pub span: Span,
}

/// The return value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Return {
    /// C type as written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub type_name: String,
    /// Kind of type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<TypeKind>,
    /// What it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// How success is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckKind>,
    /// The value of success, or a comparison (`>= 0`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<Value>,
    /// Least and greatest value of success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_range: Option<Range>,
    /// Values that mean failure.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub error_values: Vec<Value>,
    /// The function that decides, for `custom`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validator: Option<String>,
    /// Where.
    pub span: Span,
}

impl Return {
    /// Whether `value` counts as success; `None` where the specification does not say.
    #[must_use]
    pub fn is_success(&self, value: i128) -> Option<bool> {
        if let Some(range) = &self.success_range {
            return Some(range.min.number? <= value && value <= range.max.number?);
        }
        if let Some(success) = &self.success {
            if let Some(exact) = success.number {
                return Some(if matches!(self.check, Some(CheckKind::Fd)) {
                    value >= 0
                } else {
                    value == exact
                });
            }
            let text = success.text.trim();
            let (op, rest) = ["==", ">=", "<=", ">", "<", "="]
                .iter()
                .find_map(|op| text.strip_prefix(op).map(|rest| (*op, rest)))?;
            let bound = Value::new(rest).number?;
            return Some(match op {
                ">=" => value >= bound,
                "<=" => value <= bound,
                ">" => value > bound,
                "<" => value < bound,
                _ => value == bound,
            });
        }
        match self.check {
            Some(CheckKind::Fd | CheckKind::ErrorCheck) => Some(value >= 0),
            _ => None,
        }
    }
}

/// A field of a structure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Field {
    /// Name.
    pub name: String,
    /// C type as written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub type_name: String,
    /// Kind of type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<TypeKind>,
    /// Properties.
    pub flags: Flags<ParamFlag>,
    /// What it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Offset in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<Value>,
    /// What values it may have.
    pub limits: Limits,
    /// Where.
    pub span: Span,
}

/// A structure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StructSpec {
    /// Name; empty where the source lists fields without saying of what.
    pub name: String,
    /// What it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Value>,
    /// Alignment in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alignment: Option<Value>,
    /// Fields in order.
    pub fields: Vec<Field>,
    /// The number of fields stated by the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_count: Option<Value>,
    /// Where.
    pub span: Span,
}

/// What an ioctl has besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Ioctl {
    /// The command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Value>,
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub command_name: String,
    /// Bytes read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_size: Option<Value>,
    /// Bytes written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_size: Option<Value>,
    /// The file operations it belongs to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file_ops: String,
}

/// What a sysfs attribute has besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sysfs {
    /// Where it appears.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Value>,
    /// Value after boot.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub default: String,
    /// Units.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub units: String,
    /// Step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<Value>,
    /// The only strings allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,
}
