//! A C constant expression: the symbols as written and, where they are known, the numbers.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::consts;
use crate::expr::{self, Bindings};

/// A value in a specification, such as `-EINTR` or `MCL_CURRENT | MCL_FUTURE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Value {
    /// As written, with spaces made one.
    pub text: String,
    /// The number on asm-generic architectures (x86, arm64, riscv). Absent where a symbol is
    /// unknown: an unknown constant is never 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<i128>,
    /// The numbers of the architectures that differ.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub per_arch: BTreeMap<String, i128>,
}

struct Tables<'a>(&'a str);

impl Bindings for Tables<'_> {
    fn name(&self, name: &str) -> Option<i128> {
        consts::lookup_on(name, self.0)
    }
    fn arch(&self) -> &str {
        self.0
    }
}

impl Value {
    /// Reads a C expression; numbers are worked out where every symbol is known.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut per_arch = BTreeMap::new();
        // A leading 0 makes a number octal.
        let octal = text.len() > 1 && text.trim_start_matches('-').starts_with('0');
        let number = if let Some(number) = text.parse::<i64>().ok().filter(|_| !octal) {
            Some(i128::from(number))
        } else if let Ok(expr) = expr::parse(&text) {
            let number = expr::eval(&expr, &Tables("generic")).int();
            let arches: BTreeSet<&str> = expr
                .names()
                .into_iter()
                .flat_map(consts::deviating)
                .collect();
            for arch in arches {
                if let Some(other) = expr::eval(&expr, &Tables(arch)).int()
                    && Some(other) != number
                {
                    per_arch.insert(arch.to_owned(), other);
                }
            }
            number
        } else {
            None
        };
        Self {
            text,
            number,
            per_arch,
        }
    }

    /// A plain number.
    #[must_use]
    pub fn from_number(number: i128) -> Self {
        Self {
            text: number.to_string(),
            number: Some(number),
            per_arch: BTreeMap::new(),
        }
    }

    /// The number on `arch`, if known.
    #[must_use]
    pub fn on(&self, arch: &str) -> Option<i128> {
        self.per_arch.get(arch).copied().or(self.number)
    }

    /// Symbols in it that no table knows.
    #[must_use]
    pub fn unknown_symbols(&self) -> Vec<String> {
        expr::parse(&self.text).map_or_else(
            |_| Vec::new(),
            |expr| {
                expr.names()
                    .into_iter()
                    .filter(|n| consts::lookup(n).is_none())
                    .map(str::to_owned)
                    .collect()
            },
        )
    }

    /// The single words joined by `|`, as in a mask.
    #[must_use]
    pub fn alternatives(&self) -> Vec<&str> {
        self.text
            .split('|')
            .map(bare)
            .filter(|p| !p.is_empty())
            .collect()
    }
}

/// Without the brackets around it, and without one whose partner is in another part.
fn bare(part: &str) -> &str {
    let mut part = part.trim();
    loop {
        let mut depth = 0_usize;
        let (mut whole, mut stray) = (part.starts_with('('), false);
        for (at, c) in part.char_indices() {
            match c {
                '(' => depth += 1,
                ')' if depth == 0 => stray = true,
                ')' => {
                    depth -= 1;
                    whole &= depth > 0 || at + 1 == part.len();
                }
                _ => {}
            }
        }
        let inner = if stray {
            part.strip_suffix(')')
        } else if depth > 0 {
            part.strip_prefix('(')
        } else if whole {
            part.strip_prefix('(').and_then(|p| p.strip_suffix(')'))
        } else {
            None
        };
        match inner {
            Some(inner) => part = inner.trim(),
            None => return part,
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Two values, both allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Range {
    /// The least.
    pub min: Value,
    /// The greatest.
    pub max: Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_per_architecture() {
        let mask = Value::new("MCL_CURRENT |  MCL_FUTURE | MCL_ONFAULT");
        assert_eq!(mask.text, "MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT");
        assert_eq!(mask.number, Some(7));
        assert_eq!(mask.on("powerpc"), Some(0xe000));
        assert_eq!(mask.on("arm64"), Some(7));
        assert_eq!(Value::new("-EAGAIN").on("alpha"), Some(-35));
        assert_eq!(Value::new("CAP_IPC_LOCK").number, Some(14));
    }

    #[test]
    fn an_unknown_constant_is_never_0() {
        let value = Value::new("MCL_CURRENT | MCL_TOMORROW");
        assert_eq!(value.number, None);
        assert_eq!(value.unknown_symbols(), ["MCL_TOMORROW"]);
        assert_eq!(Value::new(">= 0").number, None);
    }
}
