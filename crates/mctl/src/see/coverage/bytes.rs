//! A size in bytes.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

/// A size in bytes. In JSON it is a plain number; for people it is written in binary units.
///
/// Sums saturate.
///
/// ```
/// use mctl::coverage::Bytes;
///
/// assert_eq!(Bytes(2 << 20).to_string(), "2 MiB");
/// assert_eq!(Bytes(1536 << 20).to_string(), "1.5 GiB");
/// assert_eq!(Bytes::from_kb(4) + Bytes(1), Bytes(4097));
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// Nothing.
    pub const ZERO: Bytes = Bytes(0);

    /// From the kernel's kB, which are 1,024 bytes.
    #[must_use]
    pub const fn from_kb(kb: u64) -> Bytes {
        Bytes(kb.saturating_mul(1024))
    }

    /// In KiB, rounded down.
    #[must_use]
    pub const fn kb(self) -> u64 {
        self.0 / 1024
    }

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// What is left; nothing if `other` is more.
    #[must_use]
    pub const fn less(self, other: Bytes) -> Bytes {
        Bytes(self.0.saturating_sub(other.0))
    }

    /// This part of a whole, in per cent, at most 100. `None` of nothing.
    #[must_use]
    pub fn percent_of(self, whole: Bytes) -> Option<f64> {
        if whole.is_zero() {
            return None;
        }
        // Exact up to 2^53 bytes; a percentage needs no more.
        #[expect(
            clippy::cast_precision_loss,
            reason = "a percentage of petabytes may be off in its 15th digit"
        )]
        let percent = 100.0 * self.0 as f64 / whole.0 as f64;
        Some(percent.min(100.0))
    }
}

impl Add for Bytes {
    type Output = Bytes;

    fn add(self, other: Bytes) -> Bytes {
        Bytes(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Bytes) {
        *self = *self + other;
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Bytes>>(iter: I) -> Bytes {
        iter.fold(Bytes::ZERO, Add::add)
    }
}

/// The largest binary unit that leaves a whole part, with one decimal below ten of it.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let place = (self.0.max(1).ilog2() / 10) as usize;
        let unit = UNITS.get(place).copied().unwrap_or("B");
        let one = 1_u64 << (10 * place);
        let whole = self.0 / one;
        // Rounded down, so that a part never looks like more than the whole.
        let tenth = (self.0 % one).saturating_mul(10) / one;
        let text = if whole < 10 && tenth > 0 {
            format!("{whole}.{tenth} {unit}")
        } else {
            format!("{whole} {unit}")
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1, "1 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (10 << 10, "10 KiB"),
            ((10 << 20) + (700 << 10), "10 MiB"),
            ((2 << 20) - 1, "1.9 MiB"),
            (3 << 40, "3 TiB"),
            (u64::MAX, "15 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        assert_eq!(format!("{:>7}|", Bytes(4096)), "  4 KiB|");
    }

    #[test]
    fn parts() {
        assert_eq!(Bytes(1).percent_of(Bytes(0)), None);
        assert_eq!(Bytes(1).percent_of(Bytes(4)), Some(25.0));
        assert_eq!(Bytes(9).percent_of(Bytes(4)), Some(100.0));
        assert_eq!(Bytes(1).less(Bytes(2)), Bytes::ZERO);
        assert_eq!(Bytes::from_kb(u64::MAX) + Bytes(1), Bytes(u64::MAX));
    }
}
