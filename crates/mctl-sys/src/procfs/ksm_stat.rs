//! `/proc/PID/ksm_stat`: what KSM does for a process. Since Linux 6.1.
//!
//! Source: `Documentation/filesystems/proc.rst`; `proc_pid_ksm_stat()` in `fs/proc/base.c`. The
//! kernel writes the counters as `name value` and, since Linux 6.16, the two answers as
//! `name: yes`. Needs CONFIG_KSM.

use super::error::{Malformed, ParseError};
use super::lines::{Lines, words};
use super::num::{dec_i64, dec_u64};

/// The lines of the file. What this kernel does not write is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KsmStat {
    /// Whether every compatible mapping is offered to KSM: `PR_SET_MEMORY_MERGE` is in force.
    pub merge_any: Option<bool>,
    /// Whether any mapping is offered to KSM, by prctl or by advice.
    pub mergeable: Option<bool>,
    /// How many reverse-mapping items KSM keeps for the process.
    pub rmap_items: Option<u64>,
    /// How many pages have become the zero page.
    pub zero_pages: Option<u64>,
    /// How many pages are merged.
    pub merging_pages: Option<u64>,
    /// What was saved less what the bookkeeping costs, in bytes; may be negative.
    pub process_profit: Option<i64>,
}

impl KsmStat {
    /// Parses the file. Lines that are not known here are passed over.
    ///
    /// # Errors
    ///
    /// [`ParseError`], if a line that is known here has a value of another kind.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        let mut stat = Self::default();
        for (line, bytes) in Lines::new(text) {
            stat.take(bytes).map_err(|kind| ParseError { line, kind })?;
        }
        Ok(stat)
    }

    fn take(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let mut words = words(line);
        let key = words.next().unwrap_or_default();
        let value = words.next().unwrap_or_default();
        // Some names have a colon and some have none.
        match key.strip_suffix(b":").unwrap_or(key) {
            b"ksm_merge_any" => self.merge_any = Some(answer(value, "ksm_merge_any")?),
            b"ksm_mergeable" => self.mergeable = Some(answer(value, "ksm_mergeable")?),
            b"ksm_rmap_items" => self.rmap_items = Some(dec_u64(value, "ksm_rmap_items")?),
            b"ksm_zero_pages" => self.zero_pages = Some(dec_u64(value, "ksm_zero_pages")?),
            b"ksm_merging_pages" => self.merging_pages = Some(dec_u64(value, "ksm_merging_pages")?),
            b"ksm_process_profit" => {
                self.process_profit = Some(dec_i64(value, "ksm_process_profit")?);
            }
            _ => {}
        }
        Ok(())
    }
}

fn answer(word: &[u8], what: &'static str) -> Result<bool, Malformed> {
    match word {
        b"yes" => Ok(true),
        b"no" => Ok(false),
        b"" => Err(Malformed::Missing(what)),
        _ => Err(Malformed::Unexpected(what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &[u8] = b"ksm_rmap_items 7\nksm_zero_pages 0\nksm_merging_pages 3\n\
        ksm_process_profit -448\nksm_merge_any: no\nksm_mergeable: yes\n";

    #[test]
    fn all_lines() {
        let stat = KsmStat::parse(TEXT).unwrap();
        assert_eq!((stat.merge_any, stat.mergeable), (Some(false), Some(true)));
        assert_eq!(
            (stat.rmap_items, stat.zero_pages, stat.merging_pages),
            (Some(7), Some(0), Some(3))
        );
        assert_eq!(stat.process_profit, Some(-448));
    }

    #[test]
    fn an_older_kernel_and_a_newer_one() {
        let stat = KsmStat::parse(b"ksm_rmap_items 0\nksm_new_thing: perhaps\n").unwrap();
        assert_eq!((stat.merge_any, stat.rmap_items), (None, Some(0)));
        let error = KsmStat::parse(b"ksm_rmap_items 0\nksm_merge_any: maybe\n").unwrap_err();
        assert_eq!(
            error,
            ParseError {
                line: 2,
                kind: Malformed::Unexpected("ksm_merge_any")
            }
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..128), cut in 0..TEXT.len()) {
            let _ = KsmStat::parse(&text);
            let _ = KsmStat::parse(&TEXT[..cut]);
        }
    }
}
