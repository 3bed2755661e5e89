//! The memory of an object file: sections at addresses, relocations resolved.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;

use object::{
    Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationKind, RelocationTarget,
    SectionIndex,
};

/// How much more than its file a specification may come to in memory: texts can be shared between
/// items, but a file whose few bytes are read over and over is a trap.
const MOST_GROWTH: usize = 16;
const MOST_GROWTH_OF_SMALL: usize = 1 << 20;

/// Distance between the sections of a relocatable file, which have no addresses yet: what points
/// just past a section points into no other. The last address of a 32-bit file is within 32 bits.
const APART: u64 = 1 << 16;

pub(super) struct Image<'d> {
    /// `(address, bytes)`, in order.
    parts: Vec<(u64, Cow<'d, [u8]>)>,
    pub(super) big: bool,
    pub(super) pointer: u64,
    pub(super) i386: bool,
    /// The sections `.kapi_specs`: address and size. A linker makes one of all that it is given,
    /// but a compiler may make several.
    pub(super) specs: Vec<(u64, u64)>,
    pub(super) btf: Option<Cow<'d, [u8]>>,
    /// `(address, size)` of `__kapi_spec_*`.
    pub(super) symbols: Vec<(u64, u64)>,
    /// Bytes that may still be taken out, of this many.
    left: Cell<usize>,
    budget: usize,
}

impl<'d> Image<'d> {
    pub(super) fn open(bytes: &'d [u8]) -> Result<Self, object::Error> {
        let file = object::File::parse(bytes)?;
        let relocatable = file.kind() == object::ObjectKind::Relocatable;
        let mut image = Self {
            parts: Vec::new(),
            big: !file.is_little_endian(),
            pointer: if file.is_64() { 8 } else { 4 },
            i386: file.architecture() == object::Architecture::I386,
            specs: Vec::new(),
            btf: None,
            symbols: Vec::new(),
            left: Cell::new(0),
            budget: bytes
                .len()
                .saturating_mul(MOST_GROWTH)
                .saturating_add(MOST_GROWTH_OF_SMALL),
        };
        image.refill();
        let mut bases: HashMap<SectionIndex, u64> = HashMap::new();
        let mut next = APART;
        for section in file.sections() {
            let name = section.name().unwrap_or_default();
            if name == ".BTF" {
                image.btf = section.data().ok().map(Cow::Borrowed);
                continue;
            }
            let object::SectionFlags::Elf { sh_flags } = section.flags() else {
                continue;
            };
            let alloc = sh_flags & u64::from(object::elf::SHF_ALLOC) != 0;
            let Ok(data) = section.data() else { continue };
            if !alloc || data.is_empty() {
                continue;
            }
            let base = if relocatable {
                let base = next;
                let size = u64::try_from(data.len()).unwrap_or(u64::MAX);
                next = base
                    .saturating_add(size)
                    .next_multiple_of(APART)
                    .saturating_add(APART);
                base
            } else {
                section.address()
            };
            bases.insert(section.index(), base);
            if name == ".kapi_specs" {
                image.specs.push((base, section.size()));
            }
            // Code has relocations without number, and neither records nor texts.
            if sh_flags & u64::from(object::elf::SHF_EXECINSTR) == 0 {
                image.parts.push((base, Cow::Borrowed(data)));
            }
        }
        image.parts.sort_by_key(|(base, _)| *base);
        if relocatable {
            image.relocate(&file, &bases);
        }
        image.relocate_dynamic(&file);
        for symbol in file.symbols() {
            if symbol
                .name()
                .is_ok_and(|n| n.starts_with("__kapi_spec_") && !n.starts_with("__kapi_spec_ptr_"))
            {
                let base = if relocatable {
                    symbol
                        .section_index()
                        .and_then(|s| bases.get(&s))
                        .copied()
                        .unwrap_or(0)
                } else {
                    0
                };
                image
                    .symbols
                    .push((base.wrapping_add(symbol.address()), symbol.size()));
            }
        }
        Ok(image)
    }

    fn relocate(&mut self, file: &object::File<'d>, bases: &HashMap<SectionIndex, u64>) {
        let mut edits: Vec<(u64, u64, u64, bool)> = Vec::new();
        for section in file.sections() {
            let Some(base) = bases.get(&section.index()) else {
                continue;
            };
            if self.from(*base).is_none() {
                continue;
            }
            for (offset, relocation) in section.relocations() {
                let absolute = relocation.kind() == RelocationKind::Absolute;
                if !absolute || relocation.size() < 32 {
                    continue;
                }
                let target = match relocation.target() {
                    RelocationTarget::Symbol(index) => {
                        file.symbol_by_index(index).ok().and_then(|symbol| {
                            let base = bases.get(&symbol.section_index()?)?;
                            Some(base.wrapping_add(symbol.address()))
                        })
                    }
                    RelocationTarget::Section(index) => bases.get(&index).copied(),
                    _ => None,
                };
                if let Some(target) = target {
                    // Sections may share their bytes and their relocations.
                    if !self.take(size_of::<(u64, u64, u64, bool)>()) {
                        return;
                    }
                    let value = target.wrapping_add_signed(relocation.addend());
                    edits.push((
                        base.wrapping_add(offset),
                        value,
                        u64::from(relocation.size() / 8),
                        relocation.has_implicit_addend(),
                    ));
                }
            }
        }
        for (at, value, size, implicit) in edits {
            let value = if implicit {
                value.wrapping_add(
                    self.int(at, size, false)
                        .unwrap_or(0)
                        .try_into()
                        .unwrap_or(0),
                )
            } else {
                value
            };
            self.put(at, value, size);
        }
    }

    /// Position-independent kernels keep pointers as relative relocations. (Where those have no
    /// addend of their own, as on i386 and 32-bit Arm, the pointer is in its place already.)
    fn relocate_dynamic(&mut self, file: &object::File<'d>) {
        use object::Architecture;
        let relative = match file.architecture() {
            Architecture::X86_64 | Architecture::I386 => object::elf::R_X86_64_RELATIVE,
            Architecture::Aarch64 => object::elf::R_AARCH64_RELATIVE,
            Architecture::PowerPc | Architecture::PowerPc64 => object::elf::R_PPC_RELATIVE,
            Architecture::Riscv32 | Architecture::Riscv64 => object::elf::R_RISCV_RELATIVE,
            Architecture::S390x => object::elf::R_390_RELATIVE,
            _ => return,
        };
        let Some(relocations) = file.dynamic_relocations() else {
            return;
        };
        let edits: Vec<(u64, i64)> = relocations
            .filter(
                |(_, r)| matches!(r.flags(), RelocationFlags::Elf { r_type } if r_type == relative),
            )
            .map(|(at, r)| (at, r.addend()))
            .collect();
        for (at, value) in edits {
            if self.int(at, self.pointer, false) == Some(0) {
                self.put(at, value.cast_unsigned(), self.pointer);
            }
        }
    }

    fn put(&mut self, at: u64, value: u64, size: u64) {
        let index = self.parts.partition_point(|(base, _)| *base <= at);
        let Some((base, data)) = index.checked_sub(1).and_then(|n| self.parts.get_mut(n)) else {
            return;
        };
        let Ok(from) = usize::try_from(at - *base) else {
            return;
        };
        let size = usize::try_from(size).unwrap_or(8).min(8);
        if data.len() < from.saturating_add(size) {
            return;
        }
        if matches!(data, Cow::Borrowed(_)) {
            let Some(left) = self.left.get().checked_sub(data.len()) else {
                self.left.set(0);
                return;
            };
            self.left.set(left);
        }
        let big = self.big;
        if let Some(slot) = data.to_mut().get_mut(from..from + size) {
            let bytes = value.to_le_bytes();
            for (n, byte) in slot.iter_mut().enumerate() {
                let from = if big { size - 1 - n } else { n };
                *byte = bytes.get(from).copied().unwrap_or(0);
            }
        }
    }

    /// The bytes from `at` to the end of its section.
    pub(super) fn from(&self, at: u64) -> Option<&[u8]> {
        let index = self
            .parts
            .partition_point(|(base, _)| *base <= at)
            .checked_sub(1)?;
        let (base, data) = self.parts.get(index)?;
        data.get(usize::try_from(at - base).ok()?..)
            .filter(|rest| !rest.is_empty())
    }

    pub(super) fn int(&self, at: u64, size: u64, signed: bool) -> Option<i128> {
        let size = usize::try_from(size).ok().filter(|n| (1..=8).contains(n))?;
        let bytes = self.from(at)?.get(..size)?;
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        let value = if self.big {
            bytes.iter().fold(0, fold)
        } else {
            bytes.iter().rev().fold(0, fold)
        };
        let bits = 64 - 8 * u32::try_from(size).ok()?;
        Some(if signed {
            i128::from((value << bits).cast_signed() >> bits)
        } else {
            i128::from(value)
        })
    }

    pub(super) fn address(&self, at: u64) -> Option<u64> {
        self.int(at, self.pointer, false)
            .and_then(|n| u64::try_from(n).ok())
    }

    /// A reading from the start may take as much again.
    pub(super) fn refill(&self) {
        self.left.set(self.budget);
    }

    /// A reading that is kept takes from what others that are kept have left.
    pub(super) fn refill_with(&self, rest: usize) {
        self.left.set(rest.min(self.budget));
    }

    pub(super) fn left(&self) -> usize {
        self.left.get()
    }

    /// Whether so many bytes may be taken out; once refused, always until the next refill.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }

    /// Whether something was refused.
    pub(super) fn exhausted(&self) -> bool {
        self.left.get() == 0
    }

    /// A string that ends with 0 within `most` bytes.
    pub(super) fn string(&self, at: u64, most: usize) -> Option<String> {
        let bytes = self.from(at)?;
        let bytes = bytes.get(..most.min(bytes.len()))?;
        let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
        if !self.take(end) {
            return None;
        }
        Some(String::from_utf8_lossy(bytes.get(..end)?).into_owned())
    }
}
