//! Words: an advice, a duration, a range, a percentage.

use std::time::Duration;

use mctl::advise::{ADVICES, Advice, Range};
use mctl::coverage::Bytes;

use crate::words::did_you_mean;

/// An advice by its word, its C name or its number.
pub(crate) fn advice(text: &str) -> Result<Advice, String> {
    text.parse().map_err(|_| {
        let word = text.to_ascii_lowercase().replace('_', "-");
        let word = word.strip_prefix("madv-").unwrap_or(&word);
        format!(
            "no advice of madvise(2){}",
            did_you_mean(word, ADVICES.iter().map(|info| info.word))
        )
    })
}

/// Longer ones are mistakes.
const LONGEST: Duration = Duration::from_secs(60);

/// A whole number and its unit, without space: `500us`, `20ms`, `1s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let form = || "give a whole number and a unit: 500us, 20ms, 1s".to_owned();
    if number.is_empty() {
        return Err(form());
    }
    let from: fn(u64) -> Duration = match unit {
        "us" | "µs" => Duration::from_micros,
        "ms" => Duration::from_millis,
        "s" => Duration::from_secs,
        _ => return Err(form()),
    };
    match number.parse().map(from) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        _ => Err("longer than 60s".to_owned()),
    }
}

/// As [`duration`], but not none at all.
pub(crate) fn some_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than nothing".to_owned()),
        duration => Ok(duration),
    }
}

/// `START-END` as in /proc/PID/maps, hexadecimal with or without `0x`; or `START+LENGTH`, the
/// length in bytes, or with `K`, `M`, `G` or `T`, or hexadecimal with `0x`.
pub(crate) fn range(text: &str) -> Result<Range, String> {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    range_of_pages(text, page)
}

fn range_of_pages(text: &str, page: u64) -> Result<Range, String> {
    let aligned = |what: &str, value: u64| {
        if value.is_multiple_of(page) {
            return Ok(value);
        }
        Err(format!(
            "the {what} {value:#x} is not a multiple of the page size, {page:#x}"
        ))
    };
    // The first of the two signs says which form it is.
    let dash = text
        .find(['-', '+'])
        .filter(|at| text.as_bytes().get(*at) == Some(&b'-'));
    let (start, len) = if let Some((start, end)) = dash.and(text.split_once('-')) {
        let (start, end) = (
            aligned("start", address(start)?)?,
            aligned("end", address(end)?)?,
        );
        if end < start {
            return Err(format!("it ends at {end:#x}, before its start {start:#x}"));
        }
        (start, end - start)
    } else if let Some((start, len)) = text.split_once('+') {
        (
            aligned("start", address(start)?)?,
            aligned("length", size(len)?)?,
        )
    } else {
        return Err("give START-END or START+LENGTH".to_owned());
    };
    if len == 0 {
        return Err("it is empty".to_owned());
    }
    if start.checked_add(len).is_none() {
        return Err("it goes beyond the end of all addresses".to_owned());
    }
    Ok(Range { start, len })
}

fn address(text: &str) -> Result<u64, String> {
    hexadecimal(text.strip_prefix("0x").unwrap_or(text))
        .ok_or_else(|| format!("'{text}' is no hexadecimal address"))
}

fn hexadecimal(digits: &str) -> Option<u64> {
    // from_str_radix takes a sign.
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
}

fn size(text: &str) -> Result<u64, String> {
    let bad = || format!("'{text}' is no length: give bytes, 0x…, or a number with K, M, G or T");
    if let Some(digits) = text.strip_prefix("0x") {
        return hexadecimal(digits).ok_or_else(bad);
    }
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'K')) => (text.get(..at), 10),
        Some((at, 'M')) => (text.get(..at), 20),
        Some((at, 'G')) => (text.get(..at), 30),
        Some((at, 'T')) => (text.get(..at), 40),
        _ => (Some(text), 0),
    };
    digits
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse::<u64>().ok())
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(bad)
}

/// A length in bytes: `4096`, `64M`, `2G`, `0x1000`; not none.
pub(crate) fn bytes(text: &str) -> Result<Bytes, String> {
    match size(text)? {
        0 => Err("must be more than nothing".to_owned()),
        bytes => Ok(Bytes(bytes)),
    }
}

/// 0 to 100, with or without `%`.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    let plain = number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    match number.parse::<f64>() {
        Ok(percent) if plain && (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("give a percentage from 0 to 100".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, micros) in [
            ("20ms", 20_000),
            ("1s", 1_000_000),
            ("500us", 500),
            ("7µs", 7),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_micros(micros)), "{text}");
        }
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for bad in [
            "",
            "20",
            "ms",
            "-1ms",
            "+1ms",
            "1.5s",
            "1 s",
            " 1s",
            "1s ",
            "1m",
            "1h",
            "61s",
            "1S",
            "99999999999999999999s",
            "18446744073709551615s",
            "0x1s",
            "1msms",
        ] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
        assert!(some_duration("0ms").is_err());
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes("64M"), Ok(Bytes(64 << 20)));
        assert_eq!(bytes("2T"), Ok(Bytes(2 << 40)));
        for bad in ["", "0", "-1", "64Q", "M", "1.5G", "99999999T"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges() {
        let two = Range {
            start: 0x1000,
            len: 0x2000,
        };
        for text in [
            "0x1000-0x3000",
            "1000-3000",
            "1000-0x3000",
            "1000+8192",
            "1000+8K",
            "0x1000+0x2000",
        ] {
            assert_eq!(range_of_pages(text, 4096), Ok(two), "{text}");
        }
        for (bad, why) in [
            ("", "give START"),
            ("1000", "give START"),
            ("3000-1000", "before its start"),
            ("1000-1000", "empty"),
            ("1000+0", "empty"),
            ("1001-3000", "start 0x1001 is not"),
            ("1000-3001", "end 0x3001 is not"),
            ("1000+5", "length 0x5 is not"),
            ("fffffffffffff000+4096", "beyond the end"),
            ("fffffffffffff000+8K", "beyond the end"),
            ("1000+99999999999T", "no length"),
            ("1000+-5", "no length"),
            ("1000+", "no length"),
            ("-1000", "no hexadecimal"),
            ("10000000000000000-10000000000001000", "no hexadecimal"),
            ("xyz-3000", "no hexadecimal"),
            ("1000--3000", "no hexadecimal"),
            ("1000-+3000", "no hexadecimal"),
            ("1000 -3000", "no hexadecimal"),
        ] {
            match range_of_pages(bad, 4096) {
                Err(got) => assert!(got.contains(why), "{bad}: {got}"),
                Ok(range) => panic!("{bad}: {range:?}"),
            }
        }
        assert!(range_of_pages("1000-2000", 65536).is_err());
    }

    #[test]
    fn advices_and_percentages() {
        assert_eq!(advice("MADV_COLD"), Ok(Advice::COLD));
        assert_eq!(advice("21"), Ok(Advice::PAGEOUT));
        assert!(advice("pagout").unwrap_err().contains("'pageout'"));
        assert!(advice("MADV_PAGE_OUT").unwrap_err().contains("'pageout'"));
        assert!(!advice("elephant").unwrap_err().contains("did you mean"));
        assert_eq!((percent("95"), percent("99.5%")), (Ok(95.0), Ok(99.5)));
        for bad in ["", "%", "101", "-1", "nan", "inf", "1e1", "95%%", "."] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }
}
