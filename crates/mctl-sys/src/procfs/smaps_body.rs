//! The lines below the header of a smaps entry: one pass, no allocation.
//!
//! The kernel writes nearly every line to one pattern: the name, a colon and spaces up to column
//! 16, the number right-aligned in eight columns, ` kB`. And it writes the same lines for every
//! mapping. So each line's first 16 bytes are remembered by its place in the entry, and the next
//! entry's line is compared with them as one word instead of being searched and looked up. Every
//! byte of a line is still checked: where one differs, the line is read the plain way, so the two
//! ways cannot disagree.

use super::counters::{Counter, Counters, Want};
use super::error::Malformed;
use super::lines::split_at_byte;
use super::num::{dec_u32, dec_u64, padded_dec8, skip_spaces};
use super::smaps::ThpEligible;

/// How many lines' places are remembered. Linux 6.18 writes 23 below the header.
const PLACES: usize = 32;

/// The first 16 bytes of a line, and the counter that they name.
#[derive(Clone, Copy, Debug)]
struct Pattern {
    prefix: [u8; 16],
    counter: Option<Counter>,
}

/// What the lines of the entries before looked like.
#[derive(Clone, Debug)]
pub(super) struct Layout([Pattern; PLACES]);

impl Layout {
    pub(super) const fn new() -> Self {
        // Zeros begin no line that the kernel writes, and a line that did would not be misread:
        // it has to name a counter in full to be taken for one.
        Self(
            [Pattern {
                prefix: [0; 16],
                counter: None,
            }; PLACES],
        )
    }
}

/// What the lines below one header say. Places are offsets from the first byte below the header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body {
    pub(super) counters: Counters,
    pub(super) thp_eligible: ThpEligible,
    pub(super) protection_key: Option<u32>,
    /// Where the codes of the `VmFlags:` line stand.
    pub(super) flags: Option<(usize, usize)>,
    /// The length in bytes.
    pub(super) length: usize,
    /// The number of lines.
    pub(super) lines: u64,
}

/// A line that cannot be understood; `line` counts from 0 below the header.
#[derive(Debug)]
pub(super) struct BadLine {
    pub(super) line: u64,
    pub(super) kind: Malformed,
}

/// Whether the line is a mapping's header: hexadecimal digits, then a dash.
#[inline]
pub(super) fn is_header(line: &[u8]) -> bool {
    let digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let digits = line.iter().take_while(|&byte| digit(byte)).count();
    digits > 0 && line.get(digits) == Some(&b'-')
}

/// Reads the lines below a header. `last` says that no more text will follow. Without it, `None`
/// means that more text is needed to know where the entry ends.
#[inline]
pub(super) fn read(
    text: &[u8],
    want: Want,
    layout: &mut Layout,
    last: bool,
) -> Result<Option<Body>, BadLine> {
    let mut body = Body {
        counters: Counters::EMPTY,
        thp_eligible: ThpEligible::Absent,
        protection_key: None,
        flags: None,
        length: 0,
        lines: 0,
    };
    let mut rest = text;
    let mut place = 0_usize;
    loop {
        // The fast way, for as many lines as follow the pattern.
        while let Some((pattern, (value, after))) = layout
            .0
            .get(place)
            .and_then(|pattern| Some((pattern, follows(pattern, rest)?)))
        {
            if let Some(counter) = pattern.counter
                && want.has(counter)
            {
                body.counters.set(counter, u64::from(value));
            }
            rest = after;
            place += 1;
        }
        // The plain way, for one line.
        let Some((line, after)) =
            split_at_byte(rest, b'\n').or_else(|| last.then_some((rest, &[])))
        else {
            return Ok(None);
        };
        if (last && rest.is_empty()) || is_header(line) {
            body.length = text.len() - rest.len();
            body.lines = place as u64;
            return Ok(Some(body));
        }
        let offset = text.len() - rest.len();
        plain(line, offset, want, &mut body).map_err(|kind| BadLine {
            line: place as u64,
            kind,
        })?;
        if let Some(pattern) = layout.0.get_mut(place) {
            learn(pattern, line);
        }
        rest = after;
        place += 1;
    }
}

/// The line's value in kB and the text after it, if the line follows the pattern.
#[inline]
fn follows<'a>(pattern: &Pattern, text: &'a [u8]) -> Option<(u32, &'a [u8])> {
    let (prefix, text) = text.split_first_chunk::<16>()?;
    let (digits, text) = text.split_first_chunk::<8>()?;
    let (unit, text) = text.split_first_chunk::<4>()?;
    if u128::from_ne_bytes(*prefix) != u128::from_ne_bytes(pattern.prefix) || unit != b" kB\n" {
        return None;
    }
    Some((padded_dec8(*digits)?, text))
}

/// Remembers a line that can be read the fast way.
fn learn(pattern: &mut Pattern, line: &[u8]) {
    let Some((&prefix, tail)) = line.split_first_chunk::<16>() else {
        return;
    };
    let Some((key, padding)) = split_at_byte(&prefix, b':') else {
        return;
    };
    if padding.iter().all(|&byte| byte == b' ') && tail.len() == 11 && !is_header(line) {
        // Lines that are no kB counters must not be passed over the fast way.
        if !matches!(key, b"THPeligible" | b"ProtectionKey" | b"VmFlags") {
            *pattern = Pattern {
                prefix,
                counter: Counter::from_key(key),
            };
        }
    }
}

/// Reads any line. `offset` is the line's place in the text.
fn plain(line: &[u8], offset: usize, want: Want, body: &mut Body) -> Result<(), Malformed> {
    // A line without a colon is none that is known; it stays in the entry's text.
    let Some((key, value)) = split_at_byte(line, b':') else {
        return Ok(());
    };
    match key {
        b"VmFlags" => {
            // The kernel writes one space after the colon, which is not part of the codes.
            let start = offset + key.len() + 1 + usize::from(value.starts_with(b" "));
            body.flags = Some((start, offset + line.len()));
        }
        b"THPeligible" => {
            let value = dec_u64(value.trim_ascii(), "THPeligible")?;
            body.thp_eligible = ThpEligible::from(value);
        }
        b"ProtectionKey" => {
            body.protection_key = Some(dec_u32(value.trim_ascii(), "ProtectionKey")?);
        }
        _ => {
            if let Some(counter) = Counter::from_key(key).filter(|&counter| want.has(counter)) {
                body.counters.set(counter, kilobytes(value, counter.key())?);
            }
        }
    }
    Ok(())
}

/// The number in `      132 kB`.
fn kilobytes(value: &[u8], what: &'static str) -> Result<u64, Malformed> {
    let number = skip_spaces(value)
        .strip_suffix(b" kB")
        .ok_or(Malformed::Unit(what))?;
    dec_u64(number, what)
}
