//! Memory whose missing pages somebody serves by userfaultfd(2): to touch it may start a migration, ask
//! a program for work, or wait for ever.

use mctl_sys::procfs::counters::Want;
use mctl_sys::procfs::smaps_reader::SmapsReader;
use mctl_sys::procfs::vmflags::VmFlag;
use mctl_sys::raw::madvise::Range;

use super::listing;
use crate::error::{Error, Result};
use crate::see::coverage::through_a_thread;
use crate::target::Target;

/// The mappings of a target that are served, in order.
pub(crate) fn served(target: &Target) -> Result<Vec<Range>> {
    let end = listing::task_size();
    through_a_thread(target, |prefix| {
        let file = target.open_proc(&format!("{prefix}smaps"))?;
        let mut reader = SmapsReader::with(file, Want::NONE);
        let mut found: Vec<Range> = Vec::new();
        let mut any = false;
        loop {
            let entry = reader
                .next_entry()
                .map_err(|error| crate::see::address_space::smaps_error(target, &error))?;
            let Some(entry) = entry else { break };
            any = true;
            let flags = entry.flags.map(|flags| flags.known()).unwrap_or_default();
            let is_served = [
                VmFlag::UffdMissing,
                VmFlag::UffdWriteProtect,
                VmFlag::UffdMinor,
            ]
            .iter()
            .any(|flag| flags.has(*flag));
            if is_served && entry.vma.start < end {
                found.push(Range {
                    start: entry.vma.start,
                    len: entry.vma.end - entry.vma.start,
                });
            }
        }
        if !target.is_alive() {
            return Err(Error::NoProcess { pid: target.pid() });
        }
        Ok(any.then_some(found))
    })
}

/// What of some ranges is not among others (which are in order), and how many bytes of them are.
#[must_use]
pub fn without(ranges: &[Range], served: &[Range]) -> (Vec<Range>, u64) {
    let mut left = Vec::with_capacity(ranges.len());
    let mut taken = 0;
    for range in ranges {
        let end = range.start.saturating_add(range.len);
        let mut at = range.start;
        let first = served.partition_point(|one| one.start.saturating_add(one.len) <= at);
        for one in served.get(first..).unwrap_or_default() {
            if one.start >= end {
                break;
            }
            if one.start > at {
                left.push(Range {
                    start: at,
                    len: one.start - at,
                });
            }
            let stop = one.start.saturating_add(one.len).min(end);
            taken += stop - one.start.max(at);
            at = stop;
        }
        // An empty entry stays one.
        if at < end || range.len == 0 {
            left.push(Range {
                start: at,
                len: end - at,
            });
        }
    }
    (left, taken)
}

/// Neighbours made one.
pub(crate) fn joined<K: PartialEq>(
    mappings: impl IntoIterator<Item = (Range, K)>,
) -> Vec<(Range, K)> {
    let mut all: Vec<(Range, K)> = Vec::new();
    for (range, kind) in mappings {
        match all.last_mut() {
            Some((last, same)) if last.start + last.len == range.start && *same == kind => {
                last.len += range.len;
            }
            _ => all.push((range, kind)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> Range {
        Range {
            start,
            len: end - start,
        }
    }

    #[test]
    fn neighbours_of_a_kind_are_one() {
        let all = [
            (range(0, 5), 'a'),
            (range(5, 9), 'a'),
            (range(9, 10), 'b'),
            (range(12, 13), 'b'),
        ];
        let one = joined(all);
        assert_eq!(
            one,
            [
                (range(0, 9), 'a'),
                (range(9, 10), 'b'),
                (range(12, 13), 'b')
            ]
        );
    }

    #[test]
    fn what_is_served_is_cut_out() {
        let served = [range(10, 20), range(20, 25), range(40, 50)];
        let cut = |a, b| without(&[range(a, b)], &served);
        assert_eq!(cut(0, 10), (vec![range(0, 10)], 0));
        assert_eq!(cut(10, 20), (vec![], 10));
        assert_eq!(cut(12, 22), (vec![], 10));
        assert_eq!(
            cut(0, 60),
            (vec![range(0, 10), range(25, 40), range(50, 60)], 25)
        );
        assert_eq!(cut(45, 60), (vec![range(50, 60)], 5));
        assert_eq!(without(&[range(0, 60)], &[]), (vec![range(0, 60)], 0));
        let two = without(&[range(0, 15), range(45, 46)], &served);
        assert_eq!(two, (vec![range(0, 10)], 6));
    }
}
