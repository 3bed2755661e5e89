//! The type of one argument or field.

use super::identifier;
use super::sets::Sets;
use super::structs::Structs;
use crate::ir::vocab::{ConstraintKind, ParamFlag, TypeKind};
use crate::ir::{Field, Flags, Limits, Param, StructSpec, Value};

/// An argument of a call or a field of a structure.
pub(super) struct Place<'a> {
    pub(super) name: &'a str,
    pub(super) c_type: &'a str,
    pub(super) kind: Option<&'a TypeKind>,
    pub(super) flags: &'a Flags<ParamFlag>,
    pub(super) limits: &'a Limits,
}

impl<'a> Place<'a> {
    pub(super) fn of_param(p: &'a Param) -> Self {
        Self {
            name: &p.name,
            c_type: &p.type_name,
            kind: p.kind.as_ref(),
            flags: &p.flags,
            limits: &p.limits,
        }
    }

    pub(super) fn of_field(f: &'a Field) -> Self {
        Self {
            name: &f.name,
            c_type: &f.type_name,
            kind: f.kind.as_ref(),
            flags: &f.flags,
            limits: &f.limits,
        }
    }

    pub(super) fn is_pointer(&self) -> bool {
        self.c_type.contains('*')
            || matches!(
                self.kind,
                Some(TypeKind::UserPtr | TypeKind::Ptr | TypeKind::FuncPtr)
            )
    }

    fn direction(&self) -> &'static str {
        let both = self.flags.has(&ParamFlag::InOut);
        match (
            both || self.flags.has(&ParamFlag::In),
            both || self.flags.has(&ParamFlag::Out),
        ) {
            (true, true) => "inout",
            (false, true) => "out",
            (true, false) => "in",
            (false, false) if self.c_type.contains("const") => "in",
            (false, false) => "inout",
        }
    }

    /// `foo` of `const struct foo __user *`.
    pub(super) fn structure(&self) -> Option<&'a str> {
        let mut words = self
            .c_type
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.find(|w| *w == "struct")?;
        words.find(|w| !w.is_empty())
    }
}

/// The names of the places, made fit: none twice, none that the language keeps.
pub(super) fn names(places: &[Place<'_>]) -> Vec<String> {
    const KEPT: [&str; 10] = [
        "parent", "syscall", "opt", "proc", "csum", "text", "in", "out", "inout", "fmt",
    ];
    let mut names: Vec<String> = Vec::new();
    for (n, place) in places.iter().enumerate() {
        let mut name = if place.name.is_empty() {
            format!("a{n}")
        } else {
            identifier(place.name)
        };
        while KEPT.contains(&name.as_str()) || names.contains(&name) {
            name.push('_');
        }
        names.push(name);
    }
    names
}

/// `0x1f`; a negative number as 64 bits.
pub(super) fn hex(number: i128) -> String {
    let bits = u64::try_from(number)
        .or_else(|_| i64::try_from(number).map(i64::cast_unsigned))
        .unwrap_or(u64::MAX);
    format!("{bits:#x}")
}

/// Type and size in bits of the integer that a C type is.
pub(super) fn integer(c_type: &str) -> (&'static str, u32) {
    let words: Vec<&str> = c_type
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|w| !w.is_empty())
        .collect();
    let has = |wanted: &[&str]| words.iter().any(|w| wanted.contains(w));
    let ends = |end: &str| {
        words
            .iter()
            .any(|w| w.trim_end_matches("_t").ends_with(end))
    };
    if has(&["char", "bool", "_Bool"]) || ends("u8") || ends("s8") || ends("int8") {
        ("int8", 8)
    } else if has(&["short", "umode_t"]) || ends("16") {
        ("int16", 16)
    } else if ends("64") || has(&["loff_t"]) || words.iter().filter(|w| **w == "long").count() > 1 {
        ("int64", 64)
    } else if c_type.contains('*')
        || has(&[
            "long",
            "size_t",
            "ssize_t",
            "off_t",
            "uintptr_t",
            "aio_context_t",
        ])
    {
        ("intptr", 64)
    } else {
        ("int32", 32)
    }
}

/// The places of one call or structure and what they are described with.
pub(super) struct Group<'a> {
    /// The call or structure.
    pub(super) owner: &'a str,
    pub(super) places: &'a [Place<'a>],
    pub(super) names: Vec<String>,
    /// Of a structure: base types are written.
    pub(super) fields: bool,
    /// Structures that the specification describes.
    pub(super) known: &'a [StructSpec],
    pub(super) sets: &'a mut Sets,
    pub(super) structs: &'a mut Structs,
    pub(super) takes_fd: bool,
}

impl Group<'_> {
    /// The type of place `n`.
    pub(super) fn kind(&mut self, n: usize) -> String {
        let place = &self.places[n];
        let optional = if place.flags.has(&ParamFlag::Optional) {
            ", opt"
        } else {
            ""
        };
        let limits = place.limits;
        if let Some(of) = self.length_of(n) {
            let word = if self.counts_bytes(of, n) {
                "bytesize"
            } else {
                "len"
            };
            let (base, _) = integer(&place.c_type.replace('*', ""));
            let name = self.names[of].clone();
            return if place.is_pointer() {
                format!("ptr[inout, {word}[{name}, {base}]{optional}]")
            } else {
                self.with_base(word, &name, base)
            };
        }
        if place.is_pointer() {
            return self.pointer(n, optional);
        }
        if matches!(place.kind, Some(TypeKind::Fd)) {
            self.takes_fd = true;
            return if optional.is_empty() {
                "fd".to_owned()
            } else {
                "fd[opt]".to_owned()
            };
        }
        if self.fields
            && let Some(array) = self.inline(n)
        {
            return array;
        }
        if let Some(set) = self.set(n) {
            return set;
        }
        if self.is_address(n) {
            return format!("vma{}", if optional.is_empty() { "" } else { "[opt]" });
        }
        let (base, bits) = integer(place.c_type);
        let Some(range) = &limits.range else {
            return base.to_owned();
        };
        match (range.min.number, range.max.number) {
            (Some(min), Some(max)) if min == max => self.with_base("const", &hex(min), base),
            (Some(min), Some(max)) => {
                let (low, high) = (-(1_i128 << (bits - 1)), (1_i128 << bits) - 1);
                // One that the type cannot hold is an error, and one that it sets itself says nothing.
                let holds = low <= min
                    && min <= max
                    && max <= high
                    && (min >= 0 || max <= i128::from(i64::MAX));
                if holds && (min, max) != (0, high) {
                    format!("{base}[{min}:{max}]")
                } else {
                    base.to_owned()
                }
            }
            _ => base.to_owned(),
        }
    }

    /// `flags[set]` in a call, `flags[set, int32]` in a structure.
    fn with_base(&self, word: &str, what: &str, base: &str) -> String {
        if self.fields {
            format!("{word}[{what}, {base}]")
        } else {
            format!("{word}[{what}]")
        }
    }

    /// The only values of place `n`, as a constant or a set.
    fn set(&mut self, n: usize) -> Option<String> {
        let place = &self.places[n];
        let (base, _) = integer(place.c_type);
        let listed: Vec<Value> = if !place.limits.enum_values.is_empty() {
            place.limits.enum_values.clone()
        } else {
            let mask = place.limits.valid_mask.as_ref()?;
            mask.alternatives().into_iter().map(Value::new).collect()
        };
        let only_one = !place.limits.enum_values.is_empty();
        let mut values: Vec<String> = Vec::new();
        for value in &listed {
            let text = self.sets.value(value)?;
            if !values.contains(&text) {
                values.push(text);
            }
        }
        match values.as_slice() {
            [] => None,
            [one] if only_one => {
                let one = one.clone();
                Some(self.with_base("const", &one, base))
            }
            _ => {
                let set = self.sets.named(self.owner, &self.names[n], values);
                Some(self.with_base("flags", &set, base))
            }
        }
    }

    /// The place whose length place `n` is.
    fn length_of(&self, n: usize) -> Option<usize> {
        let index = i128::try_from(n).ok();
        let said = self.places.iter().position(|p| {
            p.limits
                .size_param
                .as_ref()
                .is_some_and(|v| v.number.is_some() && v.number == index)
        });
        let near = || {
            // `start, len`: what the specification need not say.
            let before = n.checked_sub(1)?;
            let names = ["len", "length", "size", "len_in", "old_len", "nbytes"];
            (names.contains(&self.places[n].name) && !self.fields && self.is_address(before))
                .then_some(before)
        };
        near()
            .or(said)
            .filter(|of| *of != n && (self.is_address(*of) || self.places[*of].is_pointer()))
    }

    /// Whether the length `n` of `of` is in bytes although the elements are larger.
    fn counts_bytes(&self, of: usize, n: usize) -> bool {
        let name = self.places[n].name;
        self.element(of).is_some()
            && (name == "len"
                || name == "length"
                || name.contains("size")
                || name.contains("bytes"))
    }

    /// An address of pages, not a pointer to a thing.
    fn is_address(&self, n: usize) -> bool {
        let place = &self.places[n];
        let name = place.name;
        !self.fields
            && !place.is_pointer()
            && (name.contains("addr") || name.contains("start"))
            && (place.limits.kind == Some(ConstraintKind::PageAligned)
                || integer(place.c_type).0 == "intptr")
    }

    /// The structure that `of` points to, described.
    fn element(&self, of: usize) -> Option<&str> {
        let name = self.places[of].structure()?;
        self.structs.can(name, self.known).then_some(name)
    }

    fn pointer(&mut self, n: usize, optional: &str) -> String {
        let place = &self.places[n];
        let counted = (0..self.places.len()).any(|other| self.length_of(other) == Some(n));
        let direction = place.direction();
        if matches!(place.kind, Some(TypeKind::Path))
            || place.limits.kind == Some(ConstraintKind::UserPath)
        {
            return format!("ptr[in, filename{optional}]");
        }
        let one = place.c_type.matches('*').count() <= 1;
        if matches!(place.kind, Some(TypeKind::String))
            || place.limits.kind == Some(ConstraintKind::UserString)
            || (one && !counted && place.c_type.contains("const char"))
        {
            return format!("ptr[in, string{optional}]");
        }
        if matches!(place.kind, Some(TypeKind::FuncPtr)) || !one {
            return format!("ptr[{direction}, array[intptr]{optional}]");
        }
        if let Some(name) = self.element(n) {
            let name = name.to_owned();
            // A structure that holds pointers to its own kind ends somewhere.
            let optional = if self.fields { ", opt" } else { optional };
            let described = self
                .structs
                .describe(&name, self.known, self.sets, &mut self.takes_fd);
            return if counted {
                format!("ptr[{direction}, array[{described}]{optional}]")
            } else {
                format!("ptr[{direction}, {described}{optional}]")
            };
        }
        let pointee = place.c_type.replace('*', "");
        let plain = ["void", "char", "struct", "union"]
            .iter()
            .all(|w| !pointee.contains(w));
        let (base, _) = integer(&pointee);
        if plain && !counted && is_number(&pointee) {
            return format!("ptr[{direction}, {base}{optional}]");
        }
        // Units of more than a byte, where they have one.
        let unit = match place.limits.size_multiplier.as_ref().and_then(|m| m.number) {
            Some(2) => "int16",
            Some(4) => "int32",
            Some(8) => "int64",
            Some(16) => "array[int64, 2]",
            _ => "int8",
        };
        format!("ptr[{direction}, array[{unit}]{optional}]")
    }

    /// `u8 name[16]` and structures by value.
    fn inline(&mut self, n: usize) -> Option<String> {
        let place = &self.places[n];
        let c_type = place.c_type;
        let (element, count) = match c_type.split_once('[') {
            Some((element, rest)) => (element, Some(Value::new(rest.trim_end_matches([']', ' '])))),
            None => (c_type, None),
        };
        let size = place.limits.size.as_ref().and_then(|s| s.number);
        let base = if let Some(name) = place.structure() {
            if self.structs.is_open(name) || !self.structs.can(name, self.known) {
                let bytes = size.filter(|s| (1..=1 << 20).contains(s)).unwrap_or(8);
                return Some(format!("array[int8, {bytes}]"));
            }
            let name = name.to_owned();
            self.structs
                .describe(&name, self.known, self.sets, &mut self.takes_fd)
        } else if count.is_some() {
            integer(element).0.to_owned()
        } else {
            return None;
        };
        Some(match count {
            None => base,
            Some(count) => {
                let count = count.number.filter(|n| (1..=1 << 20).contains(n));
                format!("array[{base}, {}]", count.unwrap_or(1))
            }
        })
    }
}

/// Whether a C type without its `*` is an integer that is known.
fn is_number(pointee: &str) -> bool {
    let words = pointee
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|w| {
            !matches!(
                *w,
                "" | "const" | "__user" | "volatile" | "unsigned" | "signed"
            )
        });
    let mut some = pointee.contains("unsigned");
    for word in words {
        let bare = word.trim_start_matches('_').trim_end_matches("_t");
        let number = matches!(
            word,
            "int"
                | "long"
                | "short"
                | "size_t"
                | "ssize_t"
                | "loff_t"
                | "off_t"
                | "pid_t"
                | "uid_t"
                | "gid_t"
                | "dev_t"
                | "mode_t"
                | "umode_t"
        ) || bare
            .trim_start_matches(['u', 's'])
            .trim_start_matches("int")
            .parse::<u8>()
            .is_ok_and(|n| matches!(n, 8 | 16 | 32 | 64));
        if !number {
            return false;
        }
        some = true;
    }
    some
}
