//! How the structures lie in memory: worked out from the known versions of the header, or read
//! from BTF. Nothing is assumed about offsets beyond C's rules.

use std::collections::HashMap;

use super::versions::{T, Version, rows};

/// What a field is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An integer, enum or bool.
    Int { size: u64, signed: bool },
    /// A pointer, to whatever.
    Pointer,
    /// `char x[n]`.
    Text(u64),
    /// An array.
    Array(Box<Kind>, u64),
    /// Another structure.
    Struct(String),
    /// Something that no field that we read has.
    Other,
}

/// A field and where it lies.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) kind: Kind,
}

/// A structure.
#[derive(Clone, Debug, Default)]
pub(super) struct Struct {
    pub(super) size: u64,
    pub(super) fields: HashMap<String, Place>,
}

/// Every structure by its name.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    pub(super) structs: HashMap<String, Struct>,
    /// Whether constraint kinds have the older, shorter numbering.
    pub(super) old_constraints: bool,
    /// Whether `size_param_idx` counts from 1.
    pub(super) size_param_from_1: bool,
}

impl Layout {
    pub(super) fn size_of(&self, name: &str) -> u64 {
        self.structs.get(name).map_or(0, |s| s.size)
    }
}

/// The machine that the file is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    pub(super) pointer: u64,
    /// Alignment of 64-bit integers (4 on 32-bit x86).
    pub(super) align64: u64,
}

/// Works out a version's layout on a machine.
pub(super) fn layout(version: Version, machine: Machine) -> Layout {
    let mut builder = Builder {
        version,
        machine,
        layout: Layout::default(),
        aligns: HashMap::new(),
    };
    builder.layout.old_constraints = version.old_constraints;
    builder.layout.size_param_from_1 = !version.inline;
    builder.add("kernel_api_spec");
    builder.layout
}

struct Builder {
    version: Version,
    machine: Machine,
    layout: Layout,
    aligns: HashMap<String, u64>,
}

impl Builder {
    fn add(&mut self, name: &str) {
        if self.layout.structs.contains_key(name) {
            return;
        }
        let mut made = Struct::default();
        let (mut at, mut widest) = (0u64, 1u64);
        for (field, kind) in rows(name, self.version) {
            let (kind, size, align) = self.measure(kind);
            let align = if self.version.inline { 1 } else { align };
            at = at.next_multiple_of(align);
            widest = widest.max(align);
            made.fields
                .insert(field.to_owned(), Place { offset: at, kind });
            at += size;
        }
        made.size = at.next_multiple_of(widest);
        self.aligns.insert(name.to_owned(), widest);
        self.layout.structs.insert(name.to_owned(), made);
    }

    /// Kind, size, alignment.
    fn measure(&mut self, kind: T) -> (Kind, u64, u64) {
        let Machine { pointer, align64 } = self.machine;
        let int = |size, signed, align| (Kind::Int { size, signed }, size, align);
        match kind {
            T::Bool | T::U8 => int(1, false, 1),
            T::U16 => int(2, false, 2),
            T::I32 => int(4, true, 4),
            T::U32 => int(4, false, 4),
            T::I64 => int(8, true, align64),
            T::U64 => int(8, false, align64),
            T::Size => int(pointer, false, pointer),
            T::Ptr => (Kind::Pointer, pointer, pointer),
            T::Text(size) if self.version.inline => (Kind::Text(size), size, 1),
            T::Text(_) => (Kind::Pointer, pointer, pointer),
            T::I32s(n) => (
                Kind::Array(
                    Box::new(Kind::Int {
                        size: 4,
                        signed: true,
                    }),
                    n,
                ),
                4 * n,
                4,
            ),
            T::Sub(name, n) => {
                self.add(name);
                let size = self.layout.size_of(name);
                let align = self.aligns.get(name).copied().unwrap_or(1);
                let one = Kind::Struct(name.to_owned());
                if n == 0 {
                    (one, size, align)
                } else {
                    (Kind::Array(Box::new(one), n), size * n, align)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::elf::versions::{POINTERS, inline_versions};

    const X86_64: Machine = Machine {
        pointer: 8,
        align64: 8,
    };

    #[test]
    fn the_sizes_are_those_seen_in_the_wild() {
        assert_eq!(layout(POINTERS, X86_64).size_of("kernel_api_spec"), 26_400);
        let sizes: Vec<u64> = inline_versions()
            .into_iter()
            .map(|v| layout(v, X86_64).size_of("kernel_api_spec"))
            .collect();
        assert!(sizes.contains(&333_685), "{sizes:?}");
        assert!(sizes.contains(&355_033), "{sizes:?}");
    }
}
