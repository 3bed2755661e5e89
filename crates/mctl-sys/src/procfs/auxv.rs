//! `/proc/PID/auxv`: the auxiliary vector that the kernel gave the program at exec.
//!
//! Source: `proc_pid_auxv(5)`, `getauxval(3)`; `auxv_read()` in `fs/proc/base.c`. Entries are pairs
//! of words in the target's own width. The vector stays as it was at exec; a program may change it
//! with `PR_SET_MM_AUXV`.

use super::error::Malformed;

/// The end of the vector.
pub const AT_NULL: u64 = 0;
/// The address of the program headers.
pub const AT_PHDR: u64 = 3;
/// The page size in bytes.
pub const AT_PAGESZ: u64 = 6;
/// The load address of the dynamic linker; 0 for a static program.
pub const AT_BASE: u64 = 7;
/// The program's entry point.
pub const AT_ENTRY: u64 = 9;
/// The real user id.
pub const AT_UID: u64 = 11;
/// 1 after exec of a program that gained privileges.
pub const AT_SECURE: u64 = 23;
/// The address of the 32-bit x86 vDSO's system call entry.
pub const AT_SYSINFO: u64 = 32;
/// The address of the vDSO's ELF header.
pub const AT_SYSINFO_EHDR: u64 = 33;

/// The width of the target's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// 32 bits, also on a 64-bit kernel.
    W32,
    /// 64 bits.
    W64,
}

/// A process's auxiliary vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auxv<'a> {
    bytes: &'a [u8],
    width: Width,
}

impl<'a> Auxv<'a> {
    /// Takes the file's bytes. An empty file (a kernel thread, a zombie) is an empty vector.
    ///
    /// The width is told from the bytes: the types are small numbers, so the upper half of a 64-bit
    /// type is 0. Read with the wrong width it would be the value of a 32-bit entry, and not all
    /// values are 0.
    ///
    /// # Errors
    ///
    /// [`Malformed`], if the bytes do not make up whole entries.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let wide = |width| Self { bytes, width };
        let narrow = wide(Width::W64)
            .iter()
            .any(|(kind, _)| kind > u64::from(u32::MAX));
        let (this, size) = if narrow {
            (wide(Width::W32), 8)
        } else {
            (wide(Width::W64), 16)
        };
        if bytes.len().is_multiple_of(size) {
            Ok(this)
        } else {
            Err(Malformed::Separator("last entry"))
        }
    }

    /// The target's width.
    #[must_use]
    pub const fn width(&self) -> Width {
        self.width
    }

    /// The entries as type and value, up to [`AT_NULL`].
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        let (bytes, width) = (self.bytes, self.width);
        let size = match width {
            Width::W32 => 8,
            Width::W64 => 16,
        };
        bytes.chunks_exact(size).map_while(move |entry| {
            let (kind, value) = match width {
                Width::W32 => {
                    let (kind, value) = entry.split_first_chunk::<4>()?;
                    (
                        u32::from_ne_bytes(*kind).into(),
                        u32::from_ne_bytes(*value.first_chunk()?).into(),
                    )
                }
                Width::W64 => {
                    let (kind, value) = entry.split_first_chunk::<8>()?;
                    (
                        u64::from_ne_bytes(*kind),
                        u64::from_ne_bytes(*value.first_chunk()?),
                    )
                }
            };
            (kind != AT_NULL).then_some((kind, value))
        })
    }

    /// The value of the first entry of this type. Unlike `getauxval(3)` it tells absent from 0.
    #[must_use]
    pub fn get(&self, kind: u64) -> Option<u64> {
        self.iter()
            .find_map(|(this, value)| (this == kind).then_some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wide(entries: &[(u64, u64)]) -> Vec<u8> {
        entries
            .iter()
            .flat_map(|(kind, value)| [kind.to_ne_bytes(), value.to_ne_bytes()])
            .flatten()
            .collect()
    }

    fn narrow(entries: &[(u32, u32)]) -> Vec<u8> {
        entries
            .iter()
            .flat_map(|(kind, value)| [kind.to_ne_bytes(), value.to_ne_bytes()])
            .flatten()
            .collect()
    }

    #[test]
    fn both_widths() {
        let bytes = wide(&[(33, 0x7fff_1234_5000), (6, 4096), (23, 0), (0, 0), (33, 1)]);
        let auxv = Auxv::parse(&bytes).unwrap();
        assert_eq!(auxv.width(), Width::W64);
        assert_eq!(auxv.get(AT_SYSINFO_EHDR), Some(0x7fff_1234_5000));
        assert_eq!((auxv.get(AT_SECURE), auxv.get(AT_ENTRY)), (Some(0), None));
        assert_eq!(auxv.iter().count(), 3);

        // The kernel may leave a zero pair behind the end.
        let bytes = narrow(&[
            (32, 0xf7f1_2ab0),
            (33, 0xf7f1_2000),
            (6, 4096),
            (0, 0),
            (0, 0),
        ]);
        let auxv = Auxv::parse(&bytes).unwrap();
        assert_eq!(auxv.width(), Width::W32);
        assert_eq!(auxv.get(AT_SYSINFO_EHDR), Some(0xf7f1_2000));
        assert_eq!(auxv.iter().count(), 3);
    }

    #[test]
    fn empty_and_cut() {
        assert_eq!(Auxv::parse(b"").unwrap().iter().count(), 0);
        assert!(Auxv::parse(&wide(&[(33, 1)])[..15]).is_err());
        assert!(Auxv::parse(&narrow(&[(32, 1), (33, 1)])[..15]).is_err());
    }

    proptest! {
        #[test]
        fn wide_round_trip(entries in proptest::collection::vec((1..100_u64, any::<u64>()), 0..40)) {
            let bytes = wide(&entries);
            let auxv = Auxv::parse(&bytes).unwrap();
            prop_assert_eq!(auxv.width(), Width::W64);
            prop_assert_eq!(auxv.iter().collect::<Vec<_>>(), entries);
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            if let Ok(auxv) = Auxv::parse(&bytes) {
                let _ = auxv.iter().count();
            }
        }
    }
}
