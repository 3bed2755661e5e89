//! Structure layouts from BTF (the kernel's own debugging types), where the file has them.

use std::collections::HashMap;

use super::layout::{Kind, Layout, Place, Struct};

/// More types than any kernel has.
const MOST_TYPES: usize = 4 << 20;

struct Raw<'a> {
    name: u32,
    kind: u32,
    bitfields: bool,
    /// Size, or the type pointed to.
    value: u32,
    /// `(name, type, offset)` words of members; `(element, index, count)` of an array.
    body: &'a [u8],
}

struct Reader<'a> {
    strings: &'a [u8],
    types: Vec<Raw<'a>>,
    big: bool,
}

fn word(bytes: &[u8], at: usize, big: bool) -> Option<u32> {
    let four: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(if big {
        u32::from_be_bytes(four)
    } else {
        u32::from_le_bytes(four)
    })
}

fn size(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// The layout of `kernel_api_spec` and what it holds; `None` without usable BTF.
pub(super) fn layout(section: &[u8], big: bool) -> Option<Layout> {
    let magic = section.get(..2)?;
    if magic != if big { [0xeb, 0x9f] } else { [0x9f, 0xeb] } {
        return None;
    }
    let header = size(word(section, 4, big)?);
    let part = |offset: usize, length: usize| {
        let from = header.checked_add(size(word(section, offset, big)?))?;
        section.get(from..from.checked_add(size(word(section, length, big)?))?)
    };
    let (types, strings) = (part(8, 12)?, part(16, 20)?);
    let mut reader = Reader {
        strings,
        types: vec![Raw {
            name: 0,
            kind: 0,
            bitfields: false,
            value: 0,
            body: &[],
        }],
        big,
    };
    let mut at = 0;
    while at + 12 <= types.len() && reader.types.len() < MOST_TYPES {
        let info = word(types, at + 4, big)?;
        let (count, kind) = (size(info & 0xffff), (info >> 24) & 0x1f);
        let body_size = match kind {
            1 | 14 | 17 => 4,
            3 => 12,
            4 | 5 | 15 | 19 => 12 * count,
            6 | 13 => 8 * count,
            _ => 0,
        };
        let body = types.get(at + 12..at + 12 + body_size)?;
        reader.types.push(Raw {
            name: word(types, at, big)?,
            kind,
            bitfields: info >> 31 == 1,
            value: word(types, at + 8, big)?,
            body,
        });
        at += 12 + body_size;
    }
    reader.collect()
}

impl Reader<'_> {
    fn name(&self, offset: u32) -> &str {
        let rest = self.strings.get(size(offset)..).unwrap_or_default();
        let end = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
        std::str::from_utf8(rest.get(..end).unwrap_or_default()).unwrap_or_default()
    }

    fn collect(&self) -> Option<Layout> {
        let mut layout = Layout::default();
        let root = self
            .types
            .iter()
            .position(|t| t.kind == 4 && self.name(t.name) == "kernel_api_spec")?;
        let mut todo = vec![root];
        while let Some(index) = todo.pop() {
            let raw = self.types.get(index)?;
            let name = self.name(raw.name).to_owned();
            if layout.structs.contains_key(&name) {
                continue;
            }
            let mut fields = HashMap::new();
            for member in raw.body.chunks_exact(12) {
                let field = self.name(word(member, 0, self.big)?).to_owned();
                let offset = word(member, 8, self.big)?;
                let bits = if raw.bitfields {
                    offset & 0x00ff_ffff
                } else {
                    offset
                };
                let kind = self.kind(word(member, 4, self.big)?, &mut todo, 0);
                fields.insert(
                    field,
                    Place {
                        offset: u64::from(bits / 8),
                        kind,
                    },
                );
            }
            layout.structs.insert(
                name,
                Struct {
                    size: u64::from(raw.value),
                    fields,
                },
            );
        }
        // Which numbering the constraint kinds have shows in the enum itself.
        layout.old_constraints = !self.types.iter().any(|t| {
            t.kind == 6
                && t.body.chunks_exact(8).any(|v| {
                    word(v, 0, self.big)
                        .is_some_and(|n| self.name(n) == "KAPI_CONSTRAINT_POWER_OF_TWO")
                })
        });
        let text_is_pointer = layout
            .structs
            .get("kapi_param_spec")
            .and_then(|s| s.fields.get("name"))
            .is_some_and(|p| p.kind == Kind::Pointer);
        layout.size_param_from_1 = text_is_pointer;
        Some(layout)
    }

    fn kind(&self, id: u32, todo: &mut Vec<usize>, depth: usize) -> Kind {
        let Some(raw) = self.types.get(size(id)).filter(|_| depth < 32) else {
            return Kind::Other;
        };
        match raw.kind {
            1 => {
                let signed = word(raw.body, 0, self.big).is_some_and(|bits| bits >> 24 & 1 == 1);
                Kind::Int {
                    size: u64::from(raw.value),
                    signed,
                }
            }
            2 => Kind::Pointer,
            3 => {
                let element = word(raw.body, 0, self.big).unwrap_or(0);
                let count = u64::from(word(raw.body, 8, self.big).unwrap_or(0));
                match self.kind(element, todo, depth + 1) {
                    Kind::Int { size: 1, .. } => Kind::Text(count),
                    other => Kind::Array(Box::new(other), count),
                }
            }
            4 => {
                todo.push(size(id));
                Kind::Struct(self.name(raw.name).to_owned())
            }
            6 => Kind::Int {
                size: u64::from(raw.value),
                signed: false,
            },
            8..=11 | 18 => self.kind(raw.value, todo, depth + 1),
            _ => Kind::Other,
        }
    }
}
