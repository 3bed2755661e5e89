//! Sets of words that are bits in C.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::vocab::Word;

/// Words joined by `|`, in the order written. Unknown ones are members like the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flags<W>(pub Vec<W>);

impl<W> Default for Flags<W> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<W: Word> Flags<W> {
    /// Reads `A | B`; a bare `0` is the empty set. Commas also separate.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut words: Vec<W> = Vec::new();
        for part in text.split(['|', ',']) {
            let part = part.trim().trim_matches(['(', ')']).trim();
            if part.is_empty() || part == "0" {
                continue;
            }
            let word = W::parse(part);
            if !words.contains(&word) {
                words.push(word);
            }
        }
        Self(words)
    }

    /// The set of a C number; a bit without a name becomes a word of its own (`0x8000`).
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        let mut words = Vec::new();
        for bit in 0..u64::BITS {
            let one = 1u64 << bit;
            if bits & one != 0 {
                words.push(W::from_number(one).unwrap_or_else(|| W::parse(&format!("{one:#x}"))));
            }
        }
        Self(words)
    }

    /// The C number; `None` as soon as one member is unknown.
    #[must_use]
    pub fn bits(&self) -> Option<u64> {
        self.0.iter().try_fold(0u64, |bits, word| {
            word.number()
                .or_else(|| hex(word.word()))
                .map(|number| bits | number)
        })
    }

    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `word` is a member.
    #[must_use]
    pub fn has(&self, word: &W) -> bool {
        self.0.contains(word)
    }

    /// `a | b` in the short spelling.
    #[must_use]
    pub fn short(&self) -> String {
        self.join(" | ", |word| Cow::Borrowed(word.word()))
    }

    /// `KAPI_A | KAPI_B`.
    #[must_use]
    pub fn c_text(&self) -> String {
        self.join(" | ", |word| Cow::Owned(word.c_name()))
    }

    fn join<'a>(&'a self, between: &str, name: impl Fn(&'a W) -> Cow<'a, str>) -> String {
        self.0.iter().map(name).collect::<Vec<_>>().join(between)
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

#[derive(Serialize, Deserialize)]
struct Wire<W> {
    symbols: Vec<W>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bits: Option<u64>,
}

impl<W: Word + Serialize> Serialize for Flags<W> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire {
            symbols: self.0.clone(),
            bits: self.bits(),
        }
        .serialize(serializer)
    }
}

impl<'de, W: Word + Deserialize<'de>> Deserialize<'de> for Flags<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Wire::deserialize(deserializer)?.symbols))
    }
}

impl<W: Word + JsonSchema> JsonSchema for Flags<W> {
    fn schema_name() -> Cow<'static, str> {
        Cow::Owned(format!("FlagsOf{}", W::schema_name()))
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let word = generator.subschema_for::<W>();
        schemars::json_schema!({
            "type": "object",
            "description": "A set of symbols; `bits` is their number where every symbol has one.",
            "properties": {
                "symbols": { "type": "array", "items": word },
                "bits": { "type": "integer", "minimum": 0 }
            },
            "required": ["symbols"],
            "additionalProperties": false
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::vocab::Effect;

    #[test]
    fn modify_state_and_alloc_memory_is_5() {
        let flags = Flags::<Effect>::parse("KAPI_EFFECT_MODIFY_STATE | KAPI_EFFECT_ALLOC_MEMORY");
        assert_eq!(flags.bits(), Some(5));
        assert_eq!(flags.short(), "modify_state | alloc_memory");
    }

    #[test]
    fn an_unknown_member_has_no_number_and_is_kept() {
        let flags = Flags::<Effect>::parse("schedule | KAPI_EFFECT_NEW");
        assert_eq!(flags.bits(), None);
        assert_eq!(flags.c_text(), "KAPI_EFFECT_SCHEDULE | KAPI_EFFECT_NEW");
        let odd = Flags::<Effect>::from_bits(1 << 40 | 1);
        assert_eq!(odd.bits(), Some(1 << 40 | 1));
    }
}
