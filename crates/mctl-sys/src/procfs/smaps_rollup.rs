//! `/proc/PID/smaps_rollup`: the sum of all smaps counters in one entry. Since Linux 4.14.
//!
//! Source: `proc_pid_smaps_rollup(5)`; `show_smaps_rollup()` in `fs/proc/task_mmu.c`. The header's
//! range goes from the first mapping's start to the last one's end, and its name is `[rollup]`.

use super::error::{Malformed, ParseError};
use super::smaps::{SmapsEntries, SmapsEntry};

/// Parses the file's only entry. `flags` is `None`: the file has none.
///
/// # Errors
///
/// [`ParseError`]; also for an empty text, which is what a process without an address space gives,
/// and for a second entry.
pub fn parse(text: &[u8]) -> Result<SmapsEntry<'_>, ParseError> {
    let mut entries = SmapsEntries::new(text);
    let missing = ParseError {
        line: 1,
        kind: Malformed::Missing("rollup entry"),
    };
    let entry = entries.next().ok_or(missing)??;
    match entries.next() {
        None => Ok(entry),
        Some(second) => {
            second?;
            Err(ParseError {
                line: 2,
                kind: Malformed::Unexpected("second rollup entry"),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::counters::Counter;
    use super::super::test_data::ROLLUP;
    use super::*;

    #[test]
    fn a_captured_file() {
        let entry = parse(ROLLUP).unwrap();
        assert_eq!(entry.vma.name, b"[rollup]");
        assert_eq!(entry.counters.rss(), 1736);
        assert_eq!(entry.counters.pss_anon(), 112);
        assert_eq!(entry.counters.get(Counter::Size), None);
        assert_eq!(entry.counters.iter().count(), 22);
        assert!(entry.flags.is_none());
    }

    #[test]
    fn nothing_and_too_much() {
        assert!(parse(b"").is_err());
        let twice = [ROLLUP, ROLLUP].concat();
        assert_eq!(
            parse(&twice).unwrap_err().kind,
            Malformed::Unexpected("second rollup entry")
        );
    }
}
