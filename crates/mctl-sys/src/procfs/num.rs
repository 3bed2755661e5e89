//! Numbers in ASCII, read from the front of a byte slice.

use super::error::Malformed;

/// A place in a byte slice. Every step either moves it forward or says what is wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    pub(super) rest: &'a [u8],
}

/// The value of a hexadecimal digit, or 0xff.
const HEX: [u8; 256] = {
    let mut table = [0xff_u8; 256];
    let mut byte = 0_u8;
    loop {
        table[byte as usize] = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => 0xff,
        };
        if byte == 0xff {
            break;
        }
        byte += 1;
    }
    table
};

impl<'a> Cursor<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// Reads a hexadecimal number and the separator that must follow it.
    #[inline]
    pub(super) fn hex(&mut self, separator: u8, what: &'static str) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        let mut digits = 0_usize;
        let mut rest = self.rest;
        // Addresses and offsets have at least eight digits.
        while let Some((eight, tail)) = rest.split_first_chunk::<8>()
            && let Some(low) = hex8(*eight)
        {
            if value >> 32 != 0 {
                return Err(Malformed::TooLarge(what));
            }
            value = value << 32 | low;
            digits += 8;
            rest = tail;
        }
        for &byte in rest {
            let digit = HEX[usize::from(byte)];
            if digit == 0xff {
                break;
            }
            if value >> 60 != 0 {
                return Err(Malformed::TooLarge(what));
            }
            value = value << 4 | u64::from(digit);
            digits += 1;
        }
        self.finish(digits, separator, what)?;
        Ok(value)
    }

    /// Reads a decimal number and the separator that must follow it.
    #[inline]
    pub(super) fn dec(&mut self, separator: u8, what: &'static str) -> Result<u64, Malformed> {
        let (value, digits) = leading_dec(self.rest).ok_or(Malformed::TooLarge(what))?;
        self.finish(digits, separator, what)?;
        Ok(value)
    }

    #[inline]
    fn finish(
        &mut self,
        digits: usize,
        separator: u8,
        what: &'static str,
    ) -> Result<(), Malformed> {
        if digits == 0 {
            return Err(match self.rest.first() {
                None | Some(b'\n') => Malformed::Missing(what),
                Some(_) => Malformed::NotANumber(what),
            });
        }
        match self.rest.get(digits..).and_then(<[u8]>::split_first) {
            Some((&byte, rest)) if byte == separator => {
                self.rest = rest;
                Ok(())
            }
            _ => Err(Malformed::Separator(what)),
        }
    }

    /// Takes the next `N` bytes.
    #[inline]
    pub(super) fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(head)
    }

    /// Passes over spaces.
    #[inline]
    pub(super) fn skip_spaces(&mut self) {
        self.rest = skip_spaces(self.rest);
    }
}

/// The bytes after the leading spaces.
#[inline]
pub(super) fn skip_spaces(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    // The kernel aligns names and numbers, so many spaces are the rule.
    while let Some((b"        ", tail)) = rest.split_first_chunk::<8>() {
        rest = tail;
    }
    while let Some((b' ', tail)) = rest.split_first() {
        rest = tail;
    }
    rest
}

/// The decimal number at the front and the count of its digits; `None` if it exceeds `u64`.
#[inline]
fn leading_dec(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    let mut digits = 0_usize;
    for &byte in bytes {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        // Up to 19 digits cannot overflow; beyond that, every step is checked.
        value = if digits < 19 {
            value.wrapping_mul(10).wrapping_add(u64::from(digit))
        } else {
            value.checked_mul(10)?.checked_add(u64::from(digit))?
        };
        digits += 1;
    }
    Some((value, digits))
}

/// The whole slice as a decimal `u64`.
#[inline]
pub(super) fn dec_u64(bytes: &[u8], what: &'static str) -> Result<u64, Malformed> {
    let (value, digits) = leading_dec(bytes).ok_or(Malformed::TooLarge(what))?;
    if bytes.is_empty() {
        Err(Malformed::Missing(what))
    } else if digits != bytes.len() {
        Err(Malformed::NotANumber(what))
    } else {
        Ok(value)
    }
}

/// The whole slice as a decimal `u32`.
pub(super) fn dec_u32(bytes: &[u8], what: &'static str) -> Result<u32, Malformed> {
    u32::try_from(dec_u64(bytes, what)?).map_err(|_| Malformed::TooLarge(what))
}

/// The whole slice as a decimal `i64`, with an optional minus sign.
pub(super) fn dec_i64(bytes: &[u8], what: &'static str) -> Result<i64, Malformed> {
    match bytes.split_first() {
        Some((b'-', digits)) => {
            let value = dec_u64(digits, what)?;
            0_i64
                .checked_sub_unsigned(value)
                .ok_or(Malformed::TooLarge(what))
        }
        _ => i64::try_from(dec_u64(bytes, what)?).map_err(|_| Malformed::TooLarge(what)),
    }
}

/// The whole slice as a decimal `i32`, with an optional minus sign.
pub(super) fn dec_i32(bytes: &[u8], what: &'static str) -> Result<i32, Malformed> {
    i32::try_from(dec_i64(bytes, what)?).map_err(|_| Malformed::TooLarge(what))
}

/// The whole slice as a hexadecimal `u64` without a prefix.
pub(super) fn hex_u64(bytes: &[u8], what: &'static str) -> Result<u64, Malformed> {
    if bytes.is_empty() {
        return Err(Malformed::Missing(what));
    }
    bytes.iter().try_fold(0_u64, |value, &byte| {
        let digit = HEX[usize::from(byte)];
        if digit == 0xff {
            Err(Malformed::NotANumber(what))
        } else if value >> 60 != 0 {
            Err(Malformed::TooLarge(what))
        } else {
            Ok(value << 4 | u64::from(digit))
        }
    })
}

/// The whole slice as `0x…`.
pub(super) fn prefixed_hex_u64(bytes: &[u8], what: &'static str) -> Result<u64, Malformed> {
    match bytes.strip_prefix(b"0x") {
        Some(digits) => hex_u64(digits, what),
        None if bytes.is_empty() => Err(Malformed::Missing(what)),
        None => Err(Malformed::NotANumber(what)),
    }
}

/// Eight lowercase hexadecimal digits at once. Anything else is `None`.
#[inline]
fn hex8(digits: [u8; 8]) -> Option<u64> {
    let raw = u64::from_be_bytes(digits);
    // 1 in the byte of each letter, for only they have this bit among the digits.
    let letter = raw >> 6 & ONES;
    let nibble = (raw & ONES.wrapping_mul(0x0f)).wrapping_add(letter.wrapping_mul(9));
    // The upper half must be 3 for a figure and 6 for a letter; the value must be below 10 for a
    // figure and between 10 and 15 for a letter. No sum here carries into the next byte.
    let upper = ZEROS.wrapping_add(letter.wrapping_mul(0x30));
    let carry = ONES.wrapping_mul(0x10);
    let too_high = nibble.wrapping_add((ONES ^ letter).wrapping_mul(6)) & carry;
    let high_enough = nibble.wrapping_add(letter.wrapping_mul(6)) & carry;
    if raw & HIGH_NIBBLES != upper || too_high != 0 || high_enough != letter << 4 {
        return None;
    }
    let bytes = (nibble | nibble >> 4) & 0x00ff_00ff_00ff_00ff;
    let halves = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
    Some((halves | halves >> 16) & 0xffff_ffff)
}

const ONES: u64 = u64::from_le_bytes([1; 8]);
const SPACES: u64 = u64::from_le_bytes([b' '; 8]);
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);
const SPACE_TO_ZERO: u64 = u64::from_le_bytes([0x10; 8]);
const HIGH_NIBBLES: u64 = u64::from_le_bytes([0xf0; 8]);
const SIXES: u64 = u64::from_le_bytes([6; 8]);

/// A number that the kernel right-aligned in eight columns: `"     132"`. Anything else is `None`.
///
/// All eight bytes are worked on at once, since this is the innermost step of reading smaps.
#[inline]
pub(super) fn padded_dec8(field: [u8; 8]) -> Option<u32> {
    const ZERO_FIELD: [u8; 8] = *b"       0";
    if field == ZERO_FIELD {
        return Some(0);
    }
    let raw = u64::from_le_bytes(field);
    // In a little-endian word the first column is the lowest byte.
    let blank_bits = (raw ^ SPACES).trailing_zeros() & !7;
    let blanks = 1_u64.checked_shl(blank_bits)?.wrapping_sub(1);
    let digits = raw | (SPACE_TO_ZERO & blanks);
    if digits & HIGH_NIBBLES != ZEROS || digits.wrapping_add(SIXES) & HIGH_NIBBLES != ZEROS {
        return None;
    }
    let ones = digits ^ ZEROS;
    // Neighbours are joined in three steps: digits to pairs, pairs to fours, fours to eight.
    let pairs = ones.wrapping_mul(10).wrapping_add(ones >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    let eight = fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff;
    u32::try_from(eight).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits() {
        assert_eq!(dec_u64(b"18446744073709551615", "n"), Ok(u64::MAX));
        assert_eq!(
            dec_u64(b"18446744073709551616", "n"),
            Err(Malformed::TooLarge("n"))
        );
        assert_eq!(dec_u64(b"000000000000000000000000001", "n"), Ok(1));
        assert_eq!(dec_i64(b"-9223372036854775808", "n"), Ok(i64::MIN));
        assert_eq!(
            dec_i64(b"-9223372036854775809", "n"),
            Err(Malformed::TooLarge("n"))
        );
        assert_eq!(dec_i64(b"-", "n"), Err(Malformed::Missing("n")));
        assert_eq!(dec_i32(b"2147483648", "n"), Err(Malformed::TooLarge("n")));
        assert_eq!(dec_u64(b"", "n"), Err(Malformed::Missing("n")));
        assert_eq!(dec_u64(b"12a", "n"), Err(Malformed::NotANumber("n")));
        assert_eq!(hex_u64(b"ffffffffffffffff", "n"), Ok(u64::MAX));
        assert_eq!(
            hex_u64(b"10000000000000000", "n"),
            Err(Malformed::TooLarge("n"))
        );
        assert_eq!(prefixed_hex_u64(b"0x7f", "n"), Ok(0x7f));
        assert_eq!(
            prefixed_hex_u64(b"7f", "n"),
            Err(Malformed::NotANumber("n"))
        );
    }

    #[test]
    fn padded_fields() {
        assert_eq!(padded_dec8(*b"       0"), Some(0));
        assert_eq!(padded_dec8(*b"     132"), Some(132));
        assert_eq!(padded_dec8(*b"12345678"), Some(12_345_678));
        assert_eq!(padded_dec8(*b"99999999"), Some(99_999_999));
        assert_eq!(padded_dec8(*b"00000000"), Some(0));
        for bad in [
            b"        ",
            b"    1 2 ",
            b"   12  4",
            b"  \n    4",
            b"!!!!!!!4",
            b"      :0",
            b"1       ",
        ] {
            assert_eq!(padded_dec8(*bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn padded_fields_are_read_as_written(value in 0_u32..100_000_000) {
            let text = format!("{value:8}");
            let field: [u8; 8] = text.as_bytes().try_into().unwrap();
            prop_assert_eq!(padded_dec8(field), Some(value));
        }

        #[test]
        fn padded_fields_agree_with_the_plain_reader(field in any::<[u8; 8]>()) {
            let plain = dec_u64(skip_spaces(&field), "n").ok();
            prop_assert_eq!(padded_dec8(field).map(u64::from), plain);
        }

        #[test]
        fn eight_hex_digits_agree_with_the_plain_reader(any in any::<[u8; 8]>(), near in "[0-9a-f@`g/:G]{8}", value in any::<u32>()) {
            let near: [u8; 8] = near.as_bytes().try_into().unwrap();
            let text = format!("{value:08x}");
            let valid: [u8; 8] = text.as_bytes().try_into().unwrap();
            prop_assert_eq!(hex8(valid), Some(u64::from(value)));
            for field in [any, near] {
                let plain = hex_u64(&field, "n").ok().filter(|_| !field.iter().any(u8::is_ascii_uppercase));
                prop_assert_eq!(hex8(field), plain);
            }
        }

        #[test]
        fn one_wrong_byte_is_noticed(place in 0_usize..8, byte in any::<u8>()) {
            let mut field = *b"0123cdef";
            field[place] = byte;
            let plain = hex_u64(&field, "n").ok().filter(|_| !byte.is_ascii_uppercase());
            prop_assert_eq!(hex8(field), plain);
        }

        #[test]
        fn near_miss_fields_agree_with_the_plain_reader(field in "[ 0-9:/!\n]{8}") {
            let field: [u8; 8] = field.as_bytes().try_into().unwrap();
            let plain = dec_u64(skip_spaces(&field), "n").ok();
            prop_assert_eq!(padded_dec8(field).map(u64::from), plain);
        }

        #[test]
        fn numbers_round_trip(n in any::<u64>(), i in any::<i64>()) {
            prop_assert_eq!(dec_u64(n.to_string().as_bytes(), "n"), Ok(n));
            prop_assert_eq!(dec_i64(i.to_string().as_bytes(), "n"), Ok(i));
            prop_assert_eq!(hex_u64(format!("{n:x}").as_bytes(), "n"), Ok(n));
            let text = format!("{n:08x}-");
            prop_assert_eq!(Cursor::new(text.as_bytes()).hex(b'-', "n"), Ok(n));
        }
    }
}
