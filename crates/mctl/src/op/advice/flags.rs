//! The PMADV flags of the RFC series, and the review's finer trio.

use crate::error::{Error, Result};

/// Flags of [`Advise`](super::Advise), with the RFC's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PmadvFlags(u32);

impl PmadvFlags {
    /// None.
    pub const NONE: PmadvFlags = PmadvFlags(0);
    /// `PMADV_SKIP_ERRORS`: pass over a mapping that fails and go on. Implies
    /// [`PmadvFlags::NO_ERROR_ON_UNMAPPED`].
    pub const SKIP_ERRORS: PmadvFlags = PmadvFlags(1);
    /// `PMADV_NO_ERROR_ON_UNMAPPED`: gaps are no error.
    pub const NO_ERROR_ON_UNMAPPED: PmadvFlags = PmadvFlags(1 << 1);
    /// `PMADV_SET_FORK_EXEC_DEFAULT`: also the default for the whole address space, across fork
    /// and exec.
    pub const SET_FORK_EXEC_DEFAULT: PmadvFlags = PmadvFlags(1 << 2);
    /// `PMADV_ENTIRE_ADDRESS_SPACE`: every mapping. Implies
    /// [`PmadvFlags::NO_ERROR_ON_UNMAPPED`].
    pub const ENTIRE_ADDRESS_SPACE: PmadvFlags = PmadvFlags(1 << 3);

    /// `PMADV_SET_DEFAULT`, `PMADV_INHERIT_FORK` and `PMADV_INHERIT_EXEC`: accepted all together
    /// only, and then they mean [`PmadvFlags::SET_FORK_EXEC_DEFAULT`].
    pub const FINER_TRIO: u32 = 1 << 4 | 1 << 5 | 1 << 6;

    /// From the numbers of the C ABI.
    ///
    /// # Errors
    /// `EINVAL`: an unknown bit, or only a part of the trio.
    pub fn from_bits(bits: u32) -> Result<PmadvFlags> {
        let invalid = |why: String| Err(Error::Invalid { why });
        let plain = bits & !PmadvFlags::FINER_TRIO;
        let unknown = plain & !0b1111;
        if unknown != 0 {
            return invalid(format!("unknown PMADV flags {unknown:#x}"));
        }
        match bits & PmadvFlags::FINER_TRIO {
            0 => Ok(PmadvFlags(plain)),
            PmadvFlags::FINER_TRIO => Ok(PmadvFlags(plain | PmadvFlags::SET_FORK_EXEC_DEFAULT.0)),
            part => invalid(format!(
                "PMADV_SET_DEFAULT, PMADV_INHERIT_FORK and PMADV_INHERIT_EXEC go together only \
                 (got {part:#x})"
            )),
        }
    }

    /// The bits, the trio resolved.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// These and others.
    #[must_use]
    pub const fn with(self, other: PmadvFlags) -> PmadvFlags {
        PmadvFlags(self.0 | other.0)
    }

    /// Whether all of `other` are among them.
    #[must_use]
    pub const fn has(self, other: PmadvFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the whole address space is meant.
    #[must_use]
    pub const fn is_entire(self) -> bool {
        self.has(PmadvFlags::ENTIRE_ADDRESS_SPACE)
    }

    /// Whether a mapping that fails is passed over.
    #[must_use]
    pub const fn skips_errors(self) -> bool {
        self.has(PmadvFlags::SKIP_ERRORS)
    }

    /// Whether gaps are no error, by its own flag or implied.
    #[must_use]
    pub const fn allows_gaps(self) -> bool {
        self.0
            & (PmadvFlags::SKIP_ERRORS.0
                | PmadvFlags::NO_ERROR_ON_UNMAPPED.0
                | PmadvFlags::ENTIRE_ADDRESS_SPACE.0)
            != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_bits() {
        for bits in 0..0x200u32 {
            let trio = bits >> 4 & 7;
            let valid = bits & !0x7f == 0 && (trio == 0 || trio == 7);
            match PmadvFlags::from_bits(bits) {
                Ok(flags) => {
                    assert!(valid, "{bits:#x}");
                    let wanted = bits & 15 | if trio == 7 { 4 } else { 0 };
                    assert_eq!(flags.bits(), wanted);
                    assert_eq!(flags.allows_gaps(), bits & 0b1011 != 0);
                    assert_eq!(flags.skips_errors(), bits & 1 != 0);
                }
                Err(error) => {
                    assert!(!valid, "{bits:#x}: {error}");
                    assert_eq!(error.errno(), mctl_abi::Errno::EINVAL);
                }
            }
        }
        for bit in 7..32 {
            assert!(PmadvFlags::from_bits(1 << bit).is_err());
        }
    }
}
