//! The `VmFlags:` line of a smaps entry.
//!
//! Source: `proc_pid_smaps(5)`; `show_smap_vma_flags()` in `fs/proc/task_mmu.c`. The kernel writes
//! the two-letter codes in the order of its own bits, each with a space after it. Its documentation
//! promises nothing about the set, so a code that is not known here is kept, never dropped.

use std::fmt;

/// Declares [`VmFlag`], its codes and its one-line meanings.
macro_rules! flags {
    ($($variant:ident $code:literal $meaning:literal,)*) => {
        /// A flag of a mapping that is known here, in the order in which the kernel writes them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum VmFlag {
            $(#[doc = concat!("`", $code, "`: ", $meaning, ".")] $variant,)*
        }

        impl VmFlag {
            /// Every flag that is known here, in the kernel's order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The two letters.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// What the flag means, in a few words.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

flags! {
    Read "rd" "readable",
    Write "wr" "writable",
    Exec "ex" "executable",
    Shared "sh" "shared",
    MayRead "mr" "may be made readable",
    MayWrite "mw" "may be made writable",
    MayExec "me" "may be made executable",
    MayShare "ms" "may be shared",
    GrowsDown "gd" "a stack that grows down",
    UffdMissing "um" "userfaultfd tracks missing pages",
    PfnMap "pf" "page frames without struct page",
    MaybeGuard "gu" "may contain guard regions (6.19)",
    DenyWrite "dw" "writing to the mapped file is denied (gone from newer kernels)",
    UffdWriteProtect "uw" "userfaultfd tracks writes",
    Locked "lo" "locked in memory",
    Io "io" "memory-mapped I/O",
    SeqRead "sr" "sequential reading advised",
    RandRead "rr" "random reading advised",
    DontCopy "dc" "not copied on fork",
    DontExpand "de" "not expanded by mremap",
    LockOnFault "lf" "locked as pages are faulted in",
    Account "ac" "counted against the commit limit",
    NoReserve "nr" "no swap space reserved",
    Hugetlb "ht" "hugetlb pages",
    Sync "sf" "synchronous page faults (DAX)",
    NonLinear "nl" "non-linear (gone since 4.0)",
    Arch "ar" "specific to the architecture",
    Bti "bt" "guarded branch targets (arm64)",
    WipeOnFork "wf" "wiped in the child on fork",
    DontDump "dd" "not in core dumps",
    SoftDirty "sd" "soft-dirty",
    MixedMap "mm" "page frames with and without struct page",
    HugePage "hg" "huge pages advised",
    NoHugePage "nh" "huge pages advised against",
    Mergeable "mg" "KSM may merge pages",
    Mte "mt" "memory tagging (arm64)",
    Mpx "mp" "MPX bounds tables (x86; gone since 5.6)",
    ShadowStack "ss" "shadow stack",
    Droppable "dp" "may be dropped under memory pressure (6.11)",
    UffdMinor "ui" "userfaultfd tracks minor faults",
    Sealed "sl" "sealed by mseal (6.10)",
}

/// No flag has this code.
const UNKNOWN: u8 = u8::MAX;
const LETTERS: usize = 26;

/// From the two letters to the flag's place in [`VmFlag::ALL`].
const PLACES: [u8; LETTERS * LETTERS] = {
    let mut places = [UNKNOWN; LETTERS * LETTERS];
    let mut place = 0_u8;
    while (place as usize) < VmFlag::ALL.len() {
        let code = VmFlag::ALL[place as usize].code().as_bytes();
        places[(code[0] - b'a') as usize * LETTERS + (code[1] - b'a') as usize] = place;
        place += 1;
    }
    places
};

/// The place of a two-letter code, or [`UNKNOWN`].
#[inline]
fn place(first: u8, second: u8) -> u8 {
    let (first, second) = (first.wrapping_sub(b'a'), second.wrapping_sub(b'a'));
    if usize::from(first) >= LETTERS || usize::from(second) >= LETTERS {
        return UNKNOWN;
    }
    PLACES[usize::from(first) * LETTERS + usize::from(second)]
}

/// A set of the flags that are known here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KnownFlags(u64);

impl KnownFlags {
    /// Whether the flag is set.
    #[must_use]
    #[inline]
    pub const fn has(self, flag: VmFlag) -> bool {
        self.0 >> flag as u32 & 1 != 0
    }

    /// This set and one more flag.
    #[must_use]
    pub const fn and(self, flag: VmFlag) -> Self {
        Self(self.0 | 1 << flag as u32)
    }

    /// The flags, in the kernel's order.
    pub fn iter(self) -> impl Iterator<Item = VmFlag> {
        VmFlag::ALL
            .iter()
            .copied()
            .filter(move |&flag| self.has(flag))
    }

    /// Reads the kernel's text. The second value tells whether writing the set back gives the same
    /// bytes: no unknown code, the kernel's order, one space after each.
    #[inline]
    fn read(text: &[u8]) -> (Self, bool) {
        let mut known = 0_u64;
        let mut canonical = true;
        let mut next = 0_u8;
        let (triples, tail) = text.as_chunks::<3>();
        for &[first, second, space] in triples {
            let place = place(first, second);
            if space != b' ' || place == UNKNOWN {
                return Self::read_any(text);
            }
            canonical &= place >= next;
            next = place.wrapping_add(1);
            known |= 1_u64.wrapping_shl(u32::from(place));
        }
        if tail.is_empty() {
            (Self(known), canonical)
        } else {
            Self::read_any(text)
        }
    }

    /// Reads any text, word by word.
    #[cold]
    fn read_any(text: &[u8]) -> (Self, bool) {
        let known = super::lines::words(text)
            .filter_map(VmFlag::from_code)
            .fold(Self(0), Self::and);
        (known, false)
    }
}

impl VmFlag {
    /// The flag with this code.
    #[must_use]
    pub fn from_code(code: &[u8]) -> Option<Self> {
        let &[first, second] = code else { return None };
        Self::ALL.get(usize::from(place(first, second))).copied()
    }
}

/// The flags of one mapping, together with the kernel's own text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmFlags<'a> {
    known: KnownFlags,
    canonical: bool,
    text: &'a [u8],
}

impl<'a> VmFlags<'a> {
    /// Reads what stands after `VmFlags: `, without the newline.
    #[must_use]
    #[inline]
    pub fn parse(text: &'a [u8]) -> Self {
        let (known, canonical) = KnownFlags::read(text);
        Self {
            known,
            canonical,
            text,
        }
    }

    /// The flags that are known here.
    #[must_use]
    pub const fn known(&self) -> KnownFlags {
        self.known
    }

    /// Whether the flag is set.
    #[must_use]
    #[inline]
    pub const fn has(&self, flag: VmFlag) -> bool {
        self.known.has(flag)
    }

    /// The codes that are not known here, in order. The kernel writes `??` for a bit without a name.
    pub fn unknown(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let text = if self.canonical { &[] } else { self.text };
        super::lines::words(text).filter(|word| VmFlag::from_code(word).is_none())
    }

    /// All codes as the kernel wrote them.
    #[must_use]
    pub const fn text(&self) -> &'a [u8] {
        self.text
    }

    /// A copy that does not borrow the text. It allocates only if the text has something in it that
    /// is not known here.
    #[must_use]
    pub fn to_set(&self) -> VmFlagSet {
        let text = (!self.canonical).then(|| Box::from(self.text));
        VmFlagSet {
            known: self.known,
            text,
        }
    }
}

/// The flags of one mapping, owned. Unknown codes are kept and the kernel's text can be had again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct VmFlagSet {
    known: KnownFlags,
    /// The kernel's text, where it does not follow from `known`.
    text: Option<Box<[u8]>>,
}

impl VmFlagSet {
    /// The flags that are known here.
    #[must_use]
    pub const fn known(&self) -> KnownFlags {
        self.known
    }

    /// Whether the flag is set.
    #[must_use]
    pub const fn has(&self, flag: VmFlag) -> bool {
        self.known.has(flag)
    }

    /// The codes that are not known here, in order.
    pub fn unknown(&self) -> impl Iterator<Item = &[u8]> {
        let text = self.text.as_deref().unwrap_or_default();
        super::lines::words(text).filter(|word| VmFlag::from_code(word).is_none())
    }

    /// Appends the text exactly as the kernel wrote it.
    pub fn write_text(&self, out: &mut Vec<u8>) {
        if let Some(text) = &self.text {
            out.extend_from_slice(text);
        } else {
            for flag in self.known.iter() {
                out.extend_from_slice(flag.code().as_bytes());
                out.push(b' ');
            }
        }
    }
}

impl From<KnownFlags> for VmFlagSet {
    fn from(known: KnownFlags) -> Self {
        Self { known, text: None }
    }
}

/// All codes with one space between them; bytes that are not ASCII are escaped.
impl fmt::Display for VmFlagSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.write_text(&mut text);
        f.write_str(&text.trim_ascii().escape_ascii().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn owned_text(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        VmFlags::parse(text).to_set().write_text(&mut out);
        out
    }

    #[test]
    fn codes_are_unique_and_lead_back() {
        const { assert!(VmFlag::ALL.len() <= 64) };
        for (place, &flag) in VmFlag::ALL.iter().enumerate() {
            assert_eq!(flag as usize, place);
            assert_eq!(VmFlag::from_code(flag.code().as_bytes()), Some(flag));
            assert!(!flag.meaning().is_empty());
        }
        for code in [&b"zz"[..], b"r", b"rdd", b"RD", b"??", b"", b"\xff\xff"] {
            assert_eq!(VmFlag::from_code(code), None);
        }
    }

    #[test]
    fn known_flags_need_no_text() {
        let flags = VmFlags::parse(b"rd wr mr mw me ac hg ");
        assert!(flags.has(VmFlag::HugePage) && !flags.has(VmFlag::NoHugePage));
        assert_eq!(flags.unknown().count(), 0);
        let set = flags.to_set();
        assert!(set.text.is_none());
        assert_eq!(set.to_string(), "rd wr mr mw me ac hg");
        assert_eq!(owned_text(flags.text()), flags.text());
    }

    #[test]
    fn unknown_flags_are_kept_in_their_place() {
        let flags = VmFlags::parse(b"rd zz wr ?? ?? q9x nh ");
        assert!(
            flags.has(VmFlag::Read) && flags.has(VmFlag::Write) && flags.has(VmFlag::NoHugePage)
        );
        let unknown: Vec<_> = flags.unknown().collect();
        assert_eq!(unknown, [&b"zz"[..], b"??", b"??", b"q9x"]);
        let set = flags.to_set();
        assert_eq!(set.unknown().collect::<Vec<_>>(), unknown);
        assert_eq!(owned_text(flags.text()), flags.text());
    }

    #[test]
    fn a_different_order_is_kept() {
        for text in [&b"hg rd "[..], b"rd rd ", b"rd", b"", b"rd  wr ", b" "] {
            assert_eq!(owned_text(text), text);
        }
    }

    proptest! {
        #[test]
        fn any_text_round_trips(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(owned_text(&text), text);
        }

        #[test]
        fn any_codes_are_all_found(codes in proptest::collection::vec("[a-z?]{2}", 0..40)) {
            let text: String = codes.iter().flat_map(|code| [code.as_str(), " "]).collect();
            let flags = VmFlags::parse(text.as_bytes());
            for code in &codes {
                match VmFlag::from_code(code.as_bytes()) {
                    Some(flag) => prop_assert!(flags.has(flag)),
                    None => prop_assert!(flags.unknown().any(|word| word == code.as_bytes())),
                }
            }
            let known = codes.iter().filter(|code| VmFlag::from_code(code.as_bytes()).is_some());
            prop_assert_eq!(flags.unknown().count() + known.count(), codes.len());
            prop_assert_eq!(owned_text(text.as_bytes()), text.as_bytes());
        }

        #[test]
        fn fast_and_plain_reader_agree(text in "([a-z?]{2} ){0,20}") {
            let (fast, canonical) = KnownFlags::read(text.as_bytes());
            prop_assert_eq!(fast, KnownFlags::read_any(text.as_bytes()).0);
            if canonical {
                let again: String = fast.iter().flat_map(|flag| [flag.code(), " "]).collect();
                prop_assert_eq!(again, text);
            }
        }
    }
}
